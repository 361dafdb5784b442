//! Sizes and constants of a model, from its metadata.

use std::ops::RangeInclusive;

use trefoil_contract::{Error, Result};
use trefoil_gguf::{Gguf, Metadata};

use crate::architecture::{Architecture, architecture};
use crate::key::{self, Key};
use crate::tensor;

/// Most blocks (layers). The largest known models have 126.
pub const BLOCKS_MAX: u32 = 1024;
/// Longest vector of a token.
pub const EMBEDDING_LENGTH_MAX: u32 = 1 << 16;
/// Longest vector inside a feed-forward network.
pub const FEED_FORWARD_LENGTH_MAX: u32 = 1 << 19;
/// Most attention heads of a block.
pub const HEADS_MAX: u32 = 1 << 10;
/// Longest vector of an attention head.
pub const HEAD_LENGTH_MAX: u32 = 1 << 10;
/// Longest context, as for the setting `context-tokens`.
pub const CONTEXT_TOKENS_MAX: u32 = 1 << 24;
/// Most tokens of a vocabulary.
pub const VOCABULARY_TOKENS_MAX: u32 = 1 << 22;

/// How far apart the angles of one RoPE pair lie when the file does not say (Su et al., 2021).
const ROPE_FREQ_BASE_DEFAULT: f32 = 10_000.0;

/// What the decoder needs to know about a model. All values are checked: see the constants.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Row of the table of architectures.
    pub architecture: &'static Architecture,
    /// Blocks (layers).
    pub blocks: usize,
    /// Context that the model was trained for, in tokens.
    pub context_tokens_trained: u32,
    /// Length of a token's vector.
    pub embedding_length: usize,
    /// Length of the vector inside a feed-forward network.
    pub feed_forward_length: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Length of one head's query, key and value vectors.
    pub head_length: usize,
    /// Leading elements of a head that RoPE turns; even.
    pub rope_length: usize,
    /// Base of RoPE's geometric series of frequencies.
    pub rope_freq_base: f32,
    /// What positions are divided by (linear scaling); 1 without scaling.
    pub rope_scaling_factor: f32,
    /// Added to the mean square in RMS norms.
    pub norm_epsilon: f32,
    /// Tokens of the vocabulary.
    pub vocabulary_tokens: usize,
}

impl Config {
    /// Reads and checks the metadata.
    ///
    /// # Errors
    /// `invalid-model` with key, value and what was expected; `unsupported` for an architecture or
    /// a feature that the decoder does not compute.
    pub fn from_gguf(gguf: &Gguf) -> Result<Config> {
        let name = gguf.metadata.string(key::ARCHITECTURE).map_err(invalid)?;
        let name = name.ok_or_else(|| invalid(gguf.metadata.missing(key::ARCHITECTURE)))?;
        let architecture = architecture(name)?;
        let keys = Keys { metadata: &gguf.metadata, architecture: architecture.name };
        keys.refuse_unknown_features()?;

        let embedding_length = keys.needed(key::EMBEDDING_LENGTH, 1..=EMBEDDING_LENGTH_MAX)?;
        let heads = keys.needed(key::HEAD_COUNT, 1..=HEADS_MAX)?;
        let head_length = head_length(&keys, embedding_length, heads)?;
        let kv_heads = keys.optional(key::HEAD_COUNT_KV, 1..=heads)?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            let expected = format_args!("a divisor of the {heads} query heads");
            return Err(keys.invalid(key::HEAD_COUNT_KV, kv_heads, expected));
        }
        let rope_length =
            keys.optional(key::ROPE_DIMENSION_COUNT, 2..=head_length)?.unwrap_or(head_length);
        if !rope_length.is_multiple_of(2) {
            let expected = "an even number, because RoPE turns pairs";
            return Err(keys.invalid(key::ROPE_DIMENSION_COUNT, rope_length, expected));
        }
        let norm_epsilon = keys
            .float(key::LAYER_NORM_RMS_EPSILON, f32::MIN_POSITIVE..=0.1)?
            .ok_or_else(|| keys.missing(key::LAYER_NORM_RMS_EPSILON))?;
        Ok(Config {
            architecture,
            blocks: keys.needed(key::BLOCK_COUNT, 1..=BLOCKS_MAX)? as usize,
            context_tokens_trained: keys.needed(key::CONTEXT_LENGTH, 1..=CONTEXT_TOKENS_MAX)?,
            embedding_length: embedding_length as usize,
            feed_forward_length: keys
                .needed(key::FEED_FORWARD_LENGTH, 1..=FEED_FORWARD_LENGTH_MAX)?
                as usize,
            heads: heads as usize,
            kv_heads: kv_heads as usize,
            head_length: head_length as usize,
            rope_length: rope_length as usize,
            rope_freq_base: keys
                .float(key::ROPE_FREQ_BASE, 1.0..=1e15)?
                .unwrap_or(ROPE_FREQ_BASE_DEFAULT),
            rope_scaling_factor: rope_scaling_factor(&keys)?,
            norm_epsilon,
            vocabulary_tokens: vocabulary_tokens(&keys, gguf)?,
        })
    }

    /// Length of all query heads of a token.
    pub fn query_length(&self) -> usize {
        self.heads * self.head_length
    }

    /// Length of all key heads of a token, and of all value heads.
    pub fn kv_length(&self) -> usize {
        self.kv_heads * self.head_length
    }
}

/// Length of a head: said by the file, or an equal share of the embedding.
fn head_length(keys: &Keys<'_>, embedding_length: u32, heads: u32) -> Result<u32> {
    let length = match keys.optional(key::KEY_LENGTH, 1..=HEAD_LENGTH_MAX)? {
        Some(length) => length,
        None if !embedding_length.is_multiple_of(heads) => {
            let expected = format_args!(
                "a divisor of the embedding length {embedding_length}, because there is no \
                 `{}`",
                key::KEY_LENGTH.full(keys.architecture)
            );
            return Err(keys.invalid(key::HEAD_COUNT, heads, expected));
        }
        None => embedding_length / heads,
    };
    // Only said lengths are checked above; a share of the embedding can be as bad.
    if length > HEAD_LENGTH_MAX || !length.is_multiple_of(HEAD_LENGTH_MULTIPLE) {
        return Err(Error::unsupported(format_args!(
            "attention heads of length {length}; this engine computes multiples of \
             {HEAD_LENGTH_MULTIPLE} up to {HEAD_LENGTH_MAX}"
        )));
    }
    let value_length = keys.optional(key::VALUE_LENGTH, 1..=HEAD_LENGTH_MAX)?.unwrap_or(length);
    if value_length != length {
        return Err(Error::unsupported(format_args!(
            "key `{}` is {value_length} where keys have length {length}; this engine computes \
             heads whose keys and values have one length",
            key::VALUE_LENGTH.full(keys.architecture)
        )));
    }
    Ok(length)
}

/// What head lengths must be a multiple of for the attention kernel.
const HEAD_LENGTH_MULTIPLE: u32 = 4;

/// What positions are divided by.
fn rope_scaling_factor(keys: &Keys<'_>) -> Result<f32> {
    let scaling = key::ROPE_SCALING_TYPE.full(keys.architecture);
    let factor = match keys.metadata.string(&scaling).map_err(invalid)? {
        Some("none") => return Ok(1.0),
        Some("linear") => keys
            .float(key::ROPE_SCALING_FACTOR, 1.0..=1e6)?
            .ok_or_else(|| keys.missing(key::ROPE_SCALING_FACTOR))?,
        Some(other) => {
            return Err(Error::unsupported(format_args!(
                "key `{scaling}` is `{other}`; this engine computes `none`, `linear`, and the \
                 factors of a tensor `{}`",
                tensor::ROPE_FREQS
            )));
        }
        None => keys.float(key::ROPE_SCALE_LINEAR, 1.0..=1e6)?.unwrap_or(1.0),
    };
    Ok(factor)
}

/// Rows of the embedding matrix, which the keys must agree with.
fn vocabulary_tokens(keys: &Keys<'_>, gguf: &Gguf) -> Result<usize> {
    let embedding = tensor::find(gguf, tensor::TOKEN_EMBD)?;
    let &[_, rows] = embedding.dimensions.as_slice() else {
        return Err(Error::InvalidModel(format!(
            "tensor `{}` has the shape {:?}: expected [embedding length, vocabulary]",
            tensor::TOKEN_EMBD,
            embedding.dimensions
        )));
    };
    if !(1..=u64::from(VOCABULARY_TOKENS_MAX)).contains(&rows) {
        return Err(Error::InvalidModel(format!(
            "tensor `{}` has {rows} rows: expected 1 to {VOCABULARY_TOKENS_MAX}, one for each \
             token",
            tensor::TOKEN_EMBD
        )));
    }
    let expected = format!("{rows}, the rows of tensor `{}`", tensor::TOKEN_EMBD);
    let size = keys.optional(key::VOCAB_SIZE, 1..=VOCABULARY_TOKENS_MAX)?;
    if let Some(size) = size.filter(|size| u64::from(*size) != rows) {
        return Err(keys.invalid(key::VOCAB_SIZE, size, expected));
    }
    let tokens = keys.metadata.strings(key::TOKENS).map_err(invalid)?;
    if let Some(tokens) = tokens.filter(|tokens| tokens.len() as u64 != rows) {
        return Err(Error::InvalidModel(format!(
            "key `{}` lists {} tokens: expected {expected}",
            key::TOKENS,
            tokens.len()
        )));
    }
    Ok(rows as usize)
}

/// The metadata below one architecture's name.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'static str,
}

impl Keys<'_> {
    fn needed(&self, key: Key, range: RangeInclusive<u32>) -> Result<u32> {
        self.optional(key, range)?.ok_or_else(|| self.missing(key))
    }

    fn optional(&self, key: Key, range: RangeInclusive<u32>) -> Result<Option<u32>> {
        let value = self.metadata.u32(&key.full(self.architecture)).map_err(invalid)?;
        match value {
            Some(value) if !range.contains(&value) => {
                let expected = match (range.start(), range.end()) {
                    (start, end) if start == end => format!("{start}"),
                    (start, end) => format!("a whole number from {start} to {end}"),
                };
                Err(self.invalid(key, value, expected))
            }
            value => Ok(value),
        }
    }

    fn float(&self, key: Key, range: RangeInclusive<f32>) -> Result<Option<f32>> {
        match self.metadata.f32(&key.full(self.architecture)).map_err(invalid)? {
            Some(value) if !range.contains(&value) => {
                let expected = format!("a number from {:e} to {:e}", range.start(), range.end());
                Err(self.invalid(key, value, expected))
            }
            value => Ok(value),
        }
    }

    /// A feature behind a key that the decoder ignores would give wrong text without an error.
    fn refuse_unknown_features(&self) -> Result<()> {
        for &(key, neutral) in key::NEUTRAL {
            let name = key.full(self.architecture);
            match self.metadata.f32(&name).map_err(invalid)? {
                Some(value) if value != neutral => return Err(self.refused(key, value, neutral)),
                _ => {}
            }
        }
        for &(key, neutral) in key::NEUTRAL_BOOLEANS {
            let name = key.full(self.architecture);
            match self.metadata.bool(&name).map_err(invalid)? {
                Some(value) if value != neutral => return Err(self.refused(key, value, neutral)),
                _ => {}
            }
        }
        Ok(())
    }

    fn refused<T: std::fmt::Display>(&self, key: Key, value: T, neutral: T) -> Error {
        Error::unsupported(format_args!(
            "key `{}` is {value}; this engine computes `{}` models where it is {neutral} or absent",
            key.full(self.architecture),
            self.architecture
        ))
    }

    fn missing(&self, key: Key) -> Error {
        invalid(self.metadata.missing(&key.full(self.architecture)))
    }

    fn invalid(
        &self,
        key: Key,
        value: impl std::fmt::Display,
        expected: impl std::fmt::Display,
    ) -> Error {
        let key = key.full(self.architecture);
        Error::InvalidModel(format!("key `{key}` is {value}: expected {expected}"))
    }
}

fn invalid(error: trefoil_gguf::Error) -> Error {
    Error::InvalidModel(error.to_string())
}
