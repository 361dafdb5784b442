//! Every kernel runs in every instruction set that the build has, on the same inputs.

mod activations;
mod attention;
mod elementwise;
mod matrix;

use crate::arch::{F32x4, Simd};

/// Runs a block once for each instruction set, which `$set` names.
macro_rules! for_each_set {
    ($set:ident => $block:block) => {{
        {
            type $set = crate::arch::scalar::Scalar;
            $block
        }
        #[cfg(target_feature = "simd128")]
        {
            type $set = crate::arch::simd128::Simd128;
            $block
        }
        #[cfg(target_feature = "relaxed-simd")]
        {
            type $set = crate::arch::relaxed::Relaxed;
            $block
        }
    }};
}
use for_each_set;

/// A generator of test data (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From -1 to 1.
    fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number()).collect()
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Whether the set promises the same bits as the scalar one.
fn is_exact<S: Simd>() -> bool {
    S::NAME != "relaxed-simd"
}

#[track_caller]
fn assert_close(value: f32, expected: f64, scale: f64, tolerance: f64, what: &str) {
    let error = (f64::from(value) - expected).abs();
    assert!(
        error <= tolerance * scale,
        "{what}: {value} instead of {expected}, {:.2e} of {scale}, allowed {tolerance:.1e}",
        error / scale
    );
}

#[test]
fn the_builds_target_features_choose_the_instruction_set() {
    let expected = if cfg!(target_feature = "relaxed-simd") {
        "relaxed-simd"
    } else if cfg!(target_feature = "simd128") {
        "simd128"
    } else {
        "scalar"
    };
    assert_eq!(crate::INSTRUCTION_SET, expected);
}

#[test]
fn lanes_zip_and_unzip() {
    for_each_set!(S => {
        type F = <S as Simd>::F;
        let (a, b) = (F::load(&[0.0, 1.0, 2.0, 3.0]), F::load(&[4.0, 5.0, 6.0, 7.0]));
        let (even, odd) = a.unzip(b);
        let mut lanes = [[0.0; 4]; 4];
        even.store(&mut lanes[0]);
        odd.store(&mut lanes[1]);
        let (a, b) = even.zip(odd);
        a.store(&mut lanes[2]);
        b.store(&mut lanes[3]);
        let expected =
            [[0.0, 2.0, 4.0, 6.0], [1.0, 3.0, 5.0, 7.0], [0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]];
        assert_eq!(lanes, expected, "{}", S::NAME);
    });
}
