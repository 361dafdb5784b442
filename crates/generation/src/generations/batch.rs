//! Batches: what they compute, and what follows from their rows.

use std::borrow::Cow;

use trefoil_contract::{Error, Event, PromptProgress, Result};

use super::Generations;
use super::slot::{self, Slot};
use crate::{Forward, Logits, Span, Vocabulary};

/// What a batch computes for one slot: its next `length` tokens, and guesses of those behind.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) slot: usize,
    pub(super) length: usize,
    pub(super) logits: Logits,
    /// Without guesses empty; with them `length` is 1, and all logits are wanted.
    pub(super) draft: Vec<u32>,
}

impl Work {
    /// Without guesses.
    pub(super) fn new(slot: usize, length: usize, logits: Logits) -> Work {
        Work { slot, length, logits, draft: Vec::new() }
    }

    fn without_draft(&self) -> Work {
        let logits = if self.draft.is_empty() { self.logits } else { Logits::Last };
        Work::new(self.slot, self.length, logits)
    }

    pub(super) fn rows(&self) -> usize {
        match self.logits {
            Logits::None => 0,
            Logits::Last => 1,
            Logits::All => self.length + self.draft.len(),
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
            true => Work::new(index, self.prefill_tokens, Logits::None),
            false => Work::new(index, missing, Logits::Last),
        }
    }

    /// Computes a batch and answers for each part of it.
    pub(super) fn advance(&mut self, work: &[Work]) -> Vec<Result<Event>> {
        if work.is_empty() {
            return Vec::new();
        }
        match self.compute(work, Rows::Logits) {
            Ok(()) => self.book(work),
            Err(Error::OutOfMemory { .. }) if work.iter().any(|work| !work.draft.is_empty()) => {
                let work: Vec<_> = work.iter().map(Work::without_draft).collect();
                self.advance(&work)
            }
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
            let mut rows = rows.by_ref().take(work.rows());
            let computed = slot.cached + work.length + work.draft.len();
            let Some(row) = rows.next() else {
                let event = slot.progress(work.length);
                slot.cached = computed;
                return Ok(event);
            };
            // Booked only when the token is chosen: a choice that fails can be made again.
            let chosen = slot.choose(row, vocabulary, context);
            if chosen.is_ok() {
                let accepted = slot.check_draft(&work.draft, &mut rows, vocabulary, context);
                slot.cached += work.length + accepted;
            }
            // Rows behind a wrong guess.
            rows.for_each(drop);
            if slot.cached < computed {
                let known = slot::count(slot.cached);
                forward.truncate(work.slot, known);
                slot.cached = forward.reusable(work.slot, known) as usize;
            }
            chosen?;
            if let Some(kept) = slot.shift(context) {
                forward.truncate(work.slot, slot::count(kept));
                slot.cached = forward.reusable(work.slot, slot::count(kept)) as usize;
            }
            slot.next_event().unwrap_or(Err(Error::Finished))
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
        let tokens = work.iter().map(|work| {
            let slot = &self.slots[work.slot];
            let known = &slot.tokens[slot.cached..slot.cached + work.length];
            match work.draft.as_slice() {
                [] => Cow::Borrowed(known),
                draft => Cow::Owned([known, draft].concat()),
            }
        });
        let tokens: Vec<_> = tokens.collect();
        let spans = work.iter().zip(&tokens).map(|(work, tokens)| Span {
            sequence: work.slot,
            position: slot::count(self.slots[work.slot].cached),
            tokens,
            logits: work.logits,
        });
        let spans: Vec<_> = spans.collect();
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
            if slot.is_free() && !at_work && slot.cached > 0 {
                slot.clear();
                self.forward.truncate(index, 0);
                freed = true;
            }
        }
        freed
    }
}

impl Slot {
    /// Chooses the tokens behind those that were guessed, one after the other, as long as the last
    /// one chosen is what was guessed at its place. What they bring waits. Answers how many guesses
    /// were right.
    fn check_draft<'r>(
        &mut self,
        draft: &[u32],
        rows: &mut impl Iterator<Item = &'r mut [f32]>,
        vocabulary: &impl Vocabulary,
        context_tokens: usize,
    ) -> usize {
        let mut accepted = 0;
        for (guess, row) in draft.iter().zip(rows) {
            let ended = self.generation.as_ref().is_none_or(|it| it.ended.is_some());
            if ended || self.tokens.last() != Some(guess) {
                break;
            }
            if let Err(error) = self.choose(row, vocabulary, context_tokens) {
                // What was chosen before comes first; then a later step tries again, as it would
                // without guesses.
                if let Some(generation) = &mut self.generation {
                    generation.events.push_back(Err(error));
                }
                break;
            }
            accepted += 1;
        }
        if let Some(lookup) = self.generation.as_mut().and_then(|it| it.lookup.as_mut())
            && !draft.is_empty()
        {
            lookup.learn(draft.len(), accepted);
        }
        accepted
    }

    fn progress(&self, length: usize) -> Event {
        let Some(generation) = &self.generation else { return Event::Idle(0) };
        if !generation.generated.is_empty() {
            // What a shifted context is left with.
            return Event::Idle(generation.choice());
        }
        Event::PromptProgress(PromptProgress {
            choice: generation.choice(),
            done_tokens: slot::count(self.cached + length),
            total_tokens: slot::count(generation.prompt_tokens),
        })
    }
}
