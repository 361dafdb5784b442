//! Types that are stored as others: blocks are rewritten as they are laid out, and the others'
//! kernels compute them. That costs memory, but no kernel.

use super::{Layout, Q6_K};

/// 3-bit weights in super-blocks with 6-bit scales, stored as Q6_K: exact.
#[allow(non_camel_case_types)]
pub(crate) struct Q3_K;

impl Layout for Q3_K {
    const BLOCK_COLUMNS: usize = Q6_K::BLOCK_COLUMNS;
    const BLOCK_BYTES: usize = 110;
    const TILE_BYTES: usize = Q6_K::TILE_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (high, rest) = block.split_at(32);
        let (low, rest) = rest.split_at(64);
        let (packed, scale) = rest.split_at(12);
        let mut sixes = [0; Q6_K::BLOCK_BYTES];
        let (nibbles, rest) = sixes.split_at_mut(128);
        let (pairs, rest) = rest.split_at_mut(64);
        for column in 0..Self::BLOCK_COLUMNS {
            // 128 columns come in four runs of 32, which share bytes.
            let (half, run, place) = (column / 128, column / 32 % 4, column % 32);
            let bits = low[half * 32 + place] >> (2 * run) & 3;
            let is_positive = high[place] >> (half * 4 + run) & 1;
            // From -4 to 3 as Q6_K counts, from -32.
            let weight = 32 + bits + 4 * is_positive - 4;
            nibbles[half * 64 + run % 2 * 32 + place] |= (weight & 15) << (run / 2 * 4);
            pairs[half * 32 + place] |= (weight >> 4) << (2 * run);
        }
        for (index, small) in rest[..16].iter_mut().enumerate() {
            let bits = packed[index % 8] >> (index / 8 * 4) & 15;
            let upper = packed[8 + index % 4] >> (index / 4 * 2) & 3;
            *small = (bits | upper << 4).wrapping_sub(32);
        }
        rest[16..].copy_from_slice(scale);
        Q6_K::store(tile, lane, &sixes);
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        Q6_K::load(tile, lane, out);
    }
}
