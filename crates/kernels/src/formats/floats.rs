use super::{Floating, GROUP_ROWS, Layout, SCALE_SHARE, half_to_f32};
use crate::arch::{F32x4, Simd};

/// Single precision.
pub(crate) struct F32;

/// Half precision.
pub(crate) struct F16;

/// The upper half of single precision.
pub(crate) struct BF16;

impl Layout for F32 {
    const BLOCK_COLUMNS: usize = 1;
    const BLOCK_BYTES: usize = 4;
    const TILE_BYTES: usize = 4 * GROUP_ROWS;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        tile[lane * 4..][..4].copy_from_slice(block);
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        out[0] = f32::from_le_bytes(tile.as_chunks().0[lane]);
    }
}

impl Floating for F32 {
    const SHARE: f32 = 1.0;
    #[inline(always)]
    fn rows<S: Simd>(tile: &[u8], vector: usize) -> S::F {
        S::F::load_bytes(&tile.as_chunks().0[vector])
    }
}

impl Layout for F16 {
    const BLOCK_COLUMNS: usize = 1;
    const BLOCK_BYTES: usize = 2;
    const TILE_BYTES: usize = 2 * GROUP_ROWS;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        tile[lane * 2..][..2].copy_from_slice(block);
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        out[0] = half_to_f32(tile.as_chunks().0[lane]);
    }
}

impl Floating for F16 {
    const SHARE: f32 = SCALE_SHARE;
    #[inline(always)]
    fn rows<S: Simd>(tile: &[u8], vector: usize) -> S::F {
        S::F::load_halves(&tile.as_chunks().0[vector])
    }
}

impl Layout for BF16 {
    const BLOCK_COLUMNS: usize = 1;
    const BLOCK_BYTES: usize = 2;
    const TILE_BYTES: usize = 2 * GROUP_ROWS;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        tile[lane * 2..][..2].copy_from_slice(block);
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let [low, high] = tile.as_chunks().0[lane];
        out[0] = f32::from_le_bytes([0, 0, low, high]);
    }
}

impl Floating for BF16 {
    const SHARE: f32 = 1.0;
    #[inline(always)]
    fn rows<S: Simd>(tile: &[u8], vector: usize) -> S::F {
        S::F::load_upper_halves(&tile.as_chunks().0[vector])
    }
}
