//! The transformer's forward pass on the CPU, configured from GGUF metadata.
//!
//! One decoder serves all architectures: [`ARCHITECTURES`] is the table of their differences,
//! [`Config`] the sizes of one model. [`Decoder`] implements [`trefoil_generation::Forward`].
//!
//! Several instances can compute one model together, each with a share of its rows and heads: they
//! have the same calls made and see each other through [`Exchange`].

#![deny(missing_docs)]

mod adapter;
mod architecture;
mod batch;
mod cache;
mod config;
mod decoder;
mod encoding;
mod exchange;
mod key;
mod memory;
mod mixture;
mod partition;
mod pass;
mod peers;
mod ranking;
mod rope;
mod saved;
mod scratch;
mod sizing;
mod tensor;
mod weights;

pub use adapter::{Adapter, RANK_MAX};
pub use architecture::{
    ARCHITECTURES, Activation, Architecture, Biases, Experts, Fused, LocalRope, Norm, NormPlaces,
    Positions, Purpose, QueryKeyNorm, Windows,
};
pub use config::{
    BLOCKS_MAX, CONTEXT_TOKENS_MAX, Config, EMBEDDING_LENGTH_MAX, EXPERTS_MAX, ExpertsConfig,
    FEED_FORWARD_LENGTH_MAX, HEAD_LENGTH_MAX, HEADS_MAX, RopeConfig, RopeScaling, TOKEN_TYPES_MAX,
    VOCABULARY_TOKENS_MAX,
};
pub use trefoil_kernels::{CacheType, WeightsType};

pub use decoder::{CONTEXT_TOKENS_DEFAULT_MAX, Decoder, Options, SEQUENCES_MAX};
pub use exchange::{Alone, Exchange, agree};
pub use sizing::{CONTEXT_TOKENS_FITTED_MIN, Fitted, fit};
