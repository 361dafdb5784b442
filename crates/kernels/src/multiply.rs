//! Matrix times vectors. Every output is summed over the columns in ascending order, whatever
//! the number of tokens and wherever its row lies: batching and splitting change no bit.

use std::hint::black_box;

use crate::activations::{Activations, BlockScale};
use crate::arch::{Dot, F32x4, I32x4, Simd};
use crate::formats::{BLOCK_COLUMNS, Floating, GROUP_ROWS, Quantised, SCALE_SHARE, header_lanes};

/// Where the outputs of a group go.
pub(crate) struct Output<'a> {
    /// Token by token.
    pub(crate) values: &'a mut [f32],
    pub(crate) rows: usize,
}

impl Output<'_> {
    #[inline(always)]
    fn put<F: F32x4>(&mut self, token: usize, group: usize, sums: [F; 4], factor: f32) {
        let mut lanes = [[0.0; 4]; 4];
        for (sum, lanes) in sums.into_iter().zip(&mut lanes) {
            (sum * F::splat(factor)).store(lanes);
        }
        let first = group * GROUP_ROWS;
        let count = GROUP_ROWS.min(self.rows - first);
        self.values[token * self.rows + first..][..count]
            .copy_from_slice(&lanes.as_flattened()[..count]);
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
    /// Times 2^-112.
    scales: Vec<[[f32; 4]; 4]>,
    /// Times 2^-112.
    minima: Vec<[[f32; 4]; 4]>,
    weights: Vec<u8>,
}

impl Panel {
    fn fill<S: Simd, Q: Quantised>(&mut self, group: &[u8]) {
        let blocks = group.len() / Q::TILE_BYTES;
        self.scales.resize(blocks, [[0.0; 4]; 4]);
        self.minima.resize(if Q::HAS_MINIMUM { blocks } else { 0 }, [[0.0; 4]; 4]);
        self.weights.resize(if Q::UNPACKS { blocks * PANEL_BYTES } else { 0 }, 0);
        let tiles = || group.chunks_exact(Q::TILE_BYTES);
        for (tile, scales) in tiles().zip(&mut self.scales) {
            for (vector, scales) in scales.iter_mut().enumerate() {
                header_lanes::<S>(tile, vector).store(scales);
            }
        }
        for (tile, minima) in tiles().zip(&mut self.minima) {
            for (vector, minima) in minima.iter_mut().enumerate() {
                header_lanes::<S>(tile, 4 + vector).store(minima);
            }
        }
        for (tile, weights) in tiles().zip(self.weights.chunks_exact_mut(PANEL_BYTES)) {
            Q::unpack::<S>(&tile[Q::HEADER_BYTES..], weights);
        }
    }
}

/// Multiplies with a matrix of blocks with scales.
pub(crate) fn quantised<S: Simd, Q: Quantised>(
    matrix: &[u8],
    activations: &Activations,
    mut out: Output<'_>,
) {
    let tokens = out.tokens();
    let groups = matrix.chunks_exact(activations.blocks * Q::TILE_BYTES);
    if tokens == 1 {
        let tokens = Tokens::<Q::Packed<S>>::new(activations);
        for (group, bytes) in groups.enumerate() {
            let sums = tokens.times_packed::<S, Q>(bytes);
            out.put(0, group, sums, SCALE_SHARE);
        }
        return;
    }
    let mut panel = Panel::default();
    let tiles = Tokens::<Q::Panel<S>>::new(activations);
    for (group, bytes) in groups.enumerate() {
        panel.fill::<S, Q>(bytes);
        let mut token = 0;
        while token + 2 <= tokens {
            let [a, b] = tiles.times_panel::<S, Q, 2>(bytes, &panel, token);
            out.put(token, group, a, SCALE_SHARE);
            out.put(token + 1, group, b, SCALE_SHARE);
            token += 2;
        }
        if token < tokens {
            let [sums] = tiles.times_panel::<S, Q, 1>(bytes, &panel, token);
            out.put(token, group, sums, SCALE_SHARE);
        }
    }
}

/// The activations as `D` takes them.
struct Tokens<'a, D: Dot> {
    x: &'a [D::X],
    scales: &'a [BlockScale],
    /// Blocks of a token.
    blocks: usize,
    /// Steps of a block. Hidden from the optimiser: Cranelift keeps fewer values alive in a
    /// rolled loop than in the straight code that LLVM would make of a known number of steps.
    steps: usize,
}

impl<'a, D: Dot> Tokens<'a, D> {
    fn new(activations: &'a Activations) -> Self {
        Self {
            x: D::activations(activations),
            scales: &activations.scales,
            blocks: activations.blocks,
            steps: black_box(BLOCK_COLUMNS / D::STEP_COLUMNS),
        }
    }

    /// A group of packed rows times one token.
    #[inline(always)]
    fn times_packed<S: Simd, Q: Quantised>(&self, group: &[u8]) -> [S::F; 4]
    where
        D: Dot<I = S::I>,
    {
        let bytes = self.steps * size_of::<D::Weights>();
        let tile = |block: usize| &group[block * Q::TILE_BYTES..];
        let [sums] = self.times::<S, Q, 1>(
            0,
            |block| &tile(block)[Q::HEADER_BYTES..][..bytes],
            |block, vector| header_lanes::<S>(&tile(block)[..32], vector),
            |block, vector| header_lanes::<S>(&tile(block)[32..64], vector),
        );
        sums
    }

    /// A group of unpacked rows times N tokens from `token` on.
    #[inline(always)]
    fn times_panel<S: Simd, Q: Quantised, const N: usize>(
        &self,
        group: &[u8],
        panel: &Panel,
        token: usize,
    ) -> [[S::F; 4]; N]
    where
        D: Dot<I = S::I>,
    {
        let bytes = self.steps * size_of::<D::Weights>();
        self.times::<S, Q, N>(
            token,
            |block| {
                if Q::UNPACKS {
                    &panel.weights[block * PANEL_BYTES..][..bytes]
                } else {
                    &group[block * Q::TILE_BYTES + Q::HEADER_BYTES..][..bytes]
                }
            },
            |block, vector| S::F::load(&panel.scales[block][vector]),
            |block, vector| S::F::load(&panel.minima[block][vector]),
        )
    }

    #[inline(always)]
    fn times<'b, S: Simd, Q: Quantised, const N: usize>(
        &self,
        token: usize,
        weights: impl Fn(usize) -> &'b [u8],
        scale: impl Fn(usize, usize) -> S::F,
        minimum: impl Fn(usize, usize) -> S::F,
    ) -> [[S::F; 4]; N]
    where
        D: Dot<I = S::I>,
    {
        let mut sums = [[S::F::splat(0.0); 4]; N];
        for block in 0..self.blocks {
            let places: [usize; N] = std::array::from_fn(|n| (token + n) * self.blocks + block);
            let x = places.map(|place| &self.x[place * self.steps..][..self.steps]);
            let totals = self.dot(weights(block), x);
            for ((sums, totals), place) in sums.iter_mut().zip(totals).zip(places) {
                let x = &self.scales[place];
                for vector in 0..4 {
                    let offset = S::I::splat(Q::OFFSET * x.sum);
                    let total = (totals[vector] - offset).to_f32();
                    let factor = scale(block, vector) * S::F::splat(x.scale);
                    sums[vector] = S::mul_add(total, factor, sums[vector]);
                    if Q::HAS_MINIMUM {
                        let x = S::F::splat(x.scaled_sum);
                        sums[vector] = S::mul_add(minimum(block, vector), x, sums[vector]);
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
        for step in 0..weights.len() {
            for token in 0..N {
                sums[token] = D::step(sums[token], &weights[step], &x[token][step]);
            }
        }
        sums.map(D::totals)
    }
}

/// Multiplies with a matrix of numbers.
pub(crate) fn floating<S: Simd, L: Floating>(
    matrix: &[u8],
    activations: &Activations,
    mut out: Output<'_>,
) {
    let columns = activations.columns;
    let tokens = out.tokens();
    for (group, bytes) in matrix.chunks_exact(columns * L::TILE_BYTES).enumerate() {
        let mut token = 0;
        while token + 2 <= tokens {
            let x = [0, 1].map(|n| &activations.x[(token + n) * columns..][..columns]);
            let [a, b] = floating_times::<S, L, 2>(bytes, x);
            out.put(token, group, a, L::SHARE);
            out.put(token + 1, group, b, L::SHARE);
            token += 2;
        }
        if token < tokens {
            let x = [&activations.x[token * columns..][..columns]];
            let [sums] = floating_times::<S, L, 1>(bytes, x);
            out.put(token, group, sums, L::SHARE);
        }
    }
}

#[inline(always)]
fn floating_times<S: Simd, L: Floating, const N: usize>(
    group: &[u8],
    x: [&[f32]; N],
) -> [[S::F; 4]; N] {
    let mut sums = [[S::F::splat(0.0); 4]; N];
    let x = x.map(|x| &x[..group.len() / L::TILE_BYTES]);
    for (column, tile) in group.chunks_exact(L::TILE_BYTES).enumerate() {
        let rows = L::rows::<S>(tile);
        for token in 0..N {
            let mut x = S::F::splat(x[token][column]);
            if L::SHARE != 1.0 {
                x = x * S::F::splat(L::SHARE);
            }
            for vector in 0..4 {
                sums[token][vector] = S::mul_add(rows[vector], x, sums[token][vector]);
            }
        }
    }
    sums
}
