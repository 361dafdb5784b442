//! 4-bit indices of a table: packed as `nibbles` describes them.
//!
//! Headers: of IQ4_NL 16 scales in f16; of MXFP4 16 exponents of a byte; of IQ4_XS 16 scales in f16,
//! and of each block a signed byte of each row, which takes 4.31 bits for a weight, not 4.25.

use super::super_blocks::{self, SuperHeader};
use super::{
    BLOCK_COLUMNS, Block, GROUP_ROWS, Layout, Quantised, half_to_f32, nibbles, store_halves, tile,
};
use crate::arch::{F32x4, I32x4, Simd};

/// What 4-bit indices stand for.
pub(crate) trait Table: Copy {
    const VALUES: [i8; 16];
}

/// Unequal steps; scale.
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types)]
pub(crate) struct IQ4_NL;

/// The steps of [`IQ4_NL`] in super-blocks, whose blocks have signed integers of 6 bits as scales.
#[allow(non_camel_case_types)]
pub(crate) struct IQ4_XS;

/// 4-bit floats; a power of two as scale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MXFP4;

impl Table for IQ4_NL {
    /// ggml-common.h, `kvalues_iq4nl`.
    const VALUES: [i8; 16] =
        [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
}

/// From zero up, as unsigned products need it.
const FLOATS_OFFSET: i8 = 12;

impl Table for MXFP4 {
    /// Twice the floats (OCP Microscaling Formats 1.0, E2M1), and the offset.
    const VALUES: [i8; 16] = {
        let mut values = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
        let mut index = 0;
        while index < 16 {
            values[index] += FLOATS_OFFSET;
            index += 1;
        }
        values
    };
}

/// Packed weights of a block.
const BODY_BYTES: usize = GROUP_ROWS * BLOCK_COLUMNS / 2;

/// Exponents at which a scale is 1, and the largest, beyond which E8M0 has no number.
const EXPONENT_ONE: u8 = 127;
const EXPONENT_MAX: u8 = 254;

impl Layout for IQ4_NL {
    const BLOCK_COLUMNS: usize = BLOCK_COLUMNS;
    const BLOCK_BYTES: usize = 18;
    const TILE_BYTES: usize = Self::HEADER_BYTES + BODY_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (header, body) = tile.split_at_mut(Self::HEADER_BYTES);
        let (scale, indices) = block.split_at(2);
        header[lane * 2..][..2].copy_from_slice(scale);
        nibbles::store(body, lane, indices);
    }
    #[inline(always)]
    fn store_all(tile: &mut [u8], blocks: [&[u8]; GROUP_ROWS]) {
        let (header, body) = tile.split_at_mut(Self::HEADER_BYTES);
        store_halves(header, blocks);
        nibbles::store_all::<4>(body, blocks.map(|block| &block[2..]));
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let (header, body) = tile.split_at(Self::HEADER_BYTES);
        let scale = half_to_f32(header.as_chunks().0[lane]);
        nibbles::load(body, lane, out, |index| value::<Self>(index) * scale);
    }
}

/// What an index stands for.
fn value<T: Table>(index: f32) -> f32 {
    f32::from(T::VALUES[index as usize])
}

impl Quantised for IQ4_NL {
    const OFFSET: i32 = 0;
    const HAS_MINIMUM: bool = false;
    const HEADER_BYTES: usize = 32;
    const UNPACKS: bool = true;
    type Packed<S: Simd> = S::Steps;
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
    fn unpack<S: Simd>(packed: &[u8], panel: &mut [u8]) {
        let steps = packed.as_chunks().0;
        for (step, panel) in steps.iter().zip(panel.as_chunks_mut().0) {
            S::unpack_steps(step, panel);
        }
    }
}

impl Layout for IQ4_XS {
    const BLOCK_COLUMNS: usize = super_blocks::COLUMNS;
    const BLOCK_BYTES: usize = 136;
    const TILE_BYTES: usize = Self::HEADER_BYTES + super_blocks::BLOCKS * BODY_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (header, body) = tile.split_at_mut(Self::HEADER_BYTES);
        let (head, indices) = block.split_at(8);
        header[lane * 2..][..2].copy_from_slice(&head[..2]);
        let upper = u16::from_le_bytes([head[2], head[3]]);
        for (index, lanes) in header[32..].as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let low = head[4 + index / 2] >> (index % 2 * 4) & 15;
            let small = low | ((upper >> (2 * index) & 3) as u8) << 4;
            lanes[lane] = small.wrapping_sub(32);
        }
        let bodies = body.chunks_exact_mut(BODY_BYTES);
        for (body, indices) in bodies.zip(indices.chunks_exact(16)) {
            nibbles::store(body, lane, indices);
        }
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let (header, body) = tile.split_at(Self::HEADER_BYTES);
        let scale = half_to_f32(header.as_chunks().0[lane]);
        let blocks = body.chunks_exact(BODY_BYTES).zip(header[32..].as_chunks::<16>().0);
        for ((body, lanes), out) in blocks.zip(out.chunks_exact_mut(BLOCK_COLUMNS)) {
            let scale = scale * f32::from(lanes[lane] as i8);
            nibbles::load(body, lane, out, |index| value::<IQ4_NL>(index) * scale);
        }
    }
}

impl Quantised for IQ4_XS {
    const OFFSET: i32 = 0;
    const HAS_MINIMUM: bool = false;
    const HEADER_BYTES: usize = GROUP_ROWS * (2 + super_blocks::BLOCKS);
    const UNPACKS: bool = true;
    type Packed<S: Simd> = S::Steps;
    type Panel<S: Simd> = S::Bytes;
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
        IQ4_NL::unpack::<S>(packed, panel);
    }
}

/// A tile of MXFP4.
#[derive(Clone, Copy)]
struct Exponents<'a>(&'a [u8]);

impl<S: Simd> Block<S> for Exponents<'_> {
    #[inline(always)]
    fn weights(&self, _: usize) -> &[u8] {
        &self.0[MXFP4::HEADER_BYTES..]
    }
    #[inline(always)]
    fn scale(&self, _: usize, vector: usize) -> S::F {
        let exponents = S::I::load_unsigned(&self.0.as_chunks().0[vector]);
        // Half of 2^-112 times the power, which are exact from 2^-36 on.
        let half = S::F::splat(f32::from_bits(u32::from(EXPONENT_ONE - 113) << 23));
        S::F::from_bits(exponents.shift_left::<23>()) * half
    }
    #[inline(always)]
    fn minimum(&self, _: usize, _: usize) -> S::F {
        S::F::splat(0.0)
    }
}

impl Layout for MXFP4 {
    const BLOCK_COLUMNS: usize = BLOCK_COLUMNS;
    const BLOCK_BYTES: usize = 17;
    const TILE_BYTES: usize = Self::HEADER_BYTES + BODY_BYTES;
    fn store(tile: &mut [u8], lane: usize, block: &[u8]) {
        let (header, body) = tile.split_at_mut(Self::HEADER_BYTES);
        header[lane] = block[0].min(EXPONENT_MAX);
        nibbles::store(body, lane, &block[1..]);
    }
    #[inline(always)]
    fn store_all(tile: &mut [u8], blocks: [&[u8]; GROUP_ROWS]) {
        let (header, body) = tile.split_at_mut(Self::HEADER_BYTES);
        for (exponent, block) in header.iter_mut().zip(blocks) {
            *exponent = block[0].min(EXPONENT_MAX);
        }
        nibbles::store_all::<4>(body, blocks.map(|block| &block[1..]));
    }
    fn load(tile: &[u8], lane: usize, out: &mut [f32]) {
        let (header, body) = tile.split_at(Self::HEADER_BYTES);
        let half = f32::from_bits(u32::from(header[lane]) << 23) * 0.5;
        let offset = f32::from(FLOATS_OFFSET);
        nibbles::load(body, lane, out, |index| (value::<Self>(index) - offset) * half);
    }
}

impl Quantised for MXFP4 {
    const OFFSET: i32 = FLOATS_OFFSET as i32;
    const HAS_MINIMUM: bool = false;
    const HEADER_BYTES: usize = GROUP_ROWS;
    const UNPACKS: bool = true;
    type Packed<S: Simd> = S::SmallFloats;
    type Panel<S: Simd> = S::SixPanel;
    #[inline(always)]
    fn block<'a, S: Simd>(
        group: &'a [u8],
        _: &'a [SuperHeader],
        index: usize,
    ) -> impl Block<S> + 'a {
        Exponents(&group[index * Self::TILE_BYTES..][..Self::TILE_BYTES])
    }
    #[inline(always)]
    fn unpack<S: Simd>(packed: &[u8], panel: &mut [u8]) {
        let steps = packed.as_chunks().0;
        for (step, panel) in steps.iter().zip(panel.as_chunks_mut().0) {
            S::unpack_small_floats(step, panel);
        }
    }
}
