//! Attention of one key-value head and the query heads that share it (grouped-query attention).

use std::ops::Range;

use crate::OutOfMemory;
use crate::arch::{Active, F32x4, Simd};
use crate::elementwise::exp_from_largest;

/// Tokens whose values stay in the first-level cache while all of their columns are summed.
const VALUE_TOKENS: usize = 64;

/// Tokens side by side in the keys.
const TILE_TOKENS: usize = 4;

/// How keys and values are stored.
pub trait CacheElement: private::Element {}

impl CacheElement for f32 {}

mod private {
    use crate::arch::{F32x4, Simd};

    pub trait Element: Copy + Default {
        fn narrow(value: f32) -> Self;
        #[allow(private_interfaces, private_bounds)]
        fn widen<S: Simd>(values: &[Self; 4]) -> S::F;
    }

    impl Element for f32 {
        #[inline(always)]
        fn narrow(value: f32) -> f32 {
            value
        }
        #[inline(always)]
        #[allow(private_interfaces, private_bounds)]
        fn widen<S: Simd>(values: &[f32; 4]) -> S::F {
            S::F::load(values)
        }
    }
}

/// Keys and values of one head, in one layer, for one sequence.
#[derive(Debug, Clone)]
pub struct HeadCache<E: CacheElement = f32> {
    head_size: usize,
    tokens: usize,
    /// `[token / 4][element][token % 4]`: scores of four tokens are the lanes of a vector.
    keys: Vec<[E; TILE_TOKENS]>,
    /// `[token][element]`.
    values: Vec<[E; 4]>,
}

/// Memory for scores, kept between calls.
#[derive(Debug, Default)]
pub struct AttentionScratch {
    /// Of each query head, by token.
    scores: Vec<[f32; TILE_TOKENS]>,
}

/// Which tokens a query attends to, in whole tiles.
#[derive(Clone, Copy)]
struct Tiles {
    first: usize,
    count: usize,
}

impl<E: CacheElement> HeadCache<E> {
    /// An empty cache.
    /// # Panics
    /// Unless `head_size` is a multiple of 4.
    pub fn new(head_size: usize) -> Self {
        assert!(head_size > 0 && head_size.is_multiple_of(4), "heads of {head_size}");
        Self { head_size, tokens: 0, keys: Vec::new(), values: Vec::new() }
    }

    /// Tokens in the cache.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        (self.keys.capacity() + self.values.capacity()) * size_of::<[E; 4]>()
    }

    /// Makes room for so many tokens altogether.
    /// # Errors
    /// Memory does not suffice; the cache is as before.
    pub fn reserve(&mut self, tokens: usize) -> Result<(), OutOfMemory> {
        let reserve = |vectors: &mut Vec<[E; 4]>, count: Option<usize>| {
            let count = count.ok_or(OutOfMemory(usize::MAX))?;
            vectors
                .try_reserve(count.saturating_sub(vectors.len()))
                .map_err(|_| OutOfMemory(count.saturating_mul(size_of::<[E; 4]>())))
        };
        let tiles = tokens.div_ceil(TILE_TOKENS);
        reserve(&mut self.keys, tiles.checked_mul(self.head_size))?;
        reserve(&mut self.values, tokens.checked_mul(self.head_size / 4))
    }

    /// Appends one token.
    /// # Errors
    /// Memory does not suffice; the cache is as before.
    /// # Panics
    /// Unless both have the head's size.
    pub fn append(&mut self, key: &[f32], value: &[f32]) -> Result<(), OutOfMemory> {
        assert!(key.len() == self.head_size && value.len() == self.head_size, "the head's size");
        self.reserve(self.tokens + 1)?;
        let (tile, lane) = (self.tokens / TILE_TOKENS, self.tokens % TILE_TOKENS);
        self.keys.resize((tile + 1) * self.head_size, [E::default(); TILE_TOKENS]);
        for (place, key) in self.keys[tile * self.head_size..].iter_mut().zip(key) {
            place[lane] = E::narrow(*key);
        }
        self.values.extend(value.as_chunks::<4>().0.iter().map(|value| value.map(E::narrow)));
        self.tokens += 1;
        Ok(())
    }

    /// Forgets the tokens behind the first `tokens`. Keeps the memory.
    pub fn truncate(&mut self, tokens: usize) {
        self.tokens = self.tokens.min(tokens);
        self.keys.truncate(self.tokens.div_ceil(TILE_TOKENS) * self.head_size);
        self.values.truncate(self.tokens * (self.head_size / 4));
    }

    /// `out[h] = sum over t of softmax(scale * queries[h] . key[t]) * value[t]` for the tokens
    /// in `range` and every query head of the group, each of the head's size.
    /// # Errors
    /// Memory for the scores does not suffice.
    /// # Panics
    /// Unless `queries` and `out` are the same number of heads, and `range` is not empty and
    /// lies in the cache.
    pub fn attend(
        &self,
        queries: &[f32],
        range: Range<usize>,
        scale: f32,
        scratch: &mut AttentionScratch,
        out: &mut [f32],
    ) -> Result<(), OutOfMemory> {
        self.attend_with::<Active>(queries, range, scale, scratch, out)
    }

    #[allow(private_bounds)]
    pub(crate) fn attend_with<S: Simd>(
        &self,
        queries: &[f32],
        range: Range<usize>,
        scale: f32,
        scratch: &mut AttentionScratch,
        out: &mut [f32],
    ) -> Result<(), OutOfMemory> {
        assert!(queries.len().is_multiple_of(self.head_size), "heads of {}", self.head_size);
        assert!(queries.len() == out.len(), "as many results as queries");
        assert!(range.start < range.end && range.end <= self.tokens, "tokens {range:?}");
        let mut start = 0;
        while start < queries.len() {
            // A key or value that is loaded serves so many heads as there are registers for.
            let heads = ((queries.len() - start) / self.head_size).min(4);
            let end = start + heads * self.head_size;
            let (queries, out) = (&queries[start..end], &mut out[start..end]);
            let range = range.clone();
            match heads {
                1 => self.heads::<S, 1>(queries, range, scale, scratch, out)?,
                2 => self.heads::<S, 2>(queries, range, scale, scratch, out)?,
                3 => self.heads::<S, 3>(queries, range, scale, scratch, out)?,
                _ => self.heads::<S, 4>(queries, range, scale, scratch, out)?,
            }
            start = end;
        }
        Ok(())
    }

    fn heads<S: Simd, const H: usize>(
        &self,
        queries: &[f32],
        range: Range<usize>,
        scale: f32,
        scratch: &mut AttentionScratch,
        out: &mut [f32],
    ) -> Result<(), OutOfMemory> {
        let first = range.start / TILE_TOKENS;
        let tiles = Tiles { first, count: range.end.div_ceil(TILE_TOKENS) - first };
        let scores = scratch.scores(tiles.count * H)?;
        self.scores::<S, H>(queries, tiles, scale, scores);
        let mut inverses = [0.0; H];
        for (scores, inverse) in scores.chunks_exact_mut(tiles.count).zip(&mut inverses) {
            let scores = scores.as_flattened_mut();
            let origin = tiles.first * TILE_TOKENS;
            scores[..range.start - origin].fill(f32::NEG_INFINITY);
            scores[range.end - origin..].fill(f32::NEG_INFINITY);
            *inverse = 1.0 / exp_from_largest::<S>(scores);
        }
        self.mix::<S, H>(scores.as_flattened(), tiles, range, out);
        for (out, inverse) in out.chunks_exact_mut(self.head_size).zip(inverses) {
            for vector in out.as_chunks_mut::<4>().0 {
                (S::F::load(vector) * S::F::splat(inverse)).store(vector);
            }
        }
        Ok(())
    }

    /// `scores[h][t] = scale * queries[h] . key[t]`.
    fn scores<S: Simd, const H: usize>(
        &self,
        queries: &[f32],
        tiles: Tiles,
        scale: f32,
        scores: &mut [[f32; TILE_TOKENS]],
    ) {
        let size = self.head_size;
        let queries: [&[f32]; H] = std::array::from_fn(|head| &queries[head * size..][..size]);
        let keys = &self.keys[tiles.first * size..][..tiles.count * size];
        let mut put = |tile: usize, sums: [S::F; H]| {
            for (head, sum) in sums.into_iter().enumerate() {
                (sum * S::F::splat(scale)).store(&mut scores[head * tiles.count + tile]);
            }
        };
        // Two tiles at a time: with one, each sum would wait for itself.
        let pairs = keys.chunks_exact(2 * size);
        let last = pairs.remainder();
        for (pair, keys) in pairs.enumerate() {
            let (first, second) = keys.split_at(size);
            let [first, second] = products::<S, E, H, 2>([first, second], queries);
            put(2 * pair, first);
            put(2 * pair + 1, second);
        }
        if !last.is_empty() {
            let [last] = products::<S, E, H, 1>([last], queries);
            put(tiles.count - 1, last);
        }
    }

    /// `out[h] = sum over t of weights[h][t] * value[t]`.
    fn mix<S: Simd, const H: usize>(
        &self,
        weights: &[f32],
        tiles: Tiles,
        range: Range<usize>,
        out: &mut [f32],
    ) {
        out.fill(0.0);
        let vectors = self.head_size / 4;
        let origin = tiles.first * TILE_TOKENS;
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + VALUE_TOKENS);
            let weights: [&[f32]; H] = std::array::from_fn(|head| {
                &weights[head * tiles.count * TILE_TOKENS..][start - origin..end - origin]
            });
            let values = &self.values[start * vectors..end * vectors];
            let mut vector = 0;
            while vector + 2 <= vectors {
                self.mix_columns::<S, H, 2>(values, weights, vector, out);
                vector += 2;
            }
            if vector < vectors {
                self.mix_columns::<S, H, 1>(values, weights, vector, out);
            }
            start = end;
        }
    }

    /// Adds some tokens' values in W vectors of columns.
    #[inline(always)]
    fn mix_columns<S: Simd, const H: usize, const W: usize>(
        &self,
        values: &[[E; 4]],
        weights: [&[f32]; H],
        vector: usize,
        out: &mut [f32],
    ) {
        let vectors = self.head_size / 4;
        let out = out.as_chunks_mut::<4>().0;
        let mut sums: [[S::F; W]; H] = std::array::from_fn(|head| {
            std::array::from_fn(|i| S::F::load(&out[head * vectors + vector + i]))
        });
        let weights = weights.map(|weights| &weights[..values.len() / vectors]);
        for (token, values) in values.chunks_exact(vectors).enumerate() {
            let values: [S::F; W] =
                std::array::from_fn(|i| E::widen::<S>(&values[vector..][..W][i]));
            for head in 0..H {
                let weight = S::F::splat(weights[head][token]);
                for i in 0..W {
                    sums[head][i] = S::mul_add(values[i], weight, sums[head][i]);
                }
            }
        }
        for (head, sums) in sums.into_iter().enumerate() {
            for (i, sum) in sums.into_iter().enumerate() {
                sum.store(&mut out[head * vectors + vector + i]);
            }
        }
    }
}

/// Products of T tiles of keys with H queries.
#[inline(always)]
fn products<S: Simd, E: CacheElement, const H: usize, const T: usize>(
    keys: [&[[E; TILE_TOKENS]]; T],
    queries: [&[f32]; H],
) -> [[S::F; H]; T] {
    let mut sums = [[S::F::splat(0.0); H]; T];
    let size = queries[0].len();
    let keys = keys.map(|keys| &keys[..size]);
    let queries = queries.map(|query| &query[..size]);
    for element in 0..size {
        for head in 0..H {
            let query = S::F::splat(queries[head][element]);
            for tile in 0..T {
                let key = E::widen::<S>(&keys[tile][element]);
                sums[tile][head] = S::mul_add(key, query, sums[tile][head]);
            }
        }
    }
    sums
}

impl AttentionScratch {
    fn scores(&mut self, vectors: usize) -> Result<&mut [[f32; TILE_TOKENS]], OutOfMemory> {
        let missing = vectors.saturating_sub(self.scores.len());
        self.scores
            .try_reserve(missing)
            .map_err(|_| OutOfMemory(vectors.saturating_mul(size_of::<[f32; TILE_TOKENS]>())))?;
        if missing > 0 {
            self.scores.resize(vectors, [0.0; TILE_TOKENS]);
        }
        Ok(&mut self.scores[..vectors])
    }
}
