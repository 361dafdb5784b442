use std::ops::Range;

use super::{Random, assert_close, bits, for_each_set, is_exact};
use crate::arch::Simd;
use crate::arch::scalar::Scalar;
use crate::{AttentionScratch, HeadCache};

/// Share of the largest value.
const TOLERANCE: f64 = 2e-6;

struct Case {
    head_size: usize,
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    queries: Vec<f32>,
    scale: f32,
}

impl Case {
    fn random(head_size: usize, heads: usize, tokens: usize, random: &mut Random) -> Self {
        let mut vectors = || (0..tokens).map(|_| random.numbers(head_size)).collect();
        Self {
            head_size,
            keys: vectors(),
            values: vectors(),
            queries: random.numbers(heads * head_size).iter().map(|x| x * 3.0).collect(),
            scale: 1.0 / (head_size as f32).sqrt(),
        }
    }

    fn cache(&self) -> HeadCache {
        let mut cache = HeadCache::new(self.head_size);
        self.append(&mut cache, 0);
        cache
    }

    fn append(&self, cache: &mut HeadCache, first: usize) {
        for (key, value) in self.keys.iter().zip(&self.values).skip(first) {
            cache.append(key, value).expect("a small cache");
        }
    }

    fn attend<S: Simd>(&self, cache: &HeadCache, range: Range<usize>) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.queries.len()];
        let mut scratch = AttentionScratch::default();
        cache
            .attend_with::<S>(&self.queries, range, self.scale, &mut scratch, &mut out)
            .expect("few scores");
        out
    }

    fn reference(&self, range: Range<usize>) -> Vec<f64> {
        let mut out = Vec::new();
        for query in self.queries.chunks(self.head_size) {
            let score = |key: &Vec<f32>| {
                let products = key.iter().zip(query).map(|(k, q)| f64::from(*k) * f64::from(*q));
                products.sum::<f64>() * f64::from(self.scale)
            };
            let weights: Vec<f64> =
                self.keys[range.clone()].iter().map(|key| score(key).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for element in 0..self.head_size {
                let values = self.values[range.clone()].iter().zip(&weights);
                let mixed: f64 = values.map(|(value, w)| f64::from(value[element]) * w).sum();
                out.push(mixed / sum);
            }
        }
        out
    }

    fn check(&self, cache: &HeadCache, range: Range<usize>) {
        let expected = self.reference(range.clone());
        let scalar = self.attend::<Scalar>(cache, range.clone());
        for_each_set!(S => {
            let out = self.attend::<S>(cache, range.clone());
            let what = format!("{range:?} of {} in {}", self.head_size, S::NAME);
            if is_exact::<S>() {
                assert_eq!(bits(&out), bits(&scalar), "{what}");
            }
            for (out, expected) in out.iter().zip(&expected) {
                assert_close(*out, *expected, 1.0, TOLERANCE, &what);
            }
        });
    }
}

#[test]
fn every_head_and_group_size_agrees_with_the_reference() {
    let mut random = Random(30);
    for head_size in [4, 8, 12, 16, 32, 64, 80, 96, 128] {
        for heads in 1..=9 {
            let case = Case::random(head_size, heads, 21, &mut random);
            case.check(&case.cache(), 0..21);
        }
    }
}

#[test]
fn ranges_may_begin_and_end_inside_a_tile() {
    let mut random = Random(31);
    let case = Case::random(16, 3, 200, &mut random);
    let cache = case.cache();
    for range in [0..1, 0..2, 0..3, 0..4, 0..5, 1..2, 3..4, 3..9, 6..7, 70..199, 1..200] {
        case.check(&cache, range);
    }
}

#[test]
fn tokens_after_a_truncation_replace_the_old_ones() {
    let mut random = Random(32);
    for kept in [0, 1, 4, 6] {
        let old = Case::random(8, 2, 11, &mut random);
        let mut new = Case::random(8, 2, 9, &mut random);
        new.keys[..kept].clone_from_slice(&old.keys[..kept]);
        new.values[..kept].clone_from_slice(&old.values[..kept]);
        let mut cache = old.cache();
        cache.truncate(kept);
        assert_eq!(cache.tokens(), kept);
        new.append(&mut cache, kept);
        new.check(&cache, 0..9);
    }
}

#[test]
fn scores_far_apart_do_not_overflow() {
    let mut case = Case::random(8, 1, 5, &mut Random(33));
    case.queries.fill(1e4);
    let cache = case.cache();
    for_each_set!(S => {
        assert!(case.attend::<S>(&cache, 0..5).iter().all(|value| value.is_finite()), "{}", S::NAME);
    });
}

#[test]
fn a_cache_beyond_the_address_space_is_refused() {
    let mut cache = HeadCache::<f32>::new(64);
    assert!(cache.reserve(usize::MAX).is_err());
    assert!(cache.reserve(usize::MAX / 64).is_err());
    assert_eq!(cache.tokens(), 0);
    assert!(cache.append(&[0.0; 64], &[0.0; 64]).is_ok());
}
