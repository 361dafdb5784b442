//! Buffers of one batch, kept from batch to batch.

use trefoil_contract::Result;
use trefoil_kernels::{Activations, AttentionScratch};

use crate::config::Config;
use crate::memory::resize;
use crate::partition::Partition;

/// Intermediate results, a row for each token of the batch. They grow to the largest batch and
/// stay: in steady state no step allocates.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The tokens of the batch.
    pub(crate) tokens: Vec<u32>,
    /// The residual stream: `[tokens][embedding]`.
    pub(crate) stream: Vec<f32>,
    /// What is added to it, and before that what is normed: `[tokens][embedding]`.
    pub(crate) branch: Vec<f32>,
    /// `[tokens][own query heads][head]`.
    pub(crate) query: Vec<f32>,
    /// `[tokens][own KV heads][head]`.
    pub(crate) key: Vec<f32>,
    /// `[tokens][own KV heads][head]`.
    pub(crate) value: Vec<f32>,
    /// `[tokens][query heads][head]`.
    pub(crate) attended: Vec<f32>,
    /// `[tokens][feed-forward]`.
    pub(crate) gate: Vec<f32>,
    /// `[tokens][own feed-forward]`.
    pub(crate) up: Vec<f32>,
    /// `[tokens][rope / 2]`.
    pub(crate) cos: Vec<f32>,
    /// `[tokens][rope / 2]`.
    pub(crate) sin: Vec<f32>,
    /// Scores of one token and KV head.
    pub(crate) attention: AttentionScratch,
    /// What the next product multiplies with.
    pub(crate) activations: Activations,
}

const PURPOSE: &str = "one batch; lower `prefill-tokens`";

impl Scratch {
    /// Makes all buffers fit `tokens`.
    ///
    /// # Errors
    /// `out-of-memory`.
    pub(crate) fn fit(
        &mut self,
        tokens: usize,
        config: &Config,
        partition: &Partition,
    ) -> Result<()> {
        resize(&mut self.tokens, tokens, PURPOSE)?;
        let widths = [
            (&mut self.stream, config.embedding_length),
            (&mut self.branch, config.embedding_length),
            (&mut self.query, partition.query.own().len()),
            (&mut self.key, partition.kv.len()),
            (&mut self.value, partition.kv.len()),
            (&mut self.attended, config.query_length()),
            (&mut self.gate, config.feed_forward_length),
            (&mut self.up, partition.feed_forward.own().len()),
            (&mut self.cos, config.rope_length / 2),
            (&mut self.sin, config.rope_length / 2),
        ];
        for (buffer, width) in widths {
            resize(buffer, tokens.saturating_mul(width), PURPOSE)?;
        }
        Ok(())
    }
}
