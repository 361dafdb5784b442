//! Attention of an encoder: every token of a text to every other.

use trefoil_contract::{Error, Result};
use trefoil_kernels::{
    AttentionScratch, CacheType, HeadCache, OutOfMemory, PAGE_TOKENS, Rows, Scoring,
};

use crate::config::Config;
use crate::partition::Partition;

const PURPOSE: &str = "keys and values of one text; embed a shorter one";

/// Keys and values of one block and one text: nothing looks back at them afterwards. In single
/// precision, because there are so few.
pub(crate) struct Encoding {
    /// One for each KV head that this instance holds.
    heads: Vec<HeadCache>,
    /// How many query heads each of them serves.
    groups: Vec<usize>,
    head_length: usize,
}

impl Encoding {
    pub(crate) fn new(config: &Config, partition: &Partition) -> Encoding {
        let head = || HeadCache::new(config.head_length, CacheType::F32);
        Encoding {
            heads: partition.groups.iter().map(|_| head()).collect(),
            groups: partition.groups.clone(),
            head_length: config.head_length,
        }
    }

    /// Bytes that a text of so many tokens takes.
    pub(crate) fn bytes_of(config: &Config, partition: &Partition, tokens: u32) -> u64 {
        let pages = u64::from(tokens).div_ceil(PAGE_TOKENS as u64);
        let pages = pages.saturating_mul(partition.groups.len() as u64);
        HeadCache::bytes_of(config.head_length, CacheType::F32, pages)
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.heads.iter().map(|head| head.bytes() as u64).sum()
    }

    /// Makes room for a text.
    ///
    /// # Errors
    /// `out-of-memory`.
    pub(crate) fn reserve(&mut self, tokens: usize) -> Result<()> {
        let elements = (self.heads.len() * 2 * self.head_length) as u64;
        for head in &mut self.heads {
            head.reserve(tokens).map_err(|_| Error::OutOfMemory {
                needed_bytes: elements.saturating_mul(4 * tokens as u64),
                purpose: PURPOSE.to_owned(),
            })?;
        }
        Ok(())
    }

    /// Attention of all tokens of a text to all of them: `keys` and `values` are
    /// `[tokens][KV heads][head]`, `queries` and `out` `[tokens][query heads][head]`.
    ///
    /// # Errors
    /// Memory for the scores does not suffice.
    pub(crate) fn attend(
        &mut self,
        (keys, values): (&[f32], &[f32]),
        scoring: Scoring,
        queries: &[f32],
        scratch: &mut AttentionScratch,
        out: &mut [f32],
    ) -> Result<(), OutOfMemory> {
        let count = self.heads.len();
        self.heads.iter_mut().for_each(|head| head.truncate(0));
        let pairs = keys.chunks_exact(self.head_length).zip(values.chunks_exact(self.head_length));
        for (index, (key, value)) in pairs.enumerate() {
            self.heads[index % count].append(key, value)?;
        }
        let length = self.groups.iter().sum::<usize>() * self.head_length;
        let mut first = 0;
        for (head, heads) in self.heads.iter().zip(&self.groups) {
            let group = first..first + heads * self.head_length;
            first = group.end;
            let visible = |_| 0..head.tokens();
            head.attend(queries, &Rows { length, group }, &visible, scoring, scratch, out)?;
        }
        Ok(())
    }
}
