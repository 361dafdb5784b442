//! Matrix times vectors. Every output is summed over the columns in ascending order, whatever
//! the number of tokens and wherever its row lies: batching and splitting change no bit.

use std::hint::black_box;
use std::marker::PhantomData;

use crate::activations::{Activations, BlockScale};
use crate::arch::{Dot, F32x4, I32x4, Simd};
use crate::formats::{BLOCK_COLUMNS, Floating, GROUP_ROWS, Quantised, SCALE_SHARE, Scales};

/// Where the outputs of a group go.
pub(crate) struct Output<'a> {
    /// Token by token.
    values: &'a mut [f32],
    rows: usize,
    /// What the sums still have to be multiplied with.
    factor: f32,
}

impl<'a> Output<'a> {
    pub(crate) fn new(values: &'a mut [f32], rows: usize) -> Self {
        Self { values, rows, factor: SCALE_SHARE }
    }

    #[inline(always)]
    fn put<F: F32x4, const N: usize>(&mut self, token: usize, group: usize, sums: [[F; 4]; N]) {
        let first = group * GROUP_ROWS;
        let count = GROUP_ROWS.min(self.rows - first);
        for (n, sums) in sums.iter().enumerate() {
            let values = &mut self.values[(token + n) * self.rows + first..][..count];
            if let ([a, b, c, d], []) = values.as_chunks_mut::<4>() {
                for (sum, values) in sums.iter().zip([a, b, c, d]) {
                    (*sum * F::splat(self.factor)).store(values);
                }
            } else {
                let mut lanes = [[0.0; 4]; 4];
                for (sum, lanes) in sums.iter().zip(&mut lanes) {
                    (*sum * F::splat(self.factor)).store(lanes);
                }
                values.copy_from_slice(&lanes.as_flattened()[..count]);
            }
        }
    }

    fn tokens(&self) -> usize {
        self.values.len() / self.rows
    }
}

/// Bytes of a group's unpacked weights for each of its blocks.
const PANEL_BYTES: usize = GROUP_ROWS * BLOCK_COLUMNS;

/// A group of rows, ready for many tokens.
#[derive(Default)]
struct Panel {
    /// Of each [`Quantised::SCALE_COLUMNS`], times 2^-112.
    scales: Vec<[[f32; 4]; 4]>,
    /// Of each block, times 2^-112.
    minima: Vec<[[f32; 4]; 4]>,
    weights: Vec<u8>,
}

impl Panel {
    fn fill<S: Simd, Q: Quantised>(&mut self, group: &[u8]) {
        let blocks = group.len() / Q::TILE_BYTES * Tile::<Q>::BLOCKS;
        self.scales.resize(blocks * Tile::<Q>::PARTS, [[0.0; 4]; 4]);
        self.minima.resize(if Q::HAS_MINIMUM { blocks } else { 0 }, [[0.0; 4]; 4]);
        self.weights.resize(blocks * PANEL_BYTES, 0);
        for (index, tile) in group.chunks_exact(Q::TILE_BYTES).enumerate() {
            let (header, packed) = tile.split_at(Q::HEADER_BYTES);
            let first = index * Tile::<Q>::BLOCKS;
            let from = Q::scales::<S>(header);
            let parts = Tile::<Q>::BLOCKS * Tile::<Q>::PARTS;
            let scales = &mut self.scales[first * Tile::<Q>::PARTS..][..parts];
            for (part, scales) in scales.iter_mut().enumerate() {
                for (vector, scales) in scales.iter_mut().enumerate() {
                    from.scale(part, vector).store(scales);
                }
            }
            for (block, minima) in self.minima.iter_mut().skip(first).enumerate() {
                if block == Tile::<Q>::BLOCKS {
                    break;
                }
                for (vector, minima) in minima.iter_mut().enumerate() {
                    from.minimum(block, vector).store(minima);
                }
            }
            let weights = self.weights[first * PANEL_BYTES..].chunks_exact_mut(PANEL_BYTES);
            for (packed, weights) in packed.chunks_exact(Tile::<Q>::BODY_BYTES).zip(weights) {
                Q::unpack::<S>(packed, weights);
            }
        }
    }
}

/// Sizes that follow from a format.
struct Tile<Q>(PhantomData<Q>);

impl<Q: Quantised> Tile<Q> {
    /// Blocks of 32 columns.
    const BLOCKS: usize = Q::BLOCK_COLUMNS / BLOCK_COLUMNS;
    /// Bytes of a block's packed weights.
    const BODY_BYTES: usize = (Q::TILE_BYTES - Q::HEADER_BYTES) / Self::BLOCKS;
    /// Parts of a block with a scale of their own.
    const PARTS: usize = BLOCK_COLUMNS / Q::SCALE_COLUMNS;
}

/// A tile of a [`Panel`].
struct PanelScales<'a> {
    scales: &'a [[[f32; 4]; 4]],
    minima: &'a [[[f32; 4]; 4]],
}

impl<S: Simd> Scales<S> for PanelScales<'_> {
    #[inline(always)]
    fn scale(&self, part: usize, vector: usize) -> S::F {
        S::F::load(&self.scales[part][vector])
    }
    #[inline(always)]
    fn minimum(&self, block: usize, vector: usize) -> S::F {
        S::F::load(&self.minima[block][vector])
    }
}

/// Multiplies with a matrix of blocks with scales.
pub(crate) fn quantised<S: Simd, Q: Quantised>(
    matrix: &[u8],
    activations: &Activations,
    mut out: Output<'_>,
) {
    let tokens = out.tokens();
    let paired = |pairs: bool| if pairs { tokens - tokens % 2 } else { 0 };
    let groups = matrix.chunks_exact(activations.blocks / Tile::<Q>::BLOCKS * Q::TILE_BYTES);
    if tokens < S::PANEL_TOKENS_MIN || !Q::UNPACKS {
        let x = Tokens::<Q::Packed<S>>::new::<Q>(activations);
        let paired = paired(<Q::Packed<S> as Dot>::PAIRS_TOKENS);
        for (group, bytes) in groups.enumerate() {
            for token in (0..paired).step_by(2) {
                out.put(token, group, x.times_packed::<S, Q, 2>(bytes, token));
            }
            for token in paired..tokens {
                out.put(token, group, x.times_packed::<S, Q, 1>(bytes, token));
            }
        }
        return;
    }
    let mut panel = Panel::default();
    let x = Tokens::<Q::Panel<S>>::new::<Q>(activations);
    let paired = paired(<Q::Panel<S> as Dot>::PAIRS_TOKENS);
    for (group, bytes) in groups.enumerate() {
        panel.fill::<S, Q>(bytes);
        for token in (0..paired).step_by(2) {
            out.put(token, group, x.times_panel::<S, Q, 2>(&panel, token));
        }
        for token in paired..tokens {
            out.put(token, group, x.times_panel::<S, Q, 1>(&panel, token));
        }
    }
}

/// The activations as `D` takes them.
struct Tokens<'a, D: Dot> {
    x: &'a [D::X],
    scales: &'a [BlockScale],
    /// Blocks of a token.
    blocks: usize,
    /// Steps of a part of a block. Hidden from the optimiser: Cranelift keeps fewer values alive in a
    /// rolled loop than in the straight code that LLVM would make of a known number of steps.
    steps: usize,
}

impl<'a, D: Dot> Tokens<'a, D> {
    fn new<Q: Quantised>(activations: &'a Activations) -> Self {
        Self {
            x: D::activations(activations),
            scales: D::scales(activations),
            blocks: activations.blocks,
            steps: black_box(Q::SCALE_COLUMNS / D::STEP_COLUMNS),
        }
    }

    /// A group of packed rows times N tokens from `token` on.
    #[inline(always)]
    fn times_packed<S: Simd, Q: Quantised, const N: usize>(
        &self,
        group: &[u8],
        token: usize,
    ) -> [[S::F; 4]; N]
    where
        D: Dot<I = S::I>,
    {
        let tile = |tile: usize| &group[tile * Q::TILE_BYTES..][..Q::TILE_BYTES];
        self.times::<S, Q, _, N>(
            token,
            |index| Q::scales::<S>(&tile(index)[..Q::HEADER_BYTES]),
            |index| &tile(index)[Q::HEADER_BYTES..],
        )
    }

    /// A group of unpacked rows times N tokens from `token` on.
    #[inline(always)]
    fn times_panel<S: Simd, Q: Quantised, const N: usize>(
        &self,
        panel: &Panel,
        token: usize,
    ) -> [[S::F; 4]; N]
    where
        D: Dot<I = S::I>,
    {
        let blocks = Tile::<Q>::BLOCKS;
        self.times::<S, Q, _, N>(
            token,
            |tile| PanelScales {
                scales: &panel.scales[tile * blocks * Tile::<Q>::PARTS..],
                minima: if Q::HAS_MINIMUM { &panel.minima[tile * blocks..] } else { &[] },
            },
            |tile| &panel.weights[tile * blocks * PANEL_BYTES..],
        )
    }

    #[inline(always)]
    fn times<'b, S: Simd, Q: Quantised, C: Scales<S>, const N: usize>(
        &self,
        token: usize,
        scales: impl Fn(usize) -> C,
        weights: impl Fn(usize) -> &'b [u8],
    ) -> [[S::F; 4]; N]
    where
        D: Dot<I = S::I>,
    {
        let mut sums = [[S::F::splat(0.0); 4]; N];
        let parts = Tile::<Q>::PARTS;
        let part_bytes = self.steps * size_of::<D::Weights>();
        for tile in 0..self.blocks / Tile::<Q>::BLOCKS {
            let (scales, weights) = (scales(tile), weights(tile));
            for part in 0..Tile::<Q>::BLOCKS * parts {
                let (block, is_low) = (part / parts, part % parts == 0);
                let places: [usize; N] = std::array::from_fn(|n| {
                    (token + n) * self.blocks + tile * Tile::<Q>::BLOCKS + block
                });
                let x = places.map(|place| {
                    &self.x[(place * parts + part % parts) * self.steps..][..self.steps]
                });
                let totals = self.dot(&weights[part * part_bytes..][..part_bytes], x);
                for ((sums, totals), place) in sums.iter_mut().zip(totals).zip(places) {
                    let x = &self.scales[place];
                    let sum = match parts {
                        1 => x.sum,
                        _ if is_low => x.low_sum,
                        _ => x.sum - x.low_sum,
                    };
                    for vector in 0..4 {
                        let offset = S::I::splat(Q::OFFSET * sum);
                        let total = (totals[vector] - offset).to_f32();
                        let factor = scales.scale(part, vector) * S::F::splat(x.scale);
                        sums[vector] = S::mul_add(total, factor, sums[vector]);
                        if Q::HAS_MINIMUM {
                            let x = S::F::splat(x.scaled_sum);
                            let minimum = scales.minimum(block, vector);
                            sums[vector] = S::mul_add(minimum, x, sums[vector]);
                        }
                    }
                }
            }
        }
        sums
    }

    /// Integer sums over a block.
    #[inline(always)]
    fn dot<const N: usize>(&self, weights: &[u8], x: [&[D::X]; N]) -> [[D::I; 4]; N] {
        let weights = D::weights(weights);
        let x = x.map(|x| &x[..weights.len()]);
        let mut sums = [D::zero(); N];
        let mut totals = [[D::I::splat(0); 4]; N];
        for step in 0..weights.len() {
            for token in 0..N {
                sums[token] = D::step(sums[token], &weights[step], &x[token][step]);
            }
        }
        for (totals, sums) in totals.iter_mut().zip(sums) {
            *totals = D::totals(sums);
        }
        totals
    }
}

/// Multiplies with a matrix of numbers.
pub(crate) fn floating<S: Simd, L: Floating>(
    matrix: &[u8],
    activations: &Activations,
    mut out: Output<'_>,
) {
    out.factor = L::SHARE;
    let columns = activations.columns;
    let tokens = out.tokens();
    for (group, bytes) in matrix.chunks_exact(columns * L::TILE_BYTES).enumerate() {
        let x = |token: usize| &activations.x[token * columns..][..columns];
        let mut token = 0;
        while token + 3 <= tokens {
            let x = [x(token), x(token + 1), x(token + 2)];
            out.put(token, group, floating_halves::<S, L, 3>(bytes, x));
            token += 3;
        }
        while token < tokens {
            let [sums] = floating_times::<S, L, 1, 4>(bytes, 0, [x(token)]);
            out.put(token, group, [sums]);
            token += 1;
        }
    }
}

/// A group of rows times N tokens, in two halves, so that all sums stay in registers.
#[inline(always)]
fn floating_halves<S: Simd, L: Floating, const N: usize>(
    group: &[u8],
    x: [&[f32]; N],
) -> [[S::F; 4]; N] {
    let low = floating_times::<S, L, N, 2>(group, 0, x);
    let high = floating_times::<S, L, N, 2>(group, 2, x);
    std::array::from_fn(|n| [low[n][0], low[n][1], high[n][0], high[n][1]])
}

/// V of a group's vectors of rows, from `vector` on, times N tokens.
///
/// Not inlined: Cranelift would see that the sums live long after the loop and keep them in
/// memory while in it.
#[inline(never)]
fn floating_times<S: Simd, L: Floating, const N: usize, const V: usize>(
    group: &[u8],
    vector: usize,
    x: [&[f32]; N],
) -> [[S::F; V]; N] {
    let mut sums = [[S::F::splat(0.0); V]; N];
    let x = x.map(|x| &x[..group.len() / L::TILE_BYTES]);
    for (column, tile) in group.chunks_exact(L::TILE_BYTES).enumerate() {
        for token in 0..N {
            let mut x = S::F::splat(x[token][column]);
            if L::SHARE != 1.0 {
                x = x * S::F::splat(L::SHARE);
            }
            for (i, sum) in sums[token].iter_mut().enumerate() {
                *sum = S::mul_add(L::rows::<S>(tile, vector + i), x, *sum);
            }
        }
    }
    sums
}
