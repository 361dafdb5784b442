//! Portable: plain arrays, which LLVM turns into the vectors of the machine it compiles for.
//! Also the reference for the other sets.

use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Sub};

use super::{Dot, F32x4, I32x4, Simd};
use crate::activations::{Activations, Lanes, Rounded};
use crate::formats::{FiveStep, IQ4_NL, MXFP4, SixStep, Table};

/// Plain arrays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scalar;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Floats([f32; 4]);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Integers([i32; 4]);

macro_rules! lanewise {
    ($type:ident: $($trait:ident $method:ident $operation:expr;)*) => {$(
        impl $trait for $type {
            type Output = $type;
            #[inline(always)]
            fn $method(self, other: $type) -> $type {
                $type(std::array::from_fn(|i| $operation(self.0[i], other.0[i])))
            }
        }
    )*};
}

lanewise! { Floats:
    Add add |a: f32, b: f32| a + b;
    Sub sub |a: f32, b: f32| a - b;
    Mul mul |a: f32, b: f32| a * b;
    Div div |a: f32, b: f32| a / b;
}

lanewise! { Integers:
    Add add i32::wrapping_add;
    Sub sub i32::wrapping_sub;
}

impl Floats {
    #[inline(always)]
    fn map<T>(self, f: impl Fn(f32) -> T) -> [T; 4] {
        self.0.map(f)
    }
}

impl F32x4 for Floats {
    type I = Integers;
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    fn load(values: &[f32; 4]) -> Self {
        Self(*values)
    }
    #[inline(always)]
    fn store(self, values: &mut [f32; 4]) {
        *values = self.0;
    }
    #[inline(always)]
    fn load_bytes(values: &[u8; 16]) -> Self {
        let values = values.as_chunks::<4>().0;
        Self(std::array::from_fn(|i| f32::from_le_bytes(values[i])))
    }
    #[inline(always)]
    fn load_halves(values: &[u8; 8]) -> Self {
        Self(std::array::from_fn(|i| {
            let half = i16::from_le_bytes([values[2 * i], values[2 * i + 1]]);
            f32::from_bits((i32::from(half) << 13) as u32 & 0x8fff_e000)
        }))
    }
    #[inline(always)]
    fn load_upper_halves(values: &[u8; 8]) -> Self {
        let halves = values.as_chunks::<2>().0;
        Self(std::array::from_fn(|lane| {
            f32::from_le_bytes([0, 0, halves[lane][0], halves[lane][1]])
        }))
    }
    #[inline(always)]
    fn or_smaller(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| if other.0[i] < self.0[i] { other.0[i] } else { self.0[i] }))
    }
    #[inline(always)]
    fn or_larger(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| if self.0[i] < other.0[i] { other.0[i] } else { self.0[i] }))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.map(f32::abs))
    }
    #[inline(always)]
    fn nearest(self) -> Self {
        Self(self.map(f32::round_ties_even))
    }
    #[inline(always)]
    fn truncate(self) -> Integers {
        Integers(self.map(|value| value as i32))
    }
    #[inline(always)]
    fn bits(self) -> Integers {
        Integers(self.map(|value| value.to_bits() as i32))
    }
    #[inline(always)]
    fn from_bits(bits: Integers) -> Self {
        Self(bits.0.map(|bits| f32::from_bits(bits as u32)))
    }
    #[inline(always)]
    fn zero_below(self, tested: Self, limit: Self) -> Self {
        Self(std::array::from_fn(|i| if tested.0[i] < limit.0[i] { 0.0 } else { self.0[i] }))
    }
    #[inline(always)]
    fn unzip(self, other: Self) -> (Self, Self) {
        let (a, b) = (self.0, other.0);
        (Self([a[0], a[2], b[0], b[2]]), Self([a[1], a[3], b[1], b[3]]))
    }
    #[inline(always)]
    fn zip(self, other: Self) -> (Self, Self) {
        let (a, b) = (self.0, other.0);
        (Self([a[0], b[0], a[1], b[1]]), Self([a[2], b[2], a[3], b[3]]))
    }
}

impl I32x4 for Integers {
    type F = Floats;
    #[inline(always)]
    fn splat(value: i32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    fn load_signed(bytes: &[u8; 4]) -> Self {
        Self(bytes.map(|byte| i32::from(byte as i8)))
    }
    #[inline(always)]
    fn load_signed_pair(bytes: &[[i8; 4]; 2]) -> [Self; 2] {
        bytes.map(|bytes| Self(bytes.map(i32::from)))
    }
    #[inline(always)]
    fn load_unsigned(bytes: &[u8; 4]) -> Self {
        Self(bytes.map(i32::from))
    }
    #[inline(always)]
    fn to_array(self) -> [i32; 4] {
        self.0
    }
    #[inline(always)]
    fn shift_left<const BITS: u32>(self) -> Self {
        Self(self.0.map(|value| value << BITS))
    }
    #[inline(always)]
    fn to_f32(self) -> Floats {
        Floats(self.0.map(|value| value as f32))
    }
}

/// Adds the products of four rows and two columns; LLVM knows the pattern (`pmaddwd`).
#[inline(always)]
fn add_pairs(sum: &mut Integers, rows: [i16; 8], x: [i16; 2]) {
    for (sum, row) in sum.0.iter_mut().zip(rows.as_chunks::<2>().0) {
        *sum += i32::from(row[0]) * i32::from(x[0]) + i32::from(row[1]) * i32::from(x[1]);
    }
}

/// 4-bit weights, unpacked as they are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nibbles;

impl Dot for Nibbles {
    type I = Integers;
    type Word = Lanes<[i16; 2]>;
    const STEP_COLUMNS: usize = 4;
    type Weights = [[u8; 16]; 2];
    type X = [[i16; 2]; 2];
    type Sum = Integers;
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
    fn x<const N: usize>(words: &[[Self::Word; N]]) -> [[[i16; 2]; 2]; N] {
        std::array::from_fn(|token| [words[0][token].word(), words[1][token].word()])
    }
    #[inline(always)]
    fn start(_: i16, _: [i16; 2]) -> [Integers; 4] {
        [Integers([0; 4]); 4]
    }
    #[inline(always)]
    fn half_step(
        mut sums: [Integers; 2],
        weights: &Self::Weights,
        half: usize,
        x: [[i16; 2]; 2],
    ) -> [Integers; 2] {
        let columns = weights[half].as_chunks::<2>().0;
        let nibbles = |shift: u32| -> [i16; 8] {
            std::array::from_fn(|i| (u16::from_le_bytes(columns[i]) >> shift & 15) as i16)
        };
        add_pairs(&mut sums[0], nibbles(0), x[0]);
        add_pairs(&mut sums[0], nibbles(8), x[1]);
        add_pairs(&mut sums[1], nibbles(4), x[0]);
        add_pairs(&mut sums[1], nibbles(12), x[1]);
        sums
    }
    #[inline(always)]
    fn totals(sums: [Integers; 4]) -> [Integers; 4] {
        sums
    }
}

/// 8-bit weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes;

impl Dot for Bytes {
    type I = Integers;
    type Word = Lanes<[i16; 2]>;
    const STEP_COLUMNS: usize = 2;
    type Weights = [[u8; 16]; 2];
    type X = [i16; 2];
    type Sum = Integers;
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
    fn x<const N: usize>(words: &[[Self::Word; N]]) -> [[i16; 2]; N] {
        words[0].map(Lanes::word)
    }
    #[inline(always)]
    fn start(_: i16, _: [i16; 2]) -> [Integers; 4] {
        [Integers([0; 4]); 4]
    }
    #[inline(always)]
    fn half_step(
        mut sums: [Integers; 2],
        weights: &Self::Weights,
        half: usize,
        x: [i16; 2],
    ) -> [Integers; 2] {
        for (sum, rows) in sums.iter_mut().zip(weights[half].as_chunks::<8>().0) {
            add_pairs(sum, std::array::from_fn(|i| i16::from(rows[i] as i8)), x);
        }
        sums
    }
    #[inline(always)]
    fn totals(sums: [Integers; 4]) -> [Integers; 4] {
        sums
    }
}

/// How a step holds weights.
pub(crate) trait Step: Copy {
    /// Columns of a step: 8, or 4.
    const COLUMNS: usize = 8;
    /// The bytes that make up a step.
    type Weights: Copy;
    fn steps(body: &[u8]) -> &[Self::Weights];
    /// Four rows by four columns, of the first or the second four columns.
    fn weights(weights: &Self::Weights, columns: usize, vector: usize) -> [i8; 16];
}

/// 5-bit weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Five;

/// 6-bit weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Six;

/// Joins nibbles with the bits above them, `BITS` for each weight (see `formats::planes`).
#[inline(always)]
fn join<const BITS: usize>(step: &[[u8; 16]], columns: usize, vector: usize) -> [i8; 16] {
    let bit = (columns * 4 + vector) * BITS;
    let (nibbles, planes) = (&step[columns * 2 + vector / 2], &step[4 + bit / 8]);
    std::array::from_fn(|byte| {
        let low = nibbles[byte] >> (vector % 2 * 4) & 15;
        let high = planes[byte] >> (bit % 8) & ((1 << BITS) - 1);
        (low | high << 4) as i8
    })
}

impl Step for Five {
    type Weights = FiveStep;
    #[inline(always)]
    fn steps(body: &[u8]) -> &[FiveStep] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn weights(weights: &FiveStep, columns: usize, vector: usize) -> [i8; 16] {
        join::<1>(weights, columns, vector)
    }
}

impl Step for Six {
    type Weights = SixStep;
    #[inline(always)]
    fn steps(body: &[u8]) -> &[SixStep] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn weights(weights: &SixStep, columns: usize, vector: usize) -> [i8; 16] {
        join::<2>(weights, columns, vector)
    }
}

/// 4-bit indices of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Indices<T>(PhantomData<T>);

impl<T: Table> Step for Indices<T> {
    const COLUMNS: usize = 4;
    type Weights = [[u8; 16]; 2];
    #[inline(always)]
    fn steps(body: &[u8]) -> &[[[u8; 16]; 2]] {
        body.as_chunks().0.as_chunks().0
    }
    #[inline(always)]
    fn weights(weights: &[[u8; 16]; 2], _: usize, vector: usize) -> [i8; 16] {
        weights[vector / 2].map(|byte| T::VALUES[usize::from(byte >> (vector % 2 * 4) & 15)])
    }
}

/// Weights of up to 8 bits, unpacked as they are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wide<T>(PhantomData<T>);

impl<T: Step> Dot for Wide<T> {
    type I = Integers;
    type Word = Lanes<[i16; 2]>;
    const STEP_COLUMNS: usize = T::COLUMNS;
    type Weights = T::Weights;
    type X = [[i16; 2]; 4];
    type Sum = Integers;
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
    fn x<const N: usize>(words: &[[Self::Word; N]]) -> [[[i16; 2]; 4]; N] {
        std::array::from_fn(|token| {
            std::array::from_fn(|word| words[word % words.len()][token].word())
        })
    }
    #[inline(always)]
    fn start(_: i16, _: [i16; 2]) -> [Integers; 4] {
        [Integers([0; 4]); 4]
    }
    #[inline(always)]
    fn half_step(
        mut sums: [Integers; 2],
        weights: &T::Weights,
        half: usize,
        x: [[i16; 2]; 4],
    ) -> [Integers; 2] {
        for (columns, x) in x.as_chunks::<2>().0[..T::COLUMNS / 4].iter().enumerate() {
            for (index, sum) in sums.iter_mut().enumerate() {
                let weights = T::weights(weights, columns, half * 2 + index);
                let pairs = |from: usize| std::array::from_fn(|i| i16::from(weights[2 * i + from]));
                add_pairs(sum, pairs(0), x[0]);
                add_pairs(sum, pairs(1), x[1]);
            }
        }
        sums
    }
    #[inline(always)]
    fn totals(sums: [Integers; 4]) -> [Integers; 4] {
        sums
    }
}

/// Puts a step's bytes into the order of [`Bytes`].
#[inline(always)]
fn unpack<T: Step>(packed: &T::Weights, panel: &mut [u8]) {
    for (columns, panel) in panel.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        for row in 0..16 {
            let weights = T::weights(packed, columns, row / 4).map(|weight| weight as u8);
            let [a, b, c, d] = weights.as_chunks::<4>().0[row % 4];
            panel[row * 2..][..2].copy_from_slice(&[a, c]);
            panel[32 + row * 2..][..2].copy_from_slice(&[b, d]);
        }
    }
}

impl Simd for Scalar {
    const NAME: &'static str = "scalar";
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
    const PANEL_TOKENS_MIN: usize = 4;

    #[inline(always)]
    fn mul_add(a: Floats, b: Floats, c: Floats) -> Floats {
        a * b + c
    }

    #[inline(always)]
    fn store_pairs([low, high]: [Integers; 2], words: &mut [[i16; 2]; 4]) {
        let ([a, b, c, d], [e, f, g, h]) =
            (low.0.map(|value| value as i16), high.0.map(|value| value as i16));
        *words = [[a, c], [b, d], [e, g], [f, h]];
    }

    #[inline(always)]
    fn store_bytes([low, high]: [Integers; 2], words: &mut [[i8; 4]; 2]) {
        *words = [low.0.map(|value| value as i8), high.0.map(|value| value as i8)];
    }

    #[inline(always)]
    fn unpack_nibbles(packed: &[u8; 32], panel: &mut [u8; 64]) {
        for row in 0..16 {
            let (vector, lane) = (row / 4, row % 4);
            for column in 0..4 {
                let byte = packed[vector / 2 * 16 + lane * 4 + column];
                let nibble = if vector % 2 == 0 { byte & 15 } else { byte >> 4 };
                panel[column % 2 * 32 + row * 2 + column / 2] = nibble;
            }
        }
    }

    #[inline(always)]
    fn unpack_steps(packed: &[u8; 32], panel: &mut [u8; 64]) {
        unpack::<Indices<IQ4_NL>>(&Indices::<IQ4_NL>::steps(packed)[0], panel);
    }

    #[inline(always)]
    fn unpack_small_floats(packed: &[u8; 32], panel: &mut [u8; 64]) {
        unpack::<Indices<MXFP4>>(&Indices::<MXFP4>::steps(packed)[0], panel);
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
