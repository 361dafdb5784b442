//! A forward pass whose logits are a function of a sequence's tokens, and which checks its caller.

use std::cell::RefCell;
use std::rc::Rc;

use trefoil_contract::{Error, Result};

use crate::{Forward, Logits, SavedCache, Span, Vocabulary};

pub(super) const VOCABULARY_TOKENS: usize = 24;
const PAGE_TOKENS: usize = 4;
/// Ends a generation.
pub(super) const END: u32 = 0;
/// Has no text.
pub(super) const SPECIAL: u32 = 1;

/// What the test sees of the forward pass.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Tokens of each sequence that are in the cache.
    pub(super) caches: Vec<Vec<u32>>,
    /// Tokens computed in batches that succeeded.
    pub(super) computed_tokens: usize,
    /// Lengths of the spans of each batch.
    pub(super) batches: Vec<Vec<usize>>,
    /// Sequences whose spans fail, with what.
    pub(super) failing: Vec<(usize, Error)>,
    /// So many tokens at the end of a sequence can be cut off, or else all of them, as where a
    /// sliding window moves on.
    pub(super) cut_tokens_max: Option<usize>,
    /// Tokens of each sequence when it was computed last.
    pub(super) computed_to: Vec<usize>,
    /// Tokens that all sequences together can hold.
    pub(super) cached_tokens_max: Option<usize>,
    /// Times that a sequence was to be copied.
    pub(super) copies: usize,
    /// Copies fail.
    pub(super) cannot_copy: bool,
    /// Gives NaN for logits.
    pub(super) damaged: bool,
    /// Logits depend on so many last tokens alone: answers repeat themselves.
    pub(super) memory_tokens: Option<usize>,
    /// Keeps nothing of what it embeds.
    pub(super) is_encoder: bool,
}

pub(super) struct FakeForward {
    pub(super) context_tokens: u32,
    pub(super) seen: Rc<RefCell<Seen>>,
}

impl FakeForward {
    pub(super) fn new(sequences: usize, context_tokens: u32) -> Self {
        let caches = vec![Vec::new(); sequences];
        let seen = Seen { caches, computed_to: vec![0; sequences], ..Seen::default() };
        FakeForward { context_tokens, seen: Rc::new(RefCell::new(seen)) }
    }
}

impl Seen {
    fn reusable(&self, sequence: usize, tokens: usize) -> usize {
        let tokens = tokens.min(self.caches[sequence].len());
        let from =
            self.cut_tokens_max.map_or(0, |max| self.computed_to[sequence].saturating_sub(max));
        if tokens >= from { tokens } else { 0 }
    }
}

/// Pseudo-random logits from -3 to 3 for the tokens so far.
pub(super) fn logits_behind(tokens: &[u32]) -> Vec<f32> {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for token in tokens {
        hash = (hash ^ u64::from(*token)).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
    }
    let logit = |token: u64| {
        let mixed = (hash ^ token).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 40) as f32 / (1u32 << 24) as f32) * 6.0 - 3.0
    };
    (0..VOCABULARY_TOKENS as u64).map(logit).collect()
}

impl Forward for FakeForward {
    fn vocabulary_tokens(&self) -> usize {
        VOCABULARY_TOKENS
    }

    fn context_tokens(&self) -> u32 {
        self.context_tokens
    }

    fn sequences_max(&self) -> usize {
        self.seen.borrow().caches.len()
    }

    fn forward(&mut self, batch: &[Span<'_>], logits: &mut Vec<f32>) -> Result<()> {
        let mut seen = self.seen.borrow_mut();
        assert!(!batch.is_empty(), "an empty batch");
        seen.batches.push(batch.iter().map(|span| span.tokens.len()).collect());
        for (index, span) in batch.iter().enumerate() {
            assert!(!span.tokens.is_empty(), "an empty span");
            let earlier = &batch[..index];
            assert!(
                earlier.iter().all(|other| other.sequence != span.sequence),
                "a sequence twice"
            );
            let position = span.position as usize;
            assert!(position <= seen.caches[span.sequence].len(), "a gap in the cache");
            assert_eq!(seen.reusable(span.sequence, position), position, "windows have moved on");
            seen.caches[span.sequence].truncate(position);
            assert!(span.position as usize + span.tokens.len() <= self.context_tokens as usize);
        }
        for span in batch {
            let failing = seen.failing.iter().find(|(sequence, _)| *sequence == span.sequence);
            if let Some((_, error)) = failing {
                return Err(error.clone());
            }
        }
        let held: usize = seen.caches.iter().map(Vec::len).sum();
        let new: usize = batch.iter().map(|span| span.tokens.len()).sum();
        if seen.cached_tokens_max.is_some_and(|max| held + new > max) {
            return Err(Error::OutOfMemory { needed_bytes: new as u64, purpose: "test".into() });
        }
        logits.clear();
        for span in batch {
            for (index, token) in span.tokens.iter().enumerate() {
                seen.caches[span.sequence].push(*token);
                let wanted = match span.logits {
                    Logits::None => false,
                    Logits::Last => index + 1 == span.tokens.len(),
                    Logits::All => true,
                };
                if wanted {
                    let tokens = &seen.caches[span.sequence];
                    let memory_tokens = seen.memory_tokens.unwrap_or(usize::MAX);
                    let start = tokens.len().saturating_sub(memory_tokens);
                    logits.extend(logits_behind(&tokens[start..]));
                }
            }
            seen.computed_to[span.sequence] = seen.caches[span.sequence].len();
            seen.computed_tokens += span.tokens.len();
        }
        if seen.damaged {
            logits.fill(f32::NAN);
        }
        Ok(())
    }

    fn reusable(&self, sequence: usize, tokens: u32) -> u32 {
        self.seen.borrow().reusable(sequence, tokens as usize) as u32
    }

    /// The logits serve as vectors.
    fn embed(&mut self, batch: &[Span<'_>], vectors: &mut Vec<f32>) -> Result<()> {
        self.forward(batch, vectors)?;
        let mut seen = self.seen.borrow_mut();
        if seen.is_encoder {
            batch.iter().for_each(|span| seen.caches[span.sequence].clear());
        }
        Ok(())
    }

    fn is_encoder(&self) -> bool {
        self.seen.borrow().is_encoder
    }

    fn copy(&mut self, from: usize, to: usize) -> Result<()> {
        let mut seen = self.seen.borrow_mut();
        seen.copies += 1;
        seen.caches[to].clear();
        seen.computed_to[to] = 0;
        let held: usize = seen.caches.iter().map(Vec::len).sum();
        let new = seen.caches[from].len();
        if seen.cannot_copy || seen.cached_tokens_max.is_some_and(|max| held + new > max) {
            return Err(Error::OutOfMemory { needed_bytes: new as u64, purpose: "test".into() });
        }
        seen.caches[to] = seen.caches[from].clone();
        seen.computed_to[to] = seen.computed_to[from];
        Ok(())
    }

    /// A page is four tokens.
    fn saved(&self, sequence: usize) -> Result<SavedCache> {
        let seen = self.seen.borrow();
        let tokens = seen.caches[sequence].len();
        Ok(SavedCache {
            form: "fake".into(),
            tokens: tokens as u32,
            first: seen.computed_to[sequence] as u32,
            pages: tokens.div_ceil(PAGE_TOKENS) as u64,
            page_bytes: 4 * PAGE_TOKENS as u32,
        })
    }

    fn save_page(&mut self, sequence: usize, page: u64, bytes: &mut Vec<u8>) -> Result<()> {
        let seen = self.seen.borrow();
        let tokens = seen.caches[sequence].chunks(PAGE_TOKENS).nth(page as usize).expect("a page");
        bytes.clear();
        bytes.extend(tokens.iter().flat_map(|token| token.to_le_bytes()));
        bytes.resize(4 * PAGE_TOKENS, 0);
        Ok(())
    }

    fn restore(&mut self, sequence: usize, saved: &SavedCache) -> Result<()> {
        let mut seen = self.seen.borrow_mut();
        seen.caches[sequence].clear();
        let expected = SavedCache {
            form: "fake".into(),
            pages: u64::from(saved.tokens).div_ceil(PAGE_TOKENS as u64),
            page_bytes: 4 * PAGE_TOKENS as u32,
            ..*saved
        };
        if *saved != expected || saved.tokens > self.context_tokens {
            return Err(Error::InvalidArgument("no such cache".into()));
        }
        let held: usize = seen.caches.iter().map(Vec::len).sum();
        let new = saved.tokens as usize;
        if seen.cached_tokens_max.is_some_and(|max| held + new > max) {
            return Err(Error::OutOfMemory { needed_bytes: new as u64, purpose: "test".into() });
        }
        seen.caches[sequence] = vec![0; new];
        seen.computed_to[sequence] = saved.first as usize;
        Ok(())
    }

    fn restore_page(&mut self, sequence: usize, page: u64, bytes: &[u8]) -> Result<()> {
        let mut seen = self.seen.borrow_mut();
        let tokens = seen.caches[sequence].chunks_mut(PAGE_TOKENS).nth(page as usize);
        for (token, bytes) in tokens.expect("a page").iter_mut().zip(bytes.as_chunks().0) {
            *token = u32::from_le_bytes(*bytes);
        }
        Ok(())
    }

    fn truncate(&mut self, sequence: usize, tokens: u32) {
        let mut seen = self.seen.borrow_mut();
        let kept = seen.reusable(sequence, tokens as usize);
        seen.caches[sequence].truncate(kept);
    }
}

/// Token 0 ends, 1 is special, 2 to 5 are the bytes of one character, the others letters.
pub(super) struct FakeVocabulary;

impl Vocabulary for FakeVocabulary {
    fn token_bytes(&self, token: u32) -> Option<&[u8]> {
        const BYTES: [&[u8]; VOCABULARY_TOKENS] = [
            b"<end>",
            b"<special>",
            b"\xF0",
            b"\x9F",
            b"\x98",
            b"\x80",
            b"a",
            b"b",
            b"c",
            b"ab",
            b"bc",
            b"ca",
            b" ",
            b"\xC3\xA4",
            b"\xC3",
            b"\xA4",
            b"d",
            b"e",
            b"f",
            b"de",
            b"ef",
            b"fd",
            b"\n",
            b"",
        ];
        BYTES.get(usize::try_from(token).ok()?).copied()
    }

    fn is_special(&self, token: u32) -> bool {
        token <= SPECIAL
    }

    fn ends_generation(&self, token: u32) -> bool {
        token == END
    }
}
