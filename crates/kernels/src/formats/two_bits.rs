//! Q2_K, which few use: its 2-bit weights lie as nibbles, so that 4-bit kernels multiply them; they
//! take 4.63 bits in memory.
//!
//! The header: 16 scales and 16 minima in f16, then of each 16 columns a byte of each row, whose
//! nibbles are a scale and a minimum.

use super::super_blocks::{self, COLUMNS, SuperHeader};
use super::{
    BLOCK_COLUMNS, Block, GROUP_ROWS, Layout, Quantised, each_byte, half_to_f32, nibbles, words,
};
use crate::arch::Simd;

/// Scales and minima; weights from 0 to 3.
#[allow(non_camel_case_types)]
pub(crate) struct Q2_K;

/// Columns that share a scale.
const SCALE_COLUMNS: usize = 16;

/// Scales of a super-block.
const SCALES: usize = COLUMNS / SCALE_COLUMNS;

/// Packed weights of a block.
const BODY_BYTES: usize = GROUP_ROWS * BLOCK_COLUMNS / 2;

impl Layout for Q2_K {
    const BLOCK_COLUMNS: usize = COLUMNS;
    const BLOCK_BYTES: usize = 84;
    const TILE_BYTES: usize = Self::HEADER_BYTES + COLUMNS / BLOCK_COLUMNS * BODY_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (header, body) = tile.split_at_mut(Self::HEADER_BYTES);
        let (small, rest) = block.split_at(SCALES);
        let (weights, halves) = rest.split_at(COLUMNS / 4);
        header[lane * 2..][..2].copy_from_slice(&halves[..2]);
        header[32 + lane * 2..][..2].copy_from_slice(&halves[2..]);
        for (lanes, small) in header[64..].as_chunks_mut::<16>().0.iter_mut().zip(small) {
            lanes[lane] = *small;
        }
        // 32 bytes hold four blocks, two bits of each byte for each.
        for (index, body) in body.chunks_exact_mut(BODY_BYTES).enumerate() {
            let (half, run) = (index / 4, index % 4);
            let pairs =
                words::<8>(&weights[half * 32..]).map(|word| word >> (2 * run) & each_byte(3));
            // As GGUF packs nibbles: columns `i` and `i + 16` in one byte.
            let packed: [[u8; 4]; 4] =
                std::array::from_fn(|word| (pairs[word] | pairs[word + 4] << 4).to_le_bytes());
            nibbles::store(body, lane, packed.as_flattened());
        }
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let (header, body) = tile.split_at(Self::HEADER_BYTES);
        let halves = header.as_chunks().0;
        let (scale, minimum) = (half_to_f32(halves[lane]), half_to_f32(halves[16 + lane]));
        for (body, out) in body.chunks_exact(BODY_BYTES).zip(out.chunks_exact_mut(BLOCK_COLUMNS)) {
            nibbles::load(body, lane, out, |weight| weight);
        }
        let small = header[64..].as_chunks::<16>().0;
        for (small, out) in small.iter().zip(out.chunks_exact_mut(SCALE_COLUMNS)) {
            let scale = scale * f32::from(small[lane] & 15);
            let minimum = minimum * f32::from(small[lane] >> 4);
            out.iter_mut().for_each(|weight| *weight = *weight * scale - minimum);
        }
    }
}

impl Quantised for Q2_K {
    const OFFSET: i32 = 0;
    const HAS_MINIMUM: bool = true;
    const SCALE_COLUMNS: usize = SCALE_COLUMNS;
    const HEADER_BYTES: usize = GROUP_ROWS * (2 + 2 + SCALES);
    const UNPACKS: bool = true;
    type Packed<S: Simd> = S::Nibbles;
    type Panel<S: Simd> = S::NibblePanel;
    #[inline(always)]
    fn read_headers<S: Simd>(group: &[u8], headers: &mut Vec<SuperHeader>) {
        super_blocks::read_headers::<S, Self>(group, headers);
    }
    #[inline(always)]
    fn block<'a, S: Simd>(
        group: &'a [u8],
        headers: &'a [SuperHeader],
        index: usize,
    ) -> impl Block<S> + 'a {
        super_blocks::block::<Self>(group, headers, index)
    }
    #[inline(always)]
    fn unpack<S: Simd>(packed: &[u8], panel: &mut [u8]) {
        nibbles::unpack::<S>(packed, panel);
    }
}
