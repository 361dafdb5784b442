//! K-quants: super-blocks of 256 columns, whose blocks of 32 (or 16) have small integers as
//! scales. A tile holds its header, then the blocks' packed weights one after the other, each as
//! the simple types have them.
//!
//! The header of Q4_K and Q5_K: 16 scales and 16 minima in f16, then the 12 bytes in which GGUF
//! packs a row's 8 scales and 8 minima of 6 bits, each byte of all 16 rows side by side. That of
//! Q6_K: 16 scales in f16, then for each 16 columns a signed byte of each row.
//! So a tile has the size of its blocks in GGUF.

use std::marker::PhantomData;

use super::planes::{self, unpack_fives};
use super::{
    BLOCK_COLUMNS, Block, GROUP_ROWS, Layout, Quantised, each_byte, half_to_f32, header_lanes,
    nibbles, words,
};
use crate::arch::{F32x4, I32x4, Simd};

/// Columns of a super-block.
pub(super) const COLUMNS: usize = 256;

/// Blocks of a super-block.
pub(super) const BLOCKS: usize = COLUMNS / BLOCK_COLUMNS;

/// Bytes that hold a row's scales and minima in Q4_K and Q5_K.
const PACKED_BYTES: usize = 12;

/// Header of a tile of Q4_K and Q5_K.
const HEADER_BYTES: usize = GROUP_ROWS * (2 + 2 + PACKED_BYTES);

/// Header of a tile of Q6_K.
const SIX_HEADER_BYTES: usize = GROUP_ROWS * (2 + COLUMNS / 16);

/// Scales and minima; weights from 0 to 15.
#[allow(non_camel_case_types)]
pub(crate) struct Q4_K;

/// Scales and minima; weights from 0 to 31.
#[allow(non_camel_case_types)]
pub(crate) struct Q5_K;

/// Scales; weights from -32 to 31.
#[allow(non_camel_case_types)]
pub(crate) struct Q6_K;

/// The 8 scales and then the 8 minima of 6 bits that 12 bytes hold, for `LANES` rows at once
/// (ggml-quants.c, `get_scale_min_k4`): the first four of both lie in the low bits of bytes 0 to
/// 7, the last four in the nibbles of bytes 8 to 11 and the high bits of bytes 0 to 7.
#[inline(always)]
fn unpack_sixes<const LANES: usize>(packed: &[[u8; LANES]], out: &mut [[u8; LANES]]) {
    let out = &mut out[..2 * BLOCKS];
    for block in 0..4 {
        for lane in 0..LANES {
            let [scale, minimum, both] =
                [packed[block][lane], packed[block + 4][lane], packed[block + 8][lane]];
            out[block][lane] = scale & 63;
            out[block + 4][lane] = both & 15 | scale >> 2 & 0x30;
            out[BLOCKS + block][lane] = minimum & 63;
            out[BLOCKS + block + 4][lane] = both >> 4 | minimum >> 2 & 0x30;
        }
    }
}

/// The low nibbles of 16 bytes and then the high ones, for `LANES` rows at once.
#[inline(always)]
fn unpack_nibbles<const LANES: usize>(packed: &[[u8; LANES]], out: &mut [[u8; LANES]; 4 * BLOCKS]) {
    let (low, high) = out.split_at_mut(2 * BLOCKS);
    for ((packed, low), high) in packed.iter().zip(low).zip(high) {
        *low = packed.map(|byte| byte & 15);
        *high = packed.map(|byte| byte >> 4);
    }
}

/// The header of a tile, read.
#[derive(Clone, Copy, Default)]
pub(crate) struct SuperHeader {
    /// Of the 16 rows, times 2^-112.
    scales: [[f32; 4]; 4],
    /// Likewise, negated.
    minima: [[f32; 4]; 4],
    /// The 16 rows' scales of each block (of each 16 columns in Q2_K and Q6_K), and then likewise
    /// minima; without minima they are signed.
    small: [[u8; GROUP_ROWS]; 4 * BLOCKS],
}

/// Reads the headers of a group: scales in f16, minima if there are any, and small ones.
#[inline(always)]
pub(super) fn read_headers<S: Simd, Q: Quantised>(group: &[u8], headers: &mut Vec<SuperHeader>) {
    headers.resize(group.len() / Q::TILE_BYTES, SuperHeader::default());
    for (tile, header) in group.chunks_exact(Q::TILE_BYTES).zip(headers) {
        let (halves, small) =
            tile[..Q::HEADER_BYTES].split_at(if Q::HAS_MINIMUM { 64 } else { 32 });
        for vector in 0..4 {
            header_lanes::<S>(halves, vector).store(&mut header.scales[vector]);
            if Q::HAS_MINIMUM {
                let minimum = S::F::splat(0.0) - header_lanes::<S>(halves, 4 + vector);
                minimum.store(&mut header.minima[vector]);
            }
        }
        let small = small.as_chunks().0;
        match (Q::HAS_MINIMUM, parts::<Q>()) {
            (true, 1) => unpack_sixes(small, &mut header.small),
            (true, _) => unpack_nibbles(small, &mut header.small),
            (false, _) => header.small[..small.len()].copy_from_slice(small),
        }
    }
}

/// A block of a tile.
pub(super) struct SuperBlock<'a, Q> {
    header: &'a SuperHeader,
    weights: &'a [u8],
    index: usize,
    format: PhantomData<Q>,
}

impl<Q> Clone for SuperBlock<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q> Copy for SuperBlock<'_, Q> {}

/// Parts of a block with a scale of their own, one or two.
const fn parts<Q: Quantised>() -> usize {
    BLOCK_COLUMNS / Q::SCALE_COLUMNS
}

/// Bytes of a block's packed weights.
const fn body_bytes<Q: Quantised>() -> usize {
    (Q::TILE_BYTES - Q::HEADER_BYTES) / BLOCKS
}

#[inline(always)]
pub(super) fn block<'a, Q: Quantised>(
    group: &'a [u8],
    headers: &'a [SuperHeader],
    index: usize,
) -> SuperBlock<'a, Q> {
    let (tile, index) = (index / BLOCKS, index % BLOCKS);
    let body = &group[tile * Q::TILE_BYTES..][..Q::TILE_BYTES][Q::HEADER_BYTES..];
    let weights = &body[index * body_bytes::<Q>()..][..body_bytes::<Q>()];
    SuperBlock { header: &headers[tile], weights, index, format: PhantomData }
}

impl<S: Simd, Q: Quantised> Block<S> for SuperBlock<'_, Q> {
    #[inline(always)]
    fn weights(&self, part: usize) -> &[u8] {
        &self.weights[body_bytes::<Q>() / parts::<Q>() * part..]
    }
    #[inline(always)]
    fn scale(&self, part: usize, vector: usize) -> S::F {
        let small = &self.header.small[self.index * parts::<Q>() + part].as_chunks().0[vector];
        let small = match Q::HAS_MINIMUM {
            true => S::I::load_unsigned(small),
            false => S::I::load_signed(small),
        };
        small.to_f32() * S::F::load(&self.header.scales[vector])
    }
    #[inline(always)]
    fn minimum(&self, part: usize, vector: usize) -> S::F {
        let index = (BLOCKS + self.index) * parts::<Q>() + part;
        let small = &self.header.small[index].as_chunks().0[vector];
        S::I::load_unsigned(small).to_f32() * S::F::load(&self.header.minima[vector])
    }
}

/// Puts a row's scales and minima into the header of Q4_K or Q5_K.
fn store_header(header: &mut [u8], lane: usize, block: &[u8]) {
    header[lane * 2..][..2].copy_from_slice(&block[..2]);
    header[32 + lane * 2..][..2].copy_from_slice(&block[2..4]);
    for (lanes, byte) in header[64..].as_chunks_mut::<16>().0.iter_mut().zip(&block[4..]) {
        lanes[lane] = *byte;
    }
}

/// A row's scale and minimum of each block.
fn load_header(header: &[u8], lane: usize) -> [(f32, f32); BLOCKS] {
    let halves = header.as_chunks().0;
    let (scale, minimum) = (half_to_f32(halves[lane]), half_to_f32(halves[16 + lane]));
    let mut packed = [[0]; PACKED_BYTES];
    for (byte, lanes) in packed.iter_mut().zip(header[64..].as_chunks::<16>().0) {
        *byte = [lanes[lane]];
    }
    let mut bytes = [[0]; 2 * BLOCKS];
    unpack_sixes(&packed, &mut bytes);
    std::array::from_fn(|block| {
        let [[small_scale], [small_minimum]] = [bytes[block], bytes[BLOCKS + block]];
        (scale * f32::from(small_scale), minimum * f32::from(small_minimum))
    })
}

impl Layout for Q4_K {
    const BLOCK_COLUMNS: usize = COLUMNS;
    const BLOCK_BYTES: usize = 144;
    const TILE_BYTES: usize = GROUP_ROWS * Self::BLOCK_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (header, body) = tile.split_at_mut(HEADER_BYTES);
        store_header(header, lane, block);
        // 32 bytes hold two blocks, one in the low and one in the high nibbles.
        let pairs = body.chunks_exact_mut(2 * body_bytes::<Self>());
        for (body, bytes) in pairs.zip(block[16..].chunks_exact(BLOCK_COLUMNS)) {
            nibbles::store(body, lane, bytes);
        }
    }
    #[inline(always)]
    fn store_all(tile: &mut [u8], blocks: [&[u8]; GROUP_ROWS]) {
        let (header, body) = tile.split_at_mut(HEADER_BYTES);
        for (lane, block) in blocks.into_iter().enumerate() {
            store_header(header, lane, block);
        }
        for (index, body) in body.chunks_exact_mut(2 * body_bytes::<Self>()).enumerate() {
            let bytes = blocks.map(|block| &block[16 + index * BLOCK_COLUMNS..][..BLOCK_COLUMNS]);
            nibbles::store_all::<8>(body, bytes);
        }
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let (header, body) = tile.split_at(HEADER_BYTES);
        let blocks = body.chunks_exact(body_bytes::<Self>()).zip(load_header(header, lane));
        for ((body, (scale, minimum)), out) in blocks.zip(out.chunks_exact_mut(BLOCK_COLUMNS)) {
            nibbles::load(body, lane, out, |weight| weight * scale - minimum);
        }
    }
}

impl Quantised for Q4_K {
    const OFFSET: i32 = 0;
    const HAS_MINIMUM: bool = true;
    const HEADER_BYTES: usize = HEADER_BYTES;
    const UNPACKS: bool = true;
    type Packed<S: Simd> = S::Nibbles;
    type Panel<S: Simd> = S::NibblePanel;
    #[inline(always)]
    fn read_headers<S: Simd>(group: &[u8], headers: &mut Vec<SuperHeader>) {
        read_headers::<S, Self>(group, headers);
    }
    #[inline(always)]
    fn block<'a, S: Simd>(
        group: &'a [u8],
        headers: &'a [SuperHeader],
        index: usize,
    ) -> impl Block<S> + 'a {
        block::<Self>(group, headers, index)
    }
    #[inline(always)]
    fn unpack<S: Simd>(packed: &[u8], panel: &mut [u8]) {
        nibbles::unpack::<S>(packed, panel);
    }
}

impl Layout for Q5_K {
    const BLOCK_COLUMNS: usize = COLUMNS;
    const BLOCK_BYTES: usize = 176;
    const TILE_BYTES: usize = GROUP_ROWS * Self::BLOCK_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (header, body) = tile.split_at_mut(HEADER_BYTES);
        store_header(header, lane, block);
        let (high, low) = block[16..].split_at(32);
        let (high, low) = (words::<8>(high), words::<32>(low));
        let weights: [u32; COLUMNS / 4] = std::array::from_fn(|index| {
            let (block, index) = (index / 8, index % 8);
            let nibbles = low[block / 2 * 8 + index] >> (block % 2 * 4) & each_byte(15);
            nibbles | (high[index] >> block & each_byte(1)) << 4
        });
        planes::store::<5>(body, lane, &weights);
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let (header, body) = tile.split_at(HEADER_BYTES);
        let scales = load_header(header, lane);
        planes::load::<5>(body, lane, |column, weight| {
            let (scale, minimum) = scales[column / BLOCK_COLUMNS];
            out[column] = f32::from(weight) * scale - minimum;
        });
    }
}

impl Quantised for Q5_K {
    const OFFSET: i32 = 0;
    const CENTRE: i16 = 16;
    const HAS_MINIMUM: bool = true;
    const HEADER_BYTES: usize = HEADER_BYTES;
    const UNPACKS: bool = true;
    type Packed<S: Simd> = S::Fives;
    type Panel<S: Simd> = S::SixPanel;
    #[inline(always)]
    fn read_headers<S: Simd>(group: &[u8], headers: &mut Vec<SuperHeader>) {
        read_headers::<S, Self>(group, headers);
    }
    #[inline(always)]
    fn block<'a, S: Simd>(
        group: &'a [u8],
        headers: &'a [SuperHeader],
        index: usize,
    ) -> impl Block<S> + 'a {
        block::<Self>(group, headers, index)
    }
    #[inline(always)]
    fn unpack<S: Simd>(packed: &[u8], panel: &mut [u8]) {
        unpack_fives::<S>(packed, panel);
    }
}

impl Layout for Q6_K {
    const BLOCK_COLUMNS: usize = COLUMNS;
    const BLOCK_BYTES: usize = 210;
    const TILE_BYTES: usize = GROUP_ROWS * Self::BLOCK_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (header, body) = tile.split_at_mut(SIX_HEADER_BYTES);
        let (low, rest) = block.split_at(128);
        let (high, rest) = rest.split_at(64);
        let (scales, scale) = rest.split_at(16);
        let (low, high) = (words::<32>(low), words::<16>(high));
        header[lane * 2..][..2].copy_from_slice(scale);
        for (lanes, scale) in header[32..].as_chunks_mut::<16>().0.iter_mut().zip(scales) {
            lanes[lane] = *scale;
        }
        // Each half's columns come in four runs of 32: their nibbles are the low ones of two runs
        // of bytes, then the high ones; a byte of high bits serves one column of each run.
        let weights: [u32; COLUMNS / 4] = std::array::from_fn(|index| {
            let (half, run, index) = (index / 32, index / 8 % 4, index % 8);
            let nibbles = low[half * 16 + run % 2 * 8 + index] >> (run / 2 * 4) & each_byte(15);
            nibbles | (high[half * 8 + index] >> (2 * run) & each_byte(3)) << 4
        });
        planes::store::<6>(body, lane, &weights);
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let (header, body) = tile.split_at(SIX_HEADER_BYTES);
        let scale = half_to_f32(header.as_chunks().0[lane]);
        let scales = header[32..].as_chunks::<16>().0;
        planes::load::<6>(body, lane, |column, weight| {
            let scale = scale * f32::from(scales[column / 16][lane] as i8);
            out[column] = (f32::from(weight) - 32.0) * scale;
        });
    }
}

impl Quantised for Q6_K {
    const OFFSET: i32 = 32;
    const HAS_MINIMUM: bool = false;
    const SCALE_COLUMNS: usize = 16;
    const HEADER_BYTES: usize = SIX_HEADER_BYTES;
    const UNPACKS: bool = true;
    type Packed<S: Simd> = S::Sixes;
    type Panel<S: Simd> = S::SixPanel;
    #[inline(always)]
    fn read_headers<S: Simd>(group: &[u8], headers: &mut Vec<SuperHeader>) {
        read_headers::<S, Self>(group, headers);
    }
    #[inline(always)]
    fn block<'a, S: Simd>(
        group: &'a [u8],
        headers: &'a [SuperHeader],
        index: usize,
    ) -> impl Block<S> + 'a {
        block::<Self>(group, headers, index)
    }
    #[inline(always)]
    fn unpack<S: Simd>(packed: &[u8], panel: &mut [u8]) {
        let steps = packed.as_chunks().0.as_chunks().0;
        for (step, panel) in steps.iter().zip(panel.as_chunks_mut().0) {
            S::unpack_sixes(step, panel);
        }
    }
}
