//! Types that are stored as others: blocks are rewritten as they are laid out, and the others'
//! kernels compute them. That costs memory, but no kernel.

use super::{Layout, Q5_0, Q6_K, Q8_0, half_to_f32};

/// 4-bit indices of a table with unequal steps, stored as Q8_0: exact.
#[allow(non_camel_case_types)]
pub(crate) struct IQ4_NL;

/// The same in super-blocks, whose blocks of 32 have small integers as scales, stored as Q8_0: the
/// product of both scales is rounded to f16.
#[allow(non_camel_case_types)]
pub(crate) struct IQ4_XS;

/// 4-bit floats with a power of two as scale, stored as Q5_0: exact for scales from 2^-23 to 2^16,
/// beyond which the nearest of these is taken.
pub(crate) struct MXFP4;

/// 3-bit weights in super-blocks with 6-bit scales, stored as Q6_K: exact.
#[allow(non_camel_case_types)]
pub(crate) struct Q3_K;

/// What the indices of IQ4_NL and IQ4_XS stand for (ggml-common.h, `kvalues_iq4nl`).
const STEPS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice what the indices of MXFP4 stand for (OCP Microscaling Formats 1.0, E2M1).
const FLOATS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The index of column `column` where 16 bytes hold columns `i` and `i + 16` in byte `i`.
fn index(nibbles: &[u8], column: usize) -> usize {
    usize::from(nibbles[column % 16] >> (column / 16 * 4) & 15)
}

/// A block of Q8_0 with the steps that 16 bytes name.
fn eight_bits(scale: [u8; 2], nibbles: &[u8]) -> [u8; Q8_0::BLOCK_BYTES] {
    std::array::from_fn(|place| match place.checked_sub(2) {
        None => scale[place],
        Some(column) => STEPS[index(nibbles, column)] as u8,
    })
}

impl Layout for IQ4_NL {
    const BLOCK_COLUMNS: usize = Q8_0::BLOCK_COLUMNS;
    const BLOCK_BYTES: usize = 18;
    const TILE_BYTES: usize = Q8_0::TILE_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (scale, nibbles) = block.split_at(2);
        Q8_0::store(tile, lane, &eight_bits([scale[0], scale[1]], nibbles));
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        Q8_0::load(tile, lane, out);
    }
}

impl Layout for IQ4_XS {
    const BLOCK_COLUMNS: usize = 256;
    const BLOCK_BYTES: usize = 136;
    const TILE_BYTES: usize = 8 * Q8_0::TILE_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (head, nibbles) = block.split_at(8);
        let scale = half_to_f32([head[0], head[1]]);
        let upper = u16::from_le_bytes([head[2], head[3]]);
        let tiles = tile.chunks_exact_mut(Q8_0::TILE_BYTES);
        for (index, (tile, nibbles)) in tiles.zip(nibbles.chunks_exact(16)).enumerate() {
            let low = head[4 + index / 2] >> (index % 2 * 4) & 15;
            let small = i32::from(low) | i32::from(upper >> (2 * index) & 3) << 4;
            let scale = to_half(scale * (small - 32) as f32);
            Q8_0::store(tile, lane, &eight_bits(scale, nibbles));
        }
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let tiles = tile.chunks_exact(Q8_0::TILE_BYTES);
        for (tile, out) in tiles.zip(out.chunks_exact_mut(Q8_0::BLOCK_COLUMNS)) {
            Q8_0::load(tile, lane, out);
        }
    }
}

impl Layout for MXFP4 {
    const BLOCK_COLUMNS: usize = Q5_0::BLOCK_COLUMNS;
    const BLOCK_BYTES: usize = 17;
    const TILE_BYTES: usize = Q5_0::TILE_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (exponent, nibbles) = (i32::from(block[0]), &block[1..]);
        // 2^(exponent - 128), because the floats are doubled; in f16 from 2^-24 to 2^15.
        let scale = match (exponent - 128).clamp(-24, 15) {
            normal @ -14.. => (normal + 15) << 10,
            subnormal => 1 << (subnormal + 24),
        };
        let mut fives = [0; Q5_0::BLOCK_BYTES];
        fives[..2].copy_from_slice(&(scale as u16).to_le_bytes());
        let mut high = 0u32;
        for column in 0..Self::BLOCK_COLUMNS {
            // Q5_0 counts from -16.
            let weight = (FLOATS[index(nibbles, column)] + 16) as u8;
            high |= u32::from(weight >> 4) << column;
            fives[6 + column % 16] |= (weight & 15) << (column / 16 * 4);
        }
        fives[2..6].copy_from_slice(&high.to_le_bytes());
        Q5_0::store(tile, lane, &fives);
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        Q5_0::load(tile, lane, out);
    }
}

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

/// The nearest f16, ties to even. For products of scales: neither infinite nor NaN.
fn to_half(value: f32) -> [u8; 2] {
    const MAX: f32 = 65504.0;
    let magnitude = value.abs().min(MAX);
    // The smallest normal f16 is 2^-14; below, its last place is 2^-24.
    let bits = if magnitude < 2f32.powi(-14) {
        (magnitude * 2f32.powi(24)).round_ties_even() as u32
    } else {
        let bits = magnitude.to_bits();
        (bits - (112 << 23) + 0xfff + (bits >> 13 & 1)) >> 13
    };
    let sign = value.to_bits() >> 16 & 0x8000;
    ((bits | sign) as u16).to_le_bytes()
}
