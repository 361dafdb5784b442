use crate::arch::{Active, F32x4, I32x4, Simd};
use crate::formats::{BLOCK_COLUMNS, SCALE_SHARE};
use crate::multiply::Panel;

/// Blocks whose largest absolute value is below this count as zero: 32767 divided by it must not
/// overflow.
const SMALLEST_MAX: f32 = 1e-30;

/// By how many times the root mean square of a token's values a block's largest one exceeds it
/// where 8 bits are too coarse for the block: 5 to 10 % of SmolLM2's blocks, which carry most of
/// the noise that rounding brings into its logits.
const COARSE: f32 = 6.0;

/// Vectors to multiply with, prepared once for several matrices: f32, and blocks of 32 rounded to
/// 16 or 8 bits when a matrix first asks for them.
///
/// A block's scale is the largest absolute value divided by 32767 (or 127), its values are rounded
/// to nearest, ties to even. Where 8 bits are too coarse, what they leave is rounded to another
/// 8 bits and multiplied as well. The last block of a vector is filled up with zeros.
#[derive(Default)]
pub struct Activations {
    pub(crate) tokens: usize,
    pub(crate) columns: usize,
    /// Blocks of a token.
    pub(crate) blocks: usize,
    /// As given, token by token.
    pub(crate) x: Vec<f32>,
    /// 16-bit values: a word is columns 0 and 2, the next one columns 1 and 3, of each four.
    pub(crate) pairs: Rounded<Lanes<[i16; 2]>>,
    /// 8-bit values: a word is four columns.
    pub(crate) bytes: Rounded<Lanes<[i8; 4]>>,
    /// Memory for unpacked weights, kept between products.
    pub(crate) panel: Panel,
}

/// Rounded values of all tokens.
///
/// Two tokens ("a couple") lie together: a word of the first, then the same word of the second,
/// and likewise their scales, since two tokens are multiplied at a time. The last token of an odd
/// number is by itself. A couple has an entry for each block, and behind it one for what it leaves
/// where the block is coarse in either token; a token that is not has zeros there, which change no
/// bit of its sums.
#[derive(Default)]
pub(crate) struct Rounded<W> {
    /// Only grows: to make room again would take longer than to fill it.
    words: Vec<W>,
    /// Words in use.
    filled: usize,
    scales: Vec<BlockScale>,
    /// The entries' blocks.
    places: Vec<u32>,
    /// The couples' first entries.
    couples: Vec<usize>,
    is_current: bool,
}

/// The entries of N neighbouring tokens.
#[derive(Clone, Copy)]
pub(crate) struct Entries<'a, W, const N: usize> {
    pub(crate) words: &'a [[W; N]],
    pub(crate) scales: &'a [[BlockScale; N]],
    /// Which blocks they belong to.
    pub(crate) places: &'a [u32],
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
    /// Sums of the values in columns 0 and 1, and in columns 2 and 3, of each four, modulo 2^16:
    /// of the block, and of its first and its last 16 columns.
    pub(crate) lanes: [[i16; 2]; 3],
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

    /// As they were given, unrounded: `[tokens][columns]`.
    pub fn values(&self) -> &[f32] {
        &self.x
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
        pairs.round::<S>(x, *columns, |block, words| {
            round::<S, _, _>(block, 32767.0, words, |eight, words: &mut [Lanes<[i16; 2]>; 4]| {
                let mut stored = [[0; 2]; 4];
                S::store_pairs(eight, &mut stored);
                *words = stored.map(Lanes::splat);
            })
        });
    }

    /// Makes [`Activations::bytes`] current.
    pub(crate) fn round_to_bytes<S: Simd>(&mut self) {
        let Self { x, columns, bytes, .. } = self;
        bytes.round::<S>(x, *columns, |block, words| {
            round::<S, _, _>(block, 127.0, words, |eight, words: &mut [Lanes<[i8; 4]>; 2]| {
                let mut stored = [[0; 4]; 2];
                S::store_bytes(eight, &mut stored);
                *words = stored.map(Lanes::splat);
            })
        });
    }
}

/// Four bytes of values, as often as a vector has lanes: to load a vector takes one instruction,
/// to spread a word over one two.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C, align(16))]
pub(crate) struct Lanes<W>([W; 4]);

impl<W: Copy> Lanes<W> {
    #[inline(always)]
    pub(crate) fn splat(word: W) -> Self {
        Lanes([word; 4])
    }

    /// What is in each lane.
    #[inline(always)]
    pub(crate) fn word(self) -> W {
        self.0[0]
    }
}

/// What activations are stored in.
pub(crate) trait Word: Copy + Default {
    /// Columns in a word.
    const COLUMNS: usize;
    /// Words of a block.
    const BLOCK: usize = BLOCK_COLUMNS / Self::COLUMNS;
    /// [`COARSE`], where blocks may be.
    const COARSE: f32;
    /// The values of a block's words.
    fn values(words: &[Self]) -> [f32; BLOCK_COLUMNS];
}

impl Word for Lanes<[i16; 2]> {
    const COLUMNS: usize = 2;
    const COARSE: f32 = f32::INFINITY;
    fn values(words: &[Self]) -> [f32; BLOCK_COLUMNS] {
        std::array::from_fn(|column| {
            let (four, column) = (column / 4 * 2, column % 4);
            f32::from(words[four + column % 2].word()[column / 2])
        })
    }
}

impl Word for Lanes<[i8; 4]> {
    const COLUMNS: usize = 4;
    const COARSE: f32 = COARSE;
    fn values(words: &[Self]) -> [f32; BLOCK_COLUMNS] {
        std::array::from_fn(|column| f32::from(words[column / 4].word()[column % 4]))
    }
}

/// Words of a block, at most.
const BLOCK_WORDS_MAX: usize = BLOCK_COLUMNS / 2;

/// A block of one token, rounded.
#[derive(Clone, Copy, Default)]
struct RoundedBlock<W> {
    words: [W; BLOCK_WORDS_MAX],
    scale: BlockScale,
}

impl<W: Word> Rounded<W> {
    /// The entries of N neighbouring tokens from the token number `first` on, which is even. N is 1
    /// for the last token of an odd number, else 2.
    pub(crate) fn tokens<const N: usize>(&self, first: usize) -> Entries<'_, W, N> {
        let couple = first / 2;
        let start = self.couples[couple];
        let end = self.couples.get(couple + 1).copied().unwrap_or(self.places.len());
        let count = (end - start) * N;
        // All couples before are whole.
        let words = &self.words[start * 2 * W::BLOCK..][..count * W::BLOCK];
        let scales = &self.scales[start * 2..][..count];
        Entries {
            words: words.as_chunks().0,
            scales: scales.as_chunks().0,
            places: &self.places[start..end],
        }
    }

    #[inline(always)]
    fn round<S: Simd>(
        &mut self,
        x: &[f32],
        columns: usize,
        round: impl Fn(&[f32; BLOCK_COLUMNS], &mut [W]) -> BlockScale,
    ) {
        if std::mem::replace(&mut self.is_current, true) {
            return;
        }
        self.filled = 0;
        self.scales.clear();
        self.places.clear();
        self.couples.clear();
        for couple in x.chunks(2 * columns) {
            self.couples.push(self.places.len());
            let tokens = couple.len() / columns;
            let token = |token: usize| &couple[token * columns..][..columns];
            let mut limits = [f32::INFINITY; 2];
            if W::COARSE < f32::INFINITY {
                for (limit, x) in limits.iter_mut().zip(couple.chunks_exact(columns)) {
                    *limit = W::COARSE * W::COARSE * mean_square::<S>(x);
                }
            }
            for block in 0..columns.div_ceil(BLOCK_COLUMNS) {
                let mut padded = [0.0; BLOCK_COLUMNS];
                let mut rounded = [RoundedBlock::default(); 2];
                let mut is_coarse = [false; 2];
                for (index, rounded) in rounded[..tokens].iter_mut().enumerate() {
                    rounded.scale =
                        round(whole(token(index), block, &mut padded), &mut rounded.words);
                    let largest = rounded.largest();
                    is_coarse[index] = largest * largest > limits[index];
                }
                self.push(block, &rounded[..tokens]);
                if !is_coarse.contains(&true) {
                    continue;
                }
                for (index, rounded) in rounded[..tokens].iter_mut().enumerate() {
                    let left = rounded.left(whole(token(index), block, &mut padded));
                    *rounded = RoundedBlock::default();
                    if is_coarse[index] {
                        rounded.scale = round(&left, &mut rounded.words);
                    }
                }
                self.push(block, &rounded[..tokens]);
            }
        }
    }

    /// Appends an entry of a couple, or of the last token.
    #[inline(always)]
    fn push(&mut self, block: usize, tokens: &[RoundedBlock<W>]) {
        let start = self.filled;
        self.filled += tokens.len() * W::BLOCK;
        if self.words.len() < self.filled {
            self.words.resize(self.filled, W::default());
        }
        let words = &mut self.words[start..self.filled];
        if let [first, second] = tokens {
            for (index, places) in words.as_chunks_mut().0[..W::BLOCK].iter_mut().enumerate() {
                *places = [first.words[index], second.words[index]];
            }
        } else {
            words.copy_from_slice(&tokens[0].words[..W::BLOCK]);
        }
        self.scales.extend(tokens.iter().map(|token| token.scale));
        self.places.push(block as u32);
    }
}

impl<W: Word> RoundedBlock<W> {
    /// The largest absolute value.
    #[inline(always)]
    fn largest(&self) -> f32 {
        self.scale.scale * (127.0 / SCALE_SHARE)
    }

    /// What rounding left of the values `x`.
    #[inline(always)]
    fn left(&self, x: &[f32; BLOCK_COLUMNS]) -> [f32; BLOCK_COLUMNS] {
        let unit = self.scale.scale * (1.0 / SCALE_SHARE);
        let values = W::values(&self.words);
        std::array::from_fn(|column| x[column] - values[column] * unit)
    }
}

/// A token's block, filled up with the zeros of `padded`.
#[inline(always)]
fn whole<'a>(
    x: &'a [f32],
    block: usize,
    padded: &'a mut [f32; BLOCK_COLUMNS],
) -> &'a [f32; BLOCK_COLUMNS] {
    let x = &x[block * BLOCK_COLUMNS..];
    if let Some(block) = x.first_chunk() {
        return block;
    }
    padded[..x.len()].copy_from_slice(x);
    padded
}

/// The mean of the values' squares, summed in the one order that all sets share.
#[inline(always)]
fn mean_square<S: Simd>(x: &[f32]) -> f32 {
    let (vectors, rest) = x.as_chunks::<4>();
    let (pairs, last) = vectors.as_chunks::<2>();
    let square = |vector| S::F::load(vector) * S::F::load(vector);
    let mut sums = [S::F::splat(0.0); 2];
    for [first, second] in pairs {
        sums = [sums[0] + square(first), sums[1] + square(second)];
    }
    for vector in last {
        sums[0] = sums[0] + square(vector);
    }
    let rest: f32 = rest.iter().map(|x| x * x).sum();
    ((sums[0] + sums[1]).sum() + rest) / x.len() as f32
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
    // At most 32 * 32767.
    let lanes = [sums[0] + sums[1], sums[0], sums[1]].map(|sums| {
        let [a, b, c, d] = sums.to_array();
        [a + b, c + d]
    });
    let [sum, low_sum, _] = lanes.map(|[first, last]| first + last);
    let scaled_sum = sum as f32 * scale * SCALE_SHARE;
    let lanes = lanes.map(|sums| sums.map(|sum| sum as i16));
    BlockScale { scale: scale * SCALE_SHARE, scaled_sum, sum, low_sum, lanes }
}
