//! WebAssembly's fixed-width SIMD: the same bits on every machine.

use core::arch::wasm32::*;
use std::marker::PhantomData;

use super::wasm::{Bytes, Five, Floats, Integers, Six, Step, load, splat_pair, store};
use super::{Dot, Simd};
use crate::activations::Activations;
use crate::formats::{FiveStep, SixStep};

/// Fixed-width SIMD.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Simd128;

/// 4-bit weights, multiplied without unpacking them. A 16-bit lane holds two columns of two rows:
/// from the lowest nibble up row r column c, row r+4 column c, then column c+1 of both. Masks
/// leave one nibble in its place, so that it counts 1, 16, 256 times its value (the topmost is
/// shifted down); each place has its own sum, and shifts at the end make up for it, exactly. At
/// most 15 * 256 * 32767 * 16 < 2^31.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nibbles;

impl Dot for Nibbles {
    type I = Integers;
    const STEP_COLUMNS: usize = 4;
    type Weights = [[u8; 16]; 2];
    type X = [[i16; 2]; 2];
    /// Of columns 0 and 2, and of columns 1 and 3.
    type Sum = [v128; 2];
    // Sixteen sums would not stay in registers.
    const PAIRS_TOKENS: bool = false;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[Self::Weights] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn activations(activations: &Activations) -> &[Self::X] {
        activations.pairs.as_chunks().0
    }
    #[inline(always)]
    fn zero() -> [Self::Sum; 4] {
        [[i32x4_splat(0); 2]; 4]
    }
    #[inline(always)]
    fn step(mut sums: [Self::Sum; 4], weights: &Self::Weights, x: &Self::X) -> [Self::Sum; 4] {
        // One load and two shuffles: Cranelift makes three instructions of a load into all lanes.
        // SAFETY: the reference covers the 8 bytes; the instruction asks for no alignment.
        let x = unsafe { v128_load64_zero(x.as_ptr().cast()) };
        let even = i32x4_shuffle::<0, 0, 0, 0>(x, x);
        let odd = i32x4_shuffle::<1, 1, 1, 1>(x, x);
        for (vector, sums) in weights.iter().zip(sums.as_chunks_mut::<2>().0) {
            let vector = load(vector);
            let add =
                |sum: &mut v128, weights, x| *sum = i32x4_add(*sum, i32x4_dot_i16x8(weights, x));
            add(&mut sums[0][0], v128_and(vector, i16x8_splat(0x000f)), even);
            add(&mut sums[0][1], v128_and(vector, i16x8_splat(0x0f00)), odd);
            add(&mut sums[1][0], v128_and(vector, i16x8_splat(0x00f0)), even);
            add(&mut sums[1][1], u16x8_shr(vector, 12), odd);
        }
        sums
    }
    #[inline(always)]
    fn totals([a, b, c, d]: [Self::Sum; 4]) -> [Integers; 4] {
        let row = |[even, odd]: [v128; 2]| Integers(i32x4_add(even, i32x4_shr(odd, 8)));
        let row_4 = |[even, odd]: [v128; 2]| Integers(i32x4_add(i32x4_shr(even, 4), odd));
        [row(a), row_4(b), row(c), row_4(d)]
    }
}

/// Weights of 5 or 6 bits, unpacked as they are used. At most 63 * 32767 * 32 < 2^31.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joined<T>(PhantomData<T>);

impl<T: Step> Dot for Joined<T> {
    type I = Integers;
    const STEP_COLUMNS: usize = 8;
    type Weights = T::Weights;
    type X = [[[i16; 2]; 2]; 2];
    type Sum = v128;
    const PAIRS_TOKENS: bool = true;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[T::Weights] {
        T::steps(body)
    }
    #[inline(always)]
    fn activations(activations: &Activations) -> &[Self::X] {
        activations.pairs.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn zero() -> [v128; 4] {
        [i32x4_splat(0); 4]
    }
    #[inline(always)]
    fn step(mut sums: [v128; 4], weights: &T::Weights, x: &Self::X) -> [v128; 4] {
        for (half, x) in x.iter().enumerate() {
            let (even, odd) = (splat_pair(&x[0]), splat_pair(&x[1]));
            for (sum, bytes) in sums.iter_mut().zip(T::bytes(weights, half)) {
                *sum = i32x4_add(*sum, i32x4_dot_i16x8(v128_and(bytes, u16x8_splat(0xff)), even));
                *sum = i32x4_add(*sum, i32x4_dot_i16x8(u16x8_shr(bytes, 8), odd));
            }
        }
        sums
    }
    #[inline(always)]
    fn totals(sums: [v128; 4]) -> [Integers; 4] {
        [Integers(sums[0]), Integers(sums[1]), Integers(sums[2]), Integers(sums[3])]
    }
}

/// Puts a step's bytes into the order of [`Bytes`].
#[inline(always)]
fn unpack<T: Step>(packed: &T::Weights, panel: &mut [u8; 128]) {
    for (half, panel) in panel.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let [a, b, c, d] = T::bytes(packed, half);
        let places = panel.as_chunks_mut::<16>().0;
        let even = |vector| v128_and(vector, u16x8_splat(0xff));
        let odd = |vector| u16x8_shr(vector, 8);
        store(u8x16_narrow_i16x8(even(a), even(b)), &mut places[0]);
        store(u8x16_narrow_i16x8(even(c), even(d)), &mut places[1]);
        store(u8x16_narrow_i16x8(odd(a), odd(b)), &mut places[2]);
        store(u8x16_narrow_i16x8(odd(c), odd(d)), &mut places[3]);
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
    const PANEL_TOKENS_MIN: usize = 24;

    #[inline(always)]
    fn mul_add(a: Floats, b: Floats, c: Floats) -> Floats {
        a * b + c
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
