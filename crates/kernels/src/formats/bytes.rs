//! 8-bit weights: a step of a tile is two columns of 16 rows, row by row, 32 bytes. Of each four
//! columns the first step has columns 0 and 2 and the second 1 and 3, the order in which packed
//! nibbles come apart.

use super::{
    BLOCK_COLUMNS, Block, GROUP_ROWS, Layout, Quantised, SuperHeader, half_to_f32, store_halves,
    tile, words,
};
use crate::arch::Simd;
use crate::straight::straight;

/// Scale; weights from -128 to 127.
#[allow(non_camel_case_types)]
pub(crate) struct Q8_0;

/// Bytes 0, 2, 4 and 6.
#[inline(always)]
fn every_other(word: u64) -> [u8; 4] {
    let pairs = word & 0x00ff_00ff_00ff_00ff;
    let pairs = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    ((pairs | pairs >> 16) as u32).to_le_bytes()
}

/// Steps of a tile.
const STEPS: usize = BLOCK_COLUMNS / 4;

impl Layout for Q8_0 {
    const BLOCK_COLUMNS: usize = BLOCK_COLUMNS;
    const BLOCK_BYTES: usize = 34;
    const TILE_BYTES: usize = Self::HEADER_BYTES + GROUP_ROWS * BLOCK_COLUMNS;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (header, body) = tile.split_at_mut(Self::HEADER_BYTES);
        let (scale, weights) = block.split_at(2);
        header[lane * 2..][..2].copy_from_slice(scale);
        let steps = body.as_chunks_mut::<64>().0.iter_mut();
        for (step, [a, b, c, d]) in steps.zip(weights.as_chunks::<4>().0) {
            step[lane * 2..][..2].copy_from_slice(&[*a, *c]);
            step[32 + lane * 2..][..2].copy_from_slice(&[*b, *d]);
        }
    }
    #[inline(always)]
    fn store_all(tile: &mut [u8], blocks: [&[u8]; GROUP_ROWS]) {
        let (header, body) = tile.split_at_mut(Self::HEADER_BYTES);
        store_halves(header, blocks);
        let steps = &mut body.as_chunks_mut::<64>().0[..STEPS];
        straight!(GROUP_ROWS / 2, pair => {
            let [a, b] = blocks.as_chunks().0[pair];
            let (a, b) = (words::<STEPS>(&a[2..]), words::<STEPS>(&b[2..]));
            for (step, (a, b)) in steps.iter_mut().zip(a.into_iter().zip(b)) {
                let both = u64::from(a) | u64::from(b) << 32;
                let pairs = step.as_chunks_mut::<4>().0;
                pairs[pair] = every_other(both);
                pairs[GROUP_ROWS / 2 + pair] = every_other(both >> 8);
            }
        });
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let (header, body) = tile.split_at(Self::HEADER_BYTES);
        let scale = half_to_f32(header.as_chunks().0[lane]);
        let steps = body.as_chunks::<64>().0.iter();
        for (step, out) in steps.zip(out.as_chunks_mut::<4>().0) {
            let pairs = step.as_chunks::<2>().0;
            let ([a, c], [b, d]) = (pairs[lane], pairs[16 + lane]);
            *out = [a, b, c, d].map(|byte| f32::from(byte as i8) * scale);
        }
    }
}

impl Quantised for Q8_0 {
    const OFFSET: i32 = 0;
    const HAS_MINIMUM: bool = false;
    const HEADER_BYTES: usize = 32;
    const UNPACKS: bool = false;
    type Packed<S: Simd> = S::Bytes;
    type Panel<S: Simd> = S::Bytes;
    #[inline(always)]
    fn block<'a, S: Simd>(
        group: &'a [u8],
        _: &'a [SuperHeader],
        index: usize,
    ) -> impl Block<S> + 'a {
        tile::<Self>(group, index)
    }
    #[inline(always)]
    fn unpack<S: Simd>(_: &[u8], _: &mut [u8]) {}
}
