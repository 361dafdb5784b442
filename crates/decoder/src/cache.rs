//! The KV cache: keys and values of each sequence's tokens.

use trefoil_contract::{Error, Result};
use trefoil_kernels::{AttentionScratch, CacheType, HeadCache, OutOfMemory, Rows, Scoring};

use crate::config::Config;
use crate::partition::Partition;

/// Tokens by which a cache grows at least: so seldom that copying does not matter, so little that
/// short sequences stay small.
const STEP_TOKENS: usize = 256;

const PURPOSE: &str = "the KV cache; lower `context-tokens` or `sequences-max`";

/// Keys and values of all sequences. Memory is taken as sequences grow.
pub(crate) struct Cache {
    sequences: Vec<Sequence>,
    /// Tokens of each sequence that are computed in all blocks.
    tokens: Vec<u32>,
    heads_count: usize,
    /// For each KV head that this instance holds, how many query heads it serves.
    groups: Vec<usize>,
    head_length: usize,
    context_tokens: usize,
    cache_type: CacheType,
}

/// `[block][KV head held]`; empty until the sequence is used.
type Sequence = Vec<HeadCache>;

impl Cache {
    /// Room for sequences of at most `context_tokens`, all empty.
    pub(crate) fn new(
        config: &Config,
        partition: &Partition,
        sequences_max: usize,
        context_tokens: u32,
        cache_type: CacheType,
    ) -> Cache {
        Cache {
            sequences: (0..sequences_max).map(|_| Sequence::new()).collect(),
            tokens: vec![0; sequences_max],
            heads_count: config.blocks * partition.groups.len(),
            groups: partition.groups.clone(),
            head_length: config.head_length,
            context_tokens: context_tokens as usize,
            cache_type,
        }
    }

    /// Tokens that the cache holds of each sequence.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.sequences.iter().flatten().map(|head| head.bytes() as u64).sum()
    }

    /// Makes room for `tokens` behind those of a sequence.
    ///
    /// # Errors
    /// `out-of-memory`.
    pub(crate) fn reserve(&mut self, sequence: usize, tokens: usize) -> Result<()> {
        let needed_tokens = self.tokens[sequence] as usize + tokens;
        let step = needed_tokens.next_multiple_of(STEP_TOKENS).min(self.context_tokens);
        // Keys and values, in u64: a product that memory cannot hold still has a size to report.
        let token_bytes = (self.heads_count as u64 * 2 * self.cache_type.bytes() as u64)
            .saturating_mul(self.head_length as u64);
        let out_of_memory = || Error::OutOfMemory {
            needed_bytes: token_bytes.saturating_mul(step as u64),
            purpose: PURPOSE.to_owned(),
        };
        let heads = &mut self.sequences[sequence];
        if heads.is_empty() {
            heads.try_reserve_exact(self.heads_count).map_err(|_| out_of_memory())?;
            heads.extend(
                (0..self.heads_count).map(|_| HeadCache::new(self.head_length, self.cache_type)),
            );
        }
        for head in heads {
            head.reserve(step.max(needed_tokens)).map_err(|_| out_of_memory())?;
        }
        Ok(())
    }

    /// One block of a sequence.
    pub(crate) fn layer(&mut self, sequence: usize, block: usize) -> Layer<'_> {
        let count = self.groups.len();
        let heads = &mut self.sequences[sequence][block * count..][..count];
        Layer { heads, groups: &self.groups, head_length: self.head_length }
    }

    /// Counts tokens that were appended in all blocks.
    pub(crate) fn keep(&mut self, sequence: usize, tokens: usize) {
        self.tokens[sequence] += tokens as u32;
    }

    /// Forgets the tokens of a sequence behind its first `tokens`. Keeps the memory.
    pub(crate) fn truncate(&mut self, sequence: usize, tokens: u32) {
        let Some(held) = self.tokens.get_mut(sequence) else { return };
        *held = tokens.min(*held);
        for head in &mut self.sequences[sequence] {
            head.truncate(*held as usize);
        }
    }

    /// Gives the memory of an empty sequence back, for other sequences to use.
    pub(crate) fn free_if_empty(&mut self, sequence: usize) {
        if self.tokens.get(sequence) == Some(&0) {
            self.sequences[sequence] = Sequence::new();
        }
    }
}

/// The KV heads of one block of one sequence.
pub(crate) struct Layer<'a> {
    heads: &'a mut [HeadCache],
    groups: &'a [usize],
    head_length: usize,
}

impl Layer<'_> {
    /// Appends tokens: both are `[tokens][KV heads][head]`.
    ///
    /// # Errors
    /// Memory does not suffice, which [`Cache::reserve`] rules out.
    pub(crate) fn append(&mut self, keys: &[f32], values: &[f32]) -> Result<(), OutOfMemory> {
        let keys = keys.chunks_exact(self.head_length);
        let heads = keys.zip(values.chunks_exact(self.head_length));
        let count = self.heads.len();
        for (index, (key, value)) in heads.enumerate() {
            self.heads[index % count].append(key, value)?;
        }
        Ok(())
    }

    /// Attention of the tokens from `position` on to the last `window` up to themselves: `queries`
    /// and `out` are `[tokens][query heads][head]`.
    ///
    /// # Errors
    /// Memory for the scores does not suffice.
    pub(crate) fn attend(
        &self,
        position: usize,
        (window, scoring): (usize, Scoring),
        queries: &[f32],
        scratch: &mut AttentionScratch,
        out: &mut [f32],
    ) -> Result<(), OutOfMemory> {
        let length = self.groups.iter().sum::<usize>() * self.head_length;
        let mut first = 0;
        // Head by head, so that one head's keys and values stay in the processor's cache.
        for (head, heads) in self.heads.iter().zip(self.groups) {
            let group = first..first + heads * self.head_length;
            first = group.end;
            let visible = |token: usize| {
                let end = position + token + 1;
                end.saturating_sub(window)..end
            };
            head.attend(queries, &Rows { length, group }, &visible, scoring, scratch, out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_bytes_and_cure_where_memory_does_not_suffice() {
        let head_length = 1 << (usize::BITS - 4);
        let mut cache = Cache {
            sequences: vec![Sequence::new()],
            tokens: vec![0],
            heads_count: 1,
            groups: vec![1],
            head_length,
            context_tokens: 100,
            cache_type: CacheType::F32,
        };
        let error = Error::OutOfMemory {
            needed_bytes: (head_length as u64 * 8).saturating_mul(100),
            purpose: PURPOSE.to_owned(),
        };
        assert_eq!(cache.reserve(0, 3), Err(error));
        assert_eq!(cache.tokens(), [0]);
    }

    #[test]
    fn memory_of_an_emptied_sequence_is_given_back() -> Result<()> {
        let mut cache = Cache {
            sequences: vec![Sequence::new(), Sequence::new()],
            tokens: vec![0; 2],
            heads_count: 6,
            groups: vec![1, 1],
            head_length: 8,
            context_tokens: 1000,
            cache_type: CacheType::F16,
        };
        cache.reserve(1, 1)?;
        assert_eq!(cache.bytes(), 6 * 2 * 8 * 2 * STEP_TOKENS as u64);
        cache.keep(1, 1);
        cache.free_if_empty(1);
        assert!(cache.bytes() > 0);
        cache.truncate(1, 0);
        cache.free_if_empty(1);
        assert_eq!(cache.bytes(), 0);
        Ok(())
    }
}
