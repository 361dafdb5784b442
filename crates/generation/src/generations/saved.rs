//! Generations as values: to go on from one elsewhere, or a second time.

use trefoil_contract::{Error, Event, FinishReason, Result};
use trefoil_settings::RequestSettings;

use super::slot::{self, Generation};
use super::{GenerationId, GenerationOptions, Generations, Lookup};
use crate::answer::CallIds;
use crate::sampler::SamplerState;
use crate::{Forward, Vocabulary};

/// A generation as it stands, without its keys and values.
///
/// What follows an answer (its constraint, its stop texts, its tool calls) is not in it: that follows
/// the same tokens again.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedGeneration {
    /// Those of the slot.
    pub(crate) tokens: Vec<u32>,
    /// The first so many of them are in the cache.
    pub(crate) cached: usize,
    pub(crate) prompt_tokens: usize,
    pub(crate) reused_tokens: usize,
    /// The answer so far, those tokens included that a shifted context has lost.
    pub(crate) generated: Vec<u32>,
    pub(crate) settings: RequestSettings,
    pub(crate) options: GenerationOptions,
    pub(crate) sampler: SamplerState,
    pub(crate) lookup: LookupState,
    pub(crate) call_ids: CallIds,
    /// Those that wait.
    pub(crate) events: Vec<Event>,
    pub(crate) ended: Option<FinishReason>,
}

/// How an answer's guesses went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LookupState {
    pub(crate) needed_tokens: usize,
    pub(crate) drafted_tokens: usize,
    pub(crate) accepted_tokens: usize,
}

impl SavedGeneration {
    /// The settings that it goes on with.
    pub fn settings(&self) -> &RequestSettings {
        &self.settings
    }

    /// Goes on with other settings; `reseeds` begins new random numbers with their seed.
    pub fn set_settings(&mut self, settings: RequestSettings, reseeds: bool) {
        if reseeds {
            self.sampler.generator = None;
        }
        let mirostat = |settings: &RequestSettings| {
            (settings.mirostat, settings.mirostat_tau, settings.mirostat_eta)
        };
        if mirostat(&settings) != mirostat(&self.settings) {
            self.sampler.surprise = None;
        }
        self.settings = settings;
    }

    /// Goes on with another logit bias.
    pub fn set_logit_bias(&mut self, bias: Vec<(u32, f32)>) {
        self.options.logit_bias = bias;
    }

    /// Reports log probabilities from now on.
    pub fn set_log_probabilities(&mut self, top: u32) {
        self.options.log_probabilities = Some(top);
    }
}

/// A slot that is kept for a generation which is to go on in it: give it back with
/// [`Generations::resume`] or [`Generations::release`].
#[derive(Debug)]
pub struct ReservedSlot(pub(super) usize);

impl<F: Forward, V: Vocabulary> Generations<F, V> {
    /// A generation as it stands.
    ///
    /// # Errors
    /// [`Error::Finished`]; [`Error::Unsupported`] for an answer that waits for another one's prompt.
    pub fn save(&self, id: GenerationId) -> Result<SavedGeneration> {
        let slot = &self.slots[self.slot_of(id)?];
        let generation = slot.generation.as_ref().ok_or(Error::Finished)?;
        if generation.waits_for.is_some() {
            return Err(Error::unsupported("saving an answer that waits for another one's prompt"));
        }
        Ok(SavedGeneration {
            tokens: slot.tokens.clone(),
            cached: slot.cached,
            prompt_tokens: generation.prompt_tokens,
            reused_tokens: generation.reused_tokens,
            generated: generation.generated.clone(),
            settings: generation.settings.clone(),
            options: generation.options.clone(),
            sampler: generation.sampler.state(),
            lookup: generation.lookup.as_ref().map(Lookup::state).unwrap_or_default(),
            call_ids: generation.call_ids,
            // A failure that waits would be met again.
            events: generation.events.iter().filter_map(|it| it.clone().ok()).collect(),
            ended: generation.ended,
        })
    }

    /// A second generation that stands where this one does, with a copy of what is cached, in a slot
    /// of its own.
    ///
    /// # Errors
    /// As [`save`](Self::save); [`Error::Busy`]; what [`Forward::copy`] answers.
    pub fn fork(&mut self, id: GenerationId) -> Result<(SavedGeneration, ReservedSlot)> {
        let saved = self.save(id)?;
        let from = self.slot_of(id)?;
        let reserved = self.reserve()?;
        let to = reserved.0;
        let copied = match self.forward.copy(from, to) {
            Err(Error::OutOfMemory { .. }) if self.give_up_free_caches(&[]) => {
                self.forward.copy(from, to)
            }
            copied => copied,
        };
        if let Err(error) = copied {
            self.release(reserved);
            return Err(error);
        }
        self.fill(&reserved, &saved);
        Ok((saved, reserved))
    }

    /// Lets a saved generation go on in the slot that is kept for it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what cannot be; as [`start`](Self::start) for its settings and
    /// options. The slot is still kept then.
    pub fn resume(
        &mut self,
        saved: &SavedGeneration,
        reserved: &ReservedSlot,
    ) -> Result<GenerationId> {
        let mut generation = self.revive(saved)?;
        let id = GenerationId(self.next_id);
        self.next_id += 1;
        generation.id = id;
        let slot = &mut self.slots[reserved.0];
        slot.is_reserved = false;
        slot.generation = Some(generation);
        Ok(id)
    }

    /// Frees a slot that was kept. What is cached in it stays of use.
    pub fn release(&mut self, reserved: ReservedSlot) {
        let slot = &mut self.slots[reserved.0];
        slot.is_reserved = false;
        slot.tokens.truncate(slot.cached);
    }

    /// Keeps a slot, the one that is the least worth, and empties it.
    pub(super) fn reserve(&mut self) -> Result<ReservedSlot> {
        let index = self.free_slot(&[])?;
        self.reuse(index, &[]);
        self.slots[index].is_reserved = true;
        Ok(ReservedSlot(index))
    }

    /// Says of a slot that is kept what is cached in it.
    pub(super) fn fill(&mut self, reserved: &ReservedSlot, saved: &SavedGeneration) {
        let cached = self.forward.reusable(reserved.0, slot::count(saved.cached)) as usize;
        let slot = &mut self.slots[reserved.0];
        slot.tokens.clone_from(&saved.tokens);
        slot.cached = cached.min(saved.tokens.len());
    }

    /// The generation again, which has followed its answer so far.
    pub(super) fn revive(&self, saved: &SavedGeneration) -> Result<Generation> {
        let refuse = |text: &str| Err(Error::InvalidArgument(format!("the saved answer {text}")));
        let context_tokens = u64::from(self.forward.context_tokens());
        // The token that ends an answer may have no place.
        let places = saved.tokens.len().saturating_sub(usize::from(saved.ended.is_some()));
        let needed_tokens = places as u64;
        if needed_tokens > context_tokens {
            return Err(Error::ContextOverflow { needed_tokens, available_tokens: context_tokens });
        }
        for token in saved.tokens.iter().chain(&saved.generated) {
            self.check_token(*token, "the saved answer")?;
        }
        if saved.cached > saved.tokens.len() {
            return refuse("has more tokens cached than it has");
        }
        if saved.ended.is_none() && saved.cached == saved.tokens.len() {
            return refuse("has no token left to go on from");
        }
        let mut generation = self.generation(&saved.settings, &saved.options, saved.call_ids)?;
        generation.prompt_tokens = saved.prompt_tokens;
        generation.reused_tokens = saved.reused_tokens;
        generation.sampler.restore(&saved.sampler);
        if let Some(lookup) = &mut generation.lookup {
            lookup.restore(saved.lookup);
        }
        let mut parts = Vec::new();
        for token in &saved.generated {
            let followed = generation.follow(*token, &self.vocabulary, &mut parts);
            let followed = followed.map_err(|error| {
                Error::InvalidArgument(format!("the saved answer does not have its form: {error}"))
            })?;
            if followed.is_some() && saved.ended.is_none() {
                return refuse("has ended already by what it was to go on with");
            }
            parts.clear();
        }
        generation.generated.clone_from(&saved.generated);
        generation.events.extend(saved.events.iter().cloned().map(Ok));
        generation.ended = saved.ended;
        Ok(generation)
    }
}
