//! Rotary position embedding (Su et al. 2021, "RoFormer").

use crate::arch::{Active, F32x4, Simd};
use crate::elementwise::{padded, store_first};

/// Which elements of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayout {
    /// Neighbours: 0 and 1, 2 and 3 (`LLAMA_ROPE_TYPE_NORM`; `llama` in GGUF).
    Interleaved,
    /// One from each half of the rotated elements (`LLAMA_ROPE_TYPE_NEOX`).
    Halves,
}

/// Rotates each head of `x` by the angles whose cosines and sines are given: pair `i` becomes
/// `(a * cos[i] - b * sin[i], a * sin[i] + b * cos[i])`. The first `2 * cos.len()` elements of a
/// head are rotated, the others stay.
/// # Panics
/// Unless `x` is whole heads, `cos` and `sin` have one length, and a head holds as many pairs.
pub fn rope(x: &mut [f32], head_size: usize, cos: &[f32], sin: &[f32], layout: RopeLayout) {
    rope_with::<Active>(x, head_size, cos, sin, layout);
}

pub(crate) fn rope_with<S: Simd>(
    x: &mut [f32],
    head_size: usize,
    cos: &[f32],
    sin: &[f32],
    layout: RopeLayout,
) {
    assert!(head_size > 0 && x.len().is_multiple_of(head_size), "heads of {head_size}");
    assert!(cos.len() == sin.len() && cos.len() <= head_size / 2, "{} pairs", cos.len());
    for head in x.chunks_exact_mut(head_size) {
        let head = &mut head[..cos.len() * 2];
        match layout {
            RopeLayout::Interleaved => interleaved::<S>(head, cos, sin),
            RopeLayout::Halves => halves::<S>(head, cos, sin),
        }
    }
}

#[inline(always)]
fn rotate<F: F32x4>(a: F, b: F, cos: F, sin: F) -> (F, F) {
    (a * cos - b * sin, a * sin + b * cos)
}

fn interleaved<S: Simd>(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let rotate = |first: S::F, second: S::F, cos: S::F, sin: S::F| {
        let (a, b) = first.unzip(second);
        let (a, b) = rotate(a, b, cos, sin);
        a.zip(b)
    };
    let (vectors, rest) = head.as_chunks_mut::<8>();
    let ((cos, cos_rest), (sin, sin_rest)) = (cos.as_chunks::<4>(), sin.as_chunks::<4>());
    for ((pairs, cos), sin) in vectors.iter_mut().zip(cos).zip(sin) {
        let [first, second] = pairs.as_chunks_mut::<4>().0 else { unreachable!("two of four") };
        let (cos, sin) = (S::F::load(cos), S::F::load(sin));
        let (a, b) = rotate(S::F::load(first), S::F::load(second), cos, sin);
        a.store(first);
        b.store(second);
    }
    let (first, second) = rest.split_at_mut(rest.len().min(4));
    let (cos, sin) = (padded::<S>(cos_rest, 0.0), padded::<S>(sin_rest, 0.0));
    let (a, b) = rotate(padded::<S>(first, 0.0), padded::<S>(second, 0.0), cos, sin);
    store_first::<S>(a, first);
    store_first::<S>(b, second);
}

fn halves<S: Simd>(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, second) = head.split_at_mut(cos.len());
    let ((first, first_rest), (second, second_rest)) =
        (first.as_chunks_mut::<4>(), second.as_chunks_mut::<4>());
    let ((cos, cos_rest), (sin, sin_rest)) = (cos.as_chunks::<4>(), sin.as_chunks::<4>());
    for (((first, second), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        let (cos, sin) = (S::F::load(cos), S::F::load(sin));
        let (a, b) = rotate(S::F::load(first), S::F::load(second), cos, sin);
        a.store(first);
        b.store(second);
    }
    let (cos, sin) = (padded::<S>(cos_rest, 0.0), padded::<S>(sin_rest, 0.0));
    let (a, b) = rotate(padded::<S>(first_rest, 0.0), padded::<S>(second_rest, 0.0), cos, sin);
    store_first::<S>(a, first_rest);
    store_first::<S>(b, second_rest);
}
