//! How the steps of packed weights hold them, for both WebAssembly sets.

use core::arch::wasm32::*;
use std::marker::PhantomData;

use super::wasm::load;
use crate::formats::{FiveStep, SixStep, Table};

/// How a step holds weights.
pub(crate) trait Step: Copy {
    /// Columns of a step: 8, or 4.
    const COLUMNS: usize = 8;
    /// The bytes that make up a step.
    type Weights: Copy;
    fn steps(body: &[u8]) -> &[Self::Weights];
    /// One byte per weight: two vectors of four rows by four columns, of the first or the second
    /// four columns and the first or the second eight rows.
    fn bytes(weights: &Self::Weights, columns: usize, half: usize) -> [v128; 2];
    /// Columns 0 and 2, and columns 1 and 3, of four columns' bytes.
    #[inline(always)]
    fn widen(bytes: v128) -> [v128; 2] {
        [v128_and(bytes, u16x8_splat(0xff)), u16x8_shr(bytes, 8)]
    }
}

/// 5-bit weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Five;

/// 6-bit weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Six;

/// Joins nibbles with the bits above them, `BITS` for each weight (see `formats::planes`).
#[inline(always)]
fn join<const BITS: u32>(step: &[[u8; 16]], columns: usize, half: usize) -> [v128; 2] {
    let first_bit = (columns * 4 + half * 2) as u32 * BITS;
    let nibbles = load(&step[columns * 2 + half]);
    let planes = load(&step[4 + first_bit as usize / 8]);
    let join = |low: v128, vector: u32| {
        // Moves the bits to bit 4 of their byte; what crosses into other bits is masked.
        let bit = first_bit % 8 + vector * BITS;
        let high = if bit <= 4 { u16x8_shl(planes, 4 - bit) } else { u16x8_shr(planes, bit - 4) };
        let high = v128_and(high, u8x16_splat(((1 << BITS) - 1) << 4));
        v128_or(v128_and(low, u8x16_splat(0x0f)), high)
    };
    [join(nibbles, 0), join(u16x8_shr(nibbles, 4), 1)]
}

impl Step for Five {
    type Weights = FiveStep;
    #[inline(always)]
    fn steps(body: &[u8]) -> &[FiveStep] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn bytes(weights: &FiveStep, columns: usize, half: usize) -> [v128; 2] {
        join::<1>(weights, columns, half)
    }
}

impl Step for Six {
    type Weights = SixStep;
    #[inline(always)]
    fn steps(body: &[u8]) -> &[SixStep] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn bytes(weights: &SixStep, columns: usize, half: usize) -> [v128; 2] {
        join::<2>(weights, columns, half)
    }
}

/// 4-bit weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Four;

impl Step for Four {
    const COLUMNS: usize = 4;
    type Weights = [[u8; 16]; 2];
    #[inline(always)]
    fn steps(body: &[u8]) -> &[[[u8; 16]; 2]] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn bytes(weights: &[[u8; 16]; 2], _: usize, half: usize) -> [v128; 2] {
        let (low, vector) = (u8x16_splat(0x0f), load(&weights[half]));
        [v128_and(vector, low), v128_and(u16x8_shr(vector, 4), low)]
    }
}

/// 4-bit indices of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Indices<T>(PhantomData<T>);

impl<T: Table> Step for Indices<T> {
    const COLUMNS: usize = 4;
    type Weights = [[u8; 16]; 2];
    #[inline(always)]
    fn steps(body: &[u8]) -> &[[[u8; 16]; 2]] {
        Four::steps(body)
    }
    #[inline(always)]
    fn bytes(weights: &[[u8; 16]; 2], columns: usize, half: usize) -> [v128; 2] {
        // SAFETY: sixteen bytes are a vector.
        let values: v128 = unsafe { std::mem::transmute(T::VALUES) };
        Four::bytes(weights, columns, half).map(|indices| look_up(values, indices))
    }
    #[inline(always)]
    fn widen(bytes: v128) -> [v128; 2] {
        [i16x8_shr(i16x8_shl(bytes, 8), 8), i16x8_shr(bytes, 8)]
    }
}

/// The values at indices below 16: there both instructions mean the same.
#[inline(always)]
fn look_up(values: v128, indices: v128) -> v128 {
    #[cfg(target_feature = "relaxed-simd")]
    return i8x16_relaxed_swizzle(values, indices);
    #[cfg(not(target_feature = "relaxed-simd"))]
    i8x16_swizzle(values, indices)
}
