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
    /// The places in `chosen` that each expert computes.
    pub(crate) places: Places,
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

/// Places of chosen experts, sorted by expert.
#[derive(Default)]
pub(crate) struct Places {
    /// `[tokens][used]`; those of one expert ascend.
    sorted: Vec<usize>,
    /// Where the places of each expert end in `sorted`.
    ends: Vec<usize>,
}

impl Places {
    /// Sorts the places of `chosen`, as many as were made room for.
    pub(crate) fn sort(&mut self, chosen: &[(u32, f32)]) {
        let Self { sorted, ends } = self;
        ends.fill(0);
        for (expert, _) in chosen {
            ends[*expert as usize] += 1;
        }
        // Until its places are filled in, an expert's end is its beginning.
        let mut begin = 0;
        for end in ends.iter_mut() {
            begin += std::mem::replace(end, begin);
        }
        for (place, (expert, _)) in chosen.iter().enumerate() {
            let end = &mut ends[*expert as usize];
            sorted[*end] = place;
            *end += 1;
        }
    }

    /// The places of each expert.
    pub(crate) fn of_experts(&self) -> impl Iterator<Item = &[usize]> {
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.sorted[begin..*end])
    }
}

const PURPOSE: &str = "one batch; lower `prefill-tokens`";
/// An encoder's batch is a text.
const PURPOSE_TEXT: &str = "one text; embed a shorter one";

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
        let purpose = match config.architecture.is_encoder() {
            true => PURPOSE_TEXT,
            false => PURPOSE,
        };
        resize(&mut self.tokens, tokens, purpose)?;
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
            resize(buffer, tokens.saturating_mul(width), purpose)?;
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
        let chosen = tokens.saturating_mul(experts.used);
        resize(&mut self.chosen, chosen, PURPOSE)?;
        resize(&mut self.places.sorted, chosen, PURPOSE)?;
        resize(&mut self.places.ends, experts.count, PURPOSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_sorted_by_expert_and_ascend() {
        let mut places = Places { sorted: vec![9; 6], ends: vec![9; 4] };
        let chosen = [3, 1, 0, 3, 1, 3].map(|expert| (expert, 0.5));
        places.sort(&chosen);
        let of_experts: Vec<&[usize]> = places.of_experts().collect();
        assert_eq!(of_experts, [&[2][..], &[1, 4], &[], &[0, 3, 5]]);
    }
}
