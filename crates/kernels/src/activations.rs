use crate::arch::{Active, F32x4, I32x4, Simd};
use crate::formats::{BLOCK_COLUMNS, SCALE_SHARE};

/// Blocks whose largest absolute value is below this count as zero: 127 divided by it must not
/// overflow.
const SMALLEST_MAX: f32 = 1e-30;

/// Vectors to multiply with, prepared once for several matrices: f32 and 8-bit blocks of 32.
///
/// A block's scale is the largest absolute value divided by 127, its values are rounded to
/// nearest, ties to even. The last block of a vector is filled up with zeros.
#[derive(Default)]
pub struct Activations {
    pub(crate) tokens: usize,
    pub(crate) columns: usize,
    /// Blocks of a token.
    pub(crate) blocks: usize,
    /// As given, token by token.
    pub(crate) x: Vec<f32>,
    /// The 8-bit values, four columns at a time.
    pub(crate) bytes: Vec<[i8; 4]>,
    /// The same, widened: columns 0 and 2, then 1 and 3, of each four.
    pub(crate) pairs: Vec<[i16; 2]>,
    /// The same, prepared for weights that stay packed.
    pub(crate) quads: Vec<Quad>,
    pub(crate) scales: Vec<BlockScale>,
}

/// Four columns for `simd128`'s packed nibbles: columns 0 and 2 times 256, columns 0 and 2,
/// columns 1 and 3, columns 1 and 3 times 16.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(16))]
pub(crate) struct Quad(pub(crate) [[i16; 2]; 4]);

/// What a block of 32 8-bit values means.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(16))]
pub(crate) struct BlockScale {
    /// Value of one unit, times [`SCALE_SHARE`].
    pub(crate) scale: f32,
    /// Value of `sum`, times [`SCALE_SHARE`].
    pub(crate) scaled_sum: f32,
    /// Sum of the 8-bit values.
    pub(crate) sum: i32,
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
        self.bytes.resize(blocks * (BLOCK_COLUMNS / 4), [0; 4]);
        self.pairs.resize(blocks * (BLOCK_COLUMNS / 2), [0; 2]);
        self.quads.resize(blocks * (BLOCK_COLUMNS / 4), Quad::default());
        self.scales.resize(blocks, BlockScale::default());

        let bytes = self.bytes.as_chunks_mut::<8>().0.iter_mut();
        let pairs = self.pairs.as_chunks_mut::<16>().0.iter_mut();
        let quads = self.quads.as_chunks_mut::<8>().0.iter_mut();
        let mut places = self.scales.iter_mut().zip(bytes).zip(pairs.zip(quads));
        for token in x.chunks_exact(columns) {
            let (whole, rest) = token.as_chunks::<BLOCK_COLUMNS>();
            let mut last = [0.0; BLOCK_COLUMNS];
            last[..rest.len()].copy_from_slice(rest);
            let last = (!rest.is_empty()).then_some(&last);
            for (block, place) in whole.iter().chain(last).zip(&mut places) {
                let ((scale, bytes), (pairs, quads)) = place;
                *scale = round_block::<S>(block, bytes, pairs, quads);
            }
        }
    }
}

#[inline(always)]
fn round_block<S: Simd>(
    block: &[f32; BLOCK_COLUMNS],
    bytes: &mut [[i8; 4]; 8],
    pairs: &mut [[i16; 2]; 16],
    quads: &mut [Quad; 8],
) -> BlockScale {
    let vectors = block.as_chunks::<4>().0;
    let mut max = S::F::splat(0.0);
    for vector in vectors {
        max = max.or_larger(S::F::load(vector).abs());
    }
    let max = max.largest();
    let inverse = S::F::splat(if max < SMALLEST_MAX { 0.0 } else { 127.0 / max });
    let scale = if max < SMALLEST_MAX { 0.0 } else { max / 127.0 };

    let mut sum = S::I::splat(0);
    let places = bytes.iter_mut().zip(pairs.as_chunks_mut::<2>().0).zip(quads);
    for (vector, ((bytes, pairs), quad)) in vectors.iter().zip(places) {
        let rounded = (S::F::load(vector) * inverse).nearest().truncate();
        sum = sum + rounded;
        let [a, b, c, d] = rounded.to_array().map(|value| value as i16);
        *bytes = [a as i8, b as i8, c as i8, d as i8];
        *pairs = [[a, c], [b, d]];
        *quad = Quad([[a << 8, c << 8], [a, c], [b, d], [b << 4, d << 4]]);
    }
    let [a, b, c, d] = sum.to_array();
    let sum = a.wrapping_add(b).wrapping_add(c).wrapping_add(d);
    BlockScale { scale: scale * SCALE_SHARE, scaled_sum: sum as f32 * scale * SCALE_SHARE, sum }
}
