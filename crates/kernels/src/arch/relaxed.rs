//! Relaxed SIMD: faster, and multiply-adds may differ in the last bit between machines.

use core::arch::wasm32::*;
use std::marker::PhantomData;

use super::wasm::{self, Bytes, Five, Floats, Integers, Six, Step, load, splat_words, store};
use super::{Dot, Simd};
use crate::activations::{Activations, Rounded};
use crate::formats::{FiveStep, SixStep};

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
    type Word = [i8; 4];
    const STEP_COLUMNS: usize = 4;
    type Weights = [[u8; 16]; 2];
    type X = v128;
    type Sum = v128;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[Self::Weights] {
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
    fn half_step(mut sums: [v128; 2], weights: &Self::Weights, half: usize, x: v128) -> [v128; 2] {
        let low = u8x16_splat(0x0f);
        let vector = load(&weights[half]);
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
    type Weights = [[[u8; 16]; 2]; 2];
    type X = v128;
    type Sum = v128;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[Self::Weights] {
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
    fn half_step(mut sums: [v128; 2], weights: &Self::Weights, half: usize, x: v128) -> [v128; 2] {
        for (sum, vector) in sums.iter_mut().zip(&weights[half]) {
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
    type Word = [i8; 4];
    const STEP_COLUMNS: usize = 8;
    type Weights = T::Weights;
    type X = [v128; 2];
    type Sum = v128;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[T::Weights] {
        T::steps(body)
    }
    #[inline(always)]
    fn rounded(activations: &Activations) -> &Rounded<[i8; 4]> {
        &activations.bytes
    }
    fn round<S: Simd>(activations: &mut Activations) {
        activations.round_to_bytes::<S>();
    }
    #[inline(always)]
    fn x<const N: usize>(words: &[[[i8; 4]; N]]) -> [[v128; 2]; N] {
        if N == 1 {
            let both = splat_words(&[words[0][0], words[1][0]]);
            return [both; N];
        }
        let (first, second) = (splat_words(&words[0]), splat_words(&words[1]));
        std::array::from_fn(|token| [first[token], second[token]])
    }
    #[inline(always)]
    fn zero() -> [v128; 4] {
        [i32x4_splat(0); 4]
    }
    #[inline(always)]
    fn half_step(
        mut sums: [v128; 2],
        weights: &T::Weights,
        half: usize,
        x: [v128; 2],
    ) -> [v128; 2] {
        let (first, second) = (T::bytes(weights, 0, half), T::bytes(weights, 1, half));
        for (index, sum) in sums.iter_mut().enumerate() {
            let dot = i16x8_relaxed_dot_i8x16_i7x16(x[0], first[index]);
            let dot = add_dot(dot, x[1], second[index]);
            *sum = i32x4_add(*sum, i32x4_extadd_pairwise_i16x8(dot));
        }
        sums
    }
    #[inline(always)]
    fn totals(sums: [v128; 4]) -> [Integers; 4] {
        wasm::integers(sums)
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
    fn bytes(weights: &[[u8; 16]; 8], columns: usize, half: usize) -> [v128; 2] {
        let first = columns * 4 + half * 2;
        [load(&weights[first]), load(&weights[first + 1])]
    }
}

#[inline(always)]
fn unpack<T: Step>(packed: &T::Weights, panel: &mut [u8; 128]) {
    for (index, places) in panel.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let [low, high] = T::bytes(packed, index / 2, index % 2);
        let places = places.as_chunks_mut().0;
        store(low, &mut places[0]);
        store(high, &mut places[1]);
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

    #[inline(always)]
    fn unpack_fives(packed: &FiveStep, panel: &mut [u8; 128]) {
        unpack::<Five>(packed, panel);
    }

    #[inline(always)]
    fn unpack_sixes(packed: &SixStep, panel: &mut [u8; 128]) {
        unpack::<Six>(packed, panel);
    }
}
