//! K-quants: super-blocks of 256 columns, whose blocks of 32 (or 16) have small integers as
//! scales. A tile holds its header, then the blocks' packed weights one after the other, each as
//! the simple types have them.
//!
//! The header of Q4_K and Q5_K: 16 scales and 16 minima in f16, then the 12 bytes in which GGUF
//! packs a row's 8 scales and 8 minima of 6 bits, each byte of all 16 rows side by side. That of
//! Q6_K: 16 scales in f16, then for each 16 columns a signed byte of each row.
//! So a tile has the size of its blocks in GGUF.

use super::planes::{self, unpack_fives};
use super::{
    BLOCK_COLUMNS, GROUP_ROWS, Layout, Quantised, Scales, half_to_f32, header_lanes, nibbles,
};
use crate::arch::{F32x4, I32x4, Simd};

/// Columns of a super-block.
const COLUMNS: usize = 256;

/// Blocks of a super-block.
const BLOCKS: usize = COLUMNS / BLOCK_COLUMNS;

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
fn unpack_sixes<const LANES: usize>(packed: &[[u8; LANES]]) -> [[u8; LANES]; 2 * BLOCKS] {
    let mut out = [[0; LANES]; 2 * BLOCKS];
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
    out
}

/// Scales and minima of a tile of Q4_K or Q5_K.
pub(crate) struct Unpacked<S: Simd> {
    /// Of each block 16 rows' scales, then likewise minima.
    bytes: [[u8; GROUP_ROWS]; 2 * BLOCKS],
    scales: [S::F; 4],
    /// Negated.
    minima: [S::F; 4],
}

impl<S: Simd> Unpacked<S> {
    #[inline(always)]
    fn new(header: &[u8]) -> Self {
        let (halves, packed) = header[..HEADER_BYTES].split_at(64);
        Self {
            bytes: unpack_sixes::<GROUP_ROWS>(packed.as_chunks().0),
            scales: lanes::<S>(halves),
            minima: lanes::<S>(&halves[32..]).map(|minimum| S::F::splat(0.0) - minimum),
        }
    }

    #[inline(always)]
    fn small(&self, index: usize, vector: usize) -> S::F {
        S::I::load_unsigned(&self.bytes[index].as_chunks().0[vector]).to_f32()
    }
}

impl<S: Simd> Scales<S> for Unpacked<S> {
    #[inline(always)]
    fn scale(&self, part: usize, vector: usize) -> S::F {
        self.small(part, vector) * self.scales[vector]
    }
    #[inline(always)]
    fn minimum(&self, block: usize, vector: usize) -> S::F {
        self.small(BLOCKS + block, vector) * self.minima[vector]
    }
}

/// All 16 rows' f16 numbers.
#[inline(always)]
fn lanes<S: Simd>(halves: &[u8]) -> [S::F; 4] {
    [0, 1, 2, 3].map(|vector| header_lanes::<S>(halves, vector))
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
    let bytes = unpack_sixes(&packed);
    std::array::from_fn(|block| {
        let [[small_scale], [small_minimum]] = [bytes[block], bytes[BLOCKS + block]];
        (scale * f32::from(small_scale), minimum * f32::from(small_minimum))
    })
}

/// Bytes of a block's packed weights.
const fn body_bytes(bits: usize) -> usize {
    GROUP_ROWS * BLOCK_COLUMNS * bits / 8
}

impl Layout for Q4_K {
    const BLOCK_COLUMNS: usize = COLUMNS;
    const BLOCK_BYTES: usize = 144;
    const TILE_BYTES: usize = GROUP_ROWS * Self::BLOCK_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (header, body) = tile.split_at_mut(HEADER_BYTES);
        store_header(header, lane, block);
        // 32 bytes hold two blocks, one in the low and one in the high nibbles.
        let pairs = body.chunks_exact_mut(2 * body_bytes(4));
        for (body, bytes) in pairs.zip(block[16..].chunks_exact(BLOCK_COLUMNS)) {
            nibbles::store(body, lane, bytes);
        }
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let (header, body) = tile.split_at(HEADER_BYTES);
        let blocks = body.chunks_exact(body_bytes(4)).zip(load_header(header, lane));
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
    type Scales<'a, S: Simd> = Unpacked<S>;
    #[inline(always)]
    fn scales<S: Simd>(header: &[u8]) -> Unpacked<S> {
        Unpacked::new(header)
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
        let weights: [u8; COLUMNS] = std::array::from_fn(|column| {
            let (block, column) = (column / 32, column % 32);
            let nibble = low[block / 2 * 32 + column] >> (block % 2 * 4) & 15;
            nibble | (high[column] >> block & 1) << 4
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
    const HAS_MINIMUM: bool = true;
    const HEADER_BYTES: usize = HEADER_BYTES;
    const UNPACKS: bool = true;
    type Packed<S: Simd> = S::Fives;
    type Panel<S: Simd> = S::SixPanel;
    type Scales<'a, S: Simd> = Unpacked<S>;
    #[inline(always)]
    fn scales<S: Simd>(header: &[u8]) -> Unpacked<S> {
        Unpacked::new(header)
    }
    #[inline(always)]
    fn unpack<S: Simd>(packed: &[u8], panel: &mut [u8]) {
        unpack_fives::<S>(packed, panel);
    }
}

/// Scales of a tile of Q6_K.
pub(crate) struct SixScales<'a, S: Simd> {
    /// Of each 16 columns 16 rows' scales.
    bytes: &'a [[u8; GROUP_ROWS]],
    scales: [S::F; 4],
}

impl<S: Simd> Scales<S> for SixScales<'_, S> {
    #[inline(always)]
    fn scale(&self, part: usize, vector: usize) -> S::F {
        let small = S::I::load_signed(&self.bytes[part].as_chunks().0[vector]).to_f32();
        small * self.scales[vector]
    }
    #[inline(always)]
    fn minimum(&self, _: usize, _: usize) -> S::F {
        S::F::splat(0.0)
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
        header[lane * 2..][..2].copy_from_slice(scale);
        for (lanes, scale) in header[32..].as_chunks_mut::<16>().0.iter_mut().zip(scales) {
            lanes[lane] = *scale;
        }
        // Each half's columns come in four runs of 32: their nibbles are the low ones of two runs
        // of bytes, then the high ones; a byte of high bits serves one column of each run.
        let weights: [u8; COLUMNS] = std::array::from_fn(|column| {
            let (half, run, column) = (column / 128, column / 32 % 4, column % 32);
            let nibble = low[half * 64 + run % 2 * 32 + column] >> (run / 2 * 4) & 15;
            nibble | (high[half * 32 + column] >> (2 * run) & 3) << 4
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
    type Scales<'a, S: Simd> = SixScales<'a, S>;
    #[inline(always)]
    fn scales<S: Simd>(header: &[u8]) -> SixScales<'_, S> {
        let (halves, bytes) = header[..SIX_HEADER_BYTES].split_at(32);
        SixScales { bytes: bytes.as_chunks().0, scales: lanes::<S>(halves) }
    }
    #[inline(always)]
    fn unpack<S: Simd>(packed: &[u8], panel: &mut [u8]) {
        let steps = packed.as_chunks().0.as_chunks().0;
        for (step, panel) in steps.iter().zip(panel.as_chunks_mut().0) {
            S::unpack_sixes(step, panel);
        }
    }
}
