//! Attention of one key-value head and the query heads that share it (grouped-query attention).

mod cache;
mod element;

use std::ops::Range;

pub use cache::{CacheType, HeadCache};

use crate::OutOfMemory;
use crate::arch::{Active, F32x4, Simd};
use crate::elementwise::exp;
use crate::straight::{straight, unrolled};
use cache::{Elements, Stored, TILE_TOKENS, with_stored};
use element::Element;

/// Tokens whose values stay in the first-level cache while all of their columns are summed.
const VALUE_TILES: usize = 16;

/// Queries that share a loaded key or value: more sums do not stay in registers.
const BLOCK_QUERIES: usize = 4;

/// Where the heads of a group lie in rows of all query heads, a row for each token.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Elements from one token's row to the next one's.
    pub length: usize,
    /// The elements of the group, whole heads.
    pub group: Range<usize>,
}

/// Memory for intermediate results, kept between calls.
#[derive(Debug, Default)]
pub struct AttentionScratch {
    /// Each element of the block's queries in all lanes: `[element][query]`.
    queries: Vec<[f32; 4]>,
    /// `[tile][query]`, four tokens a tile.
    scores: Vec<[f32; TILE_TOKENS]>,
    /// `[query][element]`.
    mixed: Vec<[f32; 4]>,
}

/// Which tokens are attended to, in whole tiles.
#[derive(Clone, Copy)]
struct Tiles {
    first: usize,
    count: usize,
}

impl HeadCache {
    /// `out[h] = sum over t of softmax(scale * query[h] . key[t]) * value[t]` for every query head
    /// `h` of the group in every row, over the cached tokens that `visible` gives for the row's
    /// number.
    ///
    /// A result does not depend on which rows are computed together.
    /// # Errors
    /// Memory for the scores does not suffice.
    /// # Panics
    /// Unless `queries` and `out` are the same number of whole rows, the group is whole heads, and
    /// each range is not empty and lies in the cache.
    pub fn attend(
        &self,
        queries: &[f32],
        rows: &Rows,
        visible: &dyn Fn(usize) -> Range<usize>,
        scale: f32,
        scratch: &mut AttentionScratch,
        out: &mut [f32],
    ) -> Result<(), OutOfMemory> {
        self.attend_with::<Active>(queries, rows, visible, scale, scratch, out)
    }

    pub(crate) fn attend_with<S: Simd>(
        &self,
        queries: &[f32],
        rows: &Rows,
        visible: &dyn Fn(usize) -> Range<usize>,
        scale: f32,
        scratch: &mut AttentionScratch,
        out: &mut [f32],
    ) -> Result<(), OutOfMemory> {
        let heads = rows.group.len() / self.head_size;
        assert!(
            heads * self.head_size == rows.group.len() && rows.group.end <= rows.length,
            "whole heads of {} in {rows:?}",
            self.head_size
        );
        assert!(
            queries.len() == out.len() && queries.len().is_multiple_of(rows.length),
            "{} queries and {} results in {rows:?}",
            queries.len(),
            out.len()
        );
        let count = queries.len() / rows.length * heads;
        let place = |query: usize| {
            let start =
                query / heads * rows.length + rows.group.start + query % heads * self.head_size;
            start..start + self.head_size
        };
        let range = |query: usize| {
            let range = visible(query / heads);
            assert!(range.start < range.end && range.end <= self.tokens(), "tokens {range:?}");
            range
        };
        let mut first = 0;
        while first < count {
            let block = Block { first, place: &place, range: &range, scale };
            let size = (count - first).min(BLOCK_QUERIES);
            with_stored!(&self.elements, stored => match size {
                1 => stored.attend::<S, 1>(self.head_size, &block, queries, scratch, out)?,
                2 => stored.attend::<S, 2>(self.head_size, &block, queries, scratch, out)?,
                3 => stored.attend::<S, 3>(self.head_size, &block, queries, scratch, out)?,
                _ => stored.attend::<S, 4>(self.head_size, &block, queries, scratch, out)?,
            });
            first += size;
        }
        Ok(())
    }
}

/// Consecutive queries.
struct Block<'a> {
    first: usize,
    /// Where a query, and its result, lies.
    place: &'a dyn Fn(usize) -> Range<usize>,
    /// What a query attends to.
    range: &'a dyn Fn(usize) -> Range<usize>,
    scale: f32,
}

impl<E: Element> Stored<E> {
    /// Attention of Q queries.
    fn attend<S: Simd, const Q: usize>(
        &self,
        head_size: usize,
        block: &Block<'_>,
        queries: &[f32],
        scratch: &mut AttentionScratch,
        out: &mut [f32],
    ) -> Result<(), OutOfMemory> {
        let places: [_; Q] = std::array::from_fn(|query| (block.place)(block.first + query));
        let ranges: [_; Q] = std::array::from_fn(|query| (block.range)(block.first + query));
        let start = ranges.iter().map(|range| range.start).min().unwrap_or(0);
        let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        let first = start / TILE_TOKENS;
        let tiles = Tiles { first, count: end.div_ceil(TILE_TOKENS) - first };

        let AttentionScratch { queries: splatted, scores, mixed } = scratch;
        fit(splatted, head_size * Q)?;
        fit(scores, tiles.count * Q)?;
        fit(mixed, head_size / 4 * Q)?;
        let (splatted, scores) = (splatted.as_chunks_mut::<Q>().0, scores.as_chunks_mut::<Q>().0);
        for (query, place) in places.iter().enumerate() {
            for (splatted, x) in splatted.iter_mut().zip(&queries[place.clone()]) {
                splatted[query] = [*x * E::SHARE; 4];
            }
        }
        self.scores::<S, Q>(splatted, tiles, block.scale * E::SHARE, scores);
        let origin = first * TILE_TOKENS;
        for (query, range) in ranges.iter().enumerate() {
            for hidden in [origin..range.start, range.end..origin + tiles.count * TILE_TOKENS] {
                for token in hidden {
                    let tile = (token - origin) / TILE_TOKENS;
                    scores[tile][query][token % TILE_TOKENS] = f32::NEG_INFINITY;
                }
            }
        }
        let sums = exponentials::<S, Q>(scores);
        mixed.fill([0.0; 4]);
        self.mix::<S, Q>(head_size, scores, tiles, mixed);
        let results = mixed.chunks_exact(head_size / 4).zip(sums);
        for ((mixed, sum), place) in results.zip(places) {
            let factor = S::F::splat(E::SHARE / sum);
            for (mixed, out) in mixed.iter().zip(out[place].as_chunks_mut::<4>().0) {
                (S::F::load(mixed) * factor).store(out);
            }
        }
        Ok(())
    }

    /// `scores[t][q] = scale * queries[q] . key[t]`.
    fn scores<S: Simd, const Q: usize>(
        &self,
        queries: &[[[f32; 4]; Q]],
        tiles: Tiles,
        scale: f32,
        scores: &mut [[[f32; TILE_TOKENS]; Q]],
    ) {
        let size = queries.len();
        let scale = S::F::splat(scale);
        let keys = &self.keys[tiles.first * size..][..tiles.count * size];
        // Two tiles at a time: with one, each sum would wait for itself.
        let (pairs, last) = scores.as_chunks_mut::<2>();
        let mut keys = keys.chunks_exact(2 * size);
        for (scores, keys) in pairs.iter_mut().zip(&mut keys) {
            let (first, second) = keys.split_at(size);
            let mut sums = [[S::F::splat(0.0); Q]; 2];
            unrolled!(((first, second), queries) in first.iter().zip(second).zip(queries) => {
                let keys = [E::widen::<S>(first), E::widen::<S>(second)];
                for query in 0..Q {
                    let x = S::F::load(&queries[query]);
                    sums[0][query] = S::mul_add(keys[0], x, sums[0][query]);
                    sums[1][query] = S::mul_add(keys[1], x, sums[1][query]);
                }
            });
            for (scores, sums) in scores.iter_mut().zip(sums) {
                for (scores, sum) in scores.iter_mut().zip(sums) {
                    (sum * scale).store(scores);
                }
            }
        }
        for scores in last {
            let mut sums = [S::F::splat(0.0); Q];
            unrolled!((key, queries) in keys.remainder().iter().zip(queries) => {
                let key = E::widen::<S>(key);
                for query in 0..Q {
                    sums[query] = S::mul_add(key, S::F::load(&queries[query]), sums[query]);
                }
            });
            for (scores, sum) in scores.iter_mut().zip(sums) {
                (sum * scale).store(scores);
            }
        }
    }

    /// `out[q] = sum over t of weights[t][q] * value[t]`.
    fn mix<S: Simd, const Q: usize>(
        &self,
        head_size: usize,
        weights: &[[[f32; TILE_TOKENS]; Q]],
        tiles: Tiles,
        out: &mut [[f32; 4]],
    ) {
        let vectors = head_size / 4;
        let values = &self.values[tiles.first * vectors..][..tiles.count * vectors];
        for (weights, values) in
            weights.chunks(VALUE_TILES).zip(values.chunks(VALUE_TILES * vectors))
        {
            let mut vector = 0;
            while vector + 2 <= vectors {
                mix_columns::<S, E, Q, 2>(values, weights, vector, out);
                vector += 2;
            }
            if vector < vectors {
                mix_columns::<S, E, Q, 1>(values, weights, vector, out);
            }
        }
    }
}

/// Adds tiles' values in W vectors of columns.
#[inline(always)]
fn mix_columns<S: Simd, E: Element, const Q: usize, const W: usize>(
    values: &[[[E; 4]; TILE_TOKENS]],
    weights: &[[[f32; TILE_TOKENS]; Q]],
    vector: usize,
    out: &mut [[f32; 4]],
) {
    let vectors = out.len() / Q;
    let mut sums: [[S::F; W]; Q] = std::array::from_fn(|query| {
        std::array::from_fn(|i| S::F::load(&out[query * vectors + vector + i]))
    });
    unrolled!((weights, values) in weights.iter().zip(values.chunks_exact(vectors)) => {
        let values = &values[vector..][..W];
        let share = S::F::splat(E::SHARE);
        let weights: [S::F; Q] = std::array::from_fn(|query| {
            let weights = S::F::load(&weights[query]);
            if E::SHARE == 1.0 { weights } else { weights * share }
        });
        straight!(TILE_TOKENS, token => {
            let values: [S::F; W] = std::array::from_fn(|i| E::widen::<S>(&values[i][token]));
            for query in 0..Q {
                let weight = weights[query].splat_lane(token);
                for i in 0..W {
                    sums[query][i] = S::mul_add(values[i], weight, sums[query][i]);
                }
            }
        });
    });
    for (query, sums) in sums.into_iter().enumerate() {
        for (i, sum) in sums.into_iter().enumerate() {
            sum.store(&mut out[query * vectors + vector + i]);
        }
    }
}

/// Makes scores exponentials of their distance to the largest of their query; returns the sums.
fn exponentials<S: Simd, const Q: usize>(scores: &mut [[[f32; TILE_TOKENS]; Q]]) -> [f32; Q] {
    let mut largest = [S::F::splat(f32::NEG_INFINITY); Q];
    unrolled!(scores in scores.iter() => {
        for query in 0..Q {
            largest[query] = largest[query].or_larger(S::F::load(&scores[query]));
        }
    });
    let largest = largest.map(|largest| S::F::splat(largest.largest()));
    let mut sums = [S::F::splat(0.0); Q];
    for scores in scores {
        for query in 0..Q {
            let e = exp::<S>(S::F::load(&scores[query]) - largest[query]);
            e.store(&mut scores[query]);
            sums[query] = sums[query] + e;
        }
    }
    sums.map(|sum| sum.sum())
}

/// Makes a buffer `length` long; what it holds does not matter.
fn fit(buffer: &mut Vec<[f32; 4]>, length: usize) -> Result<(), OutOfMemory> {
    let missing = length.saturating_sub(buffer.len());
    buffer
        .try_reserve(missing)
        .map_err(|_| OutOfMemory(length.saturating_mul(size_of::<[f32; 4]>())))?;
    buffer.resize(length, [0.0; 4]);
    Ok(())
}
