//! The GGUF keys that configure the decoder, in one table (`{arch}` is the architecture's name;
//! ggml's docs/gguf.md and gguf-py's constants.py define them).

/// Names a row of the table of architectures.
pub(crate) const ARCHITECTURE: &str = "general.architecture";
/// The vocabulary; its length is the number of tokens.
pub(crate) const TOKENS: &str = "tokenizer.ggml.tokens";
/// Kinds of tokens that an encoder tells apart (first text, second text).
pub(crate) const TOKEN_TYPE_COUNT: &str = "tokenizer.ggml.token_type_count";

/// A key below the architecture's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
pub(crate) const LAYER_NORM_EPSILON: Key = Key("attention.layer_norm_epsilon");
pub(crate) const LAYER_NORM_RMS_EPSILON: Key = Key("attention.layer_norm_rms_epsilon");
pub(crate) const SLIDING_WINDOW: Key = Key("attention.sliding_window");
/// Which blocks have a window: the step of those without, or a boolean for each block.
pub(crate) const SLIDING_WINDOW_PATTERN: Key = Key("attention.sliding_window_pattern");
pub(crate) const ROPE_DIMENSION_COUNT: Key = Key("rope.dimension_count");
pub(crate) const ROPE_FREQ_BASE: Key = Key("rope.freq_base");
/// The base in blocks with a sliding window.
pub(crate) const ROPE_FREQ_BASE_SWA: Key = Key("rope.freq_base_swa");
pub(crate) const ROPE_SCALING_TYPE: Key = Key("rope.scaling.type");
pub(crate) const ROPE_SCALING_FACTOR: Key = Key("rope.scaling.factor");
/// What queries and keys are multiplied with.
pub(crate) const ROPE_SCALING_ATTN_FACTOR: Key = Key("rope.scaling.attn_factor");
pub(crate) const ROPE_SCALING_ORIGINAL_CONTEXT: Key = Key("rope.scaling.original_context_length");
pub(crate) const YARN_BETA_FAST: Key = Key("rope.scaling.yarn_beta_fast");
pub(crate) const YARN_BETA_SLOW: Key = Key("rope.scaling.yarn_beta_slow");
/// The older spelling of a linear `rope.scaling.factor`.
pub(crate) const ROPE_SCALE_LINEAR: Key = Key("rope.scale_linear");
pub(crate) const EXPERT_COUNT: Key = Key("expert_count");
pub(crate) const EXPERT_USED_COUNT: Key = Key("expert_used_count");
pub(crate) const EXPERT_FEED_FORWARD_LENGTH: Key = Key("expert_feed_forward_length");

/// How the vectors of a text's tokens become one.
pub(crate) const POOLING_TYPE: Key = Key("pooling_type");
/// Whether tokens see only those before them.
pub(crate) const ATTENTION_CAUSAL: Key = Key("attention.causal");

pub(crate) const ATTENTION_SOFT_CAP: Key = Key("attn_logit_softcapping");
pub(crate) const LOGITS_SOFT_CAP: Key = Key("final_logit_softcapping");
pub(crate) const EMBEDDING_SCALE: Key = Key("embedding_scale");
pub(crate) const RESIDUAL_SCALE: Key = Key("residual_scale");
pub(crate) const ATTENTION_SCALE: Key = Key("attention.scale");
/// Where false, blocks do without RoPE.
pub(crate) const ROPE_FINETUNED: Key = Key("rope.scaling.finetuned");
/// What logits are divided by.
pub(crate) const LOGIT_SCALE: Key = Key("logit_scale");

/// Keys that change the computation in ways the decoder does not know, or does not do for every
/// architecture, with the value at which they change nothing.
pub(crate) const NEUTRAL: &[(Key, f32)] = &[
    (ATTENTION_SOFT_CAP, 0.0),
    (LOGITS_SOFT_CAP, 0.0),
    (EMBEDDING_SCALE, 1.0),
    (RESIDUAL_SCALE, 1.0),
    (ATTENTION_SCALE, 0.0),
    (LOGIT_SCALE, 1.0),
    (Key("attention.max_alibi_bias"), 0.0),
    (Key("attention.clamp_kqv"), 0.0),
    (Key("expert_shared_count"), 0.0),
    (Key("expert_shared_feed_forward_length"), 0.0),
    (Key("expert_group_count"), 0.0),
    (Key("rope.scaling.yarn_ext_factor"), 1.0),
    (Key("rope.scaling.yarn_attn_factor"), 1.0),
    (Key("rope.scaling.yarn_log_multiplier"), 0.0),
];
/// Booleans of the same kind.
pub(crate) const NEUTRAL_BOOLEANS: &[(Key, bool)] = &[(Key("use_parallel_residual"), false)];
