//! Sizes and constants of a model, from its metadata.

use std::ops::RangeInclusive;

use trefoil_contract::{Error, Result};
use trefoil_generation::Pooling;
use trefoil_gguf::{Array, Gguf, Metadata, Value};

use crate::architecture::{
    Architecture, Experts, LocalRope, Norm, Positions, Windows, architecture,
};
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

/// Most kinds of tokens that an encoder tells apart. Known ones have 1 or 2.
pub const TOKEN_TYPES_MAX: u32 = 1 << 10;
/// Most experts of a block.
pub const EXPERTS_MAX: u32 = 1 << 10;

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
    /// The experts, where the feed-forward networks are mixtures.
    pub experts: Option<ExpertsConfig>,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Length of one head's query, key and value vectors.
    pub head_length: usize,
    /// Leading elements of a head that RoPE turns; even.
    pub rope_length: usize,
    /// RoPE.
    pub rope: RopeConfig,
    /// RoPE in blocks with a sliding window, where it is another.
    pub local_rope: Option<RopeConfig>,
    /// Whether blocks have RoPE at all.
    pub has_rope: bool,
    /// Tokens that a block with a sliding window looks at, itself included.
    pub window_tokens: usize,
    /// Which blocks have a sliding window.
    pub has_window: Vec<bool>,
    /// Added to the mean square in norms.
    pub norm_epsilon: f32,
    /// What embeddings are multiplied with.
    pub embedding_scale: f32,
    /// What is multiplied with before it is added to a token's vector.
    pub residual_scale: f32,
    /// What attention multiplies scores with.
    pub attention_scale: f32,
    /// What scores of attention are capped at; 0 for not.
    pub attention_soft_cap: f32,
    /// What logits are divided by.
    pub logit_scale: f32,
    /// What logits are capped at; 0 for not.
    pub logits_soft_cap: f32,
    /// Tokens of the vocabulary.
    pub vocabulary_tokens: usize,
    /// Kinds of tokens that an encoder tells apart; 0 for decoders. All tokens are of the first.
    pub token_types: usize,
    /// How the vectors of a text's tokens become one, if the file says.
    pub pooling: Option<Pooling>,
    /// Whether the model says how well two texts go together.
    pub ranks: bool,
}

/// Sizes of a mixture of experts (Shazeer et al., 2017, arXiv:1701.06538).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertsConfig {
    /// Experts of a block.
    pub count: usize,
    /// Experts that compute a token.
    pub used: usize,
    /// Length of the vector inside an expert.
    pub feed_forward_length: usize,
}

/// Rotary position embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeConfig {
    /// Base of the geometric series of frequencies.
    pub freq_base: f32,
    /// How it reaches beyond the context of the first training.
    pub scaling: RopeScaling,
    /// What the turned vectors are multiplied with.
    pub magnitude: f32,
    /// Context of the first training, in tokens.
    pub original_context_tokens: u32,
}

/// How RoPE reaches beyond the context of the first training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Positions are divided by this; 1 for no scaling.
    Linear(f32),
    /// Low frequencies are divided by a factor, high ones are not (Peng et al., 2023,
    /// arXiv:2309.00071).
    Yarn {
        /// What frequencies are divided by.
        factor: f32,
        /// Frequencies that turn so often over the original context stay.
        beta_fast: f32,
        /// Frequencies that turn at most so often are divided in full.
        beta_slow: f32,
    },
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
        let keys = Keys { metadata: &gguf.metadata, architecture };
        keys.refuse_unknown_features()?;

        let blocks = keys.needed(key::BLOCK_COUNT, 1..=BLOCKS_MAX)? as usize;
        let context_tokens_trained = keys.needed(key::CONTEXT_LENGTH, 1..=CONTEXT_TOKENS_MAX)?;
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
        let epsilon = match architecture.norm {
            Norm::Rms => key::LAYER_NORM_RMS_EPSILON,
            Norm::Layer => key::LAYER_NORM_EPSILON,
        };
        let norm_epsilon =
            keys.float(epsilon, f32::MIN_POSITIVE..=0.1)?.ok_or_else(|| keys.missing(epsilon))?;
        let feed_forward_length =
            keys.needed(key::FEED_FORWARD_LENGTH, 1..=FEED_FORWARD_LENGTH_MAX)?;
        let rope = rope(&keys, context_tokens_trained)?;
        let (window_tokens, has_window) = windows(&keys, blocks)?;
        let query_share = match blocks == architecture.wide_query_blocks {
            true => embedding_length / heads,
            false => head_length,
        };
        let scale = |key| keys.feature(key, f32::MIN_POSITIVE..=1e6);
        let soft_cap = |key| Ok(keys.feature(key, 0.0..=1e6)?.unwrap_or(0.0));
        let embedding_scale = match architecture.scales_embedding {
            true => (embedding_length as f32).sqrt(),
            false => scale(key::EMBEDDING_SCALE)?.unwrap_or(1.0),
        };
        // Vaswani et al., 2017, section 3.2.1.
        let attention_scale_default = 1.0 / (query_share as f32).sqrt();
        Ok(Config {
            architecture,
            blocks,
            context_tokens_trained,
            embedding_length: embedding_length as usize,
            feed_forward_length: feed_forward_length as usize,
            experts: experts(&keys, feed_forward_length)?,
            heads: heads as usize,
            kv_heads: kv_heads as usize,
            head_length: head_length as usize,
            rope_length: rope_length as usize,
            rope,
            local_rope: local_rope(&keys, &rope)?,
            has_rope: architecture.positions == Positions::Rope
                && keys.feature_flag(key::ROPE_FINETUNED)?.unwrap_or(true),
            window_tokens,
            has_window,
            norm_epsilon,
            embedding_scale,
            residual_scale: scale(key::RESIDUAL_SCALE)?.unwrap_or(1.0),
            attention_scale: keys
                .feature(key::ATTENTION_SCALE, 0.0..=1e6)?
                .filter(|scale| *scale > 0.0)
                .unwrap_or(attention_scale_default),
            attention_soft_cap: soft_cap(key::ATTENTION_SOFT_CAP)?,
            logit_scale: scale(key::LOGIT_SCALE)?.unwrap_or(1.0),
            logits_soft_cap: soft_cap(key::LOGITS_SOFT_CAP)?,
            vocabulary_tokens: vocabulary_tokens(&keys, gguf)?,
            token_types: token_types(&keys)?,
            pooling: pooling(&keys)?,
            ranks: ranks(&keys)?,
        })
    }

    /// RoPE of a block, if it has any.
    pub(crate) fn rope_of(&self, block: usize) -> Option<RopeKind> {
        let step = self.architecture.no_rope_step;
        if !self.has_rope || step > 0 && (block + 1).is_multiple_of(step) {
            return None;
        }
        let is_local = self.local_rope.is_some() && self.has_window[block];
        Some(if is_local { RopeKind::Local } else { RopeKind::Global })
    }

    /// How many tokens a block looks back at, itself included.
    pub(crate) fn window_of(&self, block: usize) -> usize {
        if self.has_window[block] { self.window_tokens } else { usize::MAX }
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

/// One of the two ropes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RopeKind {
    Global,
    Local,
}

/// Kinds of tokens, which every encoder has.
fn token_types(keys: &Keys<'_>) -> Result<usize> {
    if !keys.architecture.is_encoder() {
        return Ok(0);
    }
    let key = key::TOKEN_TYPE_COUNT;
    let count = keys.metadata.u32(key).map_err(invalid)?;
    match count.ok_or_else(|| invalid(keys.metadata.missing(key)))? {
        count if (1..=TOKEN_TYPES_MAX).contains(&count) => Ok(count as usize),
        count => Err(Error::InvalidModel(format!(
            "key `{key}` is {count}: expected a whole number from 1 to {TOKEN_TYPES_MAX}"
        ))),
    }
}

/// Numbered as in llama.cpp's `llama.h`.
fn pooling(keys: &Keys<'_>) -> Result<Option<Pooling>> {
    let key = key::POOLING_TYPE;
    Ok(match keys.optional(key, 0..=4)? {
        None | Some(0) => None,
        Some(1) => Some(Pooling::Mean),
        Some(2) => Some(Pooling::Cls),
        Some(3) => Some(Pooling::Last),
        // It ranks texts.
        Some(_) => None,
    })
}

/// Whether the kind of pooling is that of models that rank texts.
fn ranks(keys: &Keys<'_>) -> Result<bool> {
    let key = key::POOLING_TYPE;
    let ranks = keys.optional(key, 0..=4)? == Some(4);
    if ranks && !keys.architecture.is_encoder() {
        return Err(Error::unsupported(format_args!(
            "key `{}` is 4, which a model has that ranks texts; of those this engine computes \
             encoders (`bert`)",
            key.full(keys.architecture.name)
        )));
    }
    Ok(ranks)
}

/// The mixture of experts, if the feed-forward networks are one.
fn experts(keys: &Keys<'_>, feed_forward_length: u32) -> Result<Option<ExpertsConfig>> {
    let kind = keys.architecture.experts;
    let count = match keys.optional(key::EXPERT_COUNT, 0..=EXPERTS_MAX)? {
        None | Some(0) if kind == Experts::Always => return Err(keys.missing(key::EXPERT_COUNT)),
        None | Some(0) => return Ok(None),
        Some(count) if kind == Experts::Never => {
            return Err(keys.refused(key::EXPERT_COUNT, count, 0));
        }
        Some(count) => count,
    };
    let used = keys.needed(key::EXPERT_USED_COUNT, 1..=count)?;
    let length = keys.optional(key::EXPERT_FEED_FORWARD_LENGTH, 1..=FEED_FORWARD_LENGTH_MAX)?;
    Ok(Some(ExpertsConfig {
        count: count as usize,
        used: used as usize,
        feed_forward_length: length.unwrap_or(feed_forward_length) as usize,
    }))
}

/// The length of sliding windows, and which blocks have one.
fn windows(keys: &Keys<'_>, blocks: usize) -> Result<(usize, Vec<bool>)> {
    let tokens = keys.optional(key::SLIDING_WINDOW, 0..=CONTEXT_TOKENS_MAX)?;
    let (tokens, step) = match (keys.architecture.windows, tokens) {
        (Windows::Unknown, Some(tokens)) if tokens > 0 => {
            return Err(keys.refused(key::SLIDING_WINDOW, tokens, 0));
        }
        (Windows::Unknown | Windows::Ignored, _) => return Ok((0, vec![false; blocks])),
        (Windows::All, tokens) => (tokens.unwrap_or(0), 0),
        (Windows::AllBut { step, default_tokens, .. }, tokens) => {
            (tokens.unwrap_or(default_tokens), step)
        }
    };
    if tokens == 0 {
        return Ok((0, vec![false; blocks]));
    }
    let pattern = key::SLIDING_WINDOW_PATTERN.full(keys.architecture.name);
    let has_window = match keys.metadata.get(&pattern) {
        Some(Value::Array(Array::Bool(flags))) if flags.len() == blocks => flags.clone(),
        Some(Value::Array(array)) => {
            return Err(Error::InvalidModel(format!(
                "key `{pattern}` is an array of {}: expected a whole number, or {blocks} booleans, \
                 one for each block",
                array.len()
            )));
        }
        _ => {
            let step = keys.optional(key::SLIDING_WINDOW_PATTERN, 0..=BLOCKS_MAX)?.unwrap_or(step);
            (0..blocks).map(|block| step == 0 || block as u32 % step < step - 1).collect()
        }
    };
    Ok((tokens as usize, has_window))
}

/// RoPE, in blocks without a sliding window if it is another in those.
fn rope(keys: &Keys<'_>, context_tokens_trained: u32) -> Result<RopeConfig> {
    let freq_base = keys.float(key::ROPE_FREQ_BASE, 1.0..=1e15)?.unwrap_or(ROPE_FREQ_BASE_DEFAULT);
    let magnitude = keys.float(key::ROPE_SCALING_ATTN_FACTOR, 1e-3..=1e3)?.unwrap_or(1.0);
    let original = keys.optional(key::ROPE_SCALING_ORIGINAL_CONTEXT, 1..=CONTEXT_TOKENS_MAX)?;
    Ok(RopeConfig {
        freq_base,
        scaling: rope_scaling(keys)?,
        magnitude,
        original_context_tokens: original.unwrap_or(context_tokens_trained),
    })
}

/// RoPE in blocks with a sliding window, where it is another.
fn local_rope(keys: &Keys<'_>, global: &RopeConfig) -> Result<Option<RopeConfig>> {
    let Windows::AllBut { rope, .. } = keys.architecture.windows else { return Ok(None) };
    let freq_base = keys.float(key::ROPE_FREQ_BASE_SWA, 1.0..=1e15)?;
    Ok(match (rope, freq_base) {
        (LocalRope::Same, None) => None,
        (LocalRope::Same, Some(freq_base)) => Some(RopeConfig { freq_base, ..*global }),
        (LocalRope::OfItsOwn, freq_base) => Some(RopeConfig {
            freq_base: freq_base.unwrap_or(ROPE_FREQ_BASE_DEFAULT),
            scaling: RopeScaling::Linear(1.0),
            magnitude: 1.0,
            ..*global
        }),
    })
}

/// Length of a head: said by the file, or an equal share of the embedding.
fn head_length(keys: &Keys<'_>, embedding_length: u32, heads: u32) -> Result<u32> {
    let length = match keys.optional(key::KEY_LENGTH, 1..=HEAD_LENGTH_MAX)? {
        Some(length) => length,
        None if !embedding_length.is_multiple_of(heads) => {
            let expected = format_args!(
                "a divisor of the embedding length {embedding_length}, because there is no \
                 `{}`",
                key::KEY_LENGTH.full(keys.architecture.name)
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
            key::VALUE_LENGTH.full(keys.architecture.name)
        )));
    }
    Ok(length)
}

/// What head lengths must be a multiple of for the attention kernel.
const HEAD_LENGTH_MULTIPLE: u32 = 4;

fn rope_scaling(keys: &Keys<'_>) -> Result<RopeScaling> {
    let scaling = key::ROPE_SCALING_TYPE.full(keys.architecture.name);
    let factor = || {
        keys.float(key::ROPE_SCALING_FACTOR, 1.0..=1e6)?
            .ok_or_else(|| keys.missing(key::ROPE_SCALING_FACTOR))
    };
    Ok(match keys.metadata.string(&scaling).map_err(invalid)? {
        // The factors of the long scaling are tensors.
        Some("none" | "longrope") => RopeScaling::Linear(1.0),
        Some("linear") => RopeScaling::Linear(factor()?),
        Some("yarn") => {
            let beta = |key, default| Ok(keys.float(key, 1e-3..=1e6)?.unwrap_or(default));
            RopeScaling::Yarn {
                factor: factor()?,
                beta_fast: beta(key::YARN_BETA_FAST, 32.0)?,
                beta_slow: beta(key::YARN_BETA_SLOW, 1.0)?,
            }
        }
        Some(other) => {
            return Err(Error::unsupported(format_args!(
                "key `{scaling}` is `{other}`; this engine computes `none`, `linear`, `yarn`, \
                 `longrope`, and the factors of a tensor `{}`",
                tensor::ROPE_FREQS
            )));
        }
        // As in llama.cpp (llama-model.cpp, `load_hparams`).
        None => {
            let factor = match keys.float(key::ROPE_SCALING_FACTOR, 1.0..=1e6)? {
                None => keys.float(key::ROPE_SCALE_LINEAR, 1.0..=1e6)?,
                factor => factor,
            };
            RopeScaling::Linear(factor.unwrap_or(1.0))
        }
    })
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
    architecture: &'static Architecture,
}

impl Keys<'_> {
    fn needed(&self, key: Key, range: RangeInclusive<u32>) -> Result<u32> {
        self.optional(key, range)?.ok_or_else(|| self.missing(key))
    }

    fn optional(&self, key: Key, range: RangeInclusive<u32>) -> Result<Option<u32>> {
        let value = self.metadata.u32(&key.full(self.architecture.name)).map_err(invalid)?;
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
        match self.metadata.f32(&key.full(self.architecture.name)).map_err(invalid)? {
            Some(value) if !range.contains(&value) => {
                let expected = format!("a number from {:e} to {:e}", range.start(), range.end());
                Err(self.invalid(key, value, expected))
            }
            value => Ok(value),
        }
    }

    /// The value of a key that not every architecture has; `None` for those without.
    fn feature(&self, key: Key, range: RangeInclusive<f32>) -> Result<Option<f32>> {
        match self.architecture.features.contains(&key) {
            true => self.float(key, range),
            false => Ok(None),
        }
    }

    /// Likewise a boolean.
    fn feature_flag(&self, key: Key) -> Result<Option<bool>> {
        match self.architecture.features.contains(&key) {
            true => self.metadata.bool(&key.full(self.architecture.name)).map_err(invalid),
            false => Ok(None),
        }
    }

    /// A feature behind a key that the decoder ignores would give wrong text without an error.
    fn refuse_unknown_features(&self) -> Result<()> {
        let unknown = |key: &Key| !self.architecture.features.contains(key);
        for &(key, neutral) in key::NEUTRAL.iter().filter(|(key, _)| unknown(key)) {
            let name = key.full(self.architecture.name);
            match self.metadata.f32(&name).map_err(invalid)? {
                Some(value) if value != neutral => return Err(self.refused(key, value, neutral)),
                _ => {}
            }
        }
        let causal = (key::ATTENTION_CAUSAL, !self.architecture.is_encoder());
        for &(key, neutral) in key::NEUTRAL_BOOLEANS.iter().chain([&causal]) {
            let name = key.full(self.architecture.name);
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
            key.full(self.architecture.name),
            self.architecture.name
        ))
    }

    fn missing(&self, key: Key) -> Error {
        invalid(self.metadata.missing(&key.full(self.architecture.name)))
    }

    fn invalid(
        &self,
        key: Key,
        value: impl std::fmt::Display,
        expected: impl std::fmt::Display,
    ) -> Error {
        let key = key.full(self.architecture.name);
        Error::InvalidModel(format!("key `{key}` is {value}: expected {expected}"))
    }
}

fn invalid(error: trefoil_gguf::Error) -> Error {
    Error::InvalidModel(error.to_string())
}
