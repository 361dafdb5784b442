use super::{Random, assert_close, bits, for_each_set, is_exact};
use crate::RopeLayout;
use crate::arch::scalar::Scalar;
use crate::arch::{F32x4, Simd};
use crate::elementwise::{
    EXP_ERROR_MAX, add_with, exp, gelu_mul_with, gelu_with, layer_norm_with,
    rms_norm_in_place_with, rms_norm_with, silu_mul_with, soft_cap_with, softmax_with,
};
use crate::rope::rope_with;

/// f32 sums of fewer than 100 terms.
const NORM_TOLERANCE: f64 = 5e-7;
const SOFTMAX_TOLERANCE: f64 = 1e-6;
const SILU_TOLERANCE: f64 = 5e-7;
/// Of the largest value: the means are differences.
const LAYER_NORM_TOLERANCE: f64 = 2e-6;
/// Share of the input; the exponent's rounding errors grow with it.
const GELU_TOLERANCE: f64 = 2e-6;
/// Share of the cap, whose difference the result is.
const SOFT_CAP_TOLERANCE: f64 = 3e-7;
const ROPE_TOLERANCE: f64 = 2e-7;

/// Every length modulo the vectors' and chunks' sizes.
const LENGTHS: std::ops::RangeInclusive<usize> = 1..=37;

fn exp_lanes<S: Simd>(x: [f32; 4]) -> [f32; 4] {
    let mut out = [0.0; 4];
    exp::<S>(S::F::load(&x)).store(&mut out);
    out
}

#[test]
fn exp_keeps_its_error_bound_and_its_bits() {
    let mut worst = 0f64;
    for i in 0..200_000 {
        let x = std::array::from_fn(|lane| -87.0 + 175.0 * ((i * 4 + lane) as f32 / 800_000.0));
        let scalar = exp_lanes::<Scalar>(x);
        for_each_set!(S => {
            let out = exp_lanes::<S>(x);
            if is_exact::<S>() {
                assert_eq!(bits(&out), bits(&scalar), "{x:?} in {}", S::NAME);
            }
            for (x, out) in x.iter().zip(out) {
                let expected = f64::from(*x).exp();
                worst = worst.max((f64::from(out) / expected - 1.0).abs());
                assert_close(out, expected, expected, EXP_ERROR_MAX, S::NAME);
            }
        });
    }
    println!("largest relative error {worst:.2e}");
}

#[test]
fn exp_at_the_edges() {
    for_each_set!(S => {
        let out = exp_lanes::<S>([0.0, -88.0, f32::NEG_INFINITY, 1000.0]);
        assert_eq!(out[..3], [1.0, 0.0, 0.0], "{}", S::NAME);
        assert!(out[3].is_finite() && out[3] > 1e38, "{}", S::NAME);
    });
}

#[test]
fn softmax_gives_probabilities() {
    let mut random = Random(10);
    for length in LENGTHS {
        let mut x: Vec<f32> = random.numbers(length).iter().map(|x| x * 20.0).collect();
        x.iter_mut().skip(1).step_by(5).for_each(|x| *x = f32::NEG_INFINITY);
        let largest = f64::from(x.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b)));
        let exps: Vec<f64> = x.iter().map(|x| (f64::from(*x) - largest).exp()).collect();
        let sum: f64 = exps.iter().sum();
        let mut scalar = x.clone();
        softmax_with::<Scalar>(&mut scalar);
        for_each_set!(S => {
            let mut out = x.clone();
            softmax_with::<S>(&mut out);
            if is_exact::<S>() {
                assert_eq!(bits(&out), bits(&scalar), "{length} in {}", S::NAME);
            }
            for (out, exp) in out.iter().zip(&exps) {
                assert_close(*out, exp / sum, 1.0, SOFTMAX_TOLERANCE, S::NAME);
            }
        });
    }
    softmax_with::<Scalar>(&mut []);
}

#[test]
fn silu_mul_gates() {
    let mut random = Random(11);
    for length in LENGTHS {
        let gate: Vec<f32> = random.numbers(length).iter().map(|x| x * 100.0).collect();
        let up = random.numbers(length);
        let mut scalar = gate.clone();
        silu_mul_with::<Scalar>(&mut scalar, &up);
        for_each_set!(S => {
            let mut out = gate.clone();
            silu_mul_with::<S>(&mut out, &up);
            if is_exact::<S>() {
                assert_eq!(bits(&out), bits(&scalar), "{length} in {}", S::NAME);
            }
            for ((out, gate), up) in out.iter().zip(&gate).zip(&up) {
                let (gate, up) = (f64::from(*gate), f64::from(*up));
                let expected = gate / (1.0 + (-gate).exp()) * up;
                assert_close(*out, expected, expected.abs().max(1e-20), SILU_TOLERANCE, S::NAME);
            }
        });
    }
}

#[test]
fn rms_norm_divides_by_the_root_of_the_mean_square() {
    let mut random = Random(12);
    let eps = 1e-5;
    for length in LENGTHS.chain([576]) {
        let (x, weight) = (random.numbers(length), random.numbers(length));
        let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / length as f64;
        let factor = 1.0 / (mean + f64::from(eps)).sqrt();
        let mut scalar = vec![f32::NAN; length];
        rms_norm_with::<Scalar>(&x, &weight, eps, &mut scalar);
        for_each_set!(S => {
            let mut out = vec![f32::NAN; length];
            rms_norm_with::<S>(&x, &weight, eps, &mut out);
            if is_exact::<S>() {
                assert_eq!(bits(&out), bits(&scalar), "{length} in {}", S::NAME);
            }
            for ((out, x), weight) in out.iter().zip(&x).zip(&weight) {
                let expected = f64::from(*x) * factor * f64::from(*weight);
                assert_close(*out, expected, expected.abs().max(1e-30), NORM_TOLERANCE, S::NAME);
            }
        });
    }
}

#[test]
fn rms_norm_in_place_gives_the_same_bits() {
    let mut random = Random(15);
    for length in LENGTHS {
        let (x, weight) = (random.numbers(length), random.numbers(length));
        for_each_set!(S => {
            let (mut expected, mut out) = (vec![f32::NAN; length], x.clone());
            rms_norm_with::<S>(&x, &weight, 1e-6, &mut expected);
            rms_norm_in_place_with::<S>(&mut out, &weight, 1e-6);
            assert_eq!(bits(&out), bits(&expected), "{length} in {}", S::NAME);
        });
    }
}

#[test]
fn layer_norm_also_takes_the_mean_away() {
    let mut random = Random(16);
    let eps = 1e-5;
    for length in LENGTHS.chain([576]) {
        let x: Vec<f32> = random.numbers(length).iter().map(|x| x + 3.0).collect();
        let (weight, bias) = (random.numbers(length), random.numbers(length));
        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / length as f64;
        let squares = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>();
        let factor = 1.0 / (squares / length as f64 + f64::from(eps)).sqrt();
        let mut scalar = vec![f32::NAN; length];
        layer_norm_with::<Scalar>(&x, &weight, &bias, eps, &mut scalar);
        for_each_set!(S => {
            let mut out = vec![f32::NAN; length];
            layer_norm_with::<S>(&x, &weight, &bias, eps, &mut out);
            if is_exact::<S>() {
                assert_eq!(bits(&out), bits(&scalar), "{length} in {}", S::NAME);
            }
            for (index, out) in out.iter().enumerate() {
                let normed = (f64::from(x[index]) - mean) * factor;
                let expected = normed * f64::from(weight[index]) + f64::from(bias[index]);
                // A single element is its own mean; what rounding leaves of it is magnified.
                assert_close(*out, expected, 1.0 + factor, LAYER_NORM_TOLERANCE, S::NAME);
            }
        });
    }
}

#[test]
fn gelu_and_soft_cap_follow_their_formulas() {
    let mut random = Random(17);
    for length in LENGTHS {
        let x: Vec<f32> = random.numbers(length).iter().map(|x| x * 30.0).collect();
        let up = random.numbers(length);
        let expected = x.iter().map(|x| {
            let x = f64::from(*x);
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            (x / 2.0 * (1.0 + inner.tanh()), 7.0 * (x / 7.0).tanh())
        });
        let expected: Vec<(f64, f64)> = expected.collect();
        let compute = |gelu: &dyn Fn(&mut [f32]), cap: &dyn Fn(&mut [f32])| {
            let (mut gelus, mut capped) = (x.clone(), x.clone());
            gelu(&mut gelus);
            cap(&mut capped);
            [gelus, capped]
        };
        let scalar = compute(&gelu_with::<Scalar>, &|x| soft_cap_with::<Scalar>(x, 7.0));
        for_each_set!(S => {
            let [gelus, capped] = compute(&gelu_with::<S>, &|x| soft_cap_with::<S>(x, 7.0));
            let mut gated = x.clone();
            gelu_mul_with::<S>(&mut gated, &up);
            if is_exact::<S>() {
                assert_eq!([bits(&gelus), bits(&capped)], [bits(&scalar[0]), bits(&scalar[1])]);
            }
            for (index, (gelu, cap)) in expected.iter().enumerate() {
                let scale = f64::from(x[index].abs());
                assert_close(gelus[index], *gelu, scale, GELU_TOLERANCE, S::NAME);
                let product = gelu * f64::from(up[index]);
                assert_close(gated[index], product, scale, GELU_TOLERANCE, S::NAME);
                assert_close(capped[index], *cap, 7.0, SOFT_CAP_TOLERANCE, S::NAME);
            }
        });
    }
}

#[test]
fn add_adds() {
    let mut random = Random(13);
    for length in LENGTHS {
        let (x, y) = (random.numbers(length), random.numbers(length));
        let expected: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
        for_each_set!(S => {
            let mut out = x.clone();
            add_with::<S>(&mut out, &y);
            assert_eq!(bits(&out), bits(&expected), "{length} in {}", S::NAME);
        });
    }
}

#[test]
fn rope_rotates_pairs_of_either_layout() {
    let mut random = Random(14);
    for (head_size, pairs) in [(2, 1), (8, 4), (10, 5), (64, 32), (80, 40), (64, 16), (96, 23)] {
        let angles: Vec<f64> = (0..pairs).map(|_| f64::from(random.number()) * 3.0).collect();
        let cos: Vec<f32> = angles.iter().map(|angle| angle.cos() as f32).collect();
        let sin: Vec<f32> = angles.iter().map(|angle| angle.sin() as f32).collect();
        let x = random.numbers(3 * head_size);
        for layout in [RopeLayout::Interleaved, RopeLayout::Halves] {
            let mut expected: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            for head in expected.chunks_mut(head_size) {
                for (pair, angle) in angles.iter().enumerate() {
                    let (i, j) = match layout {
                        RopeLayout::Interleaved => (2 * pair, 2 * pair + 1),
                        RopeLayout::Halves => (pair, pair + pairs),
                    };
                    let (a, b) = (head[i], head[j]);
                    head[i] = a * angle.cos() - b * angle.sin();
                    head[j] = a * angle.sin() + b * angle.cos();
                }
            }
            let mut scalar = x.clone();
            rope_with::<Scalar>(&mut scalar, head_size, &cos, &sin, layout);
            for_each_set!(S => {
                let mut out = x.clone();
                rope_with::<S>(&mut out, head_size, &cos, &sin, layout);
                assert_eq!(bits(&out), bits(&scalar), "{head_size} {layout:?} in {}", S::NAME);
                for (out, expected) in out.iter().zip(&expected) {
                    assert_close(*out, *expected, 2.0, ROPE_TOLERANCE, S::NAME);
                }
            });
        }
    }
}
