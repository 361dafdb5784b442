//! The weights in memory, and how they get there.

use std::collections::BTreeMap;

use trefoil_contract::{Error, READ_LENGTH_MAX, Result};
use trefoil_gguf::{Gguf, Source, Tensor};
use trefoil_kernels::{Matrix, WeightsType};

use crate::config::Config;
use crate::memory::zeros;
use crate::tensor::{self, BlockSlot, Form, Slot};

/// All weights of a model.
///
/// One instance holds all rows and heads. When several instances share a model, each holds a range
/// of every matrix's rows and of the KV heads: `plan` then gives shapes of that share, `load`
/// reads the rows' byte ranges, and [`crate::Decoder`] gathers after each product. Nothing else
/// reads sizes from here instead of from the matrices.
pub(crate) struct Weights {
    pub(crate) token_embd: Matrix,
    pub(crate) blocks: Vec<Block>,
    pub(crate) output_norm: Vec<f32>,
    /// `None` where the embedding matrix serves: one matrix, two uses.
    output: Option<Matrix>,
    /// Llama 3's divisors of RoPE's frequencies; empty without.
    pub(crate) rope_freqs: Vec<f32>,
}

/// One block (layer).
pub(crate) struct Block {
    pub(crate) attn_norm: Vec<f32>,
    pub(crate) attn_q: Matrix,
    pub(crate) attn_k: Matrix,
    pub(crate) attn_v: Matrix,
    pub(crate) attn_output: Matrix,
    pub(crate) ffn_norm: Vec<f32>,
    pub(crate) ffn_gate: Matrix,
    pub(crate) ffn_up: Matrix,
    pub(crate) ffn_down: Matrix,
}

impl Weights {
    /// Reads each tensor once, in the order of the file, in pieces of at most
    /// [`READ_LENGTH_MAX`] bytes.
    ///
    /// # Errors
    /// Those of [`tensor::plan`], `out-of-memory`, and `io`.
    pub(crate) fn load(gguf: &Gguf, source: &dyn Source, config: &Config) -> Result<Weights> {
        let planned = tensor::plan(gguf, config)?;
        let buffer = zeros(READ_LENGTH_MAX as usize, READING)?;
        let mut reader = Reader { source, buffer, is_arranged: tensor::is_arranged(gguf)? };
        let mut loaded = Loaded::default();
        for planned in planned {
            match planned.form {
                Form::Vector { length } => {
                    loaded.vectors.insert(planned.slot, reader.vector(planned.tensor, length)?);
                }
                Form::Matrix { rows, columns, weights_type } => {
                    let matrix = reader.matrix(planned.tensor, weights_type, rows, columns)?;
                    loaded.matrices.insert(planned.slot, matrix);
                }
            }
        }
        Ok(Weights {
            token_embd: loaded.matrix(Slot::TokenEmbd)?,
            blocks: (0..config.blocks).map(|block| loaded.block(block)).collect::<Result<_>>()?,
            output_norm: loaded.vector(Slot::OutputNorm)?,
            output: loaded.matrices.remove(&Slot::Output),
            rope_freqs: loaded.vectors.remove(&Slot::RopeFreqs).unwrap_or_default(),
        })
    }

    /// The matrix that turns a token's last vector into logits.
    pub(crate) fn output(&self) -> &Matrix {
        self.output.as_ref().unwrap_or(&self.token_embd)
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        let blocks = self.blocks.iter().flat_map(|block| {
            let Block { attn_q, attn_k, attn_v, attn_output, ffn_gate, ffn_up, ffn_down, .. } =
                block;
            [attn_q, attn_k, attn_v, attn_output, ffn_gate, ffn_up, ffn_down]
        });
        let ends = [Some(&self.token_embd), self.output.as_ref()].into_iter().flatten();
        blocks.chain(ends).map(|matrix| matrix.bytes() as u64).sum()
    }
}

/// Tensors that wait for their place in the structure.
#[derive(Default)]
struct Loaded {
    matrices: BTreeMap<Slot, Matrix>,
    vectors: BTreeMap<Slot, Vec<f32>>,
}

impl Loaded {
    fn block(&mut self, block: usize) -> Result<Block> {
        let slot = |slot| Slot::Block(block, slot);
        Ok(Block {
            attn_norm: self.vector(slot(BlockSlot::AttnNorm))?,
            attn_q: self.matrix(slot(BlockSlot::AttnQ))?,
            attn_k: self.matrix(slot(BlockSlot::AttnK))?,
            attn_v: self.matrix(slot(BlockSlot::AttnV))?,
            attn_output: self.matrix(slot(BlockSlot::AttnOutput))?,
            ffn_norm: self.vector(slot(BlockSlot::FfnNorm))?,
            ffn_gate: self.matrix(slot(BlockSlot::FfnGate))?,
            ffn_up: self.matrix(slot(BlockSlot::FfnUp))?,
            ffn_down: self.matrix(slot(BlockSlot::FfnDown))?,
        })
    }

    fn matrix(&mut self, slot: Slot) -> Result<Matrix> {
        self.matrices.remove(&slot).ok_or_else(|| tensor::missing(&slot.name()))
    }

    fn vector(&mut self, slot: Slot) -> Result<Vec<f32>> {
        self.vectors.remove(&slot).ok_or_else(|| tensor::missing(&slot.name()))
    }
}

const READING: &str = "reading the weights; give the instance more memory";

/// Reads tensors piece by piece through one buffer.
struct Reader<'a> {
    source: &'a dyn Source,
    buffer: Vec<u8>,
    /// Whether matrices need not be laid out anew.
    is_arranged: bool,
}

impl Reader<'_> {
    fn matrix(
        &mut self,
        tensor: &Tensor,
        weights_type: WeightsType,
        rows: usize,
        columns: usize,
    ) -> Result<Matrix> {
        let builder = Matrix::builder(weights_type, rows, columns);
        let mut builder = builder.map_err(|error| out_of_memory(tensor, error.0 as u64))?;
        let mut begin = 0;
        if self.is_arranged {
            for piece in builder.whole_groups().chunks_mut(READ_LENGTH_MAX as usize) {
                read(self.source, tensor, begin, piece)?;
                begin += piece.len() as u64;
            }
        }
        self.pieces(tensor, begin, |piece| builder.push(piece))?;
        Ok(builder.finish())
    }

    fn vector(&mut self, tensor: &Tensor, length: usize) -> Result<Vec<f32>> {
        let mut vector = Vec::new();
        let reserved = vector.try_reserve_exact(length);
        reserved.map_err(|_| out_of_memory(tensor, tensor.size))?;
        self.pieces(tensor, 0, |piece| {
            // Pieces end at multiples of four: the buffer's size and the tensor's are.
            vector.extend(piece.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        })?;
        Ok(vector)
    }

    /// Hands over a tensor's bytes from `begin` on.
    fn pieces(&mut self, tensor: &Tensor, begin: u64, mut each: impl FnMut(&[u8])) -> Result<()> {
        let mut done = begin;
        while done < tensor.size {
            let length = (tensor.size - done).min(self.buffer.len() as u64) as usize;
            let piece = &mut self.buffer[..length];
            read(self.source, tensor, done, piece)?;
            each(piece);
            done += length as u64;
        }
        Ok(())
    }
}

/// Reads from byte `begin` of a tensor on.
fn read(source: &dyn Source, tensor: &Tensor, begin: u64, piece: &mut [u8]) -> Result<()> {
    let offset = tensor.offset + begin;
    let error = |cause| Error::Io(format!("tensor `{}` at byte {offset}: {cause}", tensor.name));
    source.read_at(offset, piece).map_err(error)
}

fn out_of_memory(tensor: &Tensor, needed_bytes: u64) -> Error {
    let purpose =
        format!("tensor `{}`; take a smaller model or a smaller quantisation", tensor.name);
    Error::OutOfMemory { needed_bytes, purpose }
}
