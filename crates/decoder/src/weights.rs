//! The weights in memory, and how they get there.

use std::collections::BTreeMap;
use std::ops::Range;

use trefoil_contract::{Error, READ_LENGTH_MAX, Result};
use trefoil_gguf::{Gguf, Source, Tensor};
use trefoil_kernels::{Activations, GROUP_ROWS, Matrix};

use crate::config::Config;
use crate::memory::zeros;
use crate::partition::Partition;
use crate::tensor::{self, BlockSlot, Form, MatrixForm, Planned, Slot};

/// The weights of a model: vectors as a whole, of matrices the rows that this instance holds.
pub(crate) struct Weights {
    pub(crate) token_embd: OwnRows,
    pub(crate) blocks: Vec<Block>,
    pub(crate) output_norm: Vec<f32>,
    /// `None` where the embedding matrix serves: one matrix, two uses.
    output: Option<OwnRows>,
    /// Llama 3's divisors of RoPE's frequencies; empty without.
    pub(crate) rope_freqs: Vec<f32>,
}

/// One block (layer).
pub(crate) struct Block {
    pub(crate) attn_norm: Vec<f32>,
    pub(crate) attn_q: OwnRows,
    pub(crate) attn_k: OwnRows,
    pub(crate) attn_v: OwnRows,
    pub(crate) attn_output: OwnRows,
    pub(crate) ffn_norm: Vec<f32>,
    pub(crate) ffn_gate: OwnRows,
    pub(crate) ffn_up: OwnRows,
    pub(crate) ffn_down: OwnRows,
}

impl Weights {
    /// Reads this instance's share of each tensor once, in the order of the file, in pieces of at
    /// most [`READ_LENGTH_MAX`] bytes.
    ///
    /// # Errors
    /// Those of [`tensor::plan`], `out-of-memory`, and `io`.
    pub(crate) fn load(
        gguf: &Gguf,
        source: &dyn Source,
        config: &Config,
        partition: &Partition,
    ) -> Result<Weights> {
        let planned = tensor::plan(gguf, config)?;
        let buffer = zeros(READ_LENGTH_MAX as usize, READING)?;
        let mut reader = Reader { source, buffer, is_arranged: tensor::is_arranged(gguf)? };
        let mut loaded = Loaded::default();
        grow_memory_once(planned.iter().map(|planned| own_bytes(planned, partition)).sum());
        for planned in planned {
            match planned.form {
                Form::Vector { length } => {
                    loaded.vectors.insert(planned.slot, reader.vector(planned.tensor, length)?);
                }
                Form::Matrix(form) => {
                    let own = own_rows(planned.slot, partition);
                    let rows = reader.rows(planned.tensor, own, form)?;
                    loaded.matrices.insert(planned.slot, rows);
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
    pub(crate) fn output(&self) -> &OwnRows {
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
        blocks.chain(ends).map(OwnRows::bytes).sum()
    }
}

/// The rows of a matrix that this instance holds.
pub(crate) struct OwnRows(Option<Matrix>);

impl OwnRows {
    /// [`Matrix::multiply`]; nothing where there are no rows.
    pub(crate) fn multiply(&self, activations: &mut Activations, out: &mut [f32]) {
        if let Some(matrix) = &self.0 {
            matrix.multiply(activations, out);
        }
    }

    /// [`Matrix::row`]
    ///
    /// # Panics
    /// If there is no such row.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        let matrix = self.0.as_ref().expect("only own rows are asked for");
        matrix.row(row, out);
    }

    /// Bytes in memory.
    fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |matrix| matrix.bytes() as u64)
    }
}

/// The rows of a slot's matrix that this instance holds.
fn own_rows(slot: Slot, partition: &Partition) -> Range<usize> {
    use BlockSlot::{AttnK, AttnOutput, AttnQ, AttnV, FfnDown, FfnGate, FfnUp};
    match slot {
        Slot::Block(_, AttnQ) => partition.query.own(),
        Slot::Block(_, AttnK | AttnV) => partition.kv.clone(),
        Slot::Block(_, FfnGate | FfnUp) => partition.feed_forward.own(),
        Slot::Block(_, AttnOutput | FfnDown) => partition.embedding.own(),
        Slot::TokenEmbd | Slot::Output => partition.vocabulary.own(),
        // Vectors, of which every instance holds all.
        Slot::RopeFreqs | Slot::OutputNorm | Slot::Block(..) => 0..0,
    }
}

/// About how many bytes of a tensor this instance holds.
fn own_bytes(planned: &Planned<'_>, partition: &Partition) -> u64 {
    match planned.form {
        Form::Vector { .. } => planned.tensor.size,
        Form::Matrix(form) => {
            let own = own_rows(planned.slot, partition).len() as u64;
            planned.tensor.size / form.rows as u64 * own
        }
    }
}

/// Lets a WebAssembly memory grow to what the weights need before they are written. A system that
/// has huge pages can give them only where the memory reaches beyond them already.
fn grow_memory_once(bytes: u64) {
    let mut memory: Vec<u8> = Vec::new();
    // If there is not so much, the matrix that fails says so.
    let _ = usize::try_from(bytes).map(|bytes| memory.try_reserve_exact(bytes));
}

/// Tensors that wait for their place in the structure.
#[derive(Default)]
struct Loaded {
    matrices: BTreeMap<Slot, OwnRows>,
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

    fn matrix(&mut self, slot: Slot) -> Result<OwnRows> {
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
    /// The rows `own` of a matrix of `rows`.
    fn rows(&mut self, tensor: &Tensor, own: Range<usize>, form: MatrixForm) -> Result<OwnRows> {
        let MatrixForm { rows, columns, weights_type } = form;
        if own.is_empty() {
            return Ok(OwnRows(None));
        }
        // Rows lie one behind another, whole blocks each.
        let row_bytes = tensor.size / rows as u64;
        let mut bytes = own.start as u64 * row_bytes..own.end as u64 * row_bytes;
        let builder = Matrix::builder(weights_type, own.len(), columns);
        let mut builder = builder.map_err(|error| out_of_memory(tensor, error.0 as u64))?;
        if self.is_arranged {
            check_groups(tensor, &own, rows)?;
            for piece in builder.whole_groups().chunks_mut(READ_LENGTH_MAX as usize) {
                read(self.source, tensor, bytes.start, piece)?;
                bytes.start += piece.len() as u64;
            }
        }
        self.pieces(tensor, bytes, |piece| builder.push(piece))?;
        Ok(OwnRows(Some(builder.finish())))
    }

    fn vector(&mut self, tensor: &Tensor, length: usize) -> Result<Vec<f32>> {
        let mut vector = Vec::new();
        let reserved = vector.try_reserve_exact(length);
        reserved.map_err(|_| out_of_memory(tensor, tensor.size))?;
        self.pieces(tensor, 0..tensor.size, |piece| {
            // Pieces end at multiples of four: the buffer's size and the tensor's are.
            vector.extend(piece.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        })?;
        Ok(vector)
    }

    /// Hands over a range of a tensor's bytes.
    fn pieces(
        &mut self,
        tensor: &Tensor,
        range: Range<u64>,
        mut each: impl FnMut(&[u8]),
    ) -> Result<()> {
        let mut done = range.start;
        while done < range.end {
            let length = (range.end - done).min(self.buffer.len() as u64) as usize;
            let piece = &mut self.buffer[..length];
            read(self.source, tensor, done, piece)?;
            each(piece);
            done += length as u64;
        }
        Ok(())
    }
}

/// Rows that are laid out for the kernels come apart only between groups.
fn check_groups(tensor: &Tensor, own: &Range<usize>, rows: usize) -> Result<()> {
    let is_boundary = |row: usize| row.is_multiple_of(GROUP_ROWS) || row == rows;
    if is_boundary(own.start) && is_boundary(own.end) {
        return Ok(());
    }
    Err(Error::unsupported(format_args!(
        "tensor `{}` is packed with `--for cpu`, {GROUP_ROWS} rows together, but this instance's \
         share are the rows {own:?}; use one instance, or a model packed without `--for`",
        tensor.name
    )))
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
