//! Relaxed SIMD: faster, and multiply-adds may differ in the last bit between machines.

use core::arch::wasm32::*;

use super::wasm::{self, Bytes, Floats, Integers, load, splat_words, store};
use super::{Dot, Simd};
use crate::activations::{Activations, Rounded};

/// Relaxed SIMD.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relaxed;

/// The sum of 16-bit sums. 8 steps of at most 2 * 15 * 127 are 30,480: they stay exact.
#[inline(always)]
fn totals(sums: [v128; 4]) -> [Integers; 4] {
    // Written out: LLVM leaves `map` on an array of vectors a call, which costs a fifth.
    let [a, b, c, d] = sums;
    let total = |sum| Integers(i32x4_extadd_pairwise_i16x8(sum));
    [total(a), total(b), total(c), total(d)]
}

/// Adds products of weights from 0 to 15: there the relaxed dot product is exact everywhere.
#[inline(always)]
fn add_dot(sum: v128, x: v128, weights: v128) -> v128 {
    i16x8_add(sum, i16x8_relaxed_dot_i8x16_i7x16(x, weights))
}

/// 4-bit weights, unpacked as they are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nibbles;

impl Dot for Nibbles {
    type I = Integers;
    type Word = [i8; 4];
    const STEP_COLUMNS: usize = 4;
    type Weights = [u8; 16];
    type X = v128;
    type Sum = v128;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[[Self::Weights; 2]] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn rounded(activations: &Activations) -> &Rounded<[i8; 4]> {
        &activations.bytes
    }
    fn round<S: Simd>(activations: &mut Activations) {
        activations.round_to_bytes::<S>();
    }
    #[inline(always)]
    fn x<const N: usize>(words: &[[[i8; 4]; N]]) -> [v128; N] {
        splat_words(&words[0])
    }
    #[inline(always)]
    fn x_of_two_steps(words: &[[i8; 4]]) -> [v128; 2] {
        splat_words(&[words[0], words[1]])
    }
    #[inline(always)]
    fn zero() -> [v128; 4] {
        [i16x8_splat(0); 4]
    }
    #[inline(always)]
    fn half_step(mut sums: [v128; 2], weights: &Self::Weights, x: v128) -> [v128; 2] {
        let low = u8x16_splat(0x0f);
        let vector = load(weights);
        sums[0] = add_dot(sums[0], x, v128_and(vector, low));
        sums[1] = add_dot(sums[1], x, v128_and(u16x8_shr(vector, 4), low));
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
    type Word = [i8; 4];
    const STEP_COLUMNS: usize = 4;
    type Weights = [[u8; 16]; 2];
    type X = v128;
    type Sum = v128;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[[Self::Weights; 2]] {
        body.as_chunks().0.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn rounded(activations: &Activations) -> &Rounded<[i8; 4]> {
        &activations.bytes
    }
    fn round<S: Simd>(activations: &mut Activations) {
        activations.round_to_bytes::<S>();
    }
    #[inline(always)]
    fn x<const N: usize>(words: &[[[i8; 4]; N]]) -> [v128; N] {
        splat_words(&words[0])
    }
    #[inline(always)]
    fn x_of_two_steps(words: &[[i8; 4]]) -> [v128; 2] {
        splat_words(&[words[0], words[1]])
    }
    #[inline(always)]
    fn zero() -> [v128; 4] {
        [i16x8_splat(0); 4]
    }
    #[inline(always)]
    fn half_step(mut sums: [v128; 2], weights: &Self::Weights, x: v128) -> [v128; 2] {
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

impl Simd for Relaxed {
    const NAME: &'static str = "relaxed-simd";
    type F = Floats;
    type I = Integers;
    type Nibbles = Nibbles;
    type NibblePanel = NibblePanel;
    type Bytes = Bytes;
    const ROUNDS_TO_BYTES: bool = true;
    const PANEL_TOKENS_MIN: usize = 6;

    #[inline(always)]
    fn mul_add(a: Floats, b: Floats, c: Floats) -> Floats {
        Floats(f32x4_relaxed_madd(a.0, b.0, c.0))
    }

    #[inline(always)]
    fn store_pairs(values: [Integers; 2], words: &mut [[i16; 2]; 4]) {
        wasm::store_pairs(values, words);
    }

    #[inline(always)]
    fn store_bytes(values: [Integers; 2], words: &mut [[i8; 4]; 2]) {
        wasm::store_bytes(values, words);
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
}
