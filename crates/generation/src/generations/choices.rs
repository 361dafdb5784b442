//! Several answers to one prompt.

use trefoil_contract::{Error, Result};
use trefoil_settings::RequestSettings;

use super::{Generation, GenerationId, GenerationOptions, Generations, slot};
use crate::{Forward, Vocabulary};

/// Seeds are the numbers that a setting holds.
const SEED_MAX: u64 = i64::MAX as u64;

impl<F: Forward, V: Vocabulary> Generations<F, V> {
    /// Takes slots for `count` answers to one prompt, which is computed once. Computes nothing yet.
    ///
    /// Each answer is what a single request would give with the seed `seed + n` (behind the largest
    /// seed comes 0), where n is its number from 0, but for the ids of calls; its events carry
    /// `options.choice + n`. Only the first one works on the prompt. The others answer `idle` until that is done, and then take
    /// over a copy of what is cached of it. Where there is no memory for a copy, where the forward
    /// pass makes none, or where the first one was cancelled, they compute the prompt themselves.
    ///
    /// # Errors
    /// As [`start`](Self::start), of which [`Error::Busy`] stands for fewer free slots than
    /// `count`, and [`Error::InvalidArgument`] also for 0 or more than all slots. Then no slot is
    /// taken.
    pub fn start_choices(
        &mut self,
        prompt: Vec<u32>,
        settings: &RequestSettings,
        options: &GenerationOptions,
        count: u32,
    ) -> Result<Vec<GenerationId>> {
        let slots = self.slots.len();
        let free = slots - self.active();
        match count as usize {
            0 => return Err(Error::InvalidArgument("0 answers; ask for at least 1".into())),
            wanted if wanted > slots => {
                return Err(Error::InvalidArgument(format!(
                    "{wanted} answers at once; there are {slots} places for generations: ask for \
                     fewer, or raise `sequences-max`"
                )));
            }
            wanted if wanted > free => {
                return Err(Error::Busy(format!(
                    "{wanted} answers need as many places for generations, and {free} of {slots} are \
                     free; finish or drop others first, or raise `sequences-max`"
                )));
            }
            _ => {}
        }
        let first = self.start(prompt.clone(), settings, options)?;
        let mut ids = vec![first];
        for number in 1..count {
            let settings = RequestSettings {
                seed: settings.seed.wrapping_add(u64::from(number)) & SEED_MAX,
                ..settings.clone()
            };
            let options = GenerationOptions { choice: options.choice + number, ..options.clone() };
            match self.begin(prompt.clone(), &settings, &options, Some(first)) {
                Ok(id) => ids.push(id),
                Err(error) => {
                    ids.into_iter().for_each(|id| self.cancel(id));
                    return Err(error);
                }
            }
        }
        Ok(ids)
    }

    /// An emptied slot for a further answer to the prompt of `first`, and how many tokens of the
    /// prompt that found in the cache.
    pub(super) fn slot_behind(&mut self, first: GenerationId) -> Result<(usize, usize)> {
        let first = self.slot_of(first)?;
        // What is cached will be replaced, so it is best what serves nobody else.
        let index = self.free_slot(&[])?;
        self.reuse(index, &[]);
        let reused = self.slots[first].generation.as_ref().map_or(0, |first| first.reused_tokens);
        Ok((index, reused))
    }

    /// Whether a slot's generation has to wait for another one's prompt.
    pub(super) fn waits(&self, index: usize) -> bool {
        let generation = self.slots[index].generation.as_ref();
        let first = generation.and_then(|generation| generation.waits_for);
        let first = first.and_then(|first| self.slot_of(first).ok());
        first.is_some_and(|first| !self.slots[first].has_prompt())
    }

    /// The number that the events of a slot's generation carry.
    pub(super) fn choice(&self, index: usize) -> u32 {
        self.slots[index].generation.as_ref().map_or(0, Generation::choice)
    }

    /// Copies a prompt that has just been computed to those that wait for it.
    pub(super) fn share_prompt(&mut self, from: usize) {
        let Some(first) = self.slots[from].generation.as_ref().map(|first| first.id) else {
            return;
        };
        if !self.slots[from].has_prompt() {
            return;
        }
        for to in 0..self.slots.len() {
            let Some(generation) = &mut self.slots[to].generation else { continue };
            if generation.waits_for.take_if(|waits_for| *waits_for == first).is_none() {
                continue;
            }
            // Behind the last token of the prompt the first token of the answer is chosen.
            let wanted = generation.prompt_tokens - 1;
            let copied = match self.forward.copy(from, to) {
                Err(Error::OutOfMemory { .. }) if self.give_up_free_caches(&[]) => {
                    self.forward.copy(from, to)
                }
                copied => copied,
            };
            self.slots[to].cached = match copied {
                Ok(()) => self.forward.reusable(to, slot::count(wanted)) as usize,
                Err(_) => 0,
            };
        }
    }
}
