//! Matrix times vectors. Every output is summed over the columns in ascending order, whatever
//! the number of tokens and wherever its row lies: batching and splitting change no bit.

use crate::activations::{Activations, Entries, Word};
use crate::arch::{Dot, F32x4, I32x4, Simd};
use crate::formats::{
    BLOCK_COLUMNS, Block, Floating, GROUP_ROWS, Quantised, SCALE_SHARE, SuperHeader,
};
use crate::straight::{InMemory, straight};

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

/// A group of rows unpacked for many tokens, and its headers for few.
#[derive(Default)]
pub(crate) struct Panel {
    super_headers: Vec<SuperHeader>,
    blocks: Vec<Unpacked>,
}

/// The blocks of 16 rows at one place.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Unpacked {
    weights: [u8; PANEL_BYTES],
    /// Of each part, times 2^-112.
    scales: [[[f32; 4]; 4]; 2],
    /// Likewise.
    minima: [[[f32; 4]; 4]; 2],
}

impl Default for Unpacked {
    fn default() -> Self {
        Self { weights: [0; PANEL_BYTES], scales: Default::default(), minima: Default::default() }
    }
}

impl Panel {
    fn fill<S: Simd, Q: Quantised>(&mut self, group: &[u8]) {
        let count = group.len() / Q::TILE_BYTES * (Q::BLOCK_COLUMNS / BLOCK_COLUMNS);
        self.blocks.resize(count, Unpacked::default());
        Q::read_headers::<S>(group, &mut self.super_headers);
        for (index, unpacked) in self.blocks.iter_mut().enumerate() {
            let block = Q::block::<S>(group, &self.super_headers, index);
            for part in 0..parts::<Q>() {
                for vector in 0..4 {
                    block.scale(part, vector).store(&mut unpacked.scales[part][vector]);
                    if Q::HAS_MINIMUM {
                        block.minimum(part, vector).store(&mut unpacked.minima[part][vector]);
                    }
                }
            }
            Q::unpack::<S>(block.weights(0), &mut unpacked.weights);
        }
    }
}

impl<S: Simd> Block<S> for &Unpacked {
    #[inline(always)]
    fn weights(&self, part: usize) -> &[u8] {
        &self.weights[PANEL_BYTES / 2 * part..]
    }
    #[inline(always)]
    fn scale(&self, part: usize, vector: usize) -> S::F {
        S::F::load(&self.scales[part][vector])
    }
    #[inline(always)]
    fn minimum(&self, part: usize, vector: usize) -> S::F {
        S::F::load(&self.minima[part][vector])
    }
}

/// Parts of a block with a scale of their own, one or two.
const fn parts<Q: Quantised>() -> usize {
    BLOCK_COLUMNS / Q::SCALE_COLUMNS
}

/// What remains to be taken from each weight.
const fn offset<Q: Quantised, D: Dot>() -> i32 {
    Q::OFFSET - if D::IS_CENTRED { Q::CENTRE as i32 } else { 0 }
}

/// Multiplies with a matrix of blocks with scales.
pub(crate) fn quantised<S: Simd, Q: Quantised>(
    matrix: &[u8],
    activations: &mut Activations,
    mut out: Output<'_>,
) {
    let tiles = activations.blocks / (Q::BLOCK_COLUMNS / BLOCK_COLUMNS);
    let groups = matrix.chunks_exact(tiles * Q::TILE_BYTES).enumerate();
    let mut panel = std::mem::take(&mut activations.panel);
    if out.tokens() < S::PANEL_TOKENS_MIN || !Q::UNPACKS {
        Q::Packed::<S>::round::<S>(activations);
        for (group, bytes) in groups {
            Q::read_headers::<S>(bytes, &mut panel.super_headers);
            let block = |index| Q::block::<S>(bytes, &panel.super_headers, index);
            all_tokens::<S, Q, Q::Packed<S>, _>(activations, &mut out, group, block);
        }
    } else {
        Q::Panel::<S>::round::<S>(activations);
        for (group, bytes) in groups {
            panel.fill::<S, Q>(bytes);
            all_tokens::<S, Q, Q::Panel<S>, _>(activations, &mut out, group, |index| {
                &panel.blocks[index]
            });
        }
    }
    activations.panel = panel;
}

/// One group of rows times all tokens, two at a time.
#[inline(always)]
fn all_tokens<S: Simd, Q: Quantised, D: Dot<I = S::I>, B: Block<S>>(
    activations: &Activations,
    out: &mut Output<'_>,
    group: usize,
    block: impl Fn(usize) -> B,
) {
    let tokens = out.tokens();
    for token in (0..tokens - tokens % 2).step_by(2) {
        let entries = D::rounded(activations).tokens::<2>(token);
        out.put(token, group, times::<S, Q, D, B, 2>(&block, entries));
    }
    if !tokens.is_multiple_of(2) {
        let entries = D::rounded(activations).tokens::<1>(tokens - 1);
        out.put(tokens - 1, group, times::<S, Q, D, B, 1>(&block, entries));
    }
}

/// A group of rows times N tokens.
///
/// Not inlined: in a function of its own the sums get the registers.
#[inline(never)]
fn times<S: Simd, Q: Quantised, D: Dot<I = S::I>, B: Block<S>, const N: usize>(
    block: &impl Fn(usize) -> B,
    entries: Entries<'_, D::Word, N>,
) -> [[S::F; 4]; N] {
    let mut sums = [[InMemory::new(S::F::splat(0.0)); 4]; N];
    let words = entries.words.chunks_exact(BLOCK_COLUMNS / D::Word::COLUMNS);
    for ((index, words), scales) in entries.places.iter().zip(words).zip(entries.scales) {
        let block = block(*index as usize);
        let part_words = words.len() / parts::<Q>();
        for part in 0..parts::<Q>() {
            let words = &words[part * part_words..][..part_words];
            let lanes = scales.map(|x| x.lanes[if parts::<Q>() == 1 { 0 } else { 1 + part }]);
            let totals = dot::<Q, D, N>(block.weights(part), words, lanes);
            for vector in 0..4 {
                let scale = block.scale(part, vector);
                for token in 0..N {
                    let x = &scales[token];
                    let x_sum = match (parts::<Q>(), part) {
                        (1, _) => x.sum,
                        (_, 0) => x.low_sum,
                        _ => x.sum - x.low_sum,
                    };
                    let offset = S::I::splat(offset::<Q, D>() * x_sum);
                    let total = (totals[token][vector] - offset).to_f32();
                    let factor = scale * S::F::splat(x.scale);
                    let mut sum = S::mul_add(total, factor, sums[token][vector].get());
                    if Q::HAS_MINIMUM {
                        let x = match parts::<Q>() {
                            1 => x.scaled_sum,
                            _ => x_sum as f32 * x.scale,
                        };
                        sum = S::mul_add(block.minimum(part, vector), S::F::splat(x), sum);
                    }
                    sums[token][vector].set(sum);
                }
            }
        }
    }
    let mut values = [[S::F::splat(0.0); 4]; N];
    for (value, sum) in values.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
        *value = sum.get();
    }
    values
}

/// Integer sums over a part of a block.
#[inline(always)]
fn dot<Q: Quantised, D: Dot, const N: usize>(
    weights: &[u8],
    words: &[[D::Word; N]],
    lanes: [[i16; 2]; N],
) -> [[D::I; 4]; N] {
    let weights = D::weights(weights);
    let mut sums = lanes.map(|lanes| D::start(Q::CENTRE, lanes));
    if N == 1 {
        straight!(Q::SCALE_COLUMNS / D::STEP_COLUMNS, step => {
            let words = &words[step / 2 * 2 * D::STEP_WORDS..][..2 * D::STEP_WORDS];
            let x = D::x_of_two_steps(words.as_flattened())[step % 2];
            half_step::<D>(&mut sums[0], 0, &weights[step], x);
            half_step::<D>(&mut sums[0], 1, &weights[step], x);
        });
    } else if D::STEP_COLUMNS <= 4 {
        straight!(Q::SCALE_COLUMNS / D::STEP_COLUMNS, step => {
            let x = D::x(&words[step * D::STEP_WORDS..][..D::STEP_WORDS]);
            for half in 0..2 {
                for token in 0..N {
                    half_step::<D>(&mut sums[token], half, &weights[step], x[token]);
                }
            }
        });
    } else {
        straight!(Q::SCALE_COLUMNS / D::STEP_COLUMNS * 2, k => {
            let (step, half) = (k / 2, k % 2);
            let x = D::x(&words[step * D::STEP_WORDS..][..D::STEP_WORDS]);
            for token in 0..N {
                half_step::<D>(&mut sums[token], half, &weights[step], x[token]);
            }
        });
    }
    let mut totals = [[D::I::splat(0); 4]; N];
    for (totals, sums) in totals.iter_mut().zip(sums) {
        *totals = D::totals(sums);
    }
    totals
}

#[inline(always)]
fn half_step<D: Dot>(sums: &mut [D::Sum; 4], half: usize, weights: &D::Weights, x: D::X) {
    let [a, b] = D::half_step([sums[2 * half], sums[2 * half + 1]], weights, half, x);
    (sums[2 * half], sums[2 * half + 1]) = (a, b);
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
