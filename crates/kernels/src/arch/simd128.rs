//! WebAssembly's fixed-width SIMD: the same bits on every machine.

use core::arch::wasm32::*;

use super::wasm::{Bytes, Floats, Integers, load, store};
use super::{Dot, Simd};
use crate::activations::{Activations, Quad};

/// Fixed-width SIMD.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Simd128;

/// 4-bit weights, multiplied without unpacking them. A 16-bit lane holds two columns of two rows:
/// from the lowest nibble up row r column c, row r+4 column c, then column c+1 of both. Masks
/// leave one nibble in its place, so that it counts 1, 16, 256 times its value (the topmost is
/// shifted down). The activations make up for it ([`Quad`]), so that sums of rows r count 256
/// times and of rows r+4 16 times. At most 32 * 15 * 127 * 256 < 2^24: exact.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nibbles;

#[inline(always)]
fn load_quad(quad: &Quad) -> v128 {
    // SAFETY: the reference covers the 16 bytes.
    unsafe { v128_load(quad.0.as_ptr().cast()) }
}

impl Dot for Nibbles {
    type I = Integers;
    const STEP_COLUMNS: usize = 4;
    type Weights = [[u8; 16]; 2];
    type X = Quad;
    type Sum = v128;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[Self::Weights] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn activations(activations: &Activations) -> &[Quad] {
        &activations.quads
    }
    #[inline(always)]
    fn zero() -> [v128; 4] {
        [i32x4_splat(0); 4]
    }
    #[inline(always)]
    fn step(mut sums: [v128; 4], weights: &Self::Weights, x: &Quad) -> [v128; 4] {
        // One load and four shuffles: Cranelift makes three instructions of a load into all lanes.
        let x = load_quad(x);
        let even_256 = i32x4_shuffle::<0, 0, 0, 0>(x, x);
        let even = i32x4_shuffle::<1, 1, 1, 1>(x, x);
        let odd = i32x4_shuffle::<2, 2, 2, 2>(x, x);
        let odd_16 = i32x4_shuffle::<3, 3, 3, 3>(x, x);
        for (j, vector) in weights.iter().enumerate() {
            let vector = load(vector);
            let row_even = i32x4_dot_i16x8(v128_and(vector, i16x8_splat(0x000f)), even_256);
            let row_odd = i32x4_dot_i16x8(v128_and(vector, i16x8_splat(0x0f00)), odd);
            let row_4_even = i32x4_dot_i16x8(v128_and(vector, i16x8_splat(0x00f0)), even);
            let row_4_odd = i32x4_dot_i16x8(u16x8_shr(vector, 12), odd_16);
            sums[2 * j] = i32x4_add(sums[2 * j], i32x4_add(row_even, row_odd));
            sums[2 * j + 1] = i32x4_add(sums[2 * j + 1], i32x4_add(row_4_even, row_4_odd));
        }
        sums
    }
    #[inline(always)]
    fn totals(sums: [v128; 4]) -> [Integers; 4] {
        [
            Integers(i32x4_shr(sums[0], 8)),
            Integers(i32x4_shr(sums[1], 4)),
            Integers(i32x4_shr(sums[2], 8)),
            Integers(i32x4_shr(sums[3], 4)),
        ]
    }
}

impl Simd for Simd128 {
    const NAME: &'static str = "simd128";
    type F = Floats;
    type I = Integers;
    type Nibbles = Nibbles;
    type NibblePanel = Bytes;
    type Bytes = Bytes;
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
}
