//! How matrices lie in memory: 16 rows ("a group") side by side, so that a vector's lanes are
//! rows, and in one stream in the order in which they are read.
//!
//! A new format implements [`Layout`] and [`Quantised`], and gets its row in `matrix.rs`.
//!
//! GGUF's blocks are described in ggml's `ggml-common.h` (`block_q4_0` and so on).

use std::marker::PhantomData;

use crate::arch::{Dot, F32x4, Simd};

mod bytes;
mod converted;
mod floats;
mod nibbles;
mod planes;
mod super_blocks;
mod tables;
mod two_bits;

pub(crate) use bytes::Q8_0;
pub(crate) use converted::Q3_K;
pub(crate) use floats::{BF16, F16, F32};
pub(crate) use nibbles::{Q4_0, Q4_1};
pub(crate) use planes::{FiveStep, Q5_0, Q5_1, SixStep};
pub(crate) use super_blocks::{Q4_K, Q5_K, Q6_K, SuperHeader};
pub(crate) use tables::{IQ4_NL, IQ4_XS, MXFP4, Table};
pub(crate) use two_bits::Q2_K;

/// Version of how tiles lie in memory: another one whenever the `store` of any format changes,
/// because model components may hold tiles.
pub const LAYOUT_VERSION: u32 = 2;

/// Rows of a group.
pub const GROUP_ROWS: usize = 16;

/// Columns of a quantised block, and of a block of activations.
pub(crate) const BLOCK_COLUMNS: usize = 32;

/// [`F32x4::load_halves`] reads f16 times 2^-112. The activations take a share of the way back
/// and the finished outputs the other, because the whole of it would overflow for large
/// activations, and none of it lose small sums. Powers of two round nothing.
pub(crate) const SCALE_SHARE: f32 = f32::from_bits((127 + 56) << 23);

/// A half precision number as [`F32x4::load_halves`] reads it.
pub(crate) fn half_to_f32(bytes: [u8; 2]) -> f32 {
    let bits = (i32::from(i16::from_le_bytes(bytes)) << 13) as u32 & 0x8fff_e000;
    f32::from_bits(bits) * (SCALE_SHARE * SCALE_SHARE)
}

/// Storage of a format. A tile holds the blocks at one place of a group's rows.
pub(crate) trait Layout {
    /// Columns of a block.
    const BLOCK_COLUMNS: usize;
    /// Bytes of a block in GGUF.
    const BLOCK_BYTES: usize;
    /// Bytes of a tile.
    const TILE_BYTES: usize;
    /// Puts a GGUF block into row `lane` of a tile, which is all zeros there.
    fn store(tile: &mut [u8], lane: usize, block: &[u8]);
    /// Puts the blocks of all rows into a tile, whatever it holds.
    #[inline(always)]
    fn store_all(tile: &mut [u8], blocks: [&[u8]; GROUP_ROWS]) {
        tile.fill(0);
        for (lane, block) in blocks.into_iter().enumerate() {
            Self::store(tile, lane, block);
        }
    }
    /// Widens row `lane` of a tile.
    fn load(tile: &[u8], lane: usize, out: &mut [f32]);
}

/// Formats whose elements are numbers by themselves.
pub(crate) trait Floating: Layout {
    /// Makes up for the factor of `load`; the finished outputs take it once more.
    const SHARE: f32;
    /// Four of the tile's 16 rows.
    fn rows<S: Simd>(tile: &[u8], vector: usize) -> S::F;
}

/// Formats of blocks with a scale. A tile is a header and the packed weights of one block of
/// [`BLOCK_COLUMNS`], or of several.
pub(crate) trait Quantised: Layout {
    /// What a packed zero stands for, negated.
    const OFFSET: i32;
    /// About the middle of the packed weights, where their sums would be too large without taking
    /// it from each ([`Dot::IS_CENTRED`]).
    const CENTRE: i16 = Self::OFFSET as i16;
    /// Whether a block has a minimum, which is added to its weights.
    const HAS_MINIMUM: bool;
    /// Columns that share a scale and a minimum: [`BLOCK_COLUMNS`], or half of them.
    const SCALE_COLUMNS: usize = BLOCK_COLUMNS;
    /// Bytes before the packed weights.
    const HEADER_BYTES: usize;
    /// Whether several tokens are better served by weights unpacked once.
    const UNPACKS: bool;
    /// Multiplies packed weights.
    type Packed<S: Simd>: Dot<I = S::I>;
    /// Multiplies unpacked weights.
    type Panel<S: Simd>: Dot<I = S::I>;
    /// Reads what a group's [`Quantised::block`] needs, if anything.
    #[inline(always)]
    fn read_headers<S: Simd>(_group: &[u8], _headers: &mut Vec<SuperHeader>) {}
    /// One of a group's blocks, each of [`BLOCK_COLUMNS`].
    fn block<'a, S: Simd>(
        group: &'a [u8],
        headers: &'a [SuperHeader],
        index: usize,
    ) -> impl Block<S> + 'a;
    /// Unpacks a block's packed weights.
    fn unpack<S: Simd>(packed: &[u8], panel: &mut [u8]);
}

/// The blocks of [`BLOCK_COLUMNS`] at one place of a group's rows. A part has
/// [`Quantised::SCALE_COLUMNS`].
pub(crate) trait Block<S: Simd>: Copy {
    /// The weights from a part on.
    fn weights(&self, part: usize) -> &[u8];
    /// Of four rows, times 2^-112.
    fn scale(&self, part: usize, vector: usize) -> S::F;
    /// Of four rows, times 2^-112.
    fn minimum(&self, part: usize, vector: usize) -> S::F;
}

/// A tile of a single block, with a header of 16 f16 scales, and 16 f16 minima if there are any.
struct Tile<'a, Q>(&'a [u8], PhantomData<Q>);

impl<Q> Clone for Tile<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q> Copy for Tile<'_, Q> {}

impl<S: Simd, Q: Quantised> Block<S> for Tile<'_, Q> {
    #[inline(always)]
    fn weights(&self, _: usize) -> &[u8] {
        &self.0[Q::HEADER_BYTES..]
    }
    #[inline(always)]
    fn scale(&self, _: usize, vector: usize) -> S::F {
        header_lanes::<S>(self.0, vector)
    }
    #[inline(always)]
    fn minimum(&self, _: usize, vector: usize) -> S::F {
        header_lanes::<S>(self.0, 4 + vector)
    }
}

/// Puts the f16 numbers with which blocks begin side by side, as many as the header holds.
#[inline(always)]
fn store_halves(header: &mut [u8], blocks: [&[u8]; GROUP_ROWS]) {
    let numbers = header.as_chunks_mut::<2>().0.as_chunks_mut::<GROUP_ROWS>().0;
    for (number, lanes) in numbers.iter_mut().enumerate() {
        for (half, block) in lanes.iter_mut().zip(blocks) {
            *half = block.as_chunks().0[number];
        }
    }
}

/// The same byte four times.
const fn each_byte(byte: u8) -> u32 {
    u32::from_le_bytes([byte; 4])
}

/// Words of four columns' bytes.
#[inline(always)]
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let words = &bytes.as_chunks().0[..N];
    std::array::from_fn(|index| u32::from_le_bytes(words[index]))
}

/// One of a group's tiles.
#[inline(always)]
fn tile<Q: Quantised>(group: &[u8], index: usize) -> Tile<'_, Q> {
    Tile(&group[index * Q::TILE_BYTES..][..Q::TILE_BYTES], PhantomData)
}

/// Four of 16 scales or minima, times 2^-112.
#[inline(always)]
fn header_lanes<S: Simd>(header: &[u8], vector: usize) -> S::F {
    S::F::load_halves(&header.as_chunks::<8>().0[vector])
}
