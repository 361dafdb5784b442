//! Numeric kernels over quantised weights.
//!
//! Each algorithm is written once, over a small vector trait (`arch`), for three instruction
//! sets: plain arrays, WebAssembly's `simd128`, and relaxed SIMD. The build's target features
//! choose one: [`INSTRUCTION_SET`].
//!
//! Without relaxed SIMD all sets give the same bits on every machine. In every set a result does
//! not depend on how many tokens are computed together, nor on how a matrix's rows are divided.
//! NaN and infinity in the input give some output, not necessarily NaN.
#![deny(missing_docs)]

mod activations;
mod arch;
mod attention;
mod buffer;
mod elementwise;
mod formats;
mod matrix;
mod multiply;
mod rope;
mod straight;

#[cfg(test)]
mod tests;

pub use activations::Activations;
pub use attention::{
    AttentionScratch, CacheType, HeadCache, PAGE_TOKENS, PAGE_VERSION, Rows, Scoring,
};
pub use elementwise::{
    add, gelu, gelu_mul, layer_norm, rms_norm, rms_norm_in_place, scale, silu_mul, soft_cap,
    softmax,
};
pub use formats::{GROUP_ROWS, LAYOUT_VERSION};
pub use matrix::{Matrix, MatrixBuilder, OutOfMemory, WeightsType};
pub use rope::{RopeLayout, rope};

/// The instruction set in use: `scalar`, `simd128` or `relaxed-simd`.
pub const INSTRUCTION_SET: &str = <arch::Active as arch::Simd>::NAME;
