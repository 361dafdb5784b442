//! The weights in memory, and how they get there.

use std::collections::BTreeMap;
use std::ops::Range;

use trefoil_contract::{Error, READ_LENGTH_MAX, Result};
use trefoil_gguf::{Gguf, Source, Tensor};
use trefoil_kernels::{Activations, GROUP_ROWS, Matrix, add, layer_norm, rms_norm};

use crate::adapter::{Adapter, Update};
use crate::architecture::QueryKeyNorm;
use crate::config::{Config, ExpertsConfig};
use crate::memory::zeros;
use crate::partition::Partition;
use crate::ranking::RankingHead;
use crate::tensor::{self, BlockSlot, ExpertSlot, Form, MatrixForm, Planned, Slot};

/// The weights of a model: vectors as a whole, of matrices the rows that this instance holds.
pub(crate) struct Weights {
    pub(crate) token_embd: OwnRows,
    /// What is added to embeddings, by kind of token.
    pub(crate) token_types: Option<OwnRows>,
    /// What is added to them, by position.
    pub(crate) position_embd: Option<OwnRows>,
    pub(crate) token_embd_norm: Option<Norm>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) output_norm: Option<Norm>,
    /// `None` where the embedding matrix serves: one matrix, two uses.
    output: Option<OwnRows>,
    /// Of a model that ranks texts.
    pub(crate) ranking: Option<RankingHead>,
    /// Divisors of RoPE's frequencies; empty without.
    pub(crate) rope_freqs: Vec<f32>,
    /// Those for contexts beyond that of the first training.
    pub(crate) rope_factors_long: Vec<f32>,
    /// Those for other contexts.
    pub(crate) rope_factors_short: Vec<f32>,
    /// Of all tensors, in memory.
    bytes: u64,
}

/// One block (layer). What an architecture does not have is absent.
pub(crate) struct Block {
    pub(crate) attn_norm: Option<Norm>,
    pub(crate) attn_q: Linear,
    pub(crate) attn_k: Linear,
    pub(crate) attn_v: Linear,
    pub(crate) attn_q_norm: Option<Vec<f32>>,
    pub(crate) attn_k_norm: Option<Vec<f32>>,
    pub(crate) attn_output: Linear,
    pub(crate) attn_post_norm: Option<Vec<f32>>,
    pub(crate) ffn_norm: Option<Norm>,
    pub(crate) feed_forward: FeedForward,
    pub(crate) ffn_post_norm: Option<Vec<f32>>,
}

/// A feed-forward network.
pub(crate) enum FeedForward {
    Dense(Expert),
    Mixture { router: OwnRows, experts: Vec<Expert>, sizes: ExpertsConfig },
}

/// A feed-forward network, or one of a mixture.
pub(crate) struct Expert {
    pub(crate) gate: Option<OwnRows>,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
}

/// The factors of a norm.
pub(crate) struct Norm {
    weight: Vec<f32>,
    /// With it, the mean is taken away as well.
    bias: Option<Vec<f32>>,
}

impl Norm {
    /// Length of the vectors that it norms.
    pub(crate) fn width(&self) -> usize {
        self.weight.len()
    }

    /// `out = norm(x)`
    pub(crate) fn apply(&self, x: &[f32], epsilon: f32, out: &mut [f32]) {
        match &self.bias {
            None => rms_norm(x, &self.weight, epsilon, out),
            Some(bias) => layer_norm(x, &self.weight, bias, epsilon, out),
        }
    }
}

/// The rows of a matrix that this instance holds, and what is added to their products.
pub(crate) struct Linear {
    pub(crate) rows: OwnRows,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// [`OwnRows::multiply`], and the bias added.
    pub(crate) fn multiply(&self, activations: &mut Activations, out: &mut [f32]) {
        self.rows.multiply(activations, out);
        if let Some(bias) = self.bias.as_ref().filter(|bias| !bias.is_empty()) {
            out.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
        }
    }
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
        adapters: &[Adapter<'_>],
        config: &Config,
        partition: &Partition,
    ) -> Result<Weights> {
        let planned = tensor::plan(gguf, config)?;
        let mut updates = Vec::new();
        for adapter in adapters {
            let own = |slot| own_rows(slot, config, partition);
            updates.extend(adapter.updates(config, &planned, own)?);
        }
        let buffer = zeros(READ_LENGTH_MAX as usize, READING)?;
        let mut reader = Reader { source, buffer, is_arranged: tensor::is_arranged(gguf)? };
        let mut loaded = Loaded { config, matrices: BTreeMap::new(), vectors: BTreeMap::new() };
        grow_memory_once(planned.iter().map(|planned| own_bytes(planned, config, partition)).sum());
        for planned in planned {
            match planned.form {
                Form::Vector { length } => {
                    let mut vector = reader.vector(planned.tensor, length)?;
                    if let Some(own) = own_elements(planned.slot, partition) {
                        vector = vector[own].to_vec();
                    }
                    loaded.vectors.insert(planned.slot, vector);
                }
                Form::Matrix(form) => {
                    let own = own_rows(planned.slot, config, partition);
                    let rows = reader.rows(planned.tensor, own, form)?;
                    loaded.matrices.insert(planned.slot, rows);
                }
            }
        }
        for (slot, update) in updates {
            if let Some(rows) = loaded.matrices.get_mut(&slot) {
                rows.updates.push(update);
            }
        }
        let matrices = loaded.matrices.values().map(OwnRows::bytes);
        let vectors = loaded.vectors.values().map(|it| size_of_val(it.as_slice()) as u64);
        let bytes = matrices.chain(vectors).sum();
        Ok(Weights {
            token_embd: loaded.matrix(Slot::TokenEmbd)?,
            token_types: loaded.matrices.remove(&Slot::TokenTypes),
            position_embd: loaded.matrices.remove(&Slot::PositionEmbd),
            token_embd_norm: loaded.norm(Slot::TokenEmbdNorm, Slot::TokenEmbdNormBias),
            blocks: (0..config.blocks).map(|block| loaded.block(block)).collect::<Result<_>>()?,
            output_norm: loaded.norm(Slot::OutputNorm, Slot::OutputNormBias),
            output: loaded.matrices.remove(&Slot::Output),
            ranking: config.ranks.then(|| loaded.ranking()).transpose()?,
            rope_freqs: loaded.vector_or_empty(Slot::RopeFreqs),
            rope_factors_long: loaded.vector_or_empty(Slot::RopeFactorsLong),
            rope_factors_short: loaded.vector_or_empty(Slot::RopeFactorsShort),
            bytes,
        })
    }

    /// The matrix that turns a token's last vector into logits.
    pub(crate) fn output(&self) -> &OwnRows {
        self.output.as_ref().unwrap_or(&self.token_embd)
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The rows of a matrix that this instance holds.
#[derive(Default)]
pub(crate) struct OwnRows {
    matrix: Option<Matrix>,
    /// What adapters add to the products.
    updates: Vec<Update>,
}

impl OwnRows {
    /// [`Matrix::multiply`], with what adapters add; nothing where there are no rows.
    pub(crate) fn multiply(&self, activations: &mut Activations, out: &mut [f32]) {
        let Some(matrix) = &self.matrix else { return };
        matrix.multiply(activations, out);
        for update in &self.updates {
            update.add(activations.values(), out);
        }
    }

    /// [`Matrix::row`]
    ///
    /// # Panics
    /// If there is no such row.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        let matrix = self.matrix.as_ref().expect("only own rows are asked for");
        matrix.row(row, out);
    }

    /// Bytes in memory.
    fn bytes(&self) -> u64 {
        let matrix = self.matrix.as_ref().map_or(0, |matrix| matrix.bytes() as u64);
        matrix + self.updates.iter().map(Update::bytes).sum::<u64>()
    }
}

/// The rows of a slot's matrix that this instance holds.
fn own_rows(slot: Slot, config: &Config, partition: &Partition) -> Range<usize> {
    use BlockSlot::{AttnK, AttnOutput, AttnQ, AttnV, FfnDown, FfnGate, FfnGateInp, FfnUp};
    let norms_whole = config.architecture.query_key_norm == QueryKeyNorm::Whole;
    match slot {
        // What is normed as a whole is computed as a whole.
        Slot::Block(_, AttnQ) if norms_whole => 0..config.query_length(),
        Slot::Block(_, AttnK) if norms_whole => 0..config.kv_length(),
        Slot::Block(_, AttnQ) => partition.query.own(),
        Slot::Block(_, AttnK | AttnV) => partition.kv.clone(),
        Slot::Block(_, FfnGate | FfnUp) => partition.feed_forward.own(),
        Slot::Block(_, AttnOutput | FfnDown) | Slot::Expert(_, ExpertSlot::Down, _) => {
            partition.embedding.own()
        }
        Slot::Expert(_, ExpertSlot::Gate | ExpertSlot::Up, _) => partition.expert.own(),
        // So that every instance chooses the same experts.
        Slot::Block(_, FfnGateInp) => 0..config.experts.map_or(0, |experts| experts.count),
        Slot::TokenEmbd | Slot::Output => partition.vocabulary.own(),
        // Small, and every instance adds them by itself.
        Slot::TokenTypes => 0..config.token_types,
        Slot::PositionEmbd => 0..config.context_tokens_trained as usize,
        // Computed once for a text, after all else.
        Slot::Ranking if partition.is_first() => 0..config.embedding_length,
        Slot::RankingOutput if partition.is_first() => 0..1,
        _ => 0..0,
    }
}

/// The elements of a bias that this instance holds; of other vectors each holds all.
fn own_elements(slot: Slot, partition: &Partition) -> Option<Range<usize>> {
    use BlockSlot::{AttnKBias, AttnOutputBias, AttnQBias, AttnVBias, FfnDownBias, FfnUpBias};
    let Slot::Block(_, slot) = slot else { return None };
    match slot {
        AttnQBias => Some(partition.query.own()),
        AttnKBias | AttnVBias => Some(partition.kv.clone()),
        FfnUpBias => Some(partition.feed_forward.own()),
        AttnOutputBias | FfnDownBias => Some(partition.embedding.own()),
        _ => None,
    }
}

/// Bytes that this instance holds of a tensor, or a part of one.
pub(crate) fn own_bytes(planned: &Planned<'_>, config: &Config, partition: &Partition) -> u64 {
    match planned.form {
        Form::Vector { length } => {
            let own = own_elements(planned.slot, partition).map_or(length, |own| own.len());
            own as u64 * size_of::<f32>() as u64
        }
        Form::Matrix(form) => {
            let own = own_rows(planned.slot, config, partition).len();
            Matrix::bytes_of(form.weights_type, own, form.columns)
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
struct Loaded<'a> {
    config: &'a Config,
    matrices: BTreeMap<Slot, OwnRows>,
    vectors: BTreeMap<Slot, Vec<f32>>,
}

impl Loaded<'_> {
    fn block(&mut self, block: usize) -> Result<Block> {
        use BlockSlot::*;
        let slot = |slot| Slot::Block(block, slot);
        let feed_forward = match self.config.experts {
            None => FeedForward::Dense(Expert {
                gate: self.matrices.remove(&slot(FfnGate)),
                up: self.linear(slot(FfnUp), Some(slot(FfnUpBias)))?,
                down: self.linear(slot(FfnDown), Some(slot(FfnDownBias)))?,
            }),
            Some(sizes) => FeedForward::Mixture {
                router: self.matrix(slot(FfnGateInp))?,
                experts: (0..sizes.count)
                    .map(|expert| self.expert(block, expert))
                    .collect::<Result<_>>()?,
                sizes,
            },
        };
        Ok(Block {
            attn_norm: self.norm(slot(AttnNorm), slot(AttnNormBias)),
            attn_q: self.linear(slot(AttnQ), Some(slot(AttnQBias)))?,
            attn_k: self.linear(slot(AttnK), Some(slot(AttnKBias)))?,
            attn_v: self.linear(slot(AttnV), Some(slot(AttnVBias)))?,
            attn_q_norm: self.vectors.remove(&slot(AttnQNorm)),
            attn_k_norm: self.vectors.remove(&slot(AttnKNorm)),
            attn_output: self.linear(slot(AttnOutput), Some(slot(AttnOutputBias)))?,
            attn_post_norm: self.vectors.remove(&slot(AttnPostNorm)),
            ffn_norm: self.norm(slot(FfnNorm), slot(FfnNormBias)),
            feed_forward,
            ffn_post_norm: self.vectors.remove(&slot(FfnPostNorm)),
        })
    }

    fn expert(&mut self, block: usize, expert: usize) -> Result<Expert> {
        let slot = |slot| Slot::Expert(block, slot, expert);
        Ok(Expert {
            gate: Some(self.matrix(slot(ExpertSlot::Gate))?),
            up: self.linear(slot(ExpertSlot::Up), None)?,
            down: self.linear(slot(ExpertSlot::Down), None)?,
        })
    }

    fn ranking(&mut self) -> Result<RankingHead> {
        let dense = self.matrices.remove(&Slot::Ranking);
        Ok(RankingHead {
            dense: dense.map(|rows| Linear { rows, bias: self.vectors.remove(&Slot::RankingBias) }),
            output: self.linear(Slot::RankingOutput, Some(Slot::RankingOutputBias))?,
        })
    }

    fn norm(&mut self, weight: Slot, bias: Slot) -> Option<Norm> {
        let weight = self.vectors.remove(&weight)?;
        Some(Norm { weight, bias: self.vectors.remove(&bias) })
    }

    fn linear(&mut self, rows: Slot, bias: Option<Slot>) -> Result<Linear> {
        let bias = bias.and_then(|bias| self.vectors.remove(&bias));
        Ok(Linear { rows: self.matrix(rows)?, bias })
    }

    fn matrix(&mut self, slot: Slot) -> Result<OwnRows> {
        let matrix = self.matrices.remove(&slot);
        matrix.ok_or_else(|| tensor::missing(&slot.name(self.config.architecture)))
    }

    fn vector_or_empty(&mut self, slot: Slot) -> Vec<f32> {
        self.vectors.remove(&slot).unwrap_or_default()
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
    /// The rows `own` of a matrix.
    fn rows(&mut self, tensor: &Tensor, own: Range<usize>, form: MatrixForm) -> Result<OwnRows> {
        let MatrixForm { first_row, tensor_rows, columns, weights_type } = form;
        if own.is_empty() {
            return Ok(OwnRows::default());
        }
        let own = own.start + first_row..own.end + first_row;
        // Rows lie one behind another, whole blocks each.
        let row_bytes = tensor.size / tensor_rows as u64;
        let mut bytes = own.start as u64 * row_bytes..own.end as u64 * row_bytes;
        let builder = Matrix::builder(weights_type, own.len(), columns);
        let mut builder = builder.map_err(|error| out_of_memory(tensor, error.0 as u64))?;
        // Tensors of several matrices, and types that take more memory, stay as they are in GGUF.
        let is_one_matrix = tensor.dimensions.get(1) == Some(&(tensor_rows as u64));
        if self.is_arranged && is_one_matrix && weights_type.keeps_size() {
            check_groups(tensor, &own, tensor_rows)?;
            for piece in builder.whole_groups().chunks_mut(READ_LENGTH_MAX as usize) {
                read(self.source, tensor, bytes.start, piece)?;
                bytes.start += piece.len() as u64;
            }
        }
        self.pieces(tensor, bytes, |piece| builder.push(piece))?;
        Ok(OwnRows { matrix: Some(builder.finish()), updates: Vec::new() })
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
