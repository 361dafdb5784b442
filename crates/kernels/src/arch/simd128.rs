//! WebAssembly's fixed-width SIMD: the same bits on every machine.

use super::wasm::{self, Bytes, Floats, Integers, Wide, lanes, load, store};
use super::wasm_steps::{Five, Four, Indices, Six, Step};
use super::{Dot, Simd};
use crate::activations::{Activations, Lanes, Rounded};
use crate::formats::{FiveStep, IQ4_NL, MXFP4, SixStep};
use core::arch::wasm32::*;

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
    type Word = Lanes<[i16; 2]>;
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
    fn rounded(activations: &Activations) -> &Rounded<Self::Word> {
        &activations.pairs
    }
    fn round<S: Simd>(activations: &mut Activations) {
        activations.round_to_pairs::<S>();
    }
    #[inline(always)]
    fn x<const N: usize>(words: &[[Self::Word; N]]) -> [[v128; 2]; N] {
        std::array::from_fn(|token| [lanes(&words[0][token]), lanes(&words[1][token])])
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

impl Simd for Simd128 {
    const NAME: &'static str = "simd128";
    type F = Floats;
    type I = Integers;
    type Nibbles = Nibbles;
    type NibblePanel = Bytes;
    type Fives = Wide<Five>;
    type Sixes = Wide<Six>;
    type SixPanel = Bytes;
    type Bytes = Bytes;
    type Steps = Wide<Indices<IQ4_NL>>;
    type SmallFloats = Wide<Indices<MXFP4>>;
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
    fn unpack_steps(packed: &[u8; 32], panel: &mut [u8; 64]) {
        wasm::unpack_to_bytes::<Indices<IQ4_NL>>(&Four::steps(packed)[0], panel);
    }

    #[inline(always)]
    fn unpack_small_floats(packed: &[u8; 32], panel: &mut [u8; 64]) {
        wasm::unpack_to_bytes::<Indices<MXFP4>>(&Four::steps(packed)[0], panel);
    }

    #[inline(always)]
    fn unpack_fives(packed: &FiveStep, panel: &mut [u8; 128]) {
        wasm::unpack_to_bytes::<Five>(packed, panel);
    }

    #[inline(always)]
    fn unpack_sixes(packed: &SixStep, panel: &mut [u8; 128]) {
        wasm::unpack_to_bytes::<Six>(packed, panel);
    }
}
