//! Buffers of one batch, kept from batch to batch.

use trefoil_contract::Result;
use trefoil_kernels::{Activations, AttentionScratch};

use crate::architecture::QueryKeyNorm;
use crate::config::{Config, ExpertsConfig};
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
    /// Angles of RoPE.
    pub(crate) angles: Angles,
    /// Those of blocks with a sliding window, where they are others.
    pub(crate) local_angles: Angles,
    /// Buffers of a mixture of experts.
    pub(crate) mixture: MixtureScratch,
    /// Heads before they are normed as a whole: `[tokens][all query or KV heads][head]`.
    pub(crate) whole: Vec<f32>,
    /// Scores of one token and KV head.
    pub(crate) attention: AttentionScratch,
    /// What the next product multiplies with.
    pub(crate) activations: Activations,
}

/// Cosines and sines, `[tokens][rope / 2]` each.
#[derive(Default)]
pub(crate) struct Angles {
    pub(crate) cos: Vec<f32>,
    pub(crate) sin: Vec<f32>,
}

/// Buffers of a mixture of experts; `used` is the number of experts that compute a token.
#[derive(Default)]
pub(crate) struct MixtureScratch {
    /// `[tokens][experts]`.
    pub(crate) scores: Vec<f32>,
    /// The chosen experts and their weights, the likeliest first: `[tokens][used]`.
    pub(crate) chosen: Vec<(u32, f32)>,
    /// For each expert, the places in `chosen` that it computes.
    pub(crate) places: Vec<Vec<usize>>,
    /// What an expert multiplies with: `[tokens][embedding or expert feed-forward]`.
    pub(crate) gathered: Vec<f32>,
    /// `[tokens][own expert feed-forward]`.
    pub(crate) gate: Vec<f32>,
    /// `[tokens][own expert feed-forward or embedding]`.
    pub(crate) up: Vec<f32>,
    /// `[tokens][used][expert feed-forward]`.
    pub(crate) inner: Vec<f32>,
    /// `[tokens][used][embedding]`.
    pub(crate) outer: Vec<f32>,
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
            (&mut self.angles.cos, config.rope_length / 2),
            (&mut self.angles.sin, config.rope_length / 2),
            (&mut self.local_angles.cos, config.local_rope.map_or(0, |_| config.rope_length / 2)),
            (&mut self.local_angles.sin, config.local_rope.map_or(0, |_| config.rope_length / 2)),
            (
                &mut self.whole,
                match config.architecture.query_key_norm {
                    QueryKeyNorm::Whole => config.query_length(),
                    _ => 0,
                },
            ),
        ];
        for (buffer, width) in widths {
            resize(buffer, tokens.saturating_mul(width), PURPOSE)?;
        }
        match &config.experts {
            Some(experts) => self.mixture.fit(tokens, config, experts, partition),
            None => Ok(()),
        }
    }
}

impl MixtureScratch {
    fn fit(
        &mut self,
        tokens: usize,
        config: &Config,
        experts: &ExpertsConfig,
        partition: &Partition,
    ) -> Result<()> {
        let embedding = config.embedding_length;
        let own = partition.expert.own().len();
        let widths = [
            (&mut self.scores, experts.count),
            (&mut self.gathered, embedding.max(experts.feed_forward_length)),
            (&mut self.gate, own),
            (&mut self.up, own.max(partition.embedding.own().len())),
            (&mut self.inner, experts.used.saturating_mul(experts.feed_forward_length)),
            (&mut self.outer, experts.used.saturating_mul(embedding)),
        ];
        for (buffer, width) in widths {
            resize(buffer, tokens.saturating_mul(width), PURPOSE)?;
        }
        resize(&mut self.chosen, tokens.saturating_mul(experts.used), PURPOSE)?;
        resize(&mut self.places, experts.count, PURPOSE)
    }
}
