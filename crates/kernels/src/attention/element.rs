use crate::arch::{F32x4, Simd};
use crate::formats::SCALE_SHARE;

/// An element of keys and values.
pub(super) trait Element: Copy + Default {
    /// What [`Element::widen`] gives is too small by the square of this.
    const SHARE: f32;
    fn narrow(value: f32) -> Self;
    fn widen<S: Simd>(values: &[Self; 4]) -> S::F;
}

impl Element for f32 {
    const SHARE: f32 = 1.0;
    #[inline(always)]
    fn narrow(value: f32) -> f32 {
        value
    }
    #[inline(always)]
    fn widen<S: Simd>(values: &[f32; 4]) -> S::F {
        S::F::load(values)
    }
}

/// Half precision, little-endian.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Half([u8; 2]);

/// The largest half precision number.
const HALF_MAX: f32 = 65504.0;

/// The smallest half precision number that is not subnormal: 2^-14.
const HALF_NORMAL_MIN: f32 = 6.103_515_6e-5;

impl Element for Half {
    const SHARE: f32 = SCALE_SHARE;
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
    fn widen<S: Simd>(values: &[Half; 4]) -> S::F {
        let [Half([a, b]), Half([c, d]), Half([e, f]), Half([g, h])] = *values;
        S::F::load_halves(&[a, b, c, d, e, f, g, h])
    }
}
