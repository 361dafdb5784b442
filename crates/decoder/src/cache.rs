//! The KV cache: keys and values of each sequence's tokens.

use trefoil_contract::{Error, Result};
use trefoil_kernels::{
    AttentionScratch, CacheType, HeadCache, OutOfMemory, PAGE_TOKENS, Rows, Scoring,
};

use crate::config::Config;
use crate::partition::Partition;

/// So far back from its longest a sequence can be cut at any time: blocks with a sliding window keep
/// that much more than the window. Behind an answer, a dialogue goes on a few tokens earlier.
const CUT_TOKENS: usize = 2 * PAGE_TOKENS;

const PURPOSE: &str = "the KV cache of a sequence; lower `context-tokens` or `sequences-max`, or set \
                       `cpu.kv-cache-type` to `q8`";

/// Keys and values of all sequences. Memory is taken as sequences grow, and given back where
/// sliding windows have moved on.
pub(crate) struct Cache {
    sequences: Vec<Sequence>,
    /// Tokens of each sequence that are computed in all blocks.
    tokens: Vec<u32>,
    /// Whether a block has a sliding window, `[block]`.
    has_window: Vec<bool>,
    window_tokens: usize,
    /// For each KV head that this instance holds, how many query heads it serves.
    groups: Vec<usize>,
    head_length: usize,
    cache_type: CacheType,
}

fn out_of_memory(needed_bytes: u64) -> Error {
    Error::OutOfMemory { needed_bytes, purpose: PURPOSE.to_owned() }
}

#[derive(Default)]
struct Sequence {
    /// `[block][KV head held]`; empty until the sequence is used.
    heads: Vec<HeadCache>,
    /// The first token that blocks with a sliding window hold. The same on all instances, those
    /// without heads included.
    first: usize,
}

impl Cache {
    /// Room for sequences, all empty.
    pub(crate) fn new(
        config: &Config,
        partition: &Partition,
        sequences_max: usize,
        cache_type: CacheType,
    ) -> Cache {
        Cache {
            sequences: (0..sequences_max).map(|_| Sequence::default()).collect(),
            tokens: vec![0; sequences_max],
            has_window: config.has_window.clone(),
            window_tokens: config.window_tokens,
            groups: partition.groups.clone(),
            head_length: config.head_length,
            cache_type,
        }
    }

    /// Bytes that a sequence takes at most in a context of so many tokens, computed at most
    /// `batch_tokens` at a time.
    pub(crate) fn bytes_of(
        config: &Config,
        partition: &Partition,
        cache_type: CacheType,
        context_tokens: u32,
        batch_tokens: u32,
    ) -> u64 {
        let page_tokens = PAGE_TOKENS as u64;
        let pages = u64::from(context_tokens).div_ceil(page_tokens);
        // The first page may hold one token of those that are kept.
        let kept_tokens = (config.window_tokens + CUT_TOKENS - 1) as u64;
        let held_tokens = page_tokens - 1 + kept_tokens + u64::from(batch_tokens);
        let pages_of_window = held_tokens.div_ceil(page_tokens).min(pages);
        let windows = config.has_window.iter().filter(|has_window| **has_window).count() as u64;
        let blocks = config.has_window.len() as u64;
        let pages = (blocks - windows) * pages + windows * pages_of_window;
        let heads = partition.groups.len() as u64;
        HeadCache::bytes_of(config.head_length, cache_type, pages.saturating_mul(heads))
    }

    /// Tokens that the cache holds of each sequence.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        let heads = self.sequences.iter().flat_map(|sequence| &sequence.heads);
        heads.map(|head| head.bytes() as u64).sum()
    }

    /// Makes room for `tokens` behind those of a sequence.
    ///
    /// # Errors
    /// `out-of-memory`.
    pub(crate) fn reserve(&mut self, sequence: usize, tokens: usize) -> Result<()> {
        self.use_sequence(sequence)?;
        let needed_tokens = self.tokens[sequence] as usize + tokens;
        let Sequence { heads, first } = &mut self.sequences[sequence];
        for head in heads {
            head.reserve(needed_tokens).map_err(|_| {
                let pages = |first: usize| (needed_tokens - first).div_ceil(PAGE_TOKENS) as u64;
                let pages = self.has_window.iter().map(|has_window| match has_window {
                    true => pages(*first),
                    false => pages(0),
                });
                let pages = pages.sum::<u64>() * self.groups.len() as u64;
                out_of_memory(HeadCache::bytes_of(self.head_length, self.cache_type, pages))
            })?;
        }
        Ok(())
    }

    /// Makes a sequence's heads, all empty, if there are none.
    fn use_sequence(&mut self, sequence: usize) -> Result<()> {
        let heads_count = self.has_window.len() * self.groups.len();
        let heads = &mut self.sequences[sequence].heads;
        if heads.is_empty() {
            let bytes = heads_count * size_of::<HeadCache>();
            heads.try_reserve_exact(heads_count).map_err(|_| out_of_memory(bytes as u64))?;
            let (head_length, cache_type) = (self.head_length, self.cache_type);
            heads.extend((0..heads_count).map(|_| HeadCache::new(head_length, cache_type)));
        }
        Ok(())
    }

    /// See [`trefoil_generation::Forward::copy`]. Sequences that do not exist copy nothing.
    pub(crate) fn copy(&mut self, from: usize, to: usize) -> Result<()> {
        if from == to || from.max(to) >= self.sequences.len() {
            return Ok(());
        }
        self.truncate(to, 0);
        let copied = self.use_sequence(to).and_then(|()| self.copy_heads(from, to));
        match copied {
            Ok(()) => self.tokens[to] = self.tokens[from],
            Err(_) => self.truncate(to, 0),
        }
        copied
    }

    fn copy_heads(&mut self, from: usize, to: usize) -> Result<()> {
        let Ok([from, to]) = self.sequences.get_disjoint_mut([from, to]) else { return Ok(()) };
        for (to, from) in to.heads.iter_mut().zip(&from.heads) {
            to.copy_from(from).map_err(|OutOfMemory(bytes)| out_of_memory(bytes as u64))?;
        }
        to.first = from.first;
        Ok(())
    }

    /// The first token that blocks with a sliding window hold of a sequence.
    pub(crate) fn first(&self, sequence: usize) -> usize {
        self.sequences.get(sequence).map_or(0, |sequence| sequence.first)
    }

    /// Whether a sequence of so many tokens can go on where blocks with a sliding window hold those
    /// from `first` on.
    pub(crate) fn can_hold(&self, first: usize, tokens: usize) -> bool {
        let has_windows = self.has_window.contains(&true);
        let reaches = has_windows && self.reached_from(tokens) >= first && first <= tokens;
        first == 0 || (reaches && first.is_multiple_of(PAGE_TOKENS))
    }

    /// Makes a sequence one of so many tokens, whose pages hold nothing yet: see
    /// [`can_hold`](Cache::can_hold).
    ///
    /// # Errors
    /// `out-of-memory`; the sequence is empty then.
    pub(crate) fn make_room(&mut self, sequence: usize, first: usize, tokens: usize) -> Result<()> {
        self.truncate(sequence, 0);
        let made = self.use_sequence(sequence).and_then(|()| {
            let count = self.groups.len().max(1);
            let heads = self.sequences[sequence].heads.chunks_exact_mut(count);
            for (has_window, heads) in self.has_window.iter().zip(heads) {
                let first = if *has_window { first } else { 0 };
                for head in heads {
                    let made = head.make_room(first, tokens);
                    made.map_err(|OutOfMemory(bytes)| out_of_memory(bytes as u64))?;
                }
            }
            Ok(())
        });
        match made {
            Ok(()) => {
                self.tokens[sequence] = tokens as u32;
                self.sequences[sequence].first = first;
            }
            Err(_) => self.sequences[sequence] = Sequence::default(),
        }
        made
    }

    /// Number of a block's pages for each KV head.
    pub(crate) fn pages(&self, block: usize, first: usize, tokens: usize) -> usize {
        let first = if self.has_window[block] { first } else { 0 };
        tokens.saturating_sub(first).div_ceil(PAGE_TOKENS)
    }

    /// A KV head that this instance holds, by its number among these.
    pub(crate) fn head(
        &mut self,
        sequence: usize,
        block: usize,
        head: usize,
    ) -> Option<&mut HeadCache> {
        self.sequences[sequence].heads.get_mut(block * self.groups.len() + head)
    }

    /// Bytes of a page of a KV head.
    pub(crate) fn page_bytes(&self) -> usize {
        HeadCache::bytes_of(self.head_length, self.cache_type, 1) as usize
    }

    /// How keys and values are stored.
    pub(crate) fn cache_type(&self) -> CacheType {
        self.cache_type
    }

    /// One block of a sequence.
    pub(crate) fn layer(&mut self, sequence: usize, block: usize) -> Layer<'_> {
        let count = self.groups.len();
        let heads = &mut self.sequences[sequence].heads[block * count..][..count];
        Layer { heads, groups: &self.groups, head_length: self.head_length }
    }

    /// Counts tokens that were appended in all blocks, and gives up what no window reaches any
    /// more.
    pub(crate) fn keep(&mut self, sequence: usize, tokens: usize) {
        self.tokens[sequence] += tokens as u32;
        if !self.has_window.contains(&true) {
            return;
        }
        let next = self.tokens[sequence] as usize;
        let needed = self.reached_from(next).saturating_sub(CUT_TOKENS);
        let Sequence { heads, first } = &mut self.sequences[sequence];
        *first = (needed / PAGE_TOKENS * PAGE_TOKENS).max(*first);
        if self.groups.is_empty() {
            return;
        }
        let blocks = self.has_window.iter().zip(heads.chunks_exact_mut(self.groups.len()));
        for (_, heads) in blocks.filter(|(has_window, _)| **has_window) {
            heads.iter_mut().for_each(|head| head.forget(*first));
        }
    }

    /// The first token in the window of the token at a position.
    fn reached_from(&self, position: usize) -> usize {
        (position + 1).saturating_sub(self.window_tokens)
    }

    /// See [`trefoil_generation::Forward::reusable`].
    pub(crate) fn reusable(&self, sequence: usize, tokens: u32) -> u32 {
        let Some(&held) = self.tokens.get(sequence) else { return 0 };
        let tokens = tokens.min(held);
        let first = self.sequences[sequence].first;
        match first == 0 || self.reached_from(tokens as usize) >= first {
            true => tokens,
            false => 0,
        }
    }

    /// Forgets the tokens of a sequence behind its first `tokens`, or behind none if these are not
    /// [`reusable`](Cache::reusable).
    pub(crate) fn truncate(&mut self, sequence: usize, tokens: u32) {
        let kept = self.reusable(sequence, tokens);
        let Some(held) = self.tokens.get_mut(sequence) else { return };
        *held = kept;
        let sequence = &mut self.sequences[sequence];
        if kept == 0 {
            *sequence = Sequence::default();
        }
        for head in &mut sequence.heads {
            head.truncate(kept as usize);
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

    const EMPTY: Cache = Cache {
        sequences: Vec::new(),
        tokens: Vec::new(),
        has_window: Vec::new(),
        window_tokens: 0,
        groups: Vec::new(),
        head_length: 8,
        cache_type: CacheType::F32,
    };

    #[test]
    fn names_bytes_and_cure_where_memory_does_not_suffice() {
        let head_length = 1 << (usize::BITS - 4);
        let mut cache = Cache {
            sequences: vec![Sequence::default()],
            tokens: vec![0],
            has_window: vec![false],
            groups: vec![1],
            head_length,
            ..EMPTY
        };
        let error = Error::OutOfMemory {
            needed_bytes: HeadCache::bytes_of(head_length, CacheType::F32, 1),
            purpose: PURPOSE.to_owned(),
        };
        assert_eq!(cache.reserve(0, 3), Err(error));
        assert_eq!(cache.tokens(), [0]);
    }

    #[test]
    fn memory_of_tokens_that_were_cut_off_is_given_back() -> Result<()> {
        let mut cache = Cache {
            sequences: vec![Sequence::default(), Sequence::default()],
            tokens: vec![0; 2],
            has_window: vec![false; 3],
            groups: vec![1, 1],
            cache_type: CacheType::F16,
            ..EMPTY
        };
        let page_bytes = 6 * 2 * 8 * 2 * PAGE_TOKENS as u64;
        cache.reserve(1, PAGE_TOKENS + 1)?;
        assert_eq!(cache.bytes(), 2 * page_bytes);
        cache.truncate(1, 0);
        assert_eq!(cache.bytes(), 0);
        Ok(())
    }

    #[test]
    fn a_copy_that_does_not_fit_leaves_nothing() {
        let mut cache = Cache {
            sequences: vec![Sequence::default(), Sequence::default()],
            tokens: vec![5, 3],
            // More heads than an address space holds.
            has_window: vec![false; 1 << (usize::BITS / 2 - 11)],
            groups: vec![1; 1 << (usize::BITS / 2 - 11)],
            ..EMPTY
        };
        assert!(matches!(cache.copy(0, 1), Err(Error::OutOfMemory { .. })));
        assert_eq!(cache.tokens(), [5, 0]);
        // Copies to itself, and to sequences that do not exist, change nothing.
        assert_eq!(
            (cache.copy(0, 0), cache.copy(0, 2), cache.copy(2, 0)),
            (Ok(()), Ok(()), Ok(()))
        );
        assert_eq!(cache.tokens(), [5, 0]);
    }

    #[test]
    fn what_a_sequence_takes_at_most_is_known_before() -> Result<()> {
        for window_tokens in [0u32, 10, 64, 65, 100] {
            let values = vec![("llama.attention.sliding_window".into(), window_tokens.into())];
            let file = trefoil_fixtures::tiny_llama(&trefoil_fixtures::TinyLlama {
                values,
                context_tokens: 1000,
                ..Default::default()
            });
            let gguf = trefoil_gguf::Gguf::read(&file).map_err(|_| Error::Finished)?;
            let config = Config::from_gguf(&gguf)?;
            let partition = Partition::new(&config, 0, 1);
            for (cache_type, batch_tokens) in [
                (CacheType::F32, 1),
                (CacheType::F16, 37),
                (CacheType::Q8, 64),
                (CacheType::F16, 700),
            ] {
                let mut cache = Cache::new(&config, &partition, 1, cache_type);
                let mut most_bytes = 0;
                while cache.tokens[0] < 1000 {
                    let tokens = batch_tokens.min(1000 - cache.tokens[0]) as usize;
                    cache.reserve(0, tokens)?;
                    most_bytes = most_bytes.max(cache.bytes());
                    for block in 0..config.blocks {
                        let vectors = vec![0.5; tokens * config.kv_length()];
                        let appended = cache.layer(0, block).append(&vectors, &vectors);
                        assert_eq!(appended, Ok(()));
                    }
                    cache.keep(0, tokens);
                }
                let expected = Cache::bytes_of(&config, &partition, cache_type, 1000, batch_tokens);
                let what = format!("window {window_tokens}, {batch_tokens} tokens at once");
                assert!(most_bytes <= expected, "{most_bytes} of {expected} bytes: {what}");
                // Some batches never end where they would need most.
                if batch_tokens == 1 || window_tokens == 0 {
                    assert_eq!(most_bytes, expected, "{what}");
                }
            }
        }
        Ok(())
    }
}
