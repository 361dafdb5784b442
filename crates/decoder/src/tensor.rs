//! Which tensors a model has, and what shapes and types they must have.

use trefoil_contract::{Error, FORMAT_GGUF_ROWS_16, ROWS_16_VERSION_KEY, Result};
use trefoil_gguf::{Gguf, Tensor, TensorType};
use trefoil_kernels::{LAYOUT_VERSION, WeightsType};

use crate::config::Config;

/// The embedding matrix: `[embedding, vocabulary]`.
pub(crate) const TOKEN_EMBD: &str = "token_embd.weight";
/// What RoPE's frequencies are divided by (Llama 3): `[rope / 2]`.
pub(crate) const ROPE_FREQS: &str = "rope_freqs.weight";

/// Inverse frequencies that old converters stored in each block. They follow from the metadata.
const HARMLESS_SUFFIX: &str = ".attn_rot_embd.weight";

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    TokenEmbd,
    RopeFreqs,
    /// The norm before the output matrix.
    OutputNorm,
    /// The matrix that gives the logits; without it the embedding serves.
    Output,
    Block(usize, BlockSlot),
}

/// What a tensor of a block is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BlockSlot {
    AttnNorm,
    AttnQ,
    AttnK,
    AttnV,
    AttnOutput,
    FfnNorm,
    FfnGate,
    FfnUp,
    FfnDown,
}

impl Slot {
    /// The tensor's name in the file.
    pub(crate) fn name(self) -> String {
        match self {
            Slot::TokenEmbd => TOKEN_EMBD.to_owned(),
            Slot::RopeFreqs => ROPE_FREQS.to_owned(),
            Slot::OutputNorm => "output_norm.weight".to_owned(),
            Slot::Output => "output.weight".to_owned(),
            Slot::Block(block, slot) => format!("blk.{block}.{}.weight", slot.name()),
        }
    }
}

impl BlockSlot {
    /// All in the order of the computation.
    const ALL: [BlockSlot; 9] = [
        BlockSlot::AttnNorm,
        BlockSlot::AttnQ,
        BlockSlot::AttnK,
        BlockSlot::AttnV,
        BlockSlot::AttnOutput,
        BlockSlot::FfnNorm,
        BlockSlot::FfnGate,
        BlockSlot::FfnUp,
        BlockSlot::FfnDown,
    ];

    fn name(self) -> &'static str {
        match self {
            BlockSlot::AttnNorm => "attn_norm",
            BlockSlot::AttnQ => "attn_q",
            BlockSlot::AttnK => "attn_k",
            BlockSlot::AttnV => "attn_v",
            BlockSlot::AttnOutput => "attn_output",
            BlockSlot::FfnNorm => "ffn_norm",
            BlockSlot::FfnGate => "ffn_gate",
            BlockSlot::FfnUp => "ffn_up",
            BlockSlot::FfnDown => "ffn_down",
        }
    }
}

/// Shape and type of a tensor in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Vector { length: usize },
    Matrix(MatrixForm),
}

/// Shape and type of a whole matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MatrixForm {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) weights_type: WeightsType,
}

/// A tensor that was found and checked.
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
    let ends = [Slot::TokenEmbd, Slot::RopeFreqs, Slot::OutputNorm, Slot::Output];
    let in_block = |block| BlockSlot::ALL.into_iter().map(move |slot| Slot::Block(block, slot));
    let mut planned = Vec::new();
    for slot in ends.into_iter().chain((0..config.blocks).flat_map(in_block)) {
        let name = slot.name();
        match gguf.tensor(&name) {
            Some(tensor) => {
                planned.push(Planned { slot, form: shape(slot, config).check(tensor)?, tensor });
            }
            None if matches!(slot, Slot::RopeFreqs | Slot::Output) => {}
            None => return Err(missing(&name)),
        }
    }
    refuse_others(gguf, &planned, config)?;
    planned.sort_by_key(|planned| planned.tensor.offset);
    Ok(planned)
}

fn shape(slot: Slot, config: &Config) -> Shape {
    let embedding = config.embedding_length;
    let feed_forward = config.feed_forward_length;
    let (columns, rows) = match slot {
        Slot::RopeFreqs => return Shape::Vector { length: config.rope_length / 2 },
        Slot::OutputNorm | Slot::Block(_, BlockSlot::AttnNorm | BlockSlot::FfnNorm) => {
            return Shape::Vector { length: embedding };
        }
        Slot::TokenEmbd | Slot::Output => (embedding, config.vocabulary_tokens),
        Slot::Block(_, BlockSlot::AttnQ) => (embedding, config.query_length()),
        Slot::Block(_, BlockSlot::AttnK | BlockSlot::AttnV) => (embedding, config.kv_length()),
        Slot::Block(_, BlockSlot::AttnOutput) => (config.query_length(), embedding),
        Slot::Block(_, BlockSlot::FfnGate | BlockSlot::FfnUp) => (embedding, feed_forward),
        Slot::Block(_, BlockSlot::FfnDown) => (feed_forward, embedding),
    };
    Shape::Matrix { columns, rows }
}

/// A shape that the metadata promise.
#[derive(Clone, Copy)]
enum Shape {
    Vector { length: usize },
    Matrix { columns: usize, rows: usize },
}

impl Shape {
    fn check(self, tensor: &Tensor) -> Result<Form> {
        // In GGUF's order, the contiguous dimension first; trailing ones of size 1 say nothing.
        let promised: &[u64] = match self {
            Shape::Vector { length } => &[length as u64],
            Shape::Matrix { columns, rows } => &[columns as u64, rows as u64],
        };
        let is_padded = |rest: &[u64]| rest.iter().all(|size| *size == 1);
        if !tensor.dimensions.strip_prefix(promised).is_some_and(is_padded) {
            return Err(Error::InvalidModel(format!(
                "tensor `{}` has the shape {:?}: the metadata promise {promised:?}",
                tensor.name, tensor.dimensions
            )));
        }
        match self {
            Shape::Vector { length } if tensor.tensor_type == TensorType::F32 => {
                Ok(Form::Vector { length })
            }
            Shape::Vector { .. } => Err(unsupported_type(tensor, "vectors of type F32")),
            Shape::Matrix { columns, rows } => {
                let known = WeightsType::named(tensor.tensor_type.name());
                let weights_type = known.ok_or_else(|| {
                    let names = WeightsType::ALL.map(|known| format!("{known:?}"));
                    unsupported_type(tensor, &format!("matrices of types {}", names.join(", ")))
                })?;
                Ok(Form::Matrix(MatrixForm { rows, columns, weights_type }))
            }
        }
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
