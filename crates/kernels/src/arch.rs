//! What a kernel asks of an instruction set. Algorithms are written once over [`Simd`]; the files
//! in `arch/` are thin.
//!
//! Every operation has one meaning, down to the bits, in all sets, with one exception: under
//! relaxed SIMD [`Simd::mul_add`] may round once instead of twice.

use std::ops::{Add, Div, Mul, Sub};

#[cfg(doc)]
use crate::activations::BlockScale;
use crate::activations::{Activations, Rounded, Word};
use crate::formats::{FiveStep, SixStep};
#[cfg(doc)]
use crate::formats::{IQ4_NL, MXFP4, Quantised};

// A build has one set; its tests compare it with those below it.
#[cfg(target_feature = "relaxed-simd")]
pub(crate) mod relaxed;
#[cfg(any(test, not(target_feature = "simd128")))]
pub(crate) mod scalar;
#[cfg(all(target_feature = "simd128", any(test, not(target_feature = "relaxed-simd"))))]
pub(crate) mod simd128;
#[cfg(target_feature = "simd128")]
pub(crate) mod wasm;
#[cfg(target_feature = "simd128")]
mod wasm_steps;

/// The instruction set that the public functions use.
#[cfg(target_feature = "relaxed-simd")]
pub(crate) type Active = relaxed::Relaxed;
/// The instruction set that the public functions use.
#[cfg(all(target_feature = "simd128", not(target_feature = "relaxed-simd")))]
pub(crate) type Active = simd128::Simd128;
/// The instruction set that the public functions use.
#[cfg(not(target_feature = "simd128"))]
pub(crate) type Active = scalar::Scalar;

/// Four f32 lanes.
pub(crate) trait F32x4:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    type I: I32x4;
    fn splat(value: f32) -> Self;
    fn load(values: &[f32; 4]) -> Self;
    fn store(self, values: &mut [f32; 4]);
    /// Four f32, little-endian.
    fn load_bytes(values: &[u8; 16]) -> Self;
    /// Four f16, little-endian, times 2^-112: a shift instead of a conversion. The callers fold
    /// the factor into a multiplication that they do anyway. Infinity and NaN, which no weight
    /// is, read as numbers from 65536 on.
    fn load_halves(values: &[u8; 8]) -> Self;
    /// The upper halves of four f32, little-endian; the lower ones are zeros.
    fn load_upper_halves(values: &[u8; 8]) -> Self;
    /// `other` where it is smaller, else `self`: a NaN in `self` stays.
    fn or_smaller(self, other: Self) -> Self;
    /// `other` where it is larger, else `self`: a NaN in `self` stays.
    fn or_larger(self, other: Self) -> Self;
    fn abs(self) -> Self;
    /// To the nearest integer, ties to even.
    fn nearest(self) -> Self;
    /// Towards zero, saturating; NaN gives 0.
    fn truncate(self) -> Self::I;
    /// The lanes' bits.
    fn bits(self) -> Self::I;
    /// The reverse of [`F32x4::bits`].
    fn from_bits(bits: Self::I) -> Self;
    /// `self` where it is not below `limit`, else 0. Keeps NaN.
    fn zero_below(self, tested: Self, limit: Self) -> Self;
    /// Lanes 0 and 2 of both, then lanes 1 and 3 of both.
    fn unzip(self, other: Self) -> (Self, Self);
    /// The reverse of [`F32x4::unzip`].
    fn zip(self, other: Self) -> (Self, Self);

    /// The sum of the lanes, in the one order that all sets share.
    #[inline(always)]
    fn sum(self) -> f32 {
        let mut lanes = [0.0; 4];
        self.store(&mut lanes);
        (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
    }

    /// The largest lane.
    #[inline(always)]
    fn largest(self) -> f32 {
        let mut lanes = [0.0; 4];
        self.store(&mut lanes);
        let or_larger = |a: f32, b: f32| if a < b { b } else { a };
        or_larger(or_larger(lanes[0], lanes[2]), or_larger(lanes[1], lanes[3]))
    }
}

/// Four i32 lanes; arithmetic wraps.
pub(crate) trait I32x4: Copy + Add<Output = Self> + Sub<Output = Self> {
    type F: F32x4;
    fn splat(value: i32) -> Self;
    fn load_signed(bytes: &[u8; 4]) -> Self;
    fn load_signed_pair(bytes: &[[i8; 4]; 2]) -> [Self; 2];
    fn load_unsigned(bytes: &[u8; 4]) -> Self;
    fn to_array(self) -> [i32; 4];
    fn shift_left<const BITS: u32>(self) -> Self;
    /// Rounded to the nearest f32.
    fn to_f32(self) -> Self::F;
}

/// Integer products of 16 rows of weights (four vectors of four rows) with one token, a step of
/// two to eight columns at a time. All sums are exact.
pub(crate) trait Dot: Copy {
    type I: I32x4;
    /// How the activations are stored.
    type Word: Word;
    /// Columns in a step.
    const STEP_COLUMNS: usize;
    /// Words of a token in a step.
    const STEP_WORDS: usize = Self::STEP_COLUMNS / Self::Word::COLUMNS;
    /// Weights of a step.
    type Weights: Copy;
    /// Activations of a step, in all lanes.
    type X: Copy;
    /// Sums over at most 32 columns, of four rows.
    type Sum: Copy;
    /// Whether the sums are those of weights from each of which the format's centre
    /// ([`Quantised::CENTRE`]) was taken: so they fit 16 bits.
    const IS_CENTRED: bool = false;
    /// The steps' weights.
    fn weights(body: &[u8]) -> &[Self::Weights];
    /// The activations in the form that is multiplied.
    fn rounded(activations: &Activations) -> &Rounded<Self::Word>;
    /// Makes them current.
    fn round<S: Simd>(activations: &mut Activations);
    /// The activations of a step's words, for N tokens.
    fn x<const N: usize>(words: &[[Self::Word; N]]) -> [Self::X; N];
    /// The activations of two steps' words, for one token.
    #[inline(always)]
    fn x_of_two_steps(words: &[Self::Word]) -> [Self::X; 2] {
        let (first, second) = words.split_at(Self::STEP_WORDS);
        let [first] = Self::x(first.as_chunks::<1>().0);
        let [second] = Self::x(second.as_chunks::<1>().0);
        [first, second]
    }
    /// Sums of nothing. `lanes` are [`BlockScale::lanes`] of the columns that will be added.
    fn start(centre: i16, lanes: [i16; 2]) -> [Self::Sum; 4];
    /// Adds the products of the first eight rows (`half` 0) or the other ones (1).
    fn half_step(
        sums: [Self::Sum; 2],
        weights: &Self::Weights,
        half: usize,
        x: Self::X,
    ) -> [Self::Sum; 2];
    fn totals(sums: [Self::Sum; 4]) -> [Self::I; 4];
}

/// An instruction set.
pub(crate) trait Simd: Copy + 'static {
    /// As users see it.
    const NAME: &'static str;
    type F: F32x4<I = Self::I>;
    type I: I32x4<F = Self::F>;
    /// On 4-bit weights as matrices hold them.
    type Nibbles: Dot<I = Self::I>;
    /// On what [`Simd::unpack_nibbles`] makes of them for several tokens.
    type NibblePanel: Dot<I = Self::I>;
    /// On 5-bit weights as matrices hold them.
    type Fives: Dot<I = Self::I>;
    /// On 6-bit weights as matrices hold them.
    type Sixes: Dot<I = Self::I>;
    /// On what [`Simd::unpack_fives`] and [`Simd::unpack_sixes`] make of them for several tokens.
    type SixPanel: Dot<I = Self::I>;
    /// On 8-bit weights as matrices hold them.
    type Bytes: Dot<I = Self::I>;
    /// On indices of [`IQ4_NL`]'s steps as matrices hold them; 16-bit activations in all sets.
    type Steps: Dot<I = Self::I>;
    /// On indices of [`MXFP4`]'s floats as matrices hold them.
    type SmallFloats: Dot<I = Self::I>;
    /// Whether weights of 4 to 6 bits meet 8-bit activations, not 16-bit ones.
    const ROUNDS_TO_BYTES: bool;
    /// Tokens from which on unpacking such weights once is faster than each time.
    const PANEL_TOKENS_MIN: usize;

    /// `a * b + c`.
    fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// Eight values that fit 16 bits, as [`Activations::pairs`] has them.
    fn store_pairs(values: [Self::I; 2], words: &mut [[i16; 2]; 4]);
    /// Eight values that fit 8 bits, as [`Activations::bytes`] has them.
    fn store_bytes(values: [Self::I; 2], words: &mut [[i8; 4]; 2]);
    /// 32 bytes hold 4 columns of 16 rows (see `formats`); to one byte per weight.
    fn unpack_nibbles(packed: &[u8; 32], panel: &mut [u8; 64]);
    /// Like [`Simd::unpack_nibbles`], for [`Simd::Bytes`].
    fn unpack_steps(packed: &[u8; 32], panel: &mut [u8; 64]);
    /// Like [`Simd::unpack_nibbles`], for [`Simd::SixPanel`].
    fn unpack_small_floats(packed: &[u8; 32], panel: &mut [u8; 64]);
    /// A step of 5-bit weights (8 columns of 16 rows) to one byte per weight.
    fn unpack_fives(packed: &FiveStep, panel: &mut [u8; 128]);
    /// A step of 6-bit weights (8 columns of 16 rows) to one byte per weight.
    fn unpack_sixes(packed: &SixStep, panel: &mut [u8; 128]);
}
