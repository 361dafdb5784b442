use crate::arch::{Active, F32x4, I32x4, Simd};
use crate::formats::{BLOCK_COLUMNS, SCALE_SHARE};
use crate::multiply::Panel;

/// Blocks whose largest absolute value is below this count as zero: 32767 divided by it must not
/// overflow.
const SMALLEST_MAX: f32 = 1e-30;

/// Vectors to multiply with, prepared once for several matrices: f32, and blocks of 32 rounded to
/// 16 or 8 bits when a matrix first asks for them.
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
    /// 16-bit values: a word is columns 0 and 2, the next one columns 1 and 3, of each four.
    pub(crate) pairs: Rounded<[i16; 2]>,
    /// 8-bit values: a word is four columns.
    pub(crate) bytes: Rounded<[i8; 4]>,
    /// Memory for unpacked weights, kept between products.
    pub(crate) panel: Panel,
}

/// Rounded values of all tokens.
///
/// Two tokens ("a couple") lie together: a word of the first, then the same word of the second,
/// and likewise their scales, since two tokens are multiplied at a time. The last token of an odd
/// number is by itself.
#[derive(Default)]
pub(crate) struct Rounded<W> {
    pub(crate) words: Vec<W>,
    pub(crate) scales: Vec<BlockScale>,
    is_current: bool,
}

/// What a block of 32 rounded values means.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
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
        assert!(
            columns > 0 && x.len().is_multiple_of(columns),
            "whole tokens of {columns} columns"
        );
        self.columns = columns;
        self.tokens = x.len() / columns;
        self.blocks = columns.div_ceil(BLOCK_COLUMNS);
        self.x.clear();
        self.x.extend_from_slice(x);
        self.pairs.is_current = false;
        self.bytes.is_current = false;
    }

    /// Number of tokens prepared.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Rounds to both widths that the build's kernels use, as matrices would when they are
    /// multiplied: for measuring.
    pub fn round(&mut self) {
        self.round_to_pairs::<Active>();
        if Active::ROUNDS_TO_BYTES {
            self.round_to_bytes::<Active>();
        }
    }

    /// Makes [`Activations::pairs`] current.
    pub(crate) fn round_to_pairs<S: Simd>(&mut self) {
        let Self { x, columns, pairs, .. } = self;
        pairs.round(x, *columns, |block, words| {
            round::<S, _, _>(block, 32767.0, words, |eight, words: &mut [[i16; 2]; 4]| {
                S::store_pairs(eight, words);
            })
        });
    }

    /// Makes [`Activations::bytes`] current.
    pub(crate) fn round_to_bytes<S: Simd>(&mut self) {
        let Self { x, columns, bytes, .. } = self;
        bytes.round(x, *columns, |block, words| {
            round::<S, _, _>(block, 127.0, words, |eight, words: &mut [[i8; 4]; 2]| {
                S::store_bytes(eight, words);
            })
        });
    }
}

/// What activations are stored in: four bytes.
pub(crate) trait Word: Copy + Default {
    /// Columns in a word.
    const COLUMNS: usize;
}

impl Word for [i16; 2] {
    const COLUMNS: usize = 2;
}

impl Word for [i8; 4] {
    const COLUMNS: usize = 4;
}

impl<W: Word> Rounded<W> {
    /// Words of a block.
    const WORDS: usize = BLOCK_COLUMNS / W::COLUMNS;

    /// N neighbouring tokens from the token number `first` on, which is even: their words, and
    /// their blocks' scales. N is 1 for the last token of an odd number, else 2.
    pub(crate) fn tokens<const N: usize>(
        &self,
        first: usize,
        blocks: usize,
    ) -> (&[[W; N]], &[[BlockScale; N]]) {
        let words = &self.words[first * blocks * Self::WORDS..][..N * blocks * Self::WORDS];
        let scales = &self.scales[first * blocks..][..N * blocks];
        (words.as_chunks().0, scales.as_chunks().0)
    }

    #[inline(always)]
    fn round(
        &mut self,
        x: &[f32],
        columns: usize,
        mut round: impl FnMut(&[f32; BLOCK_COLUMNS], &mut [W]) -> BlockScale,
    ) {
        if std::mem::replace(&mut self.is_current, true) {
            return;
        }
        let (tokens, blocks) = (x.len() / columns, columns.div_ceil(BLOCK_COLUMNS));
        self.words.resize(tokens * blocks * Self::WORDS, W::default());
        self.scales.resize(tokens * blocks, BlockScale::default());
        let mut rounded = [W::default(); BLOCK_COLUMNS / 2];
        let rounded = &mut rounded[..Self::WORDS];
        for (token, x) in x.chunks_exact(columns).enumerate() {
            // The first token of its couple, and how many are in it.
            let first = token - token % 2;
            let couple = (tokens - first).min(2);
            let words = &mut self.words[first * blocks * Self::WORDS..];
            let words =
                words[..couple * blocks * Self::WORDS].chunks_exact_mut(couple * Self::WORDS);
            let scales = &mut self.scales[first * blocks..][..couple * blocks];
            let places = words.zip(scales.chunks_exact_mut(couple));
            for (block, (words, scales)) in x.chunks(BLOCK_COLUMNS).zip(places) {
                scales[token % 2] = match block.as_array() {
                    Some(block) => round(block, rounded),
                    None => {
                        let mut whole = [0.0; BLOCK_COLUMNS];
                        whole[..block.len()].copy_from_slice(block);
                        round(&whole, rounded)
                    }
                };
                let places = words.iter_mut().skip(token % 2).step_by(couple);
                for (place, word) in places.zip(&*rounded) {
                    *place = *word;
                }
            }
        }
    }
}

/// Rounds to integers up to `limit`; `store` takes eight at a time.
#[inline(always)]
fn round<S: Simd, W, const N: usize>(
    block: &[f32; BLOCK_COLUMNS],
    limit: f32,
    words: &mut [W],
    store: impl Fn([S::I; 2], &mut [W; N]),
) -> BlockScale {
    let vectors = block.as_chunks::<4>().0;
    let mut max = [S::F::splat(0.0); 2];
    for vectors in vectors.as_chunks::<2>().0 {
        max[0] = max[0].or_larger(S::F::load(&vectors[0]).abs());
        max[1] = max[1].or_larger(S::F::load(&vectors[1]).abs());
    }
    let max = max[0].or_larger(max[1]).largest();
    let inverse = S::F::splat(if max < SMALLEST_MAX { 0.0 } else { limit / max });
    let scale = if max < SMALLEST_MAX { 0.0 } else { max / limit };

    let mut sums = [S::I::splat(0); 2];
    let places = words.as_chunks_mut::<N>().0.iter_mut();
    for (index, (vectors, words)) in vectors.as_chunks::<2>().0.iter().zip(places).enumerate() {
        let rounded =
            [0, 1].map(|i: usize| (S::F::load(&vectors[i]) * inverse).nearest().truncate());
        sums[index / 2] = sums[index / 2] + rounded[0] + rounded[1];
        store(rounded, words);
    }
    let add = |sum: S::I| sum.to_array().into_iter().fold(0i32, i32::wrapping_add);
    let (sum, low_sum) = (add(sums[0] + sums[1]), add(sums[0]));
    let scaled_sum = sum as f32 * scale * SCALE_SHARE;
    BlockScale { scale: scale * SCALE_SHARE, scaled_sum, sum, low_sum }
}
