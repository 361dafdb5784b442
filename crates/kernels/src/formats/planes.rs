//! 5- and 6-bit weights: nibbles, and planes of the bits above them. A step of 8 columns has four
//! vectors of nibbles, two for each half of the columns, as `nibbles` describes them, and one
//! vector for each high bit. Byte `4r + c` of a plane belongs to the rows `r`, `r + 4`, `r + 8`
//! and `r + 12` at column `c` of both halves: its lowest bits to row `r` in the first half, the
//! next to row `r + 4`, and so on; 6-bit weights have a plane for each half.

use super::nibbles::place;
use super::{BLOCK_COLUMNS, Block, GROUP_ROWS, Layout, Quantised, SuperHeader, half_to_f32, tile};
use crate::arch::Simd;

/// A step of 5-bit weights: 8 columns of 16 rows.
pub(crate) type FiveStep = [[u8; 16]; 5];

/// A step of 6-bit weights: 8 columns of 16 rows.
pub(crate) type SixStep = [[u8; 16]; 6];

/// Columns of a step.
pub(super) const STEP_COLUMNS: usize = 8;

/// Vectors of nibbles in a step.
const NIBBLE_VECTORS: usize = 4;

/// Scale; weights from -16 to 15.
#[allow(non_camel_case_types)]
pub(crate) struct Q5_0;

/// Scale and minimum; weights from 0 to 31.
#[allow(non_camel_case_types)]
pub(crate) struct Q5_1;

/// Where a weight's high bits lie in a step, and by how many bits they are shifted.
fn high_place(lane: usize, column: usize, bits: usize) -> (usize, usize, usize) {
    let bit = (column / 4 * 4 + lane / 4) * bits;
    (NIBBLE_VECTORS + bit / 8, lane % 4 * 4 + column % 4, bit % 8)
}

/// Puts a row's weights into steps of `N` vectors, which are all zeros there.
pub(super) fn store<const N: usize>(body: &mut [u8], lane: usize, weights: &[u8]) {
    let bits = N - NIBBLE_VECTORS;
    let (at, shift) = place(lane);
    let steps = body.as_chunks_mut::<16>().0.as_chunks_mut::<N>().0.iter_mut();
    for (step, weights) in steps.zip(weights.as_chunks::<STEP_COLUMNS>().0) {
        for (column, weight) in weights.iter().enumerate() {
            let nibbles = step[column / 4 * 2..][..2].as_flattened_mut();
            nibbles[at + column % 4] |= (weight & 15) << shift;
            let (vector, byte, shift) = high_place(lane, column, bits);
            step[vector][byte] |= (weight >> 4) << shift;
        }
    }
}

/// Calls `each` with a row's weights in steps of `N` vectors, one by one.
pub(super) fn load<const N: usize>(body: &[u8], lane: usize, mut each: impl FnMut(usize, u8)) {
    let bits = N - NIBBLE_VECTORS;
    let (at, shift) = place(lane);
    for (index, step) in body.as_chunks::<16>().0.as_chunks::<N>().0.iter().enumerate() {
        for column in 0..STEP_COLUMNS {
            let nibbles = step[column / 4 * 2..][..2].as_flattened();
            let low = nibbles[at + column % 4] >> shift & 15;
            let (vector, byte, shift) = high_place(lane, column, bits);
            let high = step[vector][byte] >> shift & ((1 << bits) - 1);
            each(index * STEP_COLUMNS + column, low | high << 4);
        }
    }
}

/// Unpacks 5-bit weights.
#[inline(always)]
pub(super) fn unpack_fives<S: Simd>(packed: &[u8], panel: &mut [u8]) {
    let steps = packed.as_chunks().0.as_chunks().0;
    for (step, panel) in steps.iter().zip(panel.as_chunks_mut().0) {
        S::unpack_fives(step, panel);
    }
}

/// A block's weights as GGUF has them: a bit for each, then nibbles.
fn weights(high_bits: &[u8], nibbles: &[u8]) -> [u8; BLOCK_COLUMNS] {
    std::array::from_fn(|column| {
        let low = nibbles[column % 16] >> (column / 16 * 4) & 15;
        let high = high_bits[column / 8] >> (column % 8) & 1;
        low | high << 4
    })
}

impl Layout for Q5_0 {
    const BLOCK_COLUMNS: usize = BLOCK_COLUMNS;
    const BLOCK_BYTES: usize = 22;
    const TILE_BYTES: usize = GROUP_ROWS * Self::BLOCK_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (header, body) = tile.split_at_mut(Self::HEADER_BYTES);
        header[lane * 2..][..2].copy_from_slice(&block[..2]);
        store::<5>(body, lane, &weights(&block[2..6], &block[6..]));
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let (header, body) = tile.split_at(Self::HEADER_BYTES);
        let scale = half_to_f32(header.as_chunks().0[lane]);
        load::<5>(body, lane, |column, weight| out[column] = (f32::from(weight) - 16.0) * scale);
    }
}

impl Quantised for Q5_0 {
    const OFFSET: i32 = 16;
    const HAS_MINIMUM: bool = false;
    const HEADER_BYTES: usize = 32;
    const UNPACKS: bool = true;
    type Packed<S: Simd> = S::Fives;
    type Panel<S: Simd> = S::SixPanel;
    #[inline(always)]
    fn block<'a, S: Simd>(
        group: &'a [u8],
        _: &'a [SuperHeader],
        index: usize,
    ) -> impl Block<S> + 'a {
        tile::<Self>(group, index)
    }
    #[inline(always)]
    fn unpack<S: Simd>(packed: &[u8], panel: &mut [u8]) {
        unpack_fives::<S>(packed, panel);
    }
}

impl Layout for Q5_1 {
    const BLOCK_COLUMNS: usize = BLOCK_COLUMNS;
    const BLOCK_BYTES: usize = 24;
    const TILE_BYTES: usize = GROUP_ROWS * Self::BLOCK_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (header, body) = tile.split_at_mut(Self::HEADER_BYTES);
        header[lane * 2..][..2].copy_from_slice(&block[..2]);
        header[32 + lane * 2..][..2].copy_from_slice(&block[2..4]);
        store::<5>(body, lane, &weights(&block[4..8], &block[8..]));
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let (header, body) = tile.split_at(Self::HEADER_BYTES);
        let halves = header.as_chunks().0;
        let (scale, minimum) = (half_to_f32(halves[lane]), half_to_f32(halves[16 + lane]));
        load::<5>(body, lane, |column, weight| out[column] = f32::from(weight) * scale + minimum);
    }
}

impl Quantised for Q5_1 {
    const OFFSET: i32 = 0;
    const HAS_MINIMUM: bool = true;
    const HEADER_BYTES: usize = 64;
    const UNPACKS: bool = true;
    type Packed<S: Simd> = S::Fives;
    type Panel<S: Simd> = S::SixPanel;
    #[inline(always)]
    fn block<'a, S: Simd>(
        group: &'a [u8],
        _: &'a [SuperHeader],
        index: usize,
    ) -> impl Block<S> + 'a {
        tile::<Self>(group, index)
    }
    #[inline(always)]
    fn unpack<S: Simd>(packed: &[u8], panel: &mut [u8]) {
        unpack_fives::<S>(packed, panel);
    }
}
