use crate::arch::{Active, F32x4, I32x4, Simd};
use crate::formats::{BLOCK_COLUMNS, SCALE_SHARE};

/// Blocks whose largest absolute value is below this count as zero: 32767 divided by it must not
/// overflow.
const SMALLEST_MAX: f32 = 1e-30;

/// Vectors to multiply with, prepared once for several matrices: f32, and blocks of 32 in 16 bits.
/// Relaxed SIMD multiplies weights of 4 to 6 bits with 8-bit activations and has these, too.
///
/// A block's scale is the largest absolute value divided by 32767 (or 127), its values are rounded
/// to nearest, ties to even. The last block of a vector is filled up with zeros.
#[derive(Default)]
pub struct Activations {
    pub(crate) tokens: usize,
    pub(crate) columns: usize,
    /// Blocks of a token.
    pub(crate) blocks: usize,
    /// As given, token by token.
    pub(crate) x: Vec<f32>,
    /// The 16-bit values: columns 0 and 2, then 1 and 3, of each four.
    pub(crate) pairs: Vec<[i16; 2]>,
    /// Of `pairs`.
    pub(crate) scales: Vec<BlockScale>,
    /// The 8-bit values, four columns at a time. Empty unless [`Simd::ROUNDS_TO_BYTES`].
    pub(crate) bytes: Vec<[i8; 4]>,
    /// Of `bytes`.
    pub(crate) byte_scales: Vec<BlockScale>,
}

/// What a block of 32 rounded values means.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(16))]
pub(crate) struct BlockScale {
    /// Value of one unit, times [`SCALE_SHARE`].
    pub(crate) scale: f32,
    /// Value of `sum`, times [`SCALE_SHARE`].
    pub(crate) scaled_sum: f32,
    /// Sum of the rounded values.
    pub(crate) sum: i32,
    /// Sum of the first 16 of them: some weights have a scale for each 16.
    pub(crate) low_sum: i32,
}

impl Activations {
    /// Prepares `x` of `x.len() / columns` tokens; reuses its buffers.
    /// # Panics
    /// Unless `x` is a whole number of tokens.
    pub fn prepare(&mut self, x: &[f32], columns: usize) {
        self.prepare_with::<Active>(x, columns);
    }

    /// Number of tokens prepared.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    pub(crate) fn prepare_with<S: Simd>(&mut self, x: &[f32], columns: usize) {
        assert!(
            columns > 0 && x.len().is_multiple_of(columns),
            "whole tokens of {columns} columns"
        );
        self.columns = columns;
        self.tokens = x.len() / columns;
        self.blocks = columns.div_ceil(BLOCK_COLUMNS);
        self.x.clear();
        self.x.extend_from_slice(x);
        let blocks = self.blocks * self.tokens;
        self.pairs.resize(blocks * (BLOCK_COLUMNS / 2), [0; 2]);
        self.scales.resize(blocks, BlockScale::default());
        let places = self.scales.iter_mut().zip(self.pairs.as_chunks_mut::<16>().0);
        for (block, (scale, pairs)) in whole_blocks(x, columns).zip(places) {
            *scale = round_to_pairs::<S>(&block, pairs);
        }
        if S::ROUNDS_TO_BYTES {
            self.bytes.resize(blocks * (BLOCK_COLUMNS / 4), [0; 4]);
            self.byte_scales.resize(blocks, BlockScale::default());
            let places = self.byte_scales.iter_mut().zip(self.bytes.as_chunks_mut::<8>().0);
            for (block, (scale, bytes)) in whole_blocks(x, columns).zip(places) {
                *scale = round_to_bytes::<S>(&block, bytes);
            }
        }
    }
}

/// The tokens' blocks, the last of each filled up with zeros.
#[inline(always)]
fn whole_blocks(x: &[f32], columns: usize) -> impl Iterator<Item = [f32; BLOCK_COLUMNS]> {
    x.chunks_exact(columns).flat_map(|token| {
        token.chunks(BLOCK_COLUMNS).map(|values| {
            let mut block = [0.0; BLOCK_COLUMNS];
            block[..values.len()].copy_from_slice(values);
            block
        })
    })
}

#[inline(always)]
fn round_to_pairs<S: Simd>(
    block: &[f32; BLOCK_COLUMNS],
    pairs: &mut [[i16; 2]; BLOCK_COLUMNS / 2],
) -> BlockScale {
    round::<S, _>(block, 32767.0, pairs.as_chunks_mut().0, |[a, b, c, d]| [[a, c], [b, d]])
}

#[inline(always)]
fn round_to_bytes<S: Simd>(
    block: &[f32; BLOCK_COLUMNS],
    bytes: &mut [[i8; 4]; BLOCK_COLUMNS / 4],
) -> BlockScale {
    round::<S, _>(block, 127.0, bytes, |values| values.map(|value| value as i8))
}

/// Rounds to integers up to `limit`; `place` arranges each four.
#[inline(always)]
fn round<S: Simd, P>(
    block: &[f32; BLOCK_COLUMNS],
    limit: f32,
    places: &mut [P],
    place: impl Fn([i16; 4]) -> P,
) -> BlockScale {
    let vectors = block.as_chunks::<4>().0;
    let mut max = S::F::splat(0.0);
    for vector in vectors {
        max = max.or_larger(S::F::load(vector).abs());
    }
    let max = max.largest();
    let inverse = S::F::splat(if max < SMALLEST_MAX { 0.0 } else { limit / max });
    let scale = if max < SMALLEST_MAX { 0.0 } else { max / limit };

    let mut sums = [S::I::splat(0); 2];
    for (index, (vector, to)) in vectors.iter().zip(places).enumerate() {
        let rounded = (S::F::load(vector) * inverse).nearest().truncate();
        sums[index / 4] = sums[index / 4] + rounded;
        *to = place(rounded.to_array().map(|value| value as i16));
    }
    let add = |sum: S::I| sum.to_array().into_iter().fold(0i32, i32::wrapping_add);
    let (sum, low_sum) = (add(sums[0] + sums[1]), add(sums[0]));
    let scale = scale * SCALE_SHARE;
    BlockScale { scale, scaled_sum: sum as f32 * scale, sum, low_sum }
}
