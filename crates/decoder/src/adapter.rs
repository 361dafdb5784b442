//! LoRA adapters: to a matrix W they add the product of two thin ones, so that
//! `y = W x + s * B (A x)` (Hu et al., 2021, arXiv:2106.09685).
//!
//! Names and keys of the files: `llama-adapter.cpp` in llama.cpp.

use std::collections::BTreeMap;
use std::ops::Range;

use trefoil_contract::{Error, Result};
use trefoil_gguf::{Gguf, Source, Tensor};
use trefoil_kernels::{Matrix, WeightsType};

use crate::config::Config;
use crate::memory::zeros;
use crate::tensor::{Form, MatrixForm, Planned, Slot};

/// Greatest rank of an adapter. Real ones have 4 to 256.
pub const RANK_MAX: usize = 1024;

const PURPOSE: &str = "an adapter; leave it out with the setting `adapters`";

/// An adapter's file, and how much of it is added.
pub struct Adapter<'a> {
    /// What errors call it.
    pub name: &'a str,
    /// Its header.
    pub gguf: &'a Gguf,
    /// Its bytes.
    pub source: &'a dyn Source,
    /// Factor beside the file's own.
    pub scale: f32,
}

/// The two thin matrices of one matrix.
struct Pair<'a> {
    /// A: `[rank][columns]`.
    down: &'a Tensor,
    /// B: `[rows][rank]`.
    up: &'a Tensor,
}

impl<'a> Adapter<'a> {
    /// The pairs by the name of the tensor that they change.
    fn pairs(&self) -> Result<BTreeMap<&'a str, Pair<'a>>> {
        const DOWN: &str = ".lora_a";
        const UP: &str = ".lora_b";
        let mut pairs = BTreeMap::new();
        for tensor in &self.gguf.tensors {
            if let Some(name) = tensor.name.strip_suffix(DOWN) {
                let up = self.gguf.tensor(&format!("{name}{UP}"));
                let up = up.ok_or_else(|| self.invalid(format!("`{name}{UP}` is missing")))?;
                pairs.insert(name, Pair { down: tensor, up });
                continue;
            }
            let base = tensor.name.strip_suffix(UP);
            let base = base.ok_or_else(|| {
                self.unsupported(format!("tensor `{}`: it changes only matrices", tensor.name))
            })?;
            if self.gguf.tensor(&format!("{base}{DOWN}")).is_none() {
                return Err(self.invalid(format!("`{base}{DOWN}` is missing")));
            }
        }
        Ok(pairs)
    }

    /// What is to be added to which matrix of this instance. `own` says which rows it holds.
    ///
    /// # Errors
    /// `invalid-model` for an adapter that is none of this model, `unsupported` for one that
    /// changes what cannot be changed, `out-of-memory`, and `io`.
    pub(crate) fn updates(
        &self,
        config: &Config,
        planned: &[Planned<'_>],
        own: impl Fn(Slot) -> Range<usize>,
    ) -> Result<Vec<(Slot, Update)>> {
        self.check_kind(config)?;
        let alpha = self.gguf.metadata.f32("adapter.lora.alpha");
        let alpha = alpha.map_err(|error| self.invalid(error.to_string()))?.unwrap_or(0.0);
        let mut updates = Vec::new();
        for (name, pair) in self.pairs()? {
            let mut found = false;
            for planned in planned.iter().filter(|planned| planned.tensor.name == name) {
                found = true;
                let Form::Matrix(form) = planned.form else {
                    return Err(self.unsupported(format!("`{name}`, which is no matrix")));
                };
                // Rows of embeddings are looked up, and would stay as they are.
                if !matches!(planned.slot, Slot::Block(..) | Slot::Output) {
                    return Err(self.unsupported(format!(
                        "`{name}`: embeddings and experts cannot be changed"
                    )));
                }
                let rank = self.check_shapes(name, &pair, form)?;
                // As in llama.cpp: without an alpha the scale is the user's alone.
                let own_scale = if alpha == 0.0 { 1.0 } else { alpha / rank as f32 };
                let scale = self.scale * own_scale;
                if !scale.is_finite() {
                    return Err(self.invalid(format!("its scale is {scale}")));
                }
                let own = own(planned.slot);
                if !own.is_empty() {
                    updates.push((planned.slot, self.update(&pair, form, own, rank, scale)?));
                }
            }
            if !found {
                return Err(self.invalid(format!(
                    "it changes `{name}`, which the model does not have: it was made for another \
                     model"
                )));
            }
        }
        Ok(updates)
    }

    fn check_kind(&self, config: &Config) -> Result<()> {
        let text =
            |key| self.gguf.metadata.string(key).map_err(|error| self.invalid(error.to_string()));
        if text("general.type")? != Some("adapter") {
            return Err(self.invalid("its `general.type` is not `adapter`".into()));
        }
        let kind = text("adapter.type")?.unwrap_or_default();
        if kind != "lora" {
            return Err(self.unsupported(format!("`adapter.type` = `{kind}`; supported: `lora`")));
        }
        let architecture = text("general.architecture")?.unwrap_or_default();
        if architecture != config.architecture.name {
            return Err(self.invalid(format!(
                "it is for the architecture `{architecture}`, the model is `{}`",
                config.architecture.name
            )));
        }
        if self.gguf.metadata.get("adapter.alora.invocation_tokens").is_some() {
            return Err(self.unsupported("an activated LoRA (`adapter.alora`)".into()));
        }
        Ok(())
    }

    /// Returns the rank.
    fn check_shapes(&self, name: &str, pair: &Pair<'_>, form: MatrixForm) -> Result<usize> {
        let [down, up] = [pair.down, pair.up].map(|tensor| {
            let (shape, padding) = tensor.dimensions.split_at(tensor.dimensions.len().min(2));
            padding.iter().all(|size| *size == 1).then_some(shape)
        });
        let (Some(&[columns, rank]), Some(&[up_rank, rows])) = (down, up) else {
            return Err(self.invalid(format!("the matrices of `{name}` have no two dimensions")));
        };
        let expected = (form.columns as u64, form.tensor_rows as u64);
        if rank != up_rank || (columns, rows) != expected {
            return Err(self.invalid(format!(
                "the matrices of `{name}` are {rank} x {columns} and {rows} x {up_rank}: the model \
                 has {} x {}",
                form.tensor_rows, form.columns
            )));
        }
        let rank = usize::try_from(rank).unwrap_or(usize::MAX);
        if rank > RANK_MAX {
            return Err(self.unsupported(format!("rank {rank} of `{name}`; at most {RANK_MAX}")));
        }
        Ok(rank)
    }

    fn update(
        &self,
        pair: &Pair<'_>,
        form: MatrixForm,
        own: Range<usize>,
        rank: usize,
        scale: f32,
    ) -> Result<Update> {
        let columns = form.columns;
        let down = self.rows(pair.down, 0..rank, columns)?;
        let place = own.start + form.first_row..own.end + form.first_row;
        let up = self.rows(pair.up, place, rank)?;
        // So that neighbours in memory are added to neighbours, and no sum changes its order.
        let down = transposed(&down, columns)?;
        let up = transposed(&up, rank)?;
        Ok(Update { rank, rows: own.len(), down, up, scale })
    }

    /// Rows of a tensor, as f32.
    fn rows(&self, tensor: &Tensor, rows: Range<usize>, columns: usize) -> Result<Vec<f32>> {
        let known = WeightsType::named(tensor.tensor_type.name());
        let weights_type = known.ok_or_else(|| {
            let name = tensor.tensor_type.name();
            self.unsupported(format!("tensor `{}` of type {name}", tensor.name))
        })?;
        let out_of_memory =
            |bytes| Error::OutOfMemory { needed_bytes: bytes, purpose: PURPOSE.to_owned() };
        let all = tensor.dimensions.get(1).copied().unwrap_or(1);
        let row_bytes = tensor.size / all.max(1);
        let mut bytes: Vec<u8> = zeros((row_bytes as usize).saturating_mul(rows.len()), PURPOSE)?;
        let offset = tensor.offset + rows.start as u64 * row_bytes;
        self.source.read_at(offset, &mut bytes).map_err(Error::Io)?;
        let builder = Matrix::builder(weights_type, rows.len(), columns);
        let mut builder = builder.map_err(|error| out_of_memory(error.0 as u64))?;
        builder.push(&bytes);
        let matrix = builder.finish();
        let mut values = zeros(rows.len().saturating_mul(columns), PURPOSE)?;
        for (row, out) in values.chunks_exact_mut(columns).enumerate() {
            matrix.row(row, out);
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(self.invalid(format!("`{}` holds values that are no numbers", tensor.name)));
        }
        Ok(values)
    }

    fn invalid(&self, what: String) -> Error {
        Error::InvalidModel(format!("the adapter `{}`: {what}", self.name))
    }

    fn unsupported(&self, what: String) -> Error {
        Error::unsupported(format_args!("the adapter `{}` has {what}", self.name))
    }
}

fn transposed(rows: &[f32], columns: usize) -> Result<Vec<f32>> {
    let count = rows.len() / columns;
    let mut transposed = zeros(rows.len(), PURPOSE)?;
    for (index, row) in rows.chunks_exact(columns).enumerate() {
        for (column, value) in row.iter().enumerate() {
            transposed[column * count + index] = *value;
        }
    }
    Ok(transposed)
}

/// What an adapter adds to the products of a matrix.
pub(crate) struct Update {
    rank: usize,
    /// Rows of the matrix that this instance holds.
    rows: usize,
    /// A, transposed: `[columns][rank]`.
    down: Vec<f32>,
    /// B, transposed: `[rank][rows]`.
    up: Vec<f32>,
    scale: f32,
}

impl Update {
    /// `out += scale * up(down(x))`, with `x` of `[tokens][columns]` and `out` of
    /// `[tokens][rows]`. Each sum has one order, whatever the batch and the instances.
    pub(crate) fn add(&self, x: &[f32], out: &mut [f32]) {
        let columns = self.down.len() / self.rank;
        let mut hidden = [0.0; RANK_MAX];
        let hidden = &mut hidden[..self.rank];
        for (x, out) in x.chunks_exact(columns).zip(out.chunks_exact_mut(self.rows)) {
            hidden.fill(0.0);
            for (x, down) in x.iter().zip(self.down.chunks_exact(self.rank)) {
                hidden.iter_mut().zip(down).for_each(|(sum, down)| *sum += x * down);
            }
            for (hidden, up) in hidden.iter().zip(self.up.chunks_exact(self.rows)) {
                let hidden = hidden * self.scale;
                out.iter_mut().zip(up).for_each(|(sum, up)| *sum += hidden * up);
            }
        }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        ((self.down.len() + self.up.len()) * size_of::<f32>()) as u64
    }
}
