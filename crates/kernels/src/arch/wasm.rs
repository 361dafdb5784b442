//! The vectors that both WebAssembly sets share.

use core::arch::wasm32::*;
use std::ops::{Add, Div, Mul, Sub};

use super::{Dot, F32x4, I32x4};
use crate::activations::Activations;
use crate::formats::{FiveStep, SixStep};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Floats(pub(crate) v128);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Integers(pub(crate) v128);

macro_rules! operators {
    ($($type:ident $trait:ident $method:ident $instruction:ident;)*) => {$(
        impl $trait for $type {
            type Output = $type;
            #[inline(always)]
            fn $method(self, other: $type) -> $type {
                $type($instruction(self.0, other.0))
            }
        }
    )*};
}

operators! {
    Floats Add add f32x4_add;
    Floats Sub sub f32x4_sub;
    Floats Mul mul f32x4_mul;
    Floats Div div f32x4_div;
    Integers Add add i32x4_add;
    Integers Sub sub i32x4_sub;
}

/// Sixteen bytes.
#[inline(always)]
pub(crate) fn load(bytes: &[u8; 16]) -> v128 {
    // SAFETY: the reference covers the 16 bytes; `v128_load` asks for no alignment.
    unsafe { v128_load(bytes.as_ptr().cast()) }
}

/// Four bytes, the rest zero.
#[inline(always)]
fn load_four(bytes: &[u8; 4]) -> v128 {
    // SAFETY: the reference covers the 4 bytes; the instruction asks for no alignment.
    unsafe { v128_load32_zero(bytes.as_ptr().cast()) }
}

/// Two i16 in every lane.
#[inline(always)]
pub(crate) fn splat_pair(pair: &[i16; 2]) -> v128 {
    // SAFETY: the reference covers the 4 bytes; the instruction asks for no alignment.
    unsafe { v128_load32_splat(pair.as_ptr().cast()) }
}

/// Writes sixteen bytes.
#[inline(always)]
pub(crate) fn store(vector: v128, bytes: &mut [u8; 16]) {
    // SAFETY: the reference covers the 16 bytes; `v128_store` asks for no alignment.
    unsafe { v128_store(bytes.as_mut_ptr().cast(), vector) }
}

impl F32x4 for Floats {
    type I = Integers;
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(f32x4_splat(value))
    }
    #[inline(always)]
    fn load(values: &[f32; 4]) -> Self {
        // SAFETY: the reference covers the 16 bytes; `v128_load` asks for no alignment.
        Self(unsafe { v128_load(values.as_ptr().cast()) })
    }
    #[inline(always)]
    fn store(self, values: &mut [f32; 4]) {
        // SAFETY: the reference covers the 16 bytes; `v128_store` asks for no alignment.
        unsafe { v128_store(values.as_mut_ptr().cast(), self.0) }
    }
    #[inline(always)]
    fn load_bytes(values: &[u8; 16]) -> Self {
        Self(load(values))
    }
    #[inline(always)]
    fn load_halves(values: &[u8; 8]) -> Self {
        // SAFETY: the reference covers the 8 bytes; the instruction asks for no alignment.
        let halves = unsafe { i32x4_load_extend_i16x4(values.as_ptr().cast()) };
        Self(v128_and(i32x4_shl(halves, 13), u32x4_splat(0x8fff_e000)))
    }
    #[inline(always)]
    fn or_smaller(self, other: Self) -> Self {
        Self(f32x4_pmin(self.0, other.0))
    }
    #[inline(always)]
    fn or_larger(self, other: Self) -> Self {
        Self(f32x4_pmax(self.0, other.0))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(f32x4_abs(self.0))
    }
    #[inline(always)]
    fn nearest(self) -> Self {
        Self(f32x4_nearest(self.0))
    }
    #[inline(always)]
    fn truncate(self) -> Integers {
        Integers(i32x4_trunc_sat_f32x4(self.0))
    }
    #[inline(always)]
    fn bits(self) -> Integers {
        Integers(self.0)
    }
    #[inline(always)]
    fn from_bits(bits: Integers) -> Self {
        Self(bits.0)
    }
    #[inline(always)]
    fn zero_below(self, tested: Self, limit: Self) -> Self {
        Self(v128_andnot(self.0, f32x4_lt(tested.0, limit.0)))
    }
    #[inline(always)]
    fn unzip(self, other: Self) -> (Self, Self) {
        (
            Self(i32x4_shuffle::<0, 2, 4, 6>(self.0, other.0)),
            Self(i32x4_shuffle::<1, 3, 5, 7>(self.0, other.0)),
        )
    }
    #[inline(always)]
    fn zip(self, other: Self) -> (Self, Self) {
        (
            Self(i32x4_shuffle::<0, 4, 1, 5>(self.0, other.0)),
            Self(i32x4_shuffle::<2, 6, 3, 7>(self.0, other.0)),
        )
    }
}

impl I32x4 for Integers {
    type F = Floats;
    #[inline(always)]
    fn splat(value: i32) -> Self {
        Self(i32x4_splat(value))
    }
    #[inline(always)]
    fn load_signed(bytes: &[u8; 4]) -> Self {
        Self(i32x4_extend_low_i16x8(i16x8_extend_low_i8x16(load_four(bytes))))
    }
    #[inline(always)]
    fn load_unsigned(bytes: &[u8; 4]) -> Self {
        Self(u32x4_extend_low_u16x8(u16x8_extend_low_u8x16(load_four(bytes))))
    }
    #[inline(always)]
    fn to_array(self) -> [i32; 4] {
        [
            i32x4_extract_lane::<0>(self.0),
            i32x4_extract_lane::<1>(self.0),
            i32x4_extract_lane::<2>(self.0),
            i32x4_extract_lane::<3>(self.0),
        ]
    }
    #[inline(always)]
    fn shift_left<const BITS: u32>(self) -> Self {
        Self(i32x4_shl(self.0, BITS))
    }
    #[inline(always)]
    fn to_f32(self) -> Floats {
        Floats(f32x4_convert_i32x4(self.0))
    }
}

/// 8-bit weights, widened to 16 bits. Relaxed SIMD has nothing better for them: its dot product
/// leaves open what the top bit of the second operand means.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes;

impl Dot for Bytes {
    type I = Integers;
    const STEP_COLUMNS: usize = 2;
    type Weights = [[i8; 8]; 4];
    type X = [i16; 2];
    type Sum = v128;
    const PAIRS_TOKENS: bool = true;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[Self::Weights] {
        let steps = body.as_chunks::<32>().0;
        // SAFETY: the same size, alignment 1 and no invalid values on both sides.
        unsafe { std::slice::from_raw_parts(steps.as_ptr().cast(), steps.len()) }
    }
    #[inline(always)]
    fn activations(activations: &Activations) -> &[[i16; 2]] {
        &activations.pairs
    }
    #[inline(always)]
    fn zero() -> [v128; 4] {
        [i32x4_splat(0); 4]
    }
    #[inline(always)]
    fn step(mut sums: [v128; 4], weights: &Self::Weights, x: &[i16; 2]) -> [v128; 4] {
        let x = splat_pair(x);
        for (sum, rows) in sums.iter_mut().zip(weights) {
            // SAFETY: the reference covers the 8 bytes; the instruction asks for no alignment.
            let rows = unsafe { i16x8_load_extend_i8x8(rows.as_ptr()) };
            *sum = i32x4_add(*sum, i32x4_dot_i16x8(rows, x));
        }
        sums
    }
    #[inline(always)]
    fn totals(sums: [v128; 4]) -> [Integers; 4] {
        [Integers(sums[0]), Integers(sums[1]), Integers(sums[2]), Integers(sums[3])]
    }
}

/// Weights of up to 6 bits: how a step of 8 columns holds them.
pub(crate) trait Step: Copy {
    /// The bytes that make up a step.
    type Weights: Copy;
    fn steps(body: &[u8]) -> &[Self::Weights];
    /// One byte per weight: four vectors of four rows by four columns, of one half of the columns.
    fn bytes(weights: &Self::Weights, half: usize) -> [v128; 4];
}

/// 5-bit weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Five;

/// 6-bit weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Six;

/// Joins nibbles with the bits above them, `BITS` for each weight, from bit `from` of `planes` on
/// (see `formats::planes`).
#[inline(always)]
fn join<const BITS: u32>(nibbles: &[[u8; 16]], planes: &[u8; 16], from: u32) -> [v128; 4] {
    let planes = load(planes);
    let (first, second) = (load(&nibbles[0]), load(&nibbles[1]));
    let join = |low: v128, vector: u32| {
        // Moves the bits to bit 4 of their byte; what crosses into other bits is masked.
        let bit = from + vector * BITS;
        let high = if bit <= 4 { u16x8_shl(planes, 4 - bit) } else { u16x8_shr(planes, bit - 4) };
        let high = v128_and(high, u8x16_splat(((1 << BITS) - 1) << 4));
        v128_or(v128_and(low, u8x16_splat(0x0f)), high)
    };
    [join(first, 0), join(u16x8_shr(first, 4), 1), join(second, 2), join(u16x8_shr(second, 4), 3)]
}

impl Step for Five {
    type Weights = FiveStep;
    #[inline(always)]
    fn steps(body: &[u8]) -> &[FiveStep] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn bytes(weights: &FiveStep, half: usize) -> [v128; 4] {
        join::<1>(&weights[half * 2..][..2], &weights[4], half as u32 * 4)
    }
}

impl Step for Six {
    type Weights = SixStep;
    #[inline(always)]
    fn steps(body: &[u8]) -> &[SixStep] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn bytes(weights: &SixStep, half: usize) -> [v128; 4] {
        join::<2>(&weights[half * 2..][..2], &weights[4 + half], 0)
    }
}
