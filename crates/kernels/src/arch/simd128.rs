//! WebAssembly's fixed-width SIMD: the same bits on every machine.

use core::arch::wasm32::*;
use std::marker::PhantomData;

use super::wasm::{self, Bytes, Five, Floats, Integers, Six, Step, load, load_word, store};
use super::{Dot, Simd};
use crate::activations::{Activations, Rounded, Spread};
use crate::formats::{FiveStep, SixStep};

/// Fixed-width SIMD.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Simd128;

/// 4-bit weights. A 16-bit lane holds two columns of two rows: from the lowest nibble up row r
/// column c, row r+4 column c, then column c+1 of both. Shifts and a mask bring each nibble to the
/// bottom of its lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nibbles;

impl Dot for Nibbles {
    type I = Integers;
    type Word = [i16; 2];
    const STEP_COLUMNS: usize = 4;
    type Weights = [[u8; 16]; 2];
    /// Of columns 0 and 2, and of columns 1 and 3.
    type X = [v128; 2];
    type Sum = v128;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[Self::Weights] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn rounded(activations: &Activations) -> &Rounded<[i16; 2]> {
        &activations.pairs
    }
    fn round<S: Simd>(activations: &mut Activations) {
        activations.round_to_pairs::<S>();
    }
    #[inline(always)]
    fn x<const N: usize>(words: &[[Spread<[i16; 2]>; N]]) -> [[v128; 2]; N] {
        std::array::from_fn(|token| [load_word(&words[0][token]), load_word(&words[1][token])])
    }
    #[inline(always)]
    fn start(_: i16, _: [i16; 2]) -> [v128; 4] {
        [i32x4_splat(0); 4]
    }
    #[inline(always)]
    fn half_step(
        mut sums: [v128; 2],
        weights: &Self::Weights,
        half: usize,
        [even, odd]: [v128; 2],
    ) -> [v128; 2] {
        let low = i16x8_splat(0x000f);
        let vector = load(&weights[half]);
        let add = |sum: &mut v128, weights, x| *sum = i32x4_add(*sum, i32x4_dot_i16x8(weights, x));
        add(&mut sums[0], v128_and(vector, low), even);
        add(&mut sums[0], v128_and(u16x8_shr(vector, 8), low), odd);
        add(&mut sums[1], v128_and(u16x8_shr(vector, 4), low), even);
        add(&mut sums[1], u16x8_shr(vector, 12), odd);
        sums
    }
    #[inline(always)]
    fn totals(sums: [v128; 4]) -> [Integers; 4] {
        wasm::integers(sums)
    }
}

/// Weights of 5 or 6 bits, unpacked as they are used. At most 63 * 32767 * 32 < 2^31.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joined<T>(PhantomData<T>);

impl<T: Step> Dot for Joined<T> {
    type I = Integers;
    type Word = [i16; 2];
    const STEP_COLUMNS: usize = 8;
    type Weights = T::Weights;
    /// Of columns 0 and 2, 1 and 3, then of the next four.
    type X = [[v128; 2]; 2];
    type Sum = v128;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[T::Weights] {
        T::steps(body)
    }
    #[inline(always)]
    fn rounded(activations: &Activations) -> &Rounded<[i16; 2]> {
        &activations.pairs
    }
    fn round<S: Simd>(activations: &mut Activations) {
        activations.round_to_pairs::<S>();
    }
    #[inline(always)]
    fn x<const N: usize>(words: &[[Spread<[i16; 2]>; N]]) -> [[[v128; 2]; 2]; N] {
        std::array::from_fn(|token| {
            let four = |first: usize| [first, first + 1].map(|word| load_word(&words[word][token]));
            [four(0), four(2)]
        })
    }
    #[inline(always)]
    fn start(_: i16, _: [i16; 2]) -> [v128; 4] {
        [i32x4_splat(0); 4]
    }
    #[inline(always)]
    fn half_step(
        mut sums: [v128; 2],
        weights: &T::Weights,
        half: usize,
        x: [[v128; 2]; 2],
    ) -> [v128; 2] {
        let add = |sum: &mut v128, weights, x| *sum = i32x4_add(*sum, i32x4_dot_i16x8(weights, x));
        for (columns, [even, odd]) in x.into_iter().enumerate() {
            let [low, high] = T::bytes(weights, columns, half);
            add(&mut sums[0], v128_and(low, u16x8_splat(0xff)), even);
            add(&mut sums[0], u16x8_shr(low, 8), odd);
            add(&mut sums[1], v128_and(high, u16x8_splat(0xff)), even);
            add(&mut sums[1], u16x8_shr(high, 8), odd);
        }
        sums
    }
    #[inline(always)]
    fn totals(sums: [v128; 4]) -> [Integers; 4] {
        wasm::integers(sums)
    }
}

/// Puts a step's bytes into the order of [`Bytes`].
#[inline(always)]
fn unpack<T: Step>(packed: &T::Weights, panel: &mut [u8; 128]) {
    for (columns, panel) in panel.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let (even_places, odd_places) = panel.as_chunks_mut::<16>().0.split_at_mut(2);
        for half in 0..2 {
            let [low, high] = T::bytes(packed, columns, half);
            let even = |vector| v128_and(vector, u16x8_splat(0xff));
            store(u8x16_narrow_i16x8(even(low), even(high)), &mut even_places[half]);
            let odd = |vector| u16x8_shr(vector, 8);
            store(u8x16_narrow_i16x8(odd(low), odd(high)), &mut odd_places[half]);
        }
    }
}

impl Simd for Simd128 {
    const NAME: &'static str = "simd128";
    type F = Floats;
    type I = Integers;
    type Nibbles = Nibbles;
    type NibblePanel = Bytes;
    type Fives = Joined<Five>;
    type Sixes = Joined<Six>;
    type SixPanel = Bytes;
    type Bytes = Bytes;
    const ROUNDS_TO_BYTES: bool = false;
    const PANEL_TOKENS_MIN: usize = 2;

    #[inline(always)]
    fn mul_add(a: Floats, b: Floats, c: Floats) -> Floats {
        a * b + c
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
        let low = i16x8_splat(0x000f);
        let (even, odd) = panel.split_at_mut(32);
        let halves = packed.as_chunks::<16>().0.iter();
        let places = even.as_chunks_mut::<16>().0.iter_mut().zip(odd.as_chunks_mut::<16>().0);
        for (half, (even, odd)) in halves.zip(places) {
            let vector = load(half);
            let row_4 = v128_and(u16x8_shr(vector, 4), low);
            store(u8x16_narrow_i16x8(v128_and(vector, low), row_4), even);
            let row = v128_and(u16x8_shr(vector, 8), low);
            store(u8x16_narrow_i16x8(row, u16x8_shr(vector, 12)), odd);
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
