//! Guesses of the next tokens, which one batch then checks: prompt lookup (Saxena, "Prompt Lookup
//! Decoding", 2023). Where a text repeats itself, what followed before mostly follows again.

use trefoil_settings::RequestSettings;

use super::batch::Work;
use super::scoring::LOGITS_MAX;
use super::{Generations, LookupState, Slot};
use crate::{Forward, Logits, Vocabulary};

/// Tokens that are compared at most to tell how alike two places are.
const COMPARED_TOKENS_MAX: usize = 16;

/// How one answer guesses, and how that goes.
#[derive(Debug)]
pub(super) struct Lookup {
    tokens_max: usize,
    ngram_tokens: usize,
    /// Tokens that have to be alike for a guess: more after a wrong one, which costs about as much
    /// as the tokens that it did not bring.
    needed_tokens: usize,
    pub(super) drafted_tokens: usize,
    pub(super) accepted_tokens: usize,
}

impl Lookup {
    /// `None` where the settings do not ask for it.
    pub(super) fn new(settings: &RequestSettings) -> Option<Self> {
        let ngram_tokens = (settings.lookup_ngram as usize).clamp(1, COMPARED_TOKENS_MAX);
        (settings.lookup_tokens > 0).then_some(Lookup {
            tokens_max: settings.lookup_tokens as usize,
            ngram_tokens,
            needed_tokens: ngram_tokens,
            drafted_tokens: 0,
            accepted_tokens: 0,
        })
    }

    /// What may follow `tokens`, at most `count_max` tokens: what followed at the earlier place that
    /// is the most alike, the latest among equals.
    pub(super) fn draft(&self, tokens: &[u32], count_max: usize) -> Vec<u32> {
        let mut draft = Vec::new();
        if let Some(place) = alike(tokens, self.needed_tokens) {
            for index in place..place + count_max.min(self.tokens_max) {
                // Behind the end it goes on with itself: a text may repeat a few tokens for ever.
                let token = tokens.get(index).or_else(|| draft.get(index - tokens.len()));
                let token = token.copied();
                draft.extend(token);
            }
        }
        draft
    }

    /// How it went so far.
    pub(super) fn state(&self) -> LookupState {
        let Lookup { needed_tokens, drafted_tokens, accepted_tokens, .. } = *self;
        LookupState { needed_tokens, drafted_tokens, accepted_tokens }
    }

    /// Goes on from there.
    pub(super) fn restore(&mut self, state: LookupState) {
        self.needed_tokens = state.needed_tokens.clamp(self.ngram_tokens, COMPARED_TOKENS_MAX);
        self.drafted_tokens = state.drafted_tokens;
        self.accepted_tokens = state.accepted_tokens;
    }

    /// Learns from a guess, of which so many tokens were right.
    pub(super) fn learn(&mut self, drafted_tokens: usize, accepted_tokens: usize) {
        self.drafted_tokens = self.drafted_tokens.saturating_add(drafted_tokens);
        self.accepted_tokens = self.accepted_tokens.saturating_add(accepted_tokens);
        self.needed_tokens = match accepted_tokens == drafted_tokens {
            true => self.ngram_tokens,
            false => (self.needed_tokens * 2).min(COMPARED_TOKENS_MAX),
        };
    }
}

/// The place behind the tokens that are the most like the last ones, if at least `needed` are the
/// same.
fn alike(tokens: &[u32], needed: usize) -> Option<usize> {
    let same = |end: usize| {
        let earlier = tokens[..end].iter().rev();
        let last = tokens.iter().rev().take(COMPARED_TOKENS_MAX);
        earlier.zip(last).take_while(|(a, b)| a == b).count()
    };
    let (mut place, mut most) = (None, needed.max(1) - 1);
    for end in (1..tokens.len()).rev() {
        let count = same(end);
        if count > most {
            (place, most) = (Some(end), count);
            if count == COMPARED_TOKENS_MAX {
                break;
            }
        }
    }
    place
}

impl<F: Forward, V: Vocabulary> Generations<F, V> {
    /// Adds guesses to what computes the last token of an answer.
    pub(super) fn add_drafts(&self, work: &mut [Work]) {
        let vocabulary_tokens = self.forward.vocabulary_tokens().max(1);
        let of_memory = (LOGITS_MAX / vocabulary_tokens / work.len().max(1)).saturating_sub(1);
        let context_tokens = self.forward.context_tokens() as usize;
        for work in work {
            let slot = &self.slots[work.slot];
            let of_context = context_tokens.saturating_sub(slot.tokens.len());
            let count_max = of_memory.min(of_context).min(self.prefill_tokens - 1);
            work.draft = slot.draft(count_max);
            if !work.draft.is_empty() {
                work.logits = Logits::All;
            }
        }
    }
}

impl Slot {
    /// A guess of what follows the last token, which is all that has to be computed.
    fn draft(&self, count_max: usize) -> Vec<u32> {
        let Some(generation) = &self.generation else { return Vec::new() };
        let Some(lookup) = &generation.lookup else { return Vec::new() };
        if generation.generated.is_empty() || self.missing() != 1 {
            return Vec::new();
        }
        // The token behind the guess is chosen as well.
        let left = generation.max_tokens.saturating_sub(generation.generated.len() + 1);
        lookup.draft(&self.tokens, count_max.min(left))
    }
}

#[cfg(test)]
mod tests {
    use trefoil_settings::Settings;

    use super::{COMPARED_TOKENS_MAX, Lookup, alike};

    fn lookup(tokens: u32, ngram: u32) -> Lookup {
        let mut settings = Settings::default().request;
        (settings.lookup_tokens, settings.lookup_ngram) = (tokens, ngram);
        Lookup::new(&settings).expect("asked for")
    }

    #[test]
    fn the_most_alike_place_is_found_and_the_latest_among_equals() {
        assert_eq!(alike(&[], 1), None);
        assert_eq!(alike(&[1], 1), None);
        assert_eq!(alike(&[1, 2, 3], 1), None);
        assert_eq!(alike(&[1, 1], 1), Some(1));
        // `2 3` stands before 4, 5 and the end; `9 2 3` only before 5.
        let tokens = [1, 2, 3, 4, 9, 2, 3, 5, 8, 2, 3, 6, 9, 2, 3];
        assert_eq!(alike(&tokens, 1), Some(7));
        assert_eq!(alike(&tokens, 3), Some(7));
        assert_eq!(alike(&tokens, 4), None);
        assert_eq!(alike(&tokens[..11], 2), Some(7));
    }

    #[test]
    fn a_draft_is_what_followed_and_goes_on_with_itself() {
        let lookup = lookup(5, 2);
        assert_eq!(lookup.draft(&[1, 2, 3, 4, 5, 6, 1, 2], 9), [3, 4, 5, 6, 1]);
        assert_eq!(lookup.draft(&[1, 2, 3, 4, 5, 6, 1, 2], 3), [3, 4, 5]);
        assert_eq!(lookup.draft(&[7, 1, 2, 1, 2], 9), [1, 2, 1, 2, 1]);
        assert_eq!(lookup.draft(&[1, 2, 3, 4, 5, 6, 0, 2], 9), [0u32; 0]);
        assert_eq!(lookup.draft(&[1, 2, 1, 2], 0), [0u32; 0]);
    }

    #[test]
    fn wrong_guesses_ask_for_more_that_is_alike() {
        let mut lookup = lookup(5, 2);
        let tokens = [1, 2, 3, 4, 5, 6, 1, 2];
        lookup.learn(5, 5);
        assert_eq!(lookup.draft(&tokens, 1), [3]);
        lookup.learn(5, 4);
        assert_eq!(lookup.draft(&tokens, 1), [0u32; 0]);
        assert_eq!(lookup.draft(&[9, 1, 2, 3, 8, 9, 1, 2, 3], 1), [8]);
        (0..9).for_each(|_| lookup.learn(1, 0));
        assert_eq!(lookup.draft(&[1; COMPARED_TOKENS_MAX], 1), [0u32; 0]);
        assert_eq!(lookup.draft(&[1; COMPARED_TOKENS_MAX + 1], 1), [1]);
        lookup.learn(1, 1);
        assert_eq!(lookup.draft(&tokens, 1), [3]);
        assert_eq!((lookup.drafted_tokens, lookup.accepted_tokens), (20, 10));
    }
}
