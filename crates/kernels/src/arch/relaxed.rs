//! Relaxed SIMD: faster, and multiply-adds may differ in the last bit between machines.

use core::arch::wasm32::*;
use std::marker::PhantomData;

use super::wasm::{Bytes, Five, Floats, Integers, Six, Step, load, store};
use super::{Dot, Simd};
use crate::activations::{Activations, BlockScale};
use crate::formats::{FiveStep, SixStep};

/// Relaxed SIMD.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relaxed;

/// Four bytes in every lane.
#[inline(always)]
fn splat_bytes(bytes: &[i8; 4]) -> v128 {
    // SAFETY: the reference covers the 4 bytes; the instruction asks for no alignment.
    unsafe { v128_load32_splat(bytes.as_ptr().cast()) }
}

/// The sum of 16-bit sums. 8 steps of at most 2 * 15 * 127 are 30,480: they stay exact.
#[inline(always)]
fn totals(sums: [v128; 4]) -> [Integers; 4] {
    // Written out: LLVM leaves `map` on an array of vectors a call, which costs a fifth.
    let [a, b, c, d] = sums;
    let total = |sum| Integers(i32x4_extadd_pairwise_i16x8(sum));
    [total(a), total(b), total(c), total(d)]
}

/// Adds products of weights from 0 to 127: there the relaxed dot product is exact everywhere.
#[inline(always)]
fn add_dot(sum: v128, x: v128, weights: v128) -> v128 {
    i16x8_add(sum, i16x8_relaxed_dot_i8x16_i7x16(x, weights))
}

/// 4-bit weights, unpacked as they are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nibbles;

impl Dot for Nibbles {
    type I = Integers;
    const STEP_COLUMNS: usize = 4;
    type Weights = [[u8; 16]; 2];
    type X = [i8; 4];
    type Sum = v128;
    const PAIRS_TOKENS: bool = true;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[Self::Weights] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn activations(activations: &Activations) -> &[[i8; 4]] {
        &activations.bytes
    }
    #[inline(always)]
    fn scales(activations: &Activations) -> &[BlockScale] {
        &activations.byte_scales
    }
    #[inline(always)]
    fn zero() -> [v128; 4] {
        [i16x8_splat(0); 4]
    }
    #[inline(always)]
    fn step(mut sums: [v128; 4], weights: &Self::Weights, x: &[i8; 4]) -> [v128; 4] {
        let x = splat_bytes(x);
        let low = u8x16_splat(0x0f);
        for (j, vector) in weights.iter().enumerate() {
            let vector = load(vector);
            sums[2 * j] = add_dot(sums[2 * j], x, v128_and(vector, low));
            sums[2 * j + 1] = add_dot(sums[2 * j + 1], x, v128_and(u16x8_shr(vector, 4), low));
        }
        sums
    }
    #[inline(always)]
    fn totals(sums: [v128; 4]) -> [Integers; 4] {
        totals(sums)
    }
}

/// 4-bit weights, unpacked to one byte each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NibblePanel;

impl Dot for NibblePanel {
    type I = Integers;
    const STEP_COLUMNS: usize = 4;
    type Weights = [[u8; 16]; 4];
    type X = [i8; 4];
    type Sum = v128;
    const PAIRS_TOKENS: bool = true;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[Self::Weights] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn activations(activations: &Activations) -> &[[i8; 4]] {
        &activations.bytes
    }
    #[inline(always)]
    fn scales(activations: &Activations) -> &[BlockScale] {
        &activations.byte_scales
    }
    #[inline(always)]
    fn zero() -> [v128; 4] {
        [i16x8_splat(0); 4]
    }
    #[inline(always)]
    fn step(mut sums: [v128; 4], weights: &Self::Weights, x: &[i8; 4]) -> [v128; 4] {
        let x = splat_bytes(x);
        for (sum, vector) in sums.iter_mut().zip(weights) {
            *sum = add_dot(*sum, x, load(vector));
        }
        sums
    }
    #[inline(always)]
    fn totals(sums: [v128; 4]) -> [Integers; 4] {
        totals(sums)
    }
}

/// Weights of 5 or 6 bits, unpacked as they are used. Two dot products, of at most 2 * 63 * 127
/// each, are added in 16 bits (32,004 at most), more in 32 bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joined<T>(PhantomData<T>);

impl<T: Step> Dot for Joined<T> {
    type I = Integers;
    const STEP_COLUMNS: usize = 8;
    type Weights = T::Weights;
    type X = [[i8; 4]; 2];
    type Sum = v128;
    const PAIRS_TOKENS: bool = true;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[T::Weights] {
        T::steps(body)
    }
    #[inline(always)]
    fn activations(activations: &Activations) -> &[[[i8; 4]; 2]] {
        activations.bytes.as_chunks().0
    }
    #[inline(always)]
    fn scales(activations: &Activations) -> &[BlockScale] {
        &activations.byte_scales
    }
    #[inline(always)]
    fn zero() -> [v128; 4] {
        [i32x4_splat(0); 4]
    }
    #[inline(always)]
    fn step(mut sums: [v128; 4], weights: &T::Weights, x: &[[i8; 4]; 2]) -> [v128; 4] {
        let (first, second) = (splat_bytes(&x[0]), splat_bytes(&x[1]));
        let weights = T::bytes(weights, 0).into_iter().zip(T::bytes(weights, 1));
        for (sum, (low, high)) in sums.iter_mut().zip(weights) {
            let dot = i16x8_relaxed_dot_i8x16_i7x16(first, low);
            *sum = i32x4_add(*sum, i32x4_extadd_pairwise_i16x8(add_dot(dot, second, high)));
        }
        sums
    }
    #[inline(always)]
    fn totals(sums: [v128; 4]) -> [Integers; 4] {
        [Integers(sums[0]), Integers(sums[1]), Integers(sums[2]), Integers(sums[3])]
    }
}

/// 5- or 6-bit weights, unpacked to one byte each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole;

impl Step for Whole {
    type Weights = [[u8; 16]; 8];
    #[inline(always)]
    fn steps(body: &[u8]) -> &[[[u8; 16]; 8]] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn bytes(weights: &[[u8; 16]; 8], half: usize) -> [v128; 4] {
        let vector = |index: usize| load(&weights[half * 4 + index]);
        [vector(0), vector(1), vector(2), vector(3)]
    }
}

#[inline(always)]
fn unpack<T: Step>(packed: &T::Weights, panel: &mut [u8; 128]) {
    for (half, panel) in panel.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        for (vector, place) in T::bytes(packed, half).into_iter().zip(panel.as_chunks_mut().0) {
            store(vector, place);
        }
    }
}

impl Simd for Relaxed {
    const NAME: &'static str = "relaxed-simd";
    type F = Floats;
    type I = Integers;
    type Nibbles = Nibbles;
    type NibblePanel = NibblePanel;
    type Fives = Joined<Five>;
    type Sixes = Joined<Six>;
    type SixPanel = Joined<Whole>;
    type Bytes = Bytes;
    const ROUNDS_TO_BYTES: bool = true;
    const PANEL_TOKENS_MIN: usize = 20;

    #[inline(always)]
    fn mul_add(a: Floats, b: Floats, c: Floats) -> Floats {
        Floats(f32x4_relaxed_madd(a.0, b.0, c.0))
    }

    #[inline(always)]
    fn unpack_nibbles(packed: &[u8; 32], panel: &mut [u8; 64]) {
        let low = u8x16_splat(0x0f);
        let halves = packed.as_chunks::<16>().0.iter();
        for (half, places) in halves.zip(panel.as_chunks_mut::<32>().0) {
            let vector = load(half);
            let places = places.as_chunks_mut::<16>().0;
            store(v128_and(vector, low), &mut places[0]);
            store(v128_and(u16x8_shr(vector, 4), low), &mut places[1]);
        }
    }

    #[inline(always)]
    fn unpack_fives(packed: &FiveStep, panel: &mut [u8; 128]) {
        unpack::<Five>(packed, panel);
    }

    #[inline(always)]
    fn unpack_sixes(packed: &SixStep, panel: &mut [u8; 128]) {
        unpack::<Six>(packed, panel);
    }
}
