//! The generation loop over many sequences.

mod batch;
mod choices;
mod embedding;
mod lookup;
mod saved;
mod scoring;
mod slot;
mod snapshots;

use std::cell::OnceCell;
use std::collections::{HashSet, VecDeque};

use trefoil_constraints::{Constraint, Constraints};
use trefoil_contract::{Done, Error, Event, ResponseFormat, Result};
use trefoil_settings::RequestSettings;

use crate::answer::CallIds;
use crate::log_probabilities::LogProbabilities;
use crate::{AnswerForm, AnswerStream, Forward, Sampler, Vocabulary, vocabulary};
use batch::{Rows, Work};
use lookup::Lookup;
pub(crate) use saved::LookupState;
pub use saved::{ReservedSlot, SavedGeneration};
use slot::{Generation, Slot};
pub use snapshots::{READ_BYTES_MAX, Restoration, Snapshot};

/// Names a generation of one [`Generations`]; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId(u64);

/// What a generation needs beside [`RequestSettings`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationOptions {
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// The number that the generation's events carry.
    pub choice: u32,
    /// Reports log probabilities: of the chosen token and so many likeliest.
    pub log_probabilities: Option<u32>,
    /// Form that the answer must have.
    pub response_format: ResponseFormat,
    /// What to look for in the answer besides text.
    pub answer: AnswerForm,
}

/// All generations of one model: a slot for each sequence that the forward pass can cache.
///
/// The life of a generation: [`start`](Self::start) takes a slot and computes nothing. Each
/// [`step`](Self::step) with its id then does one of these:
///
/// - while more of the prompt than one chunk is missing, it computes a chunk: a `prompt-progress`;
/// - it computes the rest of the prompt, or the last token, and chooses one token: a `delta` with
///   that token, a token that ends the answer included, and with the text that has become certain.
///   When the token ends the answer, the delta brings all text that was held back. Where the token
///   brings reasoning, a `reasoning` event stands for the delta; what else it brings, such as more
///   of a tool call, is an event of its own, which a later step answers without computing anything;
/// - after the last of them it computes nothing: a `done`. The slot is free then.
///
/// Where an answer fills the context and its settings let that shift, the first `keep_tokens` tokens
/// stay (at most half of the context), and the newer half of those behind them. What moved is
/// computed anew, as the answer to a prompt of these tokens would be, an `idle` for each chunk but
/// the last. Penalties look at the tokens that stayed.
///
/// Later steps answer [`Error::Finished`]. After any other error a generation stands where it
/// stood: it can be stepped again or cancelled.
///
/// A request may have its next tokens guessed from the text so far (`lookup_tokens`). The guesses are
/// computed in the same batch as the last token, and each place chooses its token in turn, as long as
/// it chooses what was guessed: tokens, random numbers, and events are those without guesses, and the
/// steps that give out what a batch brought beyond one token compute nothing.
///
/// A free slot keeps its tokens cached. A new prompt takes the free slot with which it shares the
/// longest beginning and computes only the rest, but at least its last token, and all of it where
/// the forward pass has no use for a part ([`Forward::reusable`]).
///
/// A response format other than text leaves only tokens to choose from with which the answer can
/// still have that form; those that end it, only where it has. When nothing can follow any more,
/// the answer ends with `stop`, without a token for that. A stop text still ends it anywhere.
#[derive(Debug)]
pub struct Generations<F, V> {
    forward: F,
    vocabulary: V,
    /// Made for the first answer that has a form: most have none, and the vocabulary is large.
    constraints: OnceCell<Constraints>,
    prefill_tokens: usize,
    slots: Vec<Slot>,
    /// Rows of the last batch, of logits or vectors; kept for its memory.
    logits: Vec<f32>,
    /// Counts uses of slots, to know the least recent.
    clock: u64,
    next_id: u64,
}

impl<F: Forward, V: Vocabulary> Generations<F, V> {
    /// Generations over a forward pass whose cache is empty. One step computes at most
    /// `prefill_tokens` of a prompt (0 counts as 1).
    pub fn new(forward: F, vocabulary: V, prefill_tokens: u32) -> Self {
        let slots = (0..forward.sequences_max()).map(|_| Slot::default()).collect();
        Generations {
            forward,
            vocabulary,
            constraints: OnceCell::new(),
            prefill_tokens: usize::try_from(prefill_tokens.max(1)).unwrap_or(usize::MAX),
            slots,
            logits: Vec::new(),
            clock: 0,
            next_id: 0,
        }
    }

    /// The forward pass.
    pub fn forward(&self) -> &F {
        &self.forward
    }

    /// The vocabulary.
    pub fn vocabulary(&self) -> &V {
        &self.vocabulary
    }

    /// Slots that generations hold, or that are kept for one.
    pub fn active(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.is_free()).count()
    }

    /// Takes a slot for a prompt. Computes nothing.
    ///
    /// # Errors
    /// - [`Error::InvalidArgument`]: no token, a token beyond the vocabulary, in the prompt or the
    ///   logit bias, log probabilities of more than 32 tokens at a place, or what [`Sampler::new`]
    ///   or [`Constraints::start`] refuse.
    /// - [`Error::Unsupported`]: what [`Constraints::new`] or [`Constraints::start`] answer.
    /// - [`Error::InvalidSetting`]: what [`TextStream::new`](crate::TextStream::new) refuses.
    /// - [`Error::ContextOverflow`]: the prompt leaves no room for a token.
    /// - [`Error::Busy`]: no slot is free.
    pub fn start(
        &mut self,
        prompt: Vec<u32>,
        settings: &RequestSettings,
        options: &GenerationOptions,
    ) -> Result<GenerationId> {
        self.begin(prompt, settings, options, None)
    }

    /// Begins an answer, perhaps another one to the prompt of `first`.
    fn begin(
        &mut self,
        prompt: Vec<u32>,
        settings: &RequestSettings,
        options: &GenerationOptions,
        first: Option<GenerationId>,
    ) -> Result<GenerationId> {
        self.check(&prompt, 1)?;
        let call_ids = CallIds::new(&prompt, settings.seed, options.choice);
        let mut generation = self.generation(settings, options, call_ids)?;
        let (index, reused) = match first {
            None => {
                let index = self.free_slot(&prompt)?;
                (index, self.reuse(index, &prompt))
            }
            Some(first) => self.slot_behind(first)?,
        };
        let id = GenerationId(self.next_id);
        self.next_id += 1;
        (generation.id, generation.waits_for) = (id, first);
        (generation.prompt_tokens, generation.reused_tokens) = (prompt.len(), reused);
        let slot = &mut self.slots[index];
        slot.generation = Some(generation);
        slot.tokens = prompt;
        Ok(id)
    }

    /// A generation at its beginning, of no prompt yet.
    fn generation(
        &self,
        settings: &RequestSettings,
        options: &GenerationOptions,
        call_ids: CallIds,
    ) -> Result<Generation> {
        for (token, _) in &options.logit_bias {
            self.check_token(*token, "the logit bias")?;
        }
        let log_probabilities = options.log_probabilities.map(LogProbabilities::new).transpose()?;
        Ok(Generation {
            id: GenerationId(u64::MAX),
            waits_for: None,
            prompt_tokens: 0,
            reused_tokens: 0,
            max_tokens: match settings.max_tokens {
                0 => usize::MAX,
                tokens => usize::try_from(tokens).unwrap_or(usize::MAX),
            },
            sampler: Sampler::new(settings, &options.logit_bias)?,
            lookup: Lookup::new(settings),
            log_probabilities,
            generated: Vec::new(),
            keep_tokens: settings.shifts_context.then_some(settings.keep_tokens as usize),
            answer: AnswerStream::new(&options.answer, &settings.stop)?,
            constraint: self.constraint(&options.response_format)?,
            call_ids,
            events: VecDeque::new(),
            ended: None,
            settings: settings.clone(),
            options: options.clone(),
        })
    }

    /// Does one step for each of `ids`, all in one batch, and answers in their order.
    ///
    /// # Errors
    /// Each id has its own: [`Error::Finished`] after the end or [`cancel`](Self::cancel),
    /// [`Error::Duplicate`] for an id that stands in the list before,
    /// [`Error::InvalidArgument`] for one that was never given out, and what the forward pass or
    /// the [`Sampler`] answer. When memory does not suffice, what free slots have cached is given
    /// up first; if it still does not, each sequence is tried alone, so that one that fails leaves
    /// the others as they would be without it.
    pub fn step(&mut self, ids: &[GenerationId]) -> Vec<Result<Event>> {
        let mut seen = HashSet::new();
        let mut work = Vec::new();
        let mut places = Vec::new();
        let mut results = Vec::with_capacity(ids.len());
        for (place, id) in ids.iter().enumerate() {
            let result = match self.slot_of(*id) {
                _ if !seen.insert(*id) => Err(Error::Duplicate),
                Err(error) => Err(error),
                Ok(index) => match self.waiting(index) {
                    Some(event) => event,
                    None if self.waits(index) => Ok(Event::Idle(self.choice(index))),
                    None => {
                        places.push(place);
                        work.push(self.next_work(index));
                        // Stands until the batch has been computed.
                        Err(Error::Finished)
                    }
                },
            };
            results.push(result);
        }
        self.add_drafts(&mut work);
        for (place, result) in places.into_iter().zip(self.advance(&work)) {
            results[place] = result;
        }
        results
    }

    /// Ends a generation without an event and frees its slot. Nothing happens if it has ended.
    pub fn cancel(&mut self, id: GenerationId) {
        if let Ok(index) = self.slot_of(id) {
            self.slots[index].release();
        }
    }

    fn constraint(&self, format: &ResponseFormat) -> Result<Option<Constraint>> {
        if *format == ResponseFormat::Text {
            return Ok(None);
        }
        let constraints = match self.constraints.get() {
            Some(constraints) => constraints,
            None => {
                let tokens = 0..self.forward.vocabulary_tokens() as u32;
                let made = Constraints::new(
                    tokens.map(|token| vocabulary::constrained(&self.vocabulary, token)),
                )?;
                self.constraints.get_or_init(|| made)
            }
        };
        constraints.start(format).map(Some)
    }

    fn slot_of(&self, id: GenerationId) -> Result<usize> {
        let holds = |slot: &Slot| slot.generation.as_ref().is_some_and(|held| held.id == id);
        match self.slots.iter().position(holds) {
            Some(index) => Ok(index),
            None if id.0 < self.next_id => Err(Error::Finished),
            None => Err(Error::InvalidArgument(format!("there is no generation {}", id.0))),
        }
    }

    /// What a generation can answer without computing anything.
    fn waiting(&mut self, index: usize) -> Option<Result<Event>> {
        let event = self.slots[index].next_event();
        event.or_else(|| self.finish(index).map(|done| Ok(Event::Done(done))))
    }

    /// The end of a generation whose last event but this has been given; frees its slot.
    fn finish(&mut self, index: usize) -> Option<Done> {
        let slot = &mut self.slots[index];
        let generation = slot.generation.as_ref()?;
        let done = Done {
            choice: generation.choice(),
            reason: generation.ended?,
            usage: generation.usage(),
        };
        slot.release();
        Some(done)
    }

    /// Checks tokens that are to be computed, and that `more` fit behind them.
    fn check(&self, tokens: &[u32], more: u64) -> Result<()> {
        if tokens.is_empty() {
            return Err(Error::InvalidArgument(
                "there are no tokens to begin with; this model adds none of its own to an empty \
                 text: pass at least one"
                    .into(),
            ));
        }
        let needed_tokens = tokens.len() as u64 + more;
        let available_tokens = u64::from(self.forward.context_tokens());
        if needed_tokens > available_tokens {
            return Err(Error::ContextOverflow { needed_tokens, available_tokens });
        }
        for (index, token) in tokens.iter().enumerate() {
            self.check_token(*token, format_args!("place {index} of the tokens"))?;
        }
        Ok(())
    }

    fn check_token(&self, token: u32, place: impl std::fmt::Display) -> Result<()> {
        let vocabulary_tokens = self.forward.vocabulary_tokens();
        if usize::try_from(token).is_ok_and(|token| token < vocabulary_tokens) {
            return Ok(());
        }
        Err(Error::InvalidArgument(format!(
            "token {token} at {place} is beyond the vocabulary of {vocabulary_tokens} tokens"
        )))
    }

    /// The free slot to use for `tokens`.
    fn free_slot(&self, tokens: &[u32]) -> Result<usize> {
        slot::choose_free(&self.slots, |index| self.reusable(index, tokens)).ok_or_else(|| {
            Error::Busy(format!(
                "all {} places for generations are taken; finish or drop one first, or raise \
                 `sequences-max`",
                self.slots.len()
            ))
        })
    }

    /// How many of `tokens` a slot can keep cached: less than all of them.
    fn reusable(&self, index: usize, tokens: &[u32]) -> usize {
        let shared = self.slots[index].shared(tokens).min(tokens.len().saturating_sub(1));
        self.forward.reusable(index, slot::count(shared)) as usize
    }

    /// Keeps of a slot's cache what `tokens` begin with, less than all of them. Answers how many.
    fn reuse(&mut self, index: usize, tokens: &[u32]) -> usize {
        let reused = self.reusable(index, tokens);
        let slot = &mut self.slots[index];
        if reused < slot.cached {
            self.forward.truncate(index, slot::count(reused));
        }
        slot.cached = reused;
        slot.tokens.truncate(reused);
        reused
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
