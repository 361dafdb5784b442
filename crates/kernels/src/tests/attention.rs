use std::ops::Range;

use super::{Random, assert_close, bits, for_each_set, is_exact};
use crate::arch::Simd;
use crate::arch::scalar::Scalar;
use crate::{AttentionScratch, CacheType, HeadCache, PAGE_TOKENS, Rows, Scoring};

/// Share of the largest value.
const TOLERANCE: f64 = 2e-6;

struct Case {
    head_size: usize,
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    queries: Vec<f32>,
    scoring: Scoring,
}

impl Case {
    fn random(head_size: usize, heads: usize, tokens: usize, random: &mut Random) -> Self {
        let mut vectors = || (0..tokens).map(|_| random.numbers(head_size)).collect();
        Self {
            head_size,
            keys: vectors(),
            values: vectors(),
            queries: random.numbers(heads * head_size).iter().map(|x| x * 3.0).collect(),
            scoring: Scoring { scale: 1.0 / (head_size as f32).sqrt(), soft_cap: 0.0 },
        }
    }

    fn cache(&self, cache_type: CacheType) -> HeadCache {
        let mut cache = HeadCache::new(self.head_size, cache_type);
        self.append(&mut cache, 0);
        cache
    }

    /// Rounds keys and values as a cache of this type does.
    fn rounded(mut self, cache_type: CacheType) -> Self {
        for vector in self.keys.iter_mut().chain(&mut self.values) {
            match cache_type {
                CacheType::F32 => {}
                CacheType::F16 => vector.iter_mut().for_each(|x| *x = to_half_and_back(*x)),
                CacheType::Q8 => vector.chunks_mut(32).for_each(to_bytes_and_back),
            }
        }
        self
    }

    fn append(&self, cache: &mut HeadCache, first: usize) {
        for (key, value) in self.keys.iter().zip(&self.values).skip(first) {
            cache.append(key, value).expect("a small cache");
        }
    }

    fn attend<S: Simd>(&self, cache: &HeadCache, range: Range<usize>) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.queries.len()];
        let mut scratch = AttentionScratch::default();
        let rows = Rows { length: out.len(), group: 0..out.len() };
        cache
            .attend_with::<S>(
                &self.queries,
                &rows,
                &|_| range.clone(),
                self.scoring,
                &mut scratch,
                &mut out,
            )
            .expect("few scores");
        out
    }

    fn reference(&self, range: Range<usize>) -> Vec<f64> {
        let mut out = Vec::new();
        for query in self.queries.chunks(self.head_size) {
            let score = |key: &Vec<f32>| {
                let products = key.iter().zip(query).map(|(k, q)| f64::from(*k) * f64::from(*q));
                let score = products.sum::<f64>() * f64::from(self.scoring.scale);
                match f64::from(self.scoring.soft_cap) {
                    0.0 => score,
                    cap => cap * (score / cap).tanh(),
                }
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

impl Case {
    /// Both caches give the same bits.
    fn check_bits(&self, cache: &HeadCache, other: &HeadCache, range: Range<usize>) {
        for_each_set!(S => {
            let [found, expected] =
                [cache, other].map(|cache| self.attend::<S>(cache, range.clone()));
            assert_eq!(bits(&found), bits(&expected), "{range:?} in {}", S::NAME);
        });
    }
}

/// The nearest half precision number, by trying: from the two neighbours that truncation gives.
fn to_half_and_back(x: f32) -> f32 {
    let step = |x: f32| 2f32.powi((x.abs().log2().floor() as i32).max(-14) - 10);
    let step = if x == 0.0 { 1.0 } else { step(x) };
    (x / step).round_ties_even() * step
}

/// What 8 bits and a scale leave of numbers, one of which is not 0.
fn to_bytes_and_back(block: &mut [f32]) {
    let largest = block.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let scale = to_half_and_back(largest / 127.0);
    block.iter_mut().for_each(|x| *x = (*x / scale).round_ties_even().clamp(-127.0, 127.0) * scale);
}

#[test]
fn half_precision_rounds_to_nearest_and_saturates() {
    let mut random = Random(34);
    let mut keys =
        vec![0.0, -0.0, 1.0, 65504.0, 65519.0, 1e9, -1e9, f32::INFINITY, 5.96e-8, 2.9e-8];
    keys.extend([6.1e-5, 6.09e-5, 2049.0, 2051.0, -2049.0, 1e-30]);
    keys.extend((0..4080).map(|index| random.number() * 10f32.powi(index % 12 - 7)));
    for key in keys {
        let mut cache = HeadCache::new(4, CacheType::F16);
        cache.append(&[0.0; 4], &[key; 4]).expect("a small cache");
        let expected = to_half_and_back(key.clamp(-65504.0, 65504.0));
        assert_eq!(only_value(&cache), [expected; 4], "{key:e}");
    }
}

#[test]
fn a_block_of_bytes_is_within_half_a_step_whatever_its_size() {
    let mut random = Random(39);
    for exponent in -3..=6 {
        let values: Vec<f32> = (0..80).map(|_| random.number() * 10f32.powi(exponent)).collect();
        let mut cache = HeadCache::new(80, CacheType::Q8);
        cache.append(&[0.0; 80], &values).expect("a small cache");
        assert_eq!(cache.bytes(), PAGE_TOKENS * CacheType::Q8.token_bytes(80));
        for (values, held) in values.chunks(32).zip(only_value(&cache).chunks(32)) {
            let largest = values.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            // The scale is rounded to 11 bits, the largest value may lose as much.
            let bound = largest / 127.0 * 0.5 + largest / 2048.0;
            for (value, held) in values.iter().zip(held) {
                assert!((value - held).abs() <= bound, "{value} became {held}, {largest}");
            }
        }
    }
}

#[test]
fn bytes_of_numbers_that_are_none_are_numbers() {
    for (value, expected) in [
        (f32::INFINITY, 127.0 * 65504.0),
        (-1e30, -127.0 * 65504.0),
        (f32::NAN, 0.0),
        (1e-9, 0.0),
        (0.0, 0.0),
    ] {
        let mut cache = HeadCache::new(4, CacheType::Q8);
        cache.append(&[value; 4], &[value; 4]).expect("a small cache");
        let held = only_value(&cache);
        assert_eq!(held, [expected; 4], "{value}");
    }
}

/// The value of a cache's only token.
fn only_value(cache: &HeadCache) -> Vec<f32> {
    let size = cache.head_size;
    let mut out = vec![f32::NAN; size];
    let scoring = Scoring { scale: 1.0, soft_cap: 0.0 };
    let (rows, mut scratch) = (Rows { length: size, group: 0..size }, AttentionScratch::default());
    let done = cache.attend(&vec![0.0; size], &rows, &|_| 0..1, scoring, &mut scratch, &mut out);
    done.expect("one score");
    out
}

#[test]
fn rows_computed_together_have_the_bits_that_they_have_alone() {
    let mut random = Random(35);
    for (heads, tokens) in [(1, 9), (3, 7), (5, 4)] {
        for cache_type in CacheType::ALL {
            let case = Case::random(16, heads, 40, &mut random);
            let cache = case.cache(cache_type);
            // The group is the second of three.
            let (size, length) = (heads * 16, 3 * heads * 16);
            let rows = Rows { length, group: size..2 * size };
            let queries = random.numbers(tokens * length);
            for_each_set!(S => {
                let mut scratch = AttentionScratch::default();
                let mut attend = |queries: &[f32], first: usize| {
                    let mut out = vec![7.0; queries.len()];
                    let visible = |row: usize| (row + first) % 2..30 + first + row;
                    let done = cache.attend_with::<S>(
                        queries, &rows, &visible, case.scoring, &mut scratch, &mut out,
                    );
                    done.expect("few scores");
                    out
                };
                let together = attend(&queries, 0);
                for (row, queries) in queries.chunks(length).enumerate() {
                    let alone = attend(queries, row);
                    assert_eq!(bits(&together[row * length..][..length]), bits(&alone), "{}", S::NAME);
                    assert!(alone[..size].iter().chain(&alone[2 * size..]).all(|x| *x == 7.0));
                }
            });
        }
    }
}

#[test]
fn every_head_and_group_size_agrees_with_the_reference() {
    let mut random = Random(30);
    for head_size in [4, 8, 12, 16, 32, 64, 80, 96, 128] {
        for heads in 1..=9 {
            for cache_type in CacheType::ALL {
                let case = Case::random(head_size, heads, 21, &mut random).rounded(cache_type);
                case.check(&case.cache(cache_type), 0..21);
            }
        }
    }
}

#[test]
fn ranges_may_begin_and_end_inside_a_tile() {
    let mut random = Random(31);
    let case = Case::random(16, 3, 200, &mut random);
    let cache = case.cache(CacheType::F32);
    for range in [0..1, 0..2, 0..3, 0..4, 0..5, 1..2, 3..4, 3..9, 6..7, 70..199, 1..200] {
        case.check(&cache, range);
    }
}

#[test]
fn tokens_after_a_truncation_replace_the_old_ones() {
    let mut random = Random(32);
    for kept in [0, 1, 4, 6, 9, 63, 64, 66, 71, 128] {
        let mut old = Case::random(8, 2, kept + 75, &mut random);
        let mut new = Case::random(8, 2, kept + 70, &mut random);
        new.keys[..kept].clone_from_slice(&old.keys[..kept]);
        new.values[..kept].clone_from_slice(&old.values[..kept]);
        // Whatever they were.
        old.values[kept..].iter_mut().for_each(|value| value.fill(f32::INFINITY));
        let mut cache = old.cache(CacheType::F32);
        cache.truncate(kept);
        assert_eq!(cache.tokens(), kept);
        if kept > 0 {
            new.check(&cache, 0..kept);
        }
        new.append(&mut cache, kept);
        new.check(&cache, 0..kept + 70);
    }
}

#[test]
fn forgetting_what_is_not_attended_to_changes_no_bit_and_frees_pages() {
    let mut random = Random(37);
    for cache_type in CacheType::ALL {
        let case = Case::random(16, 3, 5 * PAGE_TOKENS + 9, &mut random);
        let whole = case.cache(cache_type);
        let page_bytes = whole.bytes() / 6;
        let mut cache = HeadCache::new(16, cache_type);
        for (index, (key, value)) in case.keys.iter().zip(&case.values).enumerate() {
            cache.append(key, value).expect("a small cache");
            cache.forget((index + 1).saturating_sub(70));
            assert!(cache.bytes() <= 3 * page_bytes, "{index}");
        }
        assert_eq!(cache.tokens(), 5 * PAGE_TOKENS + 9);
        assert_eq!(cache.first(), 4 * PAGE_TOKENS);
        for range in [4 * PAGE_TOKENS..whole.tokens(), 259..260, 281..300] {
            case.check_bits(&cache, &whole, range);
        }
        // Nothing behind a cut, whether or not pages went before.
        cache.truncate(4 * PAGE_TOKENS + 3);
        case.append(&mut cache, 4 * PAGE_TOKENS + 3);
        case.check_bits(&cache, &whole, 257..whole.tokens());
        cache.truncate(0);
        assert_eq!((cache.tokens(), cache.first(), cache.bytes()), (0, 0, 0));
        case.append(&mut cache, 0);
        case.check_bits(&cache, &whole, 0..whole.tokens());
    }
}

// Where panics do not unwind, no test can expect one.
#[cfg(not(target_family = "wasm"))]
#[test]
#[should_panic(expected = "tokens 63..70")]
fn what_was_forgotten_cannot_be_attended_to() {
    let case = Case::random(4, 1, 70, &mut Random(38));
    let mut cache = case.cache(CacheType::F32);
    cache.forget(64);
    case.attend::<Scalar>(&cache, 63..70);
}

#[test]
fn scores_are_capped_before_the_softmax() {
    let mut random = Random(36);
    for soft_cap in [0.5, 3.0, 50.0] {
        let mut case = Case::random(16, 5, 70, &mut random);
        case.scoring.soft_cap = soft_cap;
        case.check(&case.cache(CacheType::F32), 3..70);
    }
}

#[test]
fn scores_far_apart_do_not_overflow() {
    let mut case = Case::random(8, 1, 5, &mut Random(33));
    case.queries.fill(1e4);
    let cache = case.cache(CacheType::F32);
    for_each_set!(S => {
        assert!(case.attend::<S>(&cache, 0..5).iter().all(|value| value.is_finite()), "{}", S::NAME);
    });
}

#[test]
fn a_cache_beyond_the_address_space_is_refused() {
    let mut cache = HeadCache::new(64, CacheType::F16);
    assert!(cache.reserve(usize::MAX).is_err());
    assert!(cache.reserve(usize::MAX / 64).is_err());
    assert_eq!(cache.tokens(), 0);
    assert!(cache.append(&[0.0; 64], &[0.0; 64]).is_ok());
}

#[test]
fn pages_come_back_as_they_were() {
    let mut random = Random(7);
    for cache_type in CacheType::ALL {
        for (head_size, tokens, first) in [(64, 130, 0), (36, 64, 0), (96, 200, 70), (4, 1, 0)] {
            let case = Case::random(head_size, 2, tokens + 5, &mut random);
            let mut cache = case.cache(cache_type);
            // What was cut off leaves nothing.
            cache.truncate(tokens);
            cache.forget(first);
            let mut copy = HeadCache::new(head_size, cache_type);
            copy.append(&vec![1.0; head_size], &vec![1.0; head_size]).expect("a small cache");
            copy.make_room(cache.first(), tokens).expect("a small cache");
            assert_eq!((copy.first(), copy.tokens()), (cache.first(), tokens));
            let page_bytes = HeadCache::bytes_of(head_size, cache_type, 1) as usize;
            for page in 0..cache.pages() {
                let mut bytes = vec![7];
                cache.save_page(page, &mut bytes);
                assert_eq!(bytes.len(), 1 + page_bytes);
                assert!(!copy.restore_page(page, &bytes));
                assert!(copy.restore_page(page, &bytes[1..]));
                let mut again = vec![7];
                copy.save_page(page, &mut again);
                assert!(again == bytes);
            }
            let range = cache.first()..tokens;
            let [one, other] =
                [&cache, &copy].map(|cache| case.attend::<Scalar>(cache, range.clone()));
            assert_eq!(bits(&one), bits(&other));
            // They go on alike.
            for cache in [&mut cache, &mut copy] {
                case.append(cache, tokens);
            }
            let range = cache.first()..tokens + 5;
            let [one, other] =
                [&cache, &copy].map(|cache| case.attend::<Scalar>(cache, range.clone()));
            assert_eq!(bits(&one), bits(&other));
            let (pages, mut bytes) = (cache.pages(), Vec::new());
            cache.save_page(pages, &mut bytes);
            assert!(bytes.is_empty() && !cache.restore_page(pages, &vec![0; page_bytes]));
        }
    }
}
