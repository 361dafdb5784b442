//! Batches: what they compute, and what follows from their rows.

use trefoil_contract::{Error, Event, PromptProgress, Result};

use super::Generations;
use super::slot::{self, Slot};
use crate::{Forward, Logits, Span, Vocabulary};

/// What a batch computes for one slot: its next `length` tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    pub(super) slot: usize,
    pub(super) length: usize,
    pub(super) logits: Logits,
}

impl Work {
    pub(super) fn rows(&self) -> usize {
        match self.logits {
            Logits::None => 0,
            Logits::Last => 1,
            Logits::All => self.length,
        }
    }
}

/// What the rows of a batch are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    Logits,
    Vectors,
}

impl<F: Forward, V: Vocabulary> Generations<F, V> {
    pub(super) fn next_work(&self, index: usize) -> Work {
        let missing = self.slots[index].missing();
        match missing > self.prefill_tokens {
            true => Work { slot: index, length: self.prefill_tokens, logits: Logits::None },
            false => Work { slot: index, length: missing, logits: Logits::Last },
        }
    }

    /// Computes a batch and answers for each part of it.
    pub(super) fn advance(&mut self, work: &[Work]) -> Vec<Result<Event>> {
        if work.is_empty() {
            return Vec::new();
        }
        match self.compute(work, Rows::Logits) {
            Ok(()) => self.book(work),
            Err(Error::OutOfMemory { .. } | Error::ContextOverflow { .. }) if work.len() > 1 => {
                let alone =
                    |work: &Work| match self.compute(std::slice::from_ref(work), Rows::Logits) {
                        Ok(()) => self.book(std::slice::from_ref(work)).remove(0),
                        Err(error) => Err(error),
                    };
                work.iter().map(alone).collect()
            }
            Err(error) => work.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// Books a batch that was computed, and hands prompts to the answers that wait for them.
    fn book(&mut self, work: &[Work]) -> Vec<Result<Event>> {
        let events = self.take(work);
        for work in work {
            self.share_prompt(work.slot);
        }
        events
    }

    /// Books a batch that was computed, and chooses tokens from its logits.
    fn take(&mut self, work: &[Work]) -> Vec<Result<Event>> {
        let Generations { forward, vocabulary, slots, logits, .. } = self;
        let context = usize::try_from(forward.context_tokens()).unwrap_or(usize::MAX);
        let mut rows = logits.chunks_exact_mut(forward.vocabulary_tokens().max(1));
        let mut take_one = |work: &Work| {
            let slot = &mut slots[work.slot];
            let row = match work.logits {
                Logits::None => None,
                Logits::Last | Logits::All => rows.next(),
            };
            // Booked only when the token is chosen: a choice that fails can be made again.
            let event = match row {
                Some(row) => slot.choose(row, vocabulary, context)?,
                None => slot.progress(work.length),
            };
            slot.cached += work.length;
            if let Some(kept) = slot.shift(context) {
                forward.truncate(work.slot, slot::count(kept));
                slot.cached = forward.reusable(work.slot, slot::count(kept)) as usize;
            }
            Ok(event)
        };
        work.iter().map(&mut take_one).collect()
    }

    /// Runs the forward pass; `logits` holds its rows then. Books nothing.
    pub(super) fn compute(&mut self, work: &[Work], rows: Rows) -> Result<()> {
        match self.run(work, rows) {
            Err(Error::OutOfMemory { .. }) if self.give_up_free_caches(work) => {
                self.run(work, rows)
            }
            result => result,
        }
    }

    fn run(&mut self, work: &[Work], rows: Rows) -> Result<()> {
        self.clock += 1;
        for work in work {
            self.slots[work.slot].used = self.clock;
        }
        let spans: Vec<_> = work
            .iter()
            .map(|work| {
                let slot = &self.slots[work.slot];
                Span {
                    sequence: work.slot,
                    position: slot::count(slot.cached),
                    tokens: &slot.tokens[slot.cached..slot.cached + work.length],
                    logits: work.logits,
                }
            })
            .collect();
        let count: usize = work.iter().map(Work::rows).sum();
        let expected = match rows {
            Rows::Logits => {
                self.forward.forward(&spans, &mut self.logits)?;
                count.saturating_mul(self.forward.vocabulary_tokens())
            }
            Rows::Vectors => {
                self.forward.embed(&spans, &mut self.logits)?;
                // Of whatever length, but all of the same.
                self.logits.len().checked_div(count).unwrap_or(0) * count
            }
        };
        if self.logits.len() != expected {
            return Err(Error::Other {
                code: "engine-fault".into(),
                message: format!(
                    "the forward pass gave {} numbers where {expected} were asked for",
                    self.logits.len()
                ),
            });
        }
        Ok(())
    }

    /// Frees what slots without a generation have cached, except those at work. Answers whether
    /// there was anything.
    pub(super) fn give_up_free_caches(&mut self, work: &[Work]) -> bool {
        let mut freed = false;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let at_work = work.iter().any(|work| work.slot == index);
            if slot.generation.is_none() && !at_work && slot.cached > 0 {
                slot.clear();
                self.forward.truncate(index, 0);
                freed = true;
            }
        }
        freed
    }
}

impl Slot {
    fn progress(&self, length: usize) -> Event {
        let Some(generation) = &self.generation else { return Event::Idle(0) };
        if generation.generated_tokens > 0 {
            // What a shifted context is left with.
            return Event::Idle(generation.choice);
        }
        Event::PromptProgress(PromptProgress {
            choice: generation.choice,
            done_tokens: slot::count(self.cached + length),
            total_tokens: slot::count(generation.prompt_tokens),
        })
    }
}
