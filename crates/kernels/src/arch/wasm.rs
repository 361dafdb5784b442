//! The vectors that both WebAssembly sets share.

use core::arch::wasm32::*;
use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Sub};

use super::wasm_steps::Step;
use super::{Dot, F32x4, I32x4, Simd};
use crate::activations::{Activations, Lanes, Rounded};

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

/// Activations, which are in all lanes.
#[inline(always)]
pub(crate) fn lanes<W: Copy>(word: &Lanes<W>) -> v128 {
    const { assert!(size_of::<Lanes<W>>() == 16) }
    // SAFETY: the reference covers the 16 bytes.
    unsafe { v128_load(std::ptr::from_ref(word).cast()) }
}

/// Eight values that fit 16 bits, narrowed.
#[inline(always)]
pub(crate) fn narrow([low, high]: [Integers; 2]) -> v128 {
    i16x8_narrow_i32x4(low.0, high.0)
}

/// [`super::Simd::store_pairs`]
#[inline(always)]
pub(crate) fn store_pairs(values: [Integers; 2], words: &mut [[i16; 2]; 4]) {
    let values = narrow(values);
    let pairs = i16x8_shuffle::<0, 2, 1, 3, 4, 6, 5, 7>(values, values);
    // SAFETY: the reference covers the 16 bytes; `v128_store` asks for no alignment.
    unsafe { v128_store(words.as_mut_ptr().cast(), pairs) }
}

/// [`super::Simd::store_bytes`]
#[inline(always)]
pub(crate) fn store_bytes(values: [Integers; 2], words: &mut [[i8; 4]; 2]) {
    let values = narrow(values);
    let bytes = i8x16_narrow_i16x8(values, values);
    // SAFETY: the reference covers the 8 bytes; the instruction asks for no alignment.
    unsafe { v128_store64_lane::<0>(bytes, words.as_mut_ptr().cast()) }
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
    fn load_upper_halves(values: &[u8; 8]) -> Self {
        // SAFETY: the reference covers the 8 bytes; the instruction asks for no alignment.
        let halves = unsafe { u32x4_load_extend_u16x4(values.as_ptr().cast()) };
        Self(u32x4_shl(halves, 16))
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
    fn load_signed_pair(bytes: &[[i8; 4]; 2]) -> [Self; 2] {
        // SAFETY: the reference covers the 8 bytes; the instruction asks for no alignment.
        let both = unsafe { i16x8_load_extend_i8x8(bytes.as_ptr().cast()) };
        [Self(i32x4_extend_low_i16x8(both)), Self(i32x4_extend_high_i16x8(both))]
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

/// Written out: LLVM leaves `map` on an array of vectors a call.
#[inline(always)]
pub(crate) fn integers([a, b, c, d]: [v128; 4]) -> [Integers; 4] {
    [Integers(a), Integers(b), Integers(c), Integers(d)]
}

/// 8-bit weights, widened to 16 bits. Relaxed SIMD has nothing better for them: its dot product
/// leaves open what the top bit of the second operand means.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes;

impl Dot for Bytes {
    type I = Integers;
    type Word = Lanes<[i16; 2]>;
    const STEP_COLUMNS: usize = 2;
    type Weights = [[[i8; 8]; 2]; 2];
    type X = v128;
    type Sum = v128;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[Self::Weights] {
        let steps = body.as_chunks::<32>().0;
        // SAFETY: the same size, alignment 1 and no invalid values on both sides.
        unsafe { std::slice::from_raw_parts(steps.as_ptr().cast(), steps.len()) }
    }
    #[inline(always)]
    fn rounded(activations: &Activations) -> &Rounded<Self::Word> {
        &activations.pairs
    }
    fn round<S: Simd>(activations: &mut Activations) {
        activations.round_to_pairs::<S>();
    }
    #[inline(always)]
    fn x<const N: usize>(words: &[[Self::Word; N]]) -> [v128; N] {
        std::array::from_fn(|token| lanes(&words[0][token]))
    }
    #[inline(always)]
    fn start(_: i16, _: [i16; 2]) -> [v128; 4] {
        [i32x4_splat(0); 4]
    }
    #[inline(always)]
    fn half_step(mut sums: [v128; 2], weights: &Self::Weights, half: usize, x: v128) -> [v128; 2] {
        for (sum, rows) in sums.iter_mut().zip(&weights[half]) {
            // SAFETY: the reference covers the 8 bytes; the instruction asks for no alignment.
            let rows = unsafe { i16x8_load_extend_i8x8(rows.as_ptr()) };
            *sum = i32x4_add(*sum, i32x4_dot_i16x8(rows, x));
        }
        sums
    }
    #[inline(always)]
    fn totals(sums: [v128; 4]) -> [Integers; 4] {
        integers(sums)
    }
}

/// Weights of up to 8 bits, unpacked as they are used, times 16-bit activations. At most
/// 127 * 32767 * 32 < 2^31.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wide<T>(PhantomData<T>);

impl<T: Step> Dot for Wide<T> {
    type I = Integers;
    type Word = Lanes<[i16; 2]>;
    const STEP_COLUMNS: usize = T::COLUMNS;
    type Weights = T::Weights;
    /// Of columns 0 and 2, 1 and 3, then of the next four if there are any.
    type X = [[v128; 2]; 2];
    type Sum = v128;
    #[inline(always)]
    fn weights(body: &[u8]) -> &[T::Weights] {
        T::steps(body)
    }
    #[inline(always)]
    fn rounded(activations: &Activations) -> &Rounded<Self::Word> {
        &activations.pairs
    }
    fn round<S: Simd>(activations: &mut Activations) {
        activations.round_to_pairs::<S>();
    }
    #[inline(always)]
    fn x<const N: usize>(words: &[[Self::Word; N]]) -> [[[v128; 2]; 2]; N] {
        std::array::from_fn(|token| {
            let four = |first: usize| [first, first + 1].map(|word| lanes(&words[word][token]));
            [four(0), four(words.len() - 2)]
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
        for (columns, [x_even, x_odd]) in x.into_iter().take(T::COLUMNS / 4).enumerate() {
            for (sum, bytes) in sums.iter_mut().zip(T::bytes(weights, columns, half)) {
                let [even, odd] = T::widen(bytes);
                add(sum, even, x_even);
                add(sum, odd, x_odd);
            }
        }
        sums
    }
    #[inline(always)]
    fn totals(sums: [v128; 4]) -> [Integers; 4] {
        integers(sums)
    }
}

/// Puts a step's bytes into the order of [`Bytes`], 64 for each four columns.
#[inline(always)]
pub(crate) fn unpack_to_bytes<T: Step>(packed: &T::Weights, panel: &mut [u8]) {
    for (columns, panel) in panel.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let (even_places, odd_places) = panel.as_chunks_mut::<16>().0.split_at_mut(2);
        for half in 0..2 {
            let [low, high] = T::bytes(packed, columns, half).map(T::widen);
            store(i8x16_narrow_i16x8(low[0], high[0]), &mut even_places[half]);
            store(i8x16_narrow_i16x8(low[1], high[1]), &mut odd_places[half]);
        }
    }
}
