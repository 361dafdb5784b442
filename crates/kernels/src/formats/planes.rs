//! 5- and 6-bit weights: nibbles, and planes of the bits above them. A step of 8 columns has four
//! vectors of nibbles, two for each half of the columns, as `nibbles` describes them, and one
//! vector for each high bit. Byte `4r + c` of a plane belongs to the rows `r`, `r + 4`, `r + 8`
//! and `r + 12` at column `c` of both halves: its lowest bits to row `r` in the first half, the
//! next to row `r + 4`, and so on; 6-bit weights have a plane for each half.

use super::nibbles::place;
use super::{
    BLOCK_COLUMNS, Block, GROUP_ROWS, Layout, Quantised, SuperHeader, each_byte, half_to_f32, tile,
    words,
};
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

/// Where the high bits of four columns, the first or the second half of a step, lie in it: the
/// vector, the first of four bytes, and by how many bits they are shifted.
fn high_place(lane: usize, half: usize, bits: usize) -> (usize, usize, usize) {
    let bit = (half * 4 + lane / 4) * bits;
    (NIBBLE_VECTORS + bit / 8, lane % 4 * 4, bit % 8)
}

/// Puts a row's weights, four in a word, into steps of `N` vectors, which are all zeros there.
#[inline(always)]
pub(super) fn store<const N: usize>(body: &mut [u8], lane: usize, weights: &[u32]) {
    let (at, shift) = place(lane);
    let steps = body.as_chunks_mut::<16>().0.as_chunks_mut::<N>().0.iter_mut();
    for (step, weights) in steps.zip(weights.as_chunks::<2>().0) {
        for (half, weights) in weights.iter().enumerate() {
            let nibbles = step[half * 2..][..2].as_flattened_mut();
            merge(&mut nibbles[at..at + 4], (weights & each_byte(15)) << shift);
            let (vector, byte, shift) = high_place(lane, half, N - NIBBLE_VECTORS);
            merge(&mut step[vector][byte..byte + 4], (weights >> 4 & each_byte(15)) << shift);
        }
    }
}

/// Sets the bits of a word in four bytes.
#[inline(always)]
fn merge(bytes: &mut [u8], word: u32) {
    let [before] = words(bytes);
    bytes.copy_from_slice(&(before | word).to_le_bytes());
}

/// Calls `each` with a row's weights in steps of `N` vectors, one by one.
pub(super) fn load<const N: usize>(body: &[u8], lane: usize, mut each: impl FnMut(usize, u8)) {
    let bits = N - NIBBLE_VECTORS;
    let (at, shift) = place(lane);
    for (index, step) in body.as_chunks::<16>().0.as_chunks::<N>().0.iter().enumerate() {
        for column in 0..STEP_COLUMNS {
            let nibbles = step[column / 4 * 2..][..2].as_flattened();
            let low = nibbles[at + column % 4] >> shift & 15;
            let (vector, byte, shift) = high_place(lane, column / 4, bits);
            let high = step[vector][byte + column % 4] >> shift & ((1 << bits) - 1);
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

/// A block's weights, four in a word, from what GGUF has: a bit for each, then nibbles.
#[inline(always)]
fn weights(high_bits: &[u8], nibbles: &[u8]) -> [u32; BLOCK_COLUMNS / 4] {
    let [high_bits] = words(high_bits);
    let nibbles: [_; 4] = words(nibbles);
    std::array::from_fn(|index| {
        let low = nibbles[index % 4] >> (index / 4 * 4) & each_byte(15);
        // The product has the lowest bit at 0, the next at 8, and so on, and other bits between.
        let high = ((high_bits >> (4 * index) & 15) * 0x0020_4081) & each_byte(1);
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
    const CENTRE: i16 = 16;
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
