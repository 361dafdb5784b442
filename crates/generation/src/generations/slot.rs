//! A place for one sequence: what is cached, and the generation that holds it.

use std::cmp::Reverse;
use std::collections::VecDeque;

use trefoil_constraints::Constraint;
use trefoil_contract::{Delta, Error, Event, FinishReason, Result, Usage};
use trefoil_settings::RequestSettings;

use super::lookup::Lookup;
use super::{GenerationId, GenerationOptions};
use crate::answer::{CallIds, events};
use crate::log_probabilities::LogProbabilities;
use crate::{AnswerPart, AnswerStream, Sampler, Vocabulary};

/// A sequence of the forward pass.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The first `cached` ones are in the cache; those behind are to be computed.
    pub(super) tokens: Vec<u32>,
    /// Never more than `tokens`.
    pub(super) cached: usize,
    /// When it was computed last; 0 for never.
    pub(super) used: u64,
    /// Who holds it; free without, unless it is kept for a generation that is to go on in it.
    pub(super) generation: Option<Generation>,
    pub(super) is_reserved: bool,
}

/// An answer under way.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) id: GenerationId,
    /// As it was asked for.
    pub(super) settings: RequestSettings,
    pub(super) options: GenerationOptions,
    /// Another answer to the same prompt, which is computing that.
    pub(super) waits_for: Option<GenerationId>,
    /// The first so many of the slot's tokens are the prompt, the others the answer, until the
    /// context shifts.
    pub(super) prompt_tokens: usize,
    pub(super) reused_tokens: usize,
    pub(super) max_tokens: usize,
    /// The answer so far, those tokens included that a shifted context has lost.
    pub(super) generated: Vec<u32>,
    /// First tokens that stay when the context shifts; without, a full one ends the answer.
    pub(super) keep_tokens: Option<usize>,
    pub(super) sampler: Sampler,
    /// How the next tokens are guessed, if they are.
    pub(super) lookup: Option<Lookup>,
    pub(super) log_probabilities: Option<LogProbabilities>,
    pub(super) constraint: Option<Constraint>,
    pub(super) answer: AnswerStream,
    pub(super) call_ids: CallIds,
    /// What the last batch brought and was not given out yet.
    pub(super) events: VecDeque<Result<Event>>,
    /// Set with the last token.
    pub(super) ended: Option<FinishReason>,
}

/// A number of tokens; a context is never longer than a `u32` counts.
pub(super) fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

impl Generation {
    /// The number that its events carry.
    pub(super) fn choice(&self) -> u32 {
        self.options.choice
    }

    /// Follows a token of the answer. Appends what it brings to `parts`, and answers whether it ends
    /// the answer, and how.
    pub(super) fn follow(
        &mut self,
        token: u32,
        vocabulary: &impl Vocabulary,
        parts: &mut Vec<AnswerPart>,
    ) -> Result<Option<FinishReason>> {
        let is_complete = match &mut self.constraint {
            Some(constraint) => constraint.advance(token)?,
            None => false,
        };
        if vocabulary.ends_generation(token) {
            return Ok(Some(FinishReason::Stop));
        }
        let bytes = vocabulary.token_bytes(token).unwrap_or_default();
        if (!vocabulary.is_special(token) || self.answer.reads_special(bytes))
            && self.answer.push(bytes, parts)
        {
            return Ok(Some(FinishReason::StopText));
        }
        Ok(is_complete.then_some(FinishReason::Stop))
    }

    pub(super) fn usage(&self) -> Usage {
        let guesses = self.lookup.as_ref();
        Usage {
            prompt_tokens: count(self.prompt_tokens),
            cached_tokens: count(self.reused_tokens),
            generated_tokens: count(self.generated.len()),
            drafted_tokens: count(guesses.map_or(0, |lookup| lookup.drafted_tokens)),
            accepted_tokens: count(guesses.map_or(0, |lookup| lookup.accepted_tokens)),
        }
    }
}

impl Slot {
    /// Whether a generation can have it.
    pub(super) fn is_free(&self) -> bool {
        self.generation.is_none() && !self.is_reserved
    }

    /// Tokens that the cache lacks.
    pub(super) fn missing(&self) -> usize {
        self.tokens.len() - self.cached
    }

    /// Whether all of its generation's prompt is in the cache.
    pub(super) fn has_prompt(&self) -> bool {
        let prompt = self.generation.as_ref().map(|generation| generation.prompt_tokens);
        prompt.is_none_or(|tokens| self.cached >= tokens)
    }

    /// How many of `tokens`, from the first on, are in the cache.
    pub(super) fn shared(&self, tokens: &[u32]) -> usize {
        self.tokens[..self.cached].iter().zip(tokens).take_while(|(a, b)| a == b).count()
    }

    /// Ends the generation; what is cached stays.
    pub(super) fn release(&mut self) {
        self.generation = None;
        self.tokens.truncate(self.cached);
    }

    /// Gives up old tokens of a generation that goes on though its tokens do not fit the context.
    /// Answers how many of the first ones are the same as before, if any are not.
    pub(super) fn shift(&mut self, context_tokens: usize) -> Option<usize> {
        let generation = self.generation.as_ref().filter(|it| it.ended.is_none())?;
        if self.tokens.len() <= context_tokens {
            return None;
        }
        let kept = generation.keep_tokens?.min(context_tokens / 2);
        let dropped = (self.tokens.len() - kept).div_ceil(2);
        self.tokens.drain(kept..kept + dropped);
        Some(kept)
    }

    /// Forgets what was cached.
    pub(super) fn clear(&mut self) {
        self.tokens = Vec::new();
        self.cached = 0;
    }

    /// The next of the events that wait.
    pub(super) fn next_event(&mut self) -> Option<Result<Event>> {
        self.generation.as_mut()?.events.pop_front()
    }

    /// Chooses the next token from the logits behind all of `tokens`. The events that it brings wait
    /// in the generation's `events`.
    pub(super) fn choose(
        &mut self,
        logits: &mut [f32],
        vocabulary: &impl Vocabulary,
        context_tokens: usize,
    ) -> Result<()> {
        let generation = self.generation.as_mut().ok_or(Error::Finished)?;
        if let Some(log_probabilities) = &mut generation.log_probabilities {
            log_probabilities.keep(logits)?;
        }
        if let Some(constraint) = &mut generation.constraint {
            constraint.apply(logits)?;
        }
        let token = generation.sampler.sample(logits, &self.tokens, vocabulary)?;
        let mut parts = Vec::new();
        let ended = generation.follow(token, vocabulary, &mut parts)?;
        self.tokens.push(token);
        generation.generated.push(token);
        generation.ended = if ended.is_some() {
            ended
        } else if generation.generated.len() >= generation.max_tokens {
            Some(FinishReason::Length)
        } else if self.tokens.len() > context_tokens && generation.keep_tokens.is_none() {
            // The token that was chosen has no place to be computed at.
            Some(FinishReason::ContextFull)
        } else {
            None
        };
        if generation.ended.is_some() && generation.answer.finish(&mut parts) {
            generation.ended = Some(FinishReason::StopText);
        }
        if generation.ended == Some(FinishReason::Stop) && generation.answer.has_called() {
            generation.ended = Some(FinishReason::ToolCalls);
        }
        let log_probabilities =
            generation.log_probabilities.iter().map(|kept| kept.choice(token, vocabulary));
        let computed = Delta {
            choice: generation.choice(),
            text: String::new(),
            tokens: vec![token],
            log_probabilities: log_probabilities.collect(),
        };
        let is_reasoning = generation.answer.is_reasoning();
        let events = events(parts, computed, is_reasoning, generation.call_ids);
        generation.events.extend(events.into_iter().map(Ok));
        Ok(())
    }
}

/// The free slot for a prompt: the one that can keep the longest beginning of it, which `shared`
/// tells, the least recently used among equals. A slot counts as sharing only if that keeps at least half of what it
/// has cached: otherwise two dialogues with the same system prompt would take each other's slot
/// while empty ones are left. Without one, an empty slot, or the least recently used.
pub(super) fn choose_free(slots: &[Slot], shared: impl Fn(usize) -> usize) -> Option<usize> {
    let free = || slots.iter().enumerate().filter(|(_, slot)| slot.is_free());
    let sharing = free()
        .map(|(index, slot)| (index, slot, shared(index)))
        .filter(|(_, slot, shared)| *shared > 0 && *shared >= slot.cached.div_ceil(2))
        .max_by_key(|(index, slot, shared)| (*shared, Reverse((slot.used, *index))));
    let oldest = || free().min_by_key(|(index, slot)| (slot.cached > 0, slot.used, *index));
    sharing.map(|(index, ..)| index).or_else(|| oldest().map(|(index, _)| index))
}
