//! The table of architectures.

use trefoil_contract::{Error, Result};
use trefoil_kernels::RopeLayout;

use crate::key::{self, Key};

/// What distinguishes one architecture from the others. The decoder itself is one: a further
/// architecture is a further row, and a difference that no row has yet is a further column.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// The value of `general.architecture`, which is also the prefix of the model's keys.
    pub name: &'static str,
    /// Models that have it, for people.
    pub families: &'static str,
    /// What its models are for.
    pub purpose: Purpose,
    /// How a token's position enters.
    pub positions: Positions,
    /// Which elements of a head RoPE turns together.
    pub rope_layout: RopeLayout,
    /// Every so manieth block does without RoPE (NoPE); 0 for none.
    pub no_rope_step: usize,
    /// How vectors are normed.
    pub norm: Norm,
    /// Where a block norms.
    pub norm_places: NormPlaces,
    /// How queries and keys are normed before RoPE.
    pub query_key_norm: QueryKeyNorm,
    /// Which products have a vector added.
    pub biases: Biases,
    /// Which matrices are one tensor.
    pub fused: Fused,
    /// What happens inside the feed-forward network.
    pub activation: Activation,
    /// Whether feed-forward networks are mixtures of experts.
    pub experts: Experts,
    /// Whether embeddings are multiplied with the root of their length.
    pub scales_embedding: bool,
    /// With so many blocks, queries are divided by the root of an equal share of the embedding, not
    /// of the head's length; 0 for never.
    pub wide_query_blocks: usize,
    /// Which blocks look at a sliding window of tokens, where the file gives one.
    pub windows: Windows,
    /// Further features, by the keys that the file gives them with.
    pub(crate) features: &'static [Key],
}

/// What an architecture's models are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Generating text: tokens see those before them.
    Generation,
    /// Embedding text: all tokens see each other, and their vectors are the result.
    Embedding,
}

/// How a token's position enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// RoPE turns queries and keys.
    Rope,
    /// A vector of its own is added to the embedding.
    Learned,
}

/// Which matrices are one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fused {
    /// None.
    None,
    /// Queries, keys and values.
    QueryKeyValue,
    /// Those, and gate and up.
    All,
}

/// How vectors are normed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// By the root of the mean square.
    Rms,
    /// The mean taken away, divided by the standard deviation, a bias added.
    Layer,
}

/// Where a block norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlaces {
    /// What goes into attention and feed-forward network.
    Before,
    /// What comes out of them.
    After,
    /// Both.
    Around,
    /// The sums that what comes out of them is part of.
    Sums,
}

/// How queries and keys are normed before RoPE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKeyNorm {
    /// Not.
    None,
    /// Each head by itself.
    Heads,
    /// All heads as one vector.
    Whole,
}

/// Which products have a vector added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Biases {
    /// None.
    None,
    /// Those of attention where the file has one.
    Optional,
    /// Queries, keys and values.
    QueryKeyValue,
    /// All.
    All,
}

/// What happens inside the feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `silu(gate) * up`
    SiluGated,
    /// `gelu(gate) * up`
    GeluGated,
    /// `gelu(up)`
    Gelu,
}

/// Whether feed-forward networks are mixtures of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Experts {
    /// Never.
    Never,
    /// If the file says so.
    Possible,
    /// Always.
    Always,
}

/// Which blocks look at a sliding window of tokens, where the file gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    /// None: a file with a window is refused.
    Unknown,
    /// None: files give a window that the models were not trained with (llama.cpp, pull request
    /// 13676).
    Ignored,
    /// All.
    All,
    /// All but every so manieth, unless the file says otherwise.
    AllBut {
        /// The last of so many blocks looks at everything.
        step: u32,
        /// The window of files that give none; 0 for none.
        default_tokens: u32,
        /// RoPE in blocks with a window.
        rope: LocalRope,
    },
}

/// RoPE in blocks with a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalRope {
    /// As in the others.
    Same,
    /// Not scaled, and with a base of its own: 10,000 unless the file gives it.
    OfItsOwn,
}

/// The differences of the other rows are differences to this.
const LLAMA: Architecture = Architecture {
    name: "llama",
    families: "Llama 1 to 3, Mistral 7B, Mixtral, TinyLlama, SmolLM, SmolLM2",
    purpose: Purpose::Generation,
    positions: Positions::Rope,
    // Files hold the query and key rows permuted for neighbouring pairs (llama.cpp,
    // convert_hf_to_gguf.py `permute`; llama-model.cpp `LLAMA_ROPE_TYPE_NORM`).
    rope_layout: RopeLayout::Interleaved,
    no_rope_step: 0,
    norm: Norm::Rms,
    norm_places: NormPlaces::Before,
    query_key_norm: QueryKeyNorm::None,
    biases: Biases::Optional,
    fused: Fused::None,
    activation: Activation::SiluGated,
    experts: Experts::Possible,
    scales_embedding: false,
    wide_query_blocks: 0,
    windows: Windows::All,
    features: &[],
};

/// The differences of the rows without permuted heads and mixtures of experts are differences to
/// this.
const QWEN2: Architecture = Architecture {
    name: "qwen2",
    families: "Qwen 2 and 2.5",
    rope_layout: RopeLayout::Halves,
    biases: Biases::QueryKeyValue,
    experts: Experts::Never,
    windows: Windows::Unknown,
    ..LLAMA
};

/// The differences of the other encoders are differences to this.
const BERT: Architecture = Architecture {
    name: "bert",
    families: "BERT, MiniLM, BGE, E5, GTE (those without RoPE)",
    purpose: Purpose::Embedding,
    positions: Positions::Learned,
    norm: Norm::Layer,
    norm_places: NormPlaces::Sums,
    biases: Biases::All,
    activation: Activation::Gelu,
    ..QWEN2
};

/// All that this decoder computes.
pub const ARCHITECTURES: &[Architecture] = &[
    LLAMA,
    QWEN2,
    Architecture {
        name: "qwen3",
        families: "Qwen 3",
        query_key_norm: QueryKeyNorm::Heads,
        biases: Biases::Optional,
        ..QWEN2
    },
    Architecture {
        name: "qwen3moe",
        families: "Qwen 3 with experts",
        query_key_norm: QueryKeyNorm::Heads,
        biases: Biases::Optional,
        experts: Experts::Always,
        ..QWEN2
    },
    Architecture {
        name: "gemma",
        families: "Gemma",
        biases: Biases::Optional,
        activation: Activation::GeluGated,
        scales_embedding: true,
        ..QWEN2
    },
    Architecture {
        name: "gemma2",
        families: "Gemma 2",
        norm_places: NormPlaces::Around,
        biases: Biases::Optional,
        activation: Activation::GeluGated,
        scales_embedding: true,
        wide_query_blocks: 46,
        windows: Windows::AllBut { step: 2, default_tokens: 4096, rope: LocalRope::Same },
        features: &[key::ATTENTION_SOFT_CAP, key::LOGITS_SOFT_CAP],
        ..QWEN2
    },
    Architecture {
        name: "gemma3",
        families: "Gemma 3 (text)",
        norm_places: NormPlaces::Around,
        query_key_norm: QueryKeyNorm::Heads,
        biases: Biases::Optional,
        activation: Activation::GeluGated,
        scales_embedding: true,
        wide_query_blocks: 62,
        windows: Windows::AllBut { step: 6, default_tokens: 0, rope: LocalRope::OfItsOwn },
        features: &[key::LOGITS_SOFT_CAP],
        ..QWEN2
    },
    Architecture {
        name: "phi3",
        families: "Phi 3, Phi 3.5, Phi 4",
        biases: Biases::None,
        fused: Fused::All,
        windows: Windows::Ignored,
        ..QWEN2
    },
    Architecture {
        name: "olmo2",
        families: "OLMo 2",
        norm_places: NormPlaces::After,
        query_key_norm: QueryKeyNorm::Whole,
        biases: Biases::Optional,
        ..QWEN2
    },
    Architecture {
        name: "starcoder2",
        families: "StarCoder 2",
        norm: Norm::Layer,
        biases: Biases::All,
        activation: Activation::Gelu,
        ..QWEN2
    },
    Architecture {
        name: "smollm3",
        families: "SmolLM3",
        no_rope_step: 4,
        experts: Experts::Never,
        ..LLAMA
    },
    Architecture {
        name: "granite",
        families: "Granite 3",
        experts: Experts::Never,
        windows: Windows::Unknown,
        features: &[
            key::EMBEDDING_SCALE,
            key::RESIDUAL_SCALE,
            key::ATTENTION_SCALE,
            key::LOGIT_SCALE,
            key::ROPE_FINETUNED,
        ],
        ..LLAMA
    },
    BERT,
    Architecture {
        name: "nomic-bert",
        families: "Nomic Embed Text 1 and 1.5",
        positions: Positions::Rope,
        biases: Biases::None,
        fused: Fused::QueryKeyValue,
        activation: Activation::SiluGated,
        ..BERT
    },
];

impl Architecture {
    /// Whether all tokens of a text see each other.
    pub fn is_encoder(&self) -> bool {
        self.purpose == Purpose::Embedding
    }
}

/// Finds the row of an architecture.
///
/// # Errors
/// `unsupported` with the list of names.
pub(crate) fn architecture(name: &str) -> Result<&'static Architecture> {
    ARCHITECTURES.iter().find(|row| row.name == name).ok_or_else(|| {
        let names: Vec<_> = ARCHITECTURES.iter().map(|row| format!("`{}`", row.name)).collect();
        Error::unsupported(format_args!(
            "architecture `{name}`; this engine computes {}",
            names.join(", ")
        ))
    })
}
