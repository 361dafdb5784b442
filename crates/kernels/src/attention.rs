//! Attention of one key-value head and the query heads that share it (grouped-query attention).

mod cache;
mod element;
mod saved;

use std::ops::Range;

pub use cache::{CacheType, HeadCache, PAGE_TOKENS};
pub use saved::PAGE_VERSION;

use crate::OutOfMemory;
use crate::arch::{Active, F32x4, Simd};
use crate::elementwise::{exp, soft_capped};
use crate::straight::unrolled;
use cache::{CHUNK_TILES, Elements, Page, Pair, Stored, TILE_TOKENS, with_stored};
use element::{BLOCK_ELEMENTS, Element, widen_halves};

/// Queries that share a loaded key or value: more sums do not stay in registers.
const BLOCK_QUERIES: usize = 4;

/// What [`add_products`] adds at a time: of a number that small the compilers know that no address
/// wraps, and add its offset in the load.
const STEPS: usize = CHUNK_TILES;

/// Where the heads of a group lie in rows of all query heads, a row for each token.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Elements from one token's row to the next one's.
    pub length: usize,
    /// The elements of the group, whole heads.
    pub group: Range<usize>,
}

/// What makes a score of the product of a query and a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scoring {
    /// Factor.
    pub scale: f32,
    /// Bound that [`soft_cap`](crate::soft_cap()) then keeps scores within; 0 for none.
    pub soft_cap: f32,
}

/// Memory for intermediate results, kept between calls.
#[derive(Debug, Default)]
pub struct AttentionScratch {
    /// Each element of the block's queries in all lanes: `[element][query]`.
    queries: Vec<[f32; 4]>,
    /// `[tile][query]`, four tokens a tile.
    scores: Vec<[f32; TILE_TOKENS]>,
    /// The scores of a page's tokens, times the scales of values: `[tile][query]`.
    scaled: Vec<[f32; TILE_TOKENS]>,
    /// `[element / 2][query][element % 2]`, each a sum for every fourth token.
    mixed: Vec<[f32; TILE_TOKENS]>,
}

/// Which tokens are attended to, in whole pairs of tiles.
#[derive(Clone, Copy)]
struct Tiles {
    first: usize,
    count: usize,
}

impl HeadCache {
    /// `out[h] = sum over t of softmax(score(query[h] . key[t])) * value[t]` for every query head `h`
    /// of the group in every row, over the cached tokens that `visible` gives for the row's number.
    ///
    /// A result does not depend on which rows are computed together.
    /// # Errors
    /// Memory for the scores does not suffice.
    /// # Panics
    /// Unless `queries` and `out` are the same number of whole rows, the group is whole heads, and
    /// each range is not empty and lies in the cache, from [`HeadCache::first`] on.
    pub fn attend(
        &self,
        queries: &[f32],
        rows: &Rows,
        visible: &dyn Fn(usize) -> Range<usize>,
        scoring: Scoring,
        scratch: &mut AttentionScratch,
        out: &mut [f32],
    ) -> Result<(), OutOfMemory> {
        self.attend_with::<Active>(queries, rows, visible, scoring, scratch, out)
    }

    pub(crate) fn attend_with<S: Simd>(
        &self,
        queries: &[f32],
        rows: &Rows,
        visible: &dyn Fn(usize) -> Range<usize>,
        scoring: Scoring,
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
            assert!(
                (self.first()..range.end).contains(&range.start) && range.end <= self.tokens(),
                "tokens {range:?}"
            );
            // Pages are whole tiles, so that what was forgotten moves no token to another lane.
            range.start - self.first()..range.end - self.first()
        };
        let mut first = 0;
        while first < count {
            let block = Block { first, place: &place, range: &range, scoring };
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
    scoring: Scoring,
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
        let first = start / (2 * TILE_TOKENS) * 2;
        let tiles = Tiles { first, count: end.div_ceil(2 * TILE_TOKENS) * 2 - first };

        let AttentionScratch { queries: splatted, scores, scaled, mixed } = scratch;
        fit(splatted, head_size * Q)?;
        fit(scores, tiles.count * Q)?;
        fit(scaled, if E::HAS_SCALES { CHUNK_TILES * Q } else { 0 })?;
        fit(mixed, head_size * Q)?;
        let (splatted, scores) = (splatted.as_chunks_mut::<Q>().0, scores.as_chunks_mut::<Q>().0);
        let scaled = scaled.as_chunks_mut::<Q>().0;
        let mixed = mixed.as_chunks_mut::<2>().0.as_chunks_mut::<Q>().0;
        for (query, place) in places.iter().enumerate() {
            for (splatted, x) in splatted.iter_mut().zip(&queries[place.clone()]) {
                splatted[query] = [*x * E::SHARE; 4];
            }
        }
        let Scoring { scale, soft_cap } = block.scoring;
        self.scores::<S, Q>(splatted, tiles, scale * E::SHARE, scores);
        if soft_cap > 0.0 {
            for scores in scores.as_flattened_mut() {
                soft_capped::<S>(S::F::load(scores), soft_cap).store(scores);
            }
        }
        let origin = first * TILE_TOKENS;
        for (query, range) in ranges.iter().enumerate() {
            for hidden in [origin..range.start, range.end..origin + tiles.count * TILE_TOKENS] {
                for token in hidden {
                    let tile = (token - origin) / TILE_TOKENS;
                    scores[tile][query][token % TILE_TOKENS] = f32::NEG_INFINITY;
                }
            }
        }
        let sums = exponentials::<S, Q>(scores, E::SHARE);
        mixed.as_flattened_mut().fill([[0.0; TILE_TOKENS]; 2]);
        self.mix::<S, Q>(scores, tiles, scaled, mixed);
        for (query, (place, sum)) in places.into_iter().zip(sums).enumerate() {
            let factor = E::SHARE / sum;
            for (mixed, out) in mixed.iter().zip(out[place].as_chunks_mut::<2>().0) {
                *out = mixed[query].map(|mixed| S::F::load(&mixed).sum() * factor);
            }
        }
        Ok(())
    }

    /// `scores[t][q] = scale * queries[q] . key[t]`.
    ///
    /// Not inlined, like [`Stored::mix`]: in a function of their own the sums get the registers.
    #[inline(never)]
    fn scores<S: Simd, const Q: usize>(
        &self,
        queries: &[[[f32; 4]; Q]],
        tiles: Tiles,
        scale: f32,
        scores: &mut [[[f32; TILE_TOKENS]; Q]],
    ) {
        let scale = S::F::splat(scale);
        let mut rest = scores;
        let mut first = tiles.first % CHUNK_TILES;
        for page in &self.pages[tiles.first / CHUNK_TILES..] {
            let (chunk, more) = rest.split_at_mut(rest.len().min(CHUNK_TILES - first));
            if E::HAS_SCALES {
                page.scaled_scores::<S, Q>(queries, first / 2, scale, chunk);
            } else {
                page.scores::<S, Q>(queries, first / 2, scale, chunk);
            }
            (rest, first) = (more, 0);
        }
    }

    /// `sums[e][q] += weights[t][q] * value[t][e]` for every fourth token `t`.
    #[inline(never)]
    fn mix<S: Simd, const Q: usize>(
        &self,
        mut weights: &[[[f32; TILE_TOKENS]; Q]],
        tiles: Tiles,
        scaled: &mut [[[f32; TILE_TOKENS]; Q]],
        sums: &mut [[[[f32; TILE_TOKENS]; 2]; Q]],
    ) {
        let mut first = tiles.first % CHUNK_TILES;
        for page in &self.pages[tiles.first / CHUNK_TILES..] {
            let (chunk, rest) = weights.split_at(weights.len().min(CHUNK_TILES - first));
            if E::HAS_SCALES {
                page.scaled_mix::<S, Q>(chunk, first, scaled, sums);
            } else {
                mix::<S, E, Q>(&page.values, chunk, first, sums);
            }
            (weights, first) = (rest, 0);
        }
    }
}

impl<E: Element> Page<E> {
    /// Scores of the tokens from a pair of tiles on.
    #[inline(always)]
    fn scores<S: Simd, const Q: usize>(
        &self,
        queries: &[[[f32; 4]; Q]],
        first_pair: usize,
        scale: S::F,
        scores: &mut [[[f32; TILE_TOKENS]; Q]],
    ) {
        let keys = self.keys.chunks_exact(queries.len()).skip(first_pair);
        for (scores, keys) in scores.as_chunks_mut::<2>().0.iter_mut().zip(keys) {
            let mut sums = [[S::F::splat(0.0); 2]; Q];
            for (keys, queries) in keys.chunks(STEPS).zip(queries.chunks(STEPS)) {
                sums = add_products::<S, E, Q>(keys, queries, sums);
            }
            for (query, sums) in sums.into_iter().enumerate() {
                for (scores, sum) in scores.iter_mut().zip(sums) {
                    (sum * scale).store(&mut scores[query]);
                }
            }
        }
    }

    /// The same where elements have scales: the sum of a block is multiplied with its own.
    #[inline(always)]
    fn scaled_scores<S: Simd, const Q: usize>(
        &self,
        queries: &[[[f32; 4]; Q]],
        first_pair: usize,
        scale: S::F,
        scores: &mut [[[f32; TILE_TOKENS]; Q]],
    ) {
        let blocks = queries.len().div_ceil(BLOCK_ELEMENTS);
        let scales = self.key_scales.chunks_exact(blocks);
        let keys = self.keys.chunks_exact(queries.len()).zip(scales).skip(first_pair);
        for (scores, (keys, scales)) in scores.as_chunks_mut::<2>().0.iter_mut().zip(keys) {
            scores.as_flattened_mut().fill([0.0; TILE_TOKENS]);
            let queries = queries.chunks(BLOCK_ELEMENTS);
            let blocks = keys.chunks(BLOCK_ELEMENTS).zip(queries).zip(scales);
            for ((keys, queries), scales) in blocks {
                let mut sums = [[S::F::splat(0.0); 2]; Q];
                for (keys, queries) in keys.chunks(STEPS).zip(queries.chunks(STEPS)) {
                    sums = add_products::<S, E, Q>(keys, queries, sums);
                }
                for (scores, (tile, scales)) in scores.iter_mut().zip(scales.iter().enumerate()) {
                    let scales = widen_halves::<S>(scales) * scale;
                    for (score, sums) in scores.iter_mut().zip(sums) {
                        S::mul_add(sums[tile], scales, S::F::load(score)).store(score);
                    }
                }
            }
        }
    }

    /// [`mix`] where elements have scales: weights are multiplied with each block's.
    #[inline(always)]
    fn scaled_mix<S: Simd, const Q: usize>(
        &self,
        weights: &[[[f32; TILE_TOKENS]; Q]],
        first: usize,
        scaled: &mut [[[f32; TILE_TOKENS]; Q]],
        sums: &mut [[[[f32; TILE_TOKENS]; 2]; Q]],
    ) {
        let scaled = &mut scaled[..weights.len()];
        let values = self.values.chunks(BLOCK_ELEMENTS / 2 * CHUNK_TILES);
        let blocks = values.zip(sums.chunks_mut(BLOCK_ELEMENTS / 2));
        for ((values, sums), scales) in blocks.zip(self.value_scales.chunks_exact(CHUNK_TILES)) {
            let places = scaled.iter_mut().zip(weights);
            for ((scaled, weights), scales) in places.zip(&scales[first..]) {
                let scales = widen_halves::<S>(scales);
                for (scaled, weights) in scaled.iter_mut().zip(weights) {
                    (S::F::load(weights) * scales).store(scaled);
                }
            }
            mix::<S, E, Q>(values, scaled, first, sums);
        }
    }
}

/// `sums[e][q] += weights[t][q] * value[t][e]` for every fourth token `t` of a page from a tile on.
#[inline(always)]
fn mix<S: Simd, E: Element, const Q: usize>(
    values: &[Pair<E>],
    weights: &[[[f32; TILE_TOKENS]; Q]],
    first: usize,
    sums: &mut [[[[f32; TILE_TOKENS]; 2]; Q]],
) {
    for (values, sums) in values.chunks_exact(CHUNK_TILES).zip(sums) {
        let before =
            std::array::from_fn(|query| [S::F::load(&sums[query][0]), S::F::load(&sums[query][1])]);
        let after = add_products::<S, E, Q>(&values[first..], weights, before);
        for (after, sums) in after.into_iter().zip(sums) {
            after[0].store(&mut sums[0]);
            after[1].store(&mut sums[1]);
        }
    }
}

/// `sums[q][i] += pairs[k][i] * x[k][q]`, for all `k`.
///
/// The order of the factors matters: the first one's register becomes the sum's, and must be
/// copied before if it is needed later.
#[inline(always)]
fn add_products<S: Simd, E: Element, const Q: usize>(
    pairs: &[Pair<E>],
    x: &[[[f32; 4]; Q]],
    mut sums: [[S::F; 2]; Q],
) -> [[S::F; 2]; Q] {
    unrolled!((pair, x) in pairs.iter().zip(x) => {
        let [first, second] = E::widen::<S>(pair);
        for query in 0..Q {
            let x = S::F::load(&x[query]);
            sums[query][0] = S::mul_add(first, x, sums[query][0]);
            sums[query][1] = S::mul_add(x, second, sums[query][1]);
        }
    });
    sums
}

/// Makes scores exponentials of their distance to the largest of their query, times `share`;
/// returns the sums of the exponentials.
fn exponentials<S: Simd, const Q: usize>(
    scores: &mut [[[f32; TILE_TOKENS]; Q]],
    share: f32,
) -> [f32; Q] {
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
            (e * S::F::splat(share)).store(&mut scores[query]);
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
