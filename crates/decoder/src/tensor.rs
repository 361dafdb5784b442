//! Which tensors a model has, and what shapes and types they must have.

use trefoil_contract::{Error, FORMAT_GGUF_ROWS_16, ROWS_16_VERSION_KEY, Result};
use trefoil_gguf::{Gguf, Tensor, TensorType};
use trefoil_kernels::{LAYOUT_VERSION, WeightsType};

use crate::architecture::{
    Activation, Architecture, Biases, Fused, Norm, NormPlaces, Positions, QueryKeyNorm,
};
use crate::config::Config;

/// The embedding matrix: `[embedding, vocabulary]`.
pub(crate) const TOKEN_EMBD: &str = "token_embd.weight";
/// What RoPE's frequencies are divided by (Llama 3): `[rope / 2]`.
pub(crate) const ROPE_FREQS: &str = "rope_freqs.weight";

/// Inverse frequencies that old converters stored in each block. They follow from the metadata.
const HARMLESS_SUFFIX: &str = ".attn_rot_embd.weight";

/// RoPE's divisors for contexts beyond that of the first training: `[rope / 2]`.
pub(crate) const ROPE_FACTORS_LONG: &str = "rope_factors_long.weight";
/// RoPE's divisors for other contexts: `[rope / 2]`.
pub(crate) const ROPE_FACTORS_SHORT: &str = "rope_factors_short.weight";

/// What a tensor, or a part of one, is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    TokenEmbd,
    /// What is added to the embeddings of an encoder's tokens, by kind.
    TokenTypes,
    /// What is added to them, by position.
    PositionEmbd,
    /// The norm of that sum.
    TokenEmbdNorm,
    TokenEmbdNormBias,
    RopeFreqs,
    RopeFactorsLong,
    RopeFactorsShort,
    /// The norm before the output matrix.
    OutputNorm,
    OutputNormBias,
    /// The matrix that gives the logits; without it the embedding serves.
    Output,
    /// What ranks texts: the layer before the last one, and the last one.
    Ranking,
    RankingBias,
    RankingOutput,
    RankingOutputBias,
    Block(usize, BlockSlot),
    /// A matrix of an expert, by block and number.
    Expert(usize, ExpertSlot, usize),
}

/// What a tensor of a block is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BlockSlot {
    AttnNorm,
    AttnNormBias,
    AttnQ,
    AttnK,
    AttnV,
    AttnQBias,
    AttnKBias,
    AttnVBias,
    AttnQNorm,
    AttnKNorm,
    AttnOutput,
    AttnOutputBias,
    /// The norm of what attention gives.
    AttnPostNorm,
    FfnNorm,
    FfnNormBias,
    FfnGate,
    FfnUp,
    FfnUpBias,
    FfnDown,
    FfnDownBias,
    /// The matrix that chooses experts.
    FfnGateInp,
    /// The norm of what the feed-forward network gives.
    FfnPostNorm,
}

/// What a tensor of all experts of a block is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ExpertSlot {
    Gate,
    Up,
    Down,
}

impl Slot {
    /// The tensor's name in the file.
    pub(crate) fn name(self, architecture: &Architecture) -> String {
        match self {
            Slot::TokenEmbd => TOKEN_EMBD.to_owned(),
            Slot::TokenTypes => "token_types.weight".to_owned(),
            Slot::PositionEmbd => "position_embd.weight".to_owned(),
            Slot::TokenEmbdNorm => "token_embd_norm.weight".to_owned(),
            Slot::TokenEmbdNormBias => "token_embd_norm.bias".to_owned(),
            Slot::RopeFreqs => ROPE_FREQS.to_owned(),
            Slot::RopeFactorsLong => ROPE_FACTORS_LONG.to_owned(),
            Slot::RopeFactorsShort => ROPE_FACTORS_SHORT.to_owned(),
            Slot::OutputNorm => "output_norm.weight".to_owned(),
            Slot::OutputNormBias => "output_norm.bias".to_owned(),
            Slot::Output => "output.weight".to_owned(),
            Slot::Ranking => "cls.weight".to_owned(),
            Slot::RankingBias => "cls.bias".to_owned(),
            Slot::RankingOutput => "cls.output.weight".to_owned(),
            Slot::RankingOutputBias => "cls.output.bias".to_owned(),
            Slot::Block(block, slot) => format!("blk.{block}.{}", slot.name(architecture)),
            Slot::Expert(block, slot, _) => {
                let name = match slot {
                    ExpertSlot::Gate => "gate",
                    ExpertSlot::Up => "up",
                    ExpertSlot::Down => "down",
                };
                format!("blk.{block}.ffn_{name}_exps.weight")
            }
        }
    }
}

impl BlockSlot {
    fn name(self, architecture: &Architecture) -> &'static str {
        let norms_sums = architecture.norm_places == NormPlaces::Sums;
        let fuses_qkv = architecture.fused != Fused::None;
        match self {
            BlockSlot::AttnNorm if norms_sums => "attn_output_norm.weight",
            BlockSlot::AttnNormBias if norms_sums => "attn_output_norm.bias",
            BlockSlot::FfnNorm if norms_sums => "layer_output_norm.weight",
            BlockSlot::FfnNormBias if norms_sums => "layer_output_norm.bias",
            BlockSlot::AttnNorm => "attn_norm.weight",
            BlockSlot::AttnNormBias => "attn_norm.bias",
            BlockSlot::AttnQ | BlockSlot::AttnK | BlockSlot::AttnV if fuses_qkv => {
                "attn_qkv.weight"
            }
            BlockSlot::AttnQ => "attn_q.weight",
            BlockSlot::AttnK => "attn_k.weight",
            BlockSlot::AttnV => "attn_v.weight",
            BlockSlot::AttnQBias => "attn_q.bias",
            BlockSlot::AttnKBias => "attn_k.bias",
            BlockSlot::AttnVBias => "attn_v.bias",
            BlockSlot::AttnQNorm => "attn_q_norm.weight",
            BlockSlot::AttnKNorm => "attn_k_norm.weight",
            BlockSlot::AttnOutput => "attn_output.weight",
            BlockSlot::AttnOutputBias => "attn_output.bias",
            BlockSlot::AttnPostNorm => "post_attention_norm.weight",
            BlockSlot::FfnNorm => "ffn_norm.weight",
            BlockSlot::FfnNormBias => "ffn_norm.bias",
            BlockSlot::FfnGate if architecture.fused == Fused::All => "ffn_up.weight",
            BlockSlot::FfnGate => "ffn_gate.weight",
            BlockSlot::FfnUp => "ffn_up.weight",
            BlockSlot::FfnUpBias => "ffn_up.bias",
            BlockSlot::FfnDown => "ffn_down.weight",
            BlockSlot::FfnDownBias => "ffn_down.bias",
            BlockSlot::FfnGateInp => "ffn_gate_inp.weight",
            BlockSlot::FfnPostNorm => "post_ffw_norm.weight",
        }
    }
}

/// Whether a model has a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Needed,
    Possible,
}

/// All tensors that a model may have, block by block: a file may claim more than fit memory.
fn slots(config: &Config) -> impl Iterator<Item = (Slot, Presence)> {
    let ends = end_slots(config.architecture, config.ranks);
    let of_block = block_slots(config.architecture, config.experts.is_some());
    let experts = config.experts.map_or(0, |experts| experts.count);
    let blocks = (0..config.blocks).flat_map(move |block| {
        let of_block = of_block.clone().into_iter();
        let of_experts = (0..experts).flat_map(move |expert| {
            let matrices = [ExpertSlot::Gate, ExpertSlot::Up, ExpertSlot::Down];
            matrices.map(|slot| (Slot::Expert(block, slot, expert), Presence::Needed))
        });
        of_block.map(move |(slot, presence)| (Slot::Block(block, slot), presence)).chain(of_experts)
    });
    ends.into_iter().chain(blocks)
}

/// What stands before the blocks and behind them.
fn end_slots(architecture: &Architecture, ranks: bool) -> Vec<(Slot, Presence)> {
    use Presence::{Needed, Possible};
    let mut slots = vec![(Slot::TokenEmbd, Needed)];
    let has_bias = architecture.norm == Norm::Layer;
    if architecture.is_encoder() {
        slots.extend([(Slot::TokenTypes, Possible), (Slot::TokenEmbdNorm, Needed)]);
        slots.extend(has_bias.then_some((Slot::TokenEmbdNormBias, Needed)));
    } else {
        slots.extend([
            (Slot::RopeFreqs, Possible),
            (Slot::RopeFactorsLong, Possible),
            (Slot::RopeFactorsShort, Possible),
            (Slot::OutputNorm, Needed),
            (Slot::Output, Possible),
        ]);
        slots.extend(has_bias.then_some((Slot::OutputNormBias, Needed)));
    }
    if architecture.positions == Positions::Learned {
        slots.push((Slot::PositionEmbd, Needed));
    }
    if ranks {
        slots.extend([
            (Slot::Ranking, Possible),
            (Slot::RankingBias, Possible),
            (Slot::RankingOutput, Needed),
            (Slot::RankingOutputBias, Possible),
        ]);
    }
    slots
}

fn block_slots(architecture: &Architecture, has_experts: bool) -> Vec<(BlockSlot, Presence)> {
    use BlockSlot::*;
    use Presence::{Needed, Possible};
    let mut slots = vec![(AttnQ, Needed), (AttnK, Needed), (AttnV, Needed), (AttnOutput, Needed)];
    let mut add = |of: &[BlockSlot], presence| {
        slots.extend(of.iter().map(|slot| (*slot, presence)));
    };
    let places = architecture.norm_places;
    if places != NormPlaces::After {
        add(&[AttnNorm, FfnNorm], Needed);
        if architecture.norm == Norm::Layer {
            add(&[AttnNormBias, FfnNormBias], Needed);
        }
    }
    if matches!(places, NormPlaces::After | NormPlaces::Around) {
        add(&[AttnPostNorm, FfnPostNorm], Needed);
    }
    if architecture.query_key_norm != QueryKeyNorm::None {
        add(&[AttnQNorm, AttnKNorm], Needed);
    }
    match architecture.biases {
        Biases::None => {}
        Biases::Optional => {
            add(&[AttnQBias, AttnKBias, AttnVBias, AttnOutputBias], Possible);
        }
        Biases::QueryKeyValue => {
            add(&[AttnQBias, AttnKBias, AttnVBias], Needed);
            add(&[AttnOutputBias], Possible);
        }
        Biases::All => {
            add(&[AttnQBias, AttnKBias, AttnVBias, AttnOutputBias], Needed);
            add(&[FfnUpBias, FfnDownBias], Needed);
        }
    }
    if has_experts {
        add(&[FfnGateInp], Needed);
    } else {
        if architecture.activation != Activation::Gelu {
            add(&[FfnGate], Needed);
        }
        add(&[FfnUp, FfnDown], Needed);
    }
    slots
}

/// Shape and type of a tensor in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Vector { length: usize },
    Matrix(MatrixForm),
}

/// Shape and type of a matrix, which may be a part of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MatrixForm {
    /// The matrix's first row in the tensor.
    pub(crate) first_row: usize,
    /// Rows of the whole tensor.
    pub(crate) tensor_rows: usize,
    pub(crate) columns: usize,
    pub(crate) weights_type: WeightsType,
}

impl Form {
    /// Where a part of a tensor begins.
    fn first_row(self) -> usize {
        match self {
            Form::Vector { .. } => 0,
            Form::Matrix(form) => form.first_row,
        }
    }
}

/// A tensor that was found and checked, or a part of one.
pub(crate) struct Planned<'a> {
    pub(crate) slot: Slot,
    pub(crate) form: Form,
    pub(crate) tensor: &'a Tensor,
}

/// Finds a tensor that must be there.
pub(crate) fn find<'a>(gguf: &'a Gguf, name: &str) -> Result<&'a Tensor> {
    gguf.tensor(name).ok_or_else(|| missing(name))
}

/// All tensors in the order of the file, checked against `config` before any data are read.
///
/// # Errors
/// `invalid-model` for tensors that are missing or have another shape; `unsupported` for types
/// that the kernels cannot compute and for tensors that the architecture does not have: those mean
/// that the model is another one than its metadata say.
pub(crate) fn plan<'a>(gguf: &'a Gguf, config: &Config) -> Result<Vec<Planned<'a>>> {
    let mut planned = Vec::new();
    for (slot, presence) in slots(config) {
        let name = slot.name(config.architecture);
        match gguf.tensor(&name) {
            Some(tensor) => {
                planned.push(Planned { slot, form: shape(slot, config).check(tensor)?, tensor });
            }
            None if presence == Presence::Possible => {}
            None => return Err(missing(&name)),
        }
    }
    refuse_others(gguf, &planned, config)?;
    planned.sort_by_key(|planned| (planned.tensor.offset, planned.form.first_row()));
    Ok(planned)
}

fn shape(slot: Slot, config: &Config) -> Shape {
    use BlockSlot::*;
    let embedding = config.embedding_length;
    let (query, kv) = (config.query_length(), config.kv_length());
    let feed_forward = config.feed_forward_length;
    let fused = config.architecture.fused;
    let matrix = |columns, rows| Shape::Matrix { columns, first_row: 0, tensor_rows: rows };
    let part = |is_fused, first_row, rows, tensor_rows| match is_fused {
        true => Shape::Matrix { columns: embedding, first_row, tensor_rows },
        false => matrix(embedding, rows),
    };
    let vector = |length| Shape::Vector { length };
    let head_norm = |length| match config.architecture.query_key_norm {
        QueryKeyNorm::Whole => vector(length),
        _ => vector(config.head_length),
    };
    match slot {
        Slot::RopeFreqs | Slot::RopeFactorsLong | Slot::RopeFactorsShort => {
            vector(config.rope_length / 2)
        }
        Slot::OutputNorm
        | Slot::OutputNormBias
        | Slot::TokenEmbdNorm
        | Slot::TokenEmbdNormBias
        | Slot::RankingBias => vector(embedding),
        Slot::Ranking => matrix(embedding, embedding),
        Slot::RankingOutput => matrix(embedding, 1),
        Slot::RankingOutputBias => vector(1),
        Slot::TokenTypes => matrix(embedding, config.token_types),
        Slot::PositionEmbd => matrix(embedding, config.context_tokens_trained as usize),
        Slot::TokenEmbd | Slot::Output => matrix(embedding, config.vocabulary_tokens),
        Slot::Block(_, slot) => match slot {
            AttnQ => part(fused != Fused::None, 0, query, query + 2 * kv),
            AttnK => part(fused != Fused::None, query, kv, query + 2 * kv),
            AttnV => part(fused != Fused::None, query + kv, kv, query + 2 * kv),
            AttnQBias => vector(query),
            AttnKBias | AttnVBias => vector(kv),
            AttnQNorm => head_norm(query),
            AttnKNorm => head_norm(kv),
            AttnOutput => matrix(query, embedding),
            FfnGate => part(fused == Fused::All, 0, feed_forward, 2 * feed_forward),
            FfnUp => part(fused == Fused::All, feed_forward, feed_forward, 2 * feed_forward),
            FfnUpBias => vector(feed_forward),
            FfnDown => matrix(feed_forward, embedding),
            FfnGateInp => matrix(embedding, config.experts.map_or(0, |experts| experts.count)),
            AttnNorm | AttnNormBias | AttnOutputBias | AttnPostNorm | FfnNorm | FfnNormBias
            | FfnDownBias | FfnPostNorm => vector(embedding),
        },
        Slot::Expert(_, slot, expert) => {
            let experts = config.experts;
            let (count, inner) =
                experts.map_or((0, 0), |experts| (experts.count, experts.feed_forward_length));
            let (columns, rows) = match slot {
                ExpertSlot::Gate | ExpertSlot::Up => (embedding, inner),
                ExpertSlot::Down => (inner, embedding),
            };
            Shape::Experts { columns, rows, count, expert }
        }
    }
}

/// A shape that the metadata promise.
#[derive(Clone, Copy)]
enum Shape {
    Vector { length: usize },
    Matrix { columns: usize, first_row: usize, tensor_rows: usize },
    Experts { columns: usize, rows: usize, count: usize, expert: usize },
}

impl Shape {
    fn check(self, tensor: &Tensor) -> Result<Form> {
        // In GGUF's order, the contiguous dimension first; trailing ones of size 1 say nothing.
        let promised: &[u64] = match self {
            Shape::Vector { length } => &[length as u64],
            Shape::Matrix { columns, tensor_rows, .. } => &[columns as u64, tensor_rows as u64],
            Shape::Experts { columns, rows, count, .. } => {
                &[columns as u64, rows as u64, count as u64]
            }
        };
        let is_padded = |rest: &[u64]| rest.iter().all(|size| *size == 1);
        if !tensor.dimensions.strip_prefix(promised).is_some_and(is_padded) {
            return Err(Error::InvalidModel(format!(
                "tensor `{}` has the shape {:?}: the metadata promise {promised:?}",
                tensor.name, tensor.dimensions
            )));
        }
        let (columns, first_row, tensor_rows) = match self {
            Shape::Vector { length } if tensor.tensor_type == TensorType::F32 => {
                return Ok(Form::Vector { length });
            }
            Shape::Vector { .. } => return Err(unsupported_type(tensor, "vectors of type F32")),
            Shape::Matrix { columns, first_row, tensor_rows } => (columns, first_row, tensor_rows),
            Shape::Experts { columns, rows, count, expert } => {
                (columns, expert * rows, count * rows)
            }
        };
        let known = WeightsType::named(tensor.tensor_type.name());
        let weights_type = known.ok_or_else(|| {
            let names = WeightsType::ALL.map(|known| format!("{known:?}"));
            unsupported_type(tensor, &format!("matrices of types {}", names.join(", ")))
        })?;
        Ok(Form::Matrix(MatrixForm { first_row, tensor_rows, columns, weights_type }))
    }
}

fn refuse_others(gguf: &Gguf, planned: &[Planned<'_>], config: &Config) -> Result<()> {
    let mut names: Vec<_> = planned.iter().map(|planned| planned.tensor.name.as_str()).collect();
    names.sort_unstable();
    let is_known = |name: &str| {
        names.binary_search(&name).is_ok()
            || name.starts_with("blk.") && name.ends_with(HARMLESS_SUFFIX)
    };
    let mut others = gguf.tensors.iter().map(|tensor| &tensor.name).filter(|name| !is_known(name));
    let Some(first) = others.next() else { return Ok(()) };
    let more = match others.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    Err(Error::unsupported(format_args!(
        "tensor `{first}`{more}: architecture `{}` with {} blocks has none of that name, so that \
         leaving it out would compute another model",
        config.architecture.name, config.blocks
    )))
}

/// Whether matrices lie in the layout of the kernels ([`FORMAT_GGUF_ROWS_16`]).
///
/// # Errors
/// `unsupported` for another version of it.
pub(crate) fn is_arranged(gguf: &Gguf) -> Result<bool> {
    let version = gguf.metadata.u32(ROWS_16_VERSION_KEY);
    match version.map_err(|error| Error::InvalidModel(error.to_string()))? {
        None => Ok(false),
        Some(LAYOUT_VERSION) => Ok(true),
        Some(version) => Err(Error::unsupported(format_args!(
            "version {version} of the layout `{FORMAT_GGUF_ROWS_16}`; this engine has version \
             {LAYOUT_VERSION}: pack the model with the Trefoil that the engine comes from"
        ))),
    }
}

fn unsupported_type(tensor: &Tensor, known: &str) -> Error {
    Error::unsupported(format_args!(
        "tensor `{}` of type {}; this engine computes {known}",
        tensor.name,
        tensor.tensor_type.name()
    ))
}

pub(crate) fn missing(name: &str) -> Error {
    Error::InvalidModel(format!(
        "tensor `{name}` is missing: the file is incomplete or of another architecture than its \
         metadata say"
    ))
}
