use super::cache::Pair;
use crate::arch::{F32x4, I32x4, Simd};
use crate::formats::SCALE_SHARE;

/// Elements of a head that share a scale, where they have one: as in `Q8_0` (ggml, ggml-common.h).
pub(super) const BLOCK_ELEMENTS: usize = 32;

/// An element of keys and values.
pub(super) trait Element: Copy + Default {
    /// What [`Element::widen`] gives, times the scale if there is one, is too small by the square
    /// of this.
    const SHARE: f32;
    /// Whether [`BLOCK_ELEMENTS`] of a token have a scale.
    const HAS_SCALES: bool;
    /// A value, divided by its scale if there is one.
    fn narrow(value: f32) -> Self;
    fn widen<S: Simd>(pair: &Pair<Self>) -> [S::F; 2];
    /// Appends its bytes, little-endian.
    fn put(self, bytes: &mut Vec<u8>);
    /// Takes them from the front of others; zero if there are too few.
    fn take(bytes: &mut &[u8]) -> Self;
}

/// The bytes at the front; zeros if there are too few.
fn take_bytes<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let Some((first, rest)) = bytes.split_first_chunk() else { return [0; N] };
    *bytes = rest;
    *first
}

impl Element for f32 {
    const SHARE: f32 = 1.0;
    const HAS_SCALES: bool = false;
    #[inline(always)]
    fn narrow(value: f32) -> f32 {
        value
    }
    #[inline(always)]
    fn widen<S: Simd>([first, second]: &Pair<f32>) -> [S::F; 2] {
        [S::F::load(first), S::F::load(second)]
    }
    fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }
    fn take(bytes: &mut &[u8]) -> f32 {
        f32::from_le_bytes(take_bytes(bytes))
    }
}

/// A signed byte; its scale is a [`Half`].
impl Element for i8 {
    const SHARE: f32 = SCALE_SHARE;
    const HAS_SCALES: bool = true;
    #[inline(always)]
    fn narrow(value: f32) -> i8 {
        // The scale is rounded, so that the largest value can lie beyond 127 a little.
        value.round_ties_even().clamp(-QUANT_MAX, QUANT_MAX) as i8
    }
    #[inline(always)]
    fn widen<S: Simd>(pair: &Pair<i8>) -> [S::F; 2] {
        let [first, second] = S::I::load_signed_pair(pair);
        [first.to_f32(), second.to_f32()]
    }
    fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }
    fn take(bytes: &mut &[u8]) -> i8 {
        i8::from_le_bytes(take_bytes(bytes))
    }
}

/// The largest byte of either sign.
const QUANT_MAX: f32 = 127.0;

/// What the bytes of values are to be multiplied with.
pub(super) fn block_scale(values: &[f32]) -> Half {
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    Half::narrow(largest / QUANT_MAX)
}

/// Half precision, little-endian.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Half([u8; 2]);

/// The largest half precision number.
const HALF_MAX: f32 = 65504.0;

/// 2^112: half precision has an exponent's bias of 15 instead of 127.
const HALF_UNIT: f32 = f32::from_bits((112 + 127) << 23);

/// The smallest half precision number that is not subnormal: 2^-14.
const HALF_NORMAL_MIN: f32 = 6.103_515_6e-5;

impl Half {
    /// The number, exactly.
    pub(super) fn to_f32(self) -> f32 {
        let bits = i32::from(i16::from_le_bytes(self.0)) << 13 & 0x8fff_e000u32.cast_signed();
        f32::from_bits(bits.cast_unsigned()) * HALF_UNIT
    }
}

impl Element for Half {
    const SHARE: f32 = SCALE_SHARE;
    const HAS_SCALES: bool = false;
    /// The reverse of [`F32x4::load_halves`], rounded to nearest, ties to even.
    #[inline(always)]
    fn narrow(value: f32) -> Half {
        // Written so that NaN becomes a number, too.
        let magnitude = if value.abs() < HALF_MAX { value.abs() } else { HALF_MAX };
        let bits = magnitude.to_bits();
        let rounded = if magnitude < HALF_NORMAL_MIN {
            // Beside 0.5 the last place is that of subnormal numbers.
            (magnitude + 0.5).to_bits() - 0.5f32.to_bits()
        } else {
            // The exponent's bias is 15 instead of 127.
            (bits - (112 << 23) + 0xfff + (bits >> 13 & 1)) >> 13
        };
        let sign = value.to_bits() >> 16 & 0x8000;
        Half(((rounded | sign) as u16).to_le_bytes())
    }
    #[inline(always)]
    fn widen<S: Simd>([first, second]: &Pair<Half>) -> [S::F; 2] {
        [widen_halves::<S>(first), widen_halves::<S>(second)]
    }
    fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.0);
    }
    fn take(bytes: &mut &[u8]) -> Half {
        Half(take_bytes(bytes))
    }
}

/// Half precision numbers, too small by the square of [`Half::SHARE`](Element::SHARE).
#[inline(always)]
pub(super) fn widen_halves<S: Simd>(values: &[Half; 4]) -> S::F {
    let [Half([a, b]), Half([c, d]), Half([e, f]), Half([g, h])] = *values;
    S::F::load_halves(&[a, b, c, d, e, f, g, h])
}
