//! What happens between the matrices.

use crate::arch::{Active, F32x4, I32x4, Simd};

/// `out[i] = x[i] * weight[i] / sqrt(mean of x^2 + eps)`.
/// # Panics
/// Unless all have the same length.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    rms_norm_with::<Active>(x, weight, eps, out);
}

/// Makes logits or scores probabilities: `exp(x[i]) / sum of exp(x[j])`.
pub fn softmax(x: &mut [f32]) {
    softmax_with::<Active>(x);
}

/// `gate[i] = silu(gate[i]) * up[i]` with `silu(x) = x / (1 + exp(-x))`.
/// # Panics
/// Unless both have the same length.
pub fn silu_mul(gate: &mut [f32], up: &[f32]) {
    silu_mul_with::<Active>(gate, up);
}

/// [`rms_norm`] with `x` as `out`.
/// # Panics
/// Unless both have the same length.
pub fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    rms_norm_in_place_with::<Active>(x, weight, eps);
}

/// `out[i] = (x[i] - mean) * weight[i] / sqrt(variance + eps) + bias[i]`.
/// # Panics
/// Unless all have the same length.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    layer_norm_with::<Active>(x, weight, bias, eps, out);
}

/// `gate[i] = gelu(gate[i]) * up[i]` with [`gelu`].
/// # Panics
/// Unless both have the same length.
pub fn gelu_mul(gate: &mut [f32], up: &[f32]) {
    gelu_mul_with::<Active>(gate, up);
}

/// `x[i] = x[i] / 2 * (1 + tanh(sqrt(2 / pi) * (x[i] + 0.044715 * x[i]^3)))` (Hendrycks and Gimpel,
/// 2016, arXiv:1606.08415).
pub fn gelu(x: &mut [f32]) {
    gelu_with::<Active>(x);
}

/// `x[i] = cap * tanh(x[i] / cap)`, which lies between `-cap` and `cap`.
pub fn soft_cap(x: &mut [f32], cap: f32) {
    soft_cap_with::<Active>(x, cap);
}

/// `x[i] *= factor`.
pub fn scale(x: &mut [f32], factor: f32) {
    map::<Active>(x, |x| x * <Active as Simd>::F::splat(factor));
}

/// `x[i] += y[i]`.
/// # Panics
/// Unless both have the same length.
pub fn add(x: &mut [f32], y: &[f32]) {
    add_with::<Active>(x, y);
}

pub(crate) fn rms_norm_with<S: Simd>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len(), "vectors of one length");
    let factor = S::F::splat(inverse_root::<S>(x, eps));
    let (vectors, rest) = x.as_chunks::<4>();
    let (weight_vectors, weight_rest) = weight.as_chunks::<4>();
    let (out_vectors, out_rest) = out.as_chunks_mut::<4>();
    for ((x, weight), out) in vectors.iter().zip(weight_vectors).zip(out_vectors) {
        (S::F::load(x) * factor * S::F::load(weight)).store(out);
    }
    let last = padded::<S>(rest, 0.0) * factor * padded::<S>(weight_rest, 0.0);
    store_first::<S>(last, out_rest);
}

pub(crate) fn rms_norm_in_place_with<S: Simd>(x: &mut [f32], weight: &[f32], eps: f32) {
    let factor = S::F::splat(inverse_root::<S>(x, eps));
    zip::<S>(x, weight, |x, weight| x * factor * weight);
}

pub(crate) fn layer_norm_with<S: Simd>(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: &mut [f32],
) {
    let mean = sums::<S>(x, |sum, x| sum + x) / x.len() as f32;
    out.copy_from_slice(x);
    map::<S>(out, |x| x - S::F::splat(mean));
    rms_norm_in_place_with::<S>(out, weight, eps);
    zip::<S>(out, bias, |x, bias| x + bias);
}

/// `1 / sqrt(mean of x^2 + eps)`
fn inverse_root<S: Simd>(x: &[f32], eps: f32) -> f32 {
    let squares = sums::<S>(x, |sum, x| S::mul_add(x, x, sum));
    1.0 / (squares / x.len() as f32 + eps).sqrt()
}

/// Sixteen partial sums of what `add` adds, then the sums of these.
#[inline(always)]
fn sums<S: Simd>(x: &[f32], add: impl Fn(S::F, S::F) -> S::F) -> f32 {
    let mut sums = [S::F::splat(0.0); 4];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        for (sum, vector) in sums.iter_mut().zip(chunk.as_chunks().0) {
            *sum = add(*sum, S::F::load(vector));
        }
    }
    for (sum, vector) in sums.iter_mut().zip(rest.chunks(4)) {
        *sum = add(*sum, padded::<S>(vector, 0.0));
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum()
}

pub(crate) fn softmax_with<S: Simd>(x: &mut [f32]) {
    let sum = exp_from_largest::<S>(x);
    let inverse = S::F::splat(1.0 / sum);
    map::<S>(x, |x| x * inverse);
}

/// `x[i] = exp(x[i] - largest)`; returns the sum, in four partial sums.
pub(crate) fn exp_from_largest<S: Simd>(x: &mut [f32]) -> f32 {
    let (vectors, rest) = x.as_chunks_mut::<4>();
    let mut largest = padded::<S>(rest, f32::NEG_INFINITY);
    for vector in vectors.iter() {
        largest = largest.or_larger(S::F::load(vector));
    }
    let largest = S::F::splat(largest.largest());
    let mut sum = S::F::splat(0.0);
    for vector in vectors {
        let e = exp::<S>(S::F::load(vector) - largest);
        e.store(vector);
        sum = sum + e;
    }
    let e = exp::<S>(padded::<S>(rest, f32::NEG_INFINITY) - largest);
    store_first::<S>(e, rest);
    (sum + e).sum()
}

pub(crate) fn silu_mul_with<S: Simd>(gate: &mut [f32], up: &[f32]) {
    let one = S::F::splat(1.0);
    let zero = S::F::splat(0.0);
    zip::<S>(gate, up, |gate, up| gate / (one + exp::<S>(zero - gate)) * up);
}

pub(crate) fn gelu_mul_with<S: Simd>(gate: &mut [f32], up: &[f32]) {
    zip::<S>(gate, up, |gate, up| gelu_of::<S>(gate) * up);
}

pub(crate) fn gelu_with<S: Simd>(x: &mut [f32]) {
    map::<S>(x, gelu_of::<S>);
}

/// `(1 + tanh(y)) / 2` is `1 / (1 + exp(-2 * y))`.
#[inline(always)]
fn gelu_of<S: Simd>(x: S::F) -> S::F {
    let c = S::F::splat;
    // -2 * sqrt(2 / pi), and that times 0.044715.
    let exponent = x * S::mul_add(x * x, c(-0.071_354_814), c(-1.595_769));
    x / (c(1.0) + exp::<S>(exponent))
}

pub(crate) fn soft_cap_with<S: Simd>(x: &mut [f32], cap: f32) {
    map::<S>(x, |x| soft_capped::<S>(x, cap));
}

/// `tanh(y)` is `1 - 2 / (1 + exp(2 * y))`.
#[inline(always)]
pub(crate) fn soft_capped<S: Simd>(x: S::F, cap: f32) -> S::F {
    let c = S::F::splat;
    c(cap) - c(2.0 * cap) / (c(1.0) + exp::<S>(x * c(2.0 / cap)))
}

pub(crate) fn add_with<S: Simd>(x: &mut [f32], y: &[f32]) {
    zip::<S>(x, y, |x, y| x + y);
}

/// The exponential function.
///
/// With `n` the nearest integer to `x / ln 2`, `exp(x) = 2^n * exp(r)` and `|r| <= ln(2) / 2`,
/// where a polynomial of degree 6 is within 3.1e-9; its coefficients minimise the largest
/// relative error (Lawson's algorithm). With rounding the relative error stays below 1.5e-7. Below -87 the result is 0, above 88 it is `exp(88)`.
#[inline(always)]
pub(crate) fn exp<S: Simd>(x: S::F) -> S::F {
    let c = S::F::splat;
    let bounded = x.or_smaller(c(EXP_LARGEST)).or_larger(c(EXP_SMALLEST));
    // Adding this leaves the nearest integer in the lowest bits: no conversion is needed.
    let shifter = c(12_582_912.0); // 1.5 * 2^23
    let shifted = bounded * c(std::f32::consts::LOG2_E) + shifter;
    let n = shifted - shifter;
    // ln 2 in two parts; the first has so few bits that its product with `n` is exact.
    let r = bounded - n * c(0.693_359_4) - n * c(-2.121_944_4e-4);
    let mut p = c(1.381_454_8e-3);
    for coefficient in [8.368_747e-3, 4.166_839e-2, 1.666_652e-1, 4.999_999_4e-1] {
        p = S::mul_add(p, r, c(coefficient));
    }
    let p = S::mul_add(r * r, p, r) + c(1.0);
    let power = shifted.bits().shift_left::<23>() + S::I::splat(0x3f80_0000);
    (p * S::F::from_bits(power)).zero_below(x, c(EXP_SMALLEST))
}

const EXP_SMALLEST: f32 = -87.0;
const EXP_LARGEST: f32 = 88.0;

/// Bound of the relative error of [`exp`] between -87 and 88.
#[cfg(test)]
pub(crate) const EXP_ERROR_MAX: f64 = 1.5e-7;

/// Four values, the missing ones replaced.
#[inline(always)]
pub(crate) fn padded<S: Simd>(values: &[f32], missing: f32) -> S::F {
    let mut lanes = [missing; 4];
    lanes[..values.len()].copy_from_slice(values);
    S::F::load(&lanes)
}

#[inline(always)]
pub(crate) fn store_first<S: Simd>(vector: S::F, values: &mut [f32]) {
    let mut lanes = [0.0; 4];
    vector.store(&mut lanes);
    values.copy_from_slice(&lanes[..values.len()]);
}

#[inline(always)]
fn map<S: Simd>(x: &mut [f32], f: impl Fn(S::F) -> S::F) {
    let (vectors, rest) = x.as_chunks_mut::<4>();
    for vector in vectors {
        f(S::F::load(vector)).store(vector);
    }
    store_first::<S>(f(padded::<S>(rest, 0.0)), rest);
}

#[inline(always)]
fn zip<S: Simd>(x: &mut [f32], y: &[f32], f: impl Fn(S::F, S::F) -> S::F) {
    assert!(x.len() == y.len(), "vectors of one length");
    let (vectors, rest) = x.as_chunks_mut::<4>();
    let (others, others_rest) = y.as_chunks::<4>();
    for (vector, other) in vectors.iter_mut().zip(others) {
        f(S::F::load(vector), S::F::load(other)).store(vector);
    }
    store_first::<S>(f(padded::<S>(rest, 0.0), padded::<S>(others_rest, 0.0)), rest);
}
