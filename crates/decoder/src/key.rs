//! The GGUF keys that configure the decoder, in one table (`{arch}` is the architecture's name;
//! ggml's docs/gguf.md and gguf-py's constants.py define them).

/// Names a row of the table of architectures.
pub(crate) const ARCHITECTURE: &str = "general.architecture";
/// The vocabulary; its length is the number of tokens.
pub(crate) const TOKENS: &str = "tokenizer.ggml.tokens";

/// A key below the architecture's name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key(&'static str);

impl Key {
    /// The key as the file spells it.
    pub(crate) fn full(self, architecture: &str) -> String {
        format!("{architecture}.{}", self.0)
    }
}

pub(crate) const BLOCK_COUNT: Key = Key("block_count");
pub(crate) const CONTEXT_LENGTH: Key = Key("context_length");
pub(crate) const EMBEDDING_LENGTH: Key = Key("embedding_length");
pub(crate) const FEED_FORWARD_LENGTH: Key = Key("feed_forward_length");
pub(crate) const VOCAB_SIZE: Key = Key("vocab_size");
pub(crate) const HEAD_COUNT: Key = Key("attention.head_count");
pub(crate) const HEAD_COUNT_KV: Key = Key("attention.head_count_kv");
pub(crate) const KEY_LENGTH: Key = Key("attention.key_length");
pub(crate) const VALUE_LENGTH: Key = Key("attention.value_length");
pub(crate) const LAYER_NORM_RMS_EPSILON: Key = Key("attention.layer_norm_rms_epsilon");
pub(crate) const ROPE_DIMENSION_COUNT: Key = Key("rope.dimension_count");
pub(crate) const ROPE_FREQ_BASE: Key = Key("rope.freq_base");
pub(crate) const ROPE_SCALING_TYPE: Key = Key("rope.scaling.type");
pub(crate) const ROPE_SCALING_FACTOR: Key = Key("rope.scaling.factor");
/// The older spelling of a linear `rope.scaling.factor`.
pub(crate) const ROPE_SCALE_LINEAR: Key = Key("rope.scale_linear");

/// Keys that change the computation in ways the decoder does not know, with the value at which
/// they change nothing.
pub(crate) const NEUTRAL: &[(Key, f32)] = &[
    (Key("expert_count"), 0.0),
    (Key("attention.sliding_window"), 0.0),
    (Key("attention.max_alibi_bias"), 0.0),
    (Key("attention.clamp_kqv"), 0.0),
    (Key("attn_logit_softcapping"), 0.0),
    (Key("final_logit_softcapping"), 0.0),
    (Key("rope.scaling.attn_factor"), 1.0),
];
/// Booleans of the same kind.
pub(crate) const NEUTRAL_BOOLEANS: &[(Key, bool)] =
    &[(Key("attention.causal"), true), (Key("use_parallel_residual"), false)];
