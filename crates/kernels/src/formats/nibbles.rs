//! 4-bit weights: in step `s` of a tile (columns `4s` to `4s + 3`, 32 bytes) byte `4r + c` of the
//! first 16 holds row `r` in its low and row `r + 4` in its high nibble at column `4s + c`; the
//! second 16 hold rows 8 to 15 alike. GGUF has columns `i` and `i + 16` in byte `i`.

use super::{
    BLOCK_COLUMNS, Block, GROUP_ROWS, Layout, Quantised, SuperHeader, each_byte, half_to_f32,
    store_halves, tile, words,
};
use crate::arch::Simd;
use crate::straight::straight;

/// Scale; weights from -8 to 7.
#[allow(non_camel_case_types)]
pub(crate) struct Q4_0;

/// Scale and minimum; weights from 0 to 15.
#[allow(non_camel_case_types)]
pub(crate) struct Q4_1;

/// Packed weights of a tile.
const BODY_BYTES: usize = GROUP_ROWS * BLOCK_COLUMNS / 2;

/// Bytes of a step.
const STEP_BYTES: usize = 32;

/// Where the four bytes of a row lie in a step, and by how many bits they are shifted.
pub(super) fn place(lane: usize) -> (usize, u32) {
    (lane / 8 * 16 + lane % 4 * 4, if lane % 8 < 4 { 0 } else { 4 })
}

/// Puts a row's nibbles into a tile: the low ones of all bytes, then the high ones.
pub(super) fn store(body: &mut [u8], lane: usize, nibbles: &[u8]) {
    let (at, shift) = place(lane);
    let words = nibbles.as_chunks::<4>().0;
    let low = words.iter().map(|word| u32::from_le_bytes(*word));
    let high = words.iter().map(|word| u32::from_le_bytes(*word) >> 4);
    for (step, word) in body.as_chunks_mut::<STEP_BYTES>().0.iter_mut().zip(low.chain(high)) {
        let bytes = ((word & 0x0f0f_0f0f) << shift).to_le_bytes();
        for (place, byte) in step[at..at + 4].iter_mut().zip(bytes) {
            *place |= byte;
        }
    }
}

/// Puts the nibbles of all rows into a tile, `WORDS` words of a row: the low ones of all bytes,
/// then the high ones.
#[inline(always)]
pub(super) fn store_all<const WORDS: usize>(body: &mut [u8], nibbles: [&[u8]; GROUP_ROWS]) {
    let (low, high) = body.as_chunks_mut::<STEP_BYTES>().0.split_at_mut(WORDS);
    let high = &mut high[..WORDS];
    straight!(GROUP_ROWS / 2, pair => {
        let lane = pair / 4 * 8 + pair % 4;
        let (at, _) = place(lane);
        let (a, b) = (words::<WORDS>(nibbles[lane]), words::<WORDS>(nibbles[lane + 4]));
        for index in 0..WORDS {
            let (a, b) = (a[index], b[index]);
            let (low_a, low_b) = (a & each_byte(15), b & each_byte(15));
            let (high_a, high_b) = (a >> 4 & each_byte(15), b & each_byte(15 << 4));
            low[index][at..at + 4].copy_from_slice(&(low_a | low_b << 4).to_le_bytes());
            high[index][at..at + 4].copy_from_slice(&(high_a | high_b).to_le_bytes());
        }
    });
}

pub(super) fn load(body: &[u8], lane: usize, out: &mut [f32], value: impl Fn(f32) -> f32) {
    let (at, shift) = place(lane);
    let steps = body.as_chunks::<STEP_BYTES>().0;
    for (step, out) in steps.iter().zip(out.as_chunks_mut::<4>().0) {
        for (byte, out) in step[at..at + 4].iter().zip(out) {
            *out = value(f32::from((byte >> shift) & 15));
        }
    }
}

#[inline(always)]
pub(super) fn unpack<S: Simd>(packed: &[u8], panel: &mut [u8]) {
    let steps = packed.as_chunks::<STEP_BYTES>().0;
    for (step, panel) in steps.iter().zip(panel.as_chunks_mut::<64>().0) {
        S::unpack_nibbles(step, panel);
    }
}

impl Layout for Q4_0 {
    const BLOCK_COLUMNS: usize = BLOCK_COLUMNS;
    const BLOCK_BYTES: usize = 18;
    const TILE_BYTES: usize = Self::HEADER_BYTES + BODY_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (header, body) = tile.split_at_mut(Self::HEADER_BYTES);
        let (scale, nibbles) = block.split_at(2);
        header[lane * 2..][..2].copy_from_slice(scale);
        store(body, lane, nibbles);
    }
    #[inline(always)]
    fn store_all(tile: &mut [u8], blocks: [&[u8]; GROUP_ROWS]) {
        let (header, body) = tile.split_at_mut(Self::HEADER_BYTES);
        store_halves(header, blocks);
        store_all::<4>(body, blocks.map(|block| &block[2..]));
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let (header, body) = tile.split_at(Self::HEADER_BYTES);
        let scale = half_to_f32(header.as_chunks().0[lane]);
        load(body, lane, out, |nibble| (nibble - 8.0) * scale);
    }
}

impl Quantised for Q4_0 {
    const OFFSET: i32 = 8;
    const HAS_MINIMUM: bool = false;
    const HEADER_BYTES: usize = 32;
    const UNPACKS: bool = true;
    type Packed<S: Simd> = S::Nibbles;
    type Panel<S: Simd> = S::NibblePanel;
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
        unpack::<S>(packed, panel);
    }
}

impl Layout for Q4_1 {
    const BLOCK_COLUMNS: usize = BLOCK_COLUMNS;
    const BLOCK_BYTES: usize = 20;
    const TILE_BYTES: usize = Self::HEADER_BYTES + BODY_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (header, body) = tile.split_at_mut(Self::HEADER_BYTES);
        header[lane * 2..][..2].copy_from_slice(&block[..2]);
        header[32 + lane * 2..][..2].copy_from_slice(&block[2..4]);
        store(body, lane, &block[4..]);
    }
    #[inline(always)]
    fn store_all(tile: &mut [u8], blocks: [&[u8]; GROUP_ROWS]) {
        let (header, body) = tile.split_at_mut(Self::HEADER_BYTES);
        store_halves(header, blocks);
        store_all::<4>(body, blocks.map(|block| &block[4..]));
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let (header, body) = tile.split_at(Self::HEADER_BYTES);
        let halves = header.as_chunks().0;
        let (scale, minimum) = (half_to_f32(halves[lane]), half_to_f32(halves[16 + lane]));
        load(body, lane, out, |nibble| nibble * scale + minimum);
    }
}

impl Quantised for Q4_1 {
    const OFFSET: i32 = 0;
    const HAS_MINIMUM: bool = true;
    const HEADER_BYTES: usize = 64;
    const UNPACKS: bool = true;
    type Packed<S: Simd> = S::Nibbles;
    type Panel<S: Simd> = S::NibblePanel;
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
        unpack::<S>(packed, panel);
    }
}
