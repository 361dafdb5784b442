//! Relaxed SIMD: faster, and multiply-adds may differ in the last bit between machines.

use core::arch::wasm32::*;
use std::marker::PhantomData;

use super::wasm::{self, Bytes, Floats, Integers, Wide, lanes, load, store};
use super::wasm_steps::{Five, Four, Indices, Six, Step};
use super::{Dot, Simd};
use crate::activations::{Activations, Lanes, Rounded};
use crate::formats::{FiveStep, IQ4_NL, MXFP4, SixStep};

/// Relaxed SIMD.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relaxed;

/// Adds products of weights from 0 to 127: there the relaxed dot product is exact everywhere.
#[inline(always)]
fn add_dot(sum: v128, x: v128, weights: v128) -> v128 {
    i16x8_add(sum, i16x8_relaxed_dot_i8x16_i7x16(x, weights))
}

/// Weights of up to 6 bits, unpacked as they are used. All sums are modulo 2^16. From the centre
/// weights of N bits are at most 2^(N-1) away, so that the sum of 16 products (of 6 bits 8: their
/// blocks have two parts) is at most 32,512 in the end, whatever it was meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Narrow<T>(PhantomData<T>);

impl<T: Step> Dot for Narrow<T> {
    type I = Integers;
    type Word = Lanes<[i8; 4]>;
    const STEP_COLUMNS: usize = T::COLUMNS;
    type Weights = T::Weights;
    /// Of the first four columns, and of the other four if there are any.
    type X = [v128; 2];
    type Sum = v128;
    const IS_CENTRED: bool = true;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[T::Weights] {
        T::steps(body)
    }
    #[inline(always)]
    fn rounded(activations: &Activations) -> &Rounded<Self::Word> {
        &activations.bytes
    }
    fn round<S: Simd>(activations: &mut Activations) {
        activations.round_to_bytes::<S>();
    }
    #[inline(always)]
    fn x<const N: usize>(words: &[[Self::Word; N]]) -> [[v128; 2]; N] {
        // One word of each token, or two.
        let (first, last) = (&words[0], &words[words.len() - 1]);
        std::array::from_fn(|token| [lanes(&first[token]), lanes(&last[token])])
    }
    #[inline(always)]
    fn start(centre: i16, lanes: [i16; 2]) -> [v128; 4] {
        if centre == 0 {
            return [i16x8_splat(0); 4];
        }
        let lanes = i32x4_splat(i32::from(lanes[0]) & 0xffff | i32::from(lanes[1]) << 16);
        [i16x8_mul(lanes, i16x8_splat(-centre)); 4]
    }
    #[inline(always)]
    fn half_step(
        mut sums: [v128; 2],
        weights: &T::Weights,
        half: usize,
        x: [v128; 2],
    ) -> [v128; 2] {
        for (columns, x) in x.into_iter().take(T::COLUMNS / 4).enumerate() {
            let [low, high] = T::bytes(weights, columns, half);
            sums = [add_dot(sums[0], x, low), add_dot(sums[1], x, high)];
        }
        sums
    }
    #[inline(always)]
    fn totals(sums: [v128; 4]) -> [Integers; 4] {
        // Written out: LLVM leaves `map` on an array of vectors a call, which costs a fifth.
        let [a, b, c, d] = sums;
        let total = |sum| Integers(i32x4_extadd_pairwise_i16x8(sum));
        [total(a), total(b), total(c), total(d)]
    }
}

/// Weights unpacked to one byte each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole;

impl Step for Whole {
    const COLUMNS: usize = 4;
    type Weights = [[u8; 16]; 4];
    #[inline(always)]
    fn steps(body: &[u8]) -> &[[[u8; 16]; 4]] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn bytes(weights: &[[u8; 16]; 4], _: usize, half: usize) -> [v128; 2] {
        [load(&weights[2 * half]), load(&weights[2 * half + 1])]
    }
}

/// To one byte per weight.
#[inline(always)]
fn unpack<T: Step>(packed: &T::Weights, panel: &mut [u8]) {
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
    type Nibbles = Narrow<Four>;
    type NibblePanel = Narrow<Whole>;
    type Fives = Narrow<Five>;
    type Sixes = Narrow<Six>;
    type SixPanel = Narrow<Whole>;
    type Bytes = Bytes;
    type Steps = Wide<Indices<IQ4_NL>>;
    type SmallFloats = Narrow<Indices<MXFP4>>;
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
        unpack::<Four>(&Four::steps(packed)[0], panel);
    }

    #[inline(always)]
    fn unpack_steps(packed: &[u8; 32], panel: &mut [u8; 64]) {
        wasm::unpack_to_bytes::<Indices<IQ4_NL>>(&Four::steps(packed)[0], panel);
    }

    #[inline(always)]
    fn unpack_small_floats(packed: &[u8; 32], panel: &mut [u8; 64]) {
        unpack::<Indices<MXFP4>>(&Four::steps(packed)[0], panel);
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
