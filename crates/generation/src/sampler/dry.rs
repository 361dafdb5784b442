//! DRY ("don't repeat yourself"): penalties for going on with a repetition. By p-e-w, described in
//! https://github.com/oobabooga/text-generation-webui/pull/5677.

use trefoil_contract::{Error, Result};
use trefoil_settings::RequestSettings;

use super::logit_of;
use crate::Vocabulary;

/// Most sequence breakers of a request.
const BREAKERS_MAX: usize = 64;

/// Where the text ends with tokens that occurred earlier, the token that followed them there would
/// make the repetition longer. If `n` tokens are repeated, at least `allowed_length`, it loses
/// `multiplier * base ^ (n - allowed_length)`. A repetition does not reach beyond a token in which a
/// sequence breaker ends: quotes, lines and names of speakers may begin alike.
#[derive(Debug, Clone)]
pub(super) struct Dry {
    multiplier: f64,
    base: f64,
    allowed_length: usize,
    /// How many of the last tokens are looked at.
    tokens: usize,
    /// Each from its last byte to its first.
    breakers: Vec<Vec<u8>>,
    // The rest is kept for its memory.
    /// The last tokens, the newest first.
    reversed: Vec<u32>,
    /// For each place of `reversed`, how many tokens from there on are those from its beginning on.
    repeated: Vec<usize>,
    /// Tokens that would go on with a repetition, with its length.
    next: Vec<(u32, usize)>,
    /// Bytes of the last tokens, the newest first.
    text: Vec<u8>,
}

impl Dry {
    /// `None` where the settings do not ask for it.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for more than 64 sequence breakers.
    pub(super) fn new(settings: &RequestSettings) -> Result<Option<Self>> {
        let breakers = &settings.dry_sequence_breakers;
        if breakers.len() > BREAKERS_MAX {
            return Err(Error::InvalidSetting {
                key: "dry-sequence-breaker".into(),
                value: format!("{} texts", breakers.len()),
                expected: format!("at most {BREAKERS_MAX} texts"),
            });
        }
        Ok((settings.dry_multiplier > 0.0).then(|| Dry {
            multiplier: settings.dry_multiplier,
            base: settings.dry_base,
            allowed_length: settings.dry_allowed_length.max(1) as usize,
            tokens: match settings.dry_penalty_tokens {
                0 => usize::MAX,
                tokens => tokens as usize,
            },
            breakers: breakers.iter().map(|text| text.bytes().rev().collect()).collect(),
            reversed: Vec::new(),
            repeated: Vec::new(),
            next: Vec::new(),
            text: Vec::new(),
        }))
    }

    pub(super) fn apply(
        &mut self,
        logits: &mut [f32],
        history: &[u32],
        vocabulary: &impl Vocabulary,
    ) {
        let start = history.len().saturating_sub(self.tokens);
        self.reversed.clear();
        self.reversed.extend(history[start..].iter().rev());
        let length_max = self.behind_breaker(vocabulary);
        if length_max < self.allowed_length {
            return;
        }
        self.find_repetitions();
        self.next.clear();
        for (place, &length) in self.repeated.iter().enumerate().skip(1) {
            let length = length.min(length_max);
            if length >= self.allowed_length {
                self.next.push((self.reversed[place - 1], length));
            }
        }
        // The longest repetition of a token counts.
        self.next.sort_unstable();
        for run in self.next.chunk_by(|a, b| a.0 == b.0) {
            let (token, length) = run[run.len() - 1];
            let Some(logit) = logit_of(logits, token) else { continue };
            if *logit > f32::NEG_INFINITY {
                let excess = (length - self.allowed_length) as f64;
                let penalty = self.multiplier * libm::pow(self.base, excess);
                // However unlikely, it can still be chosen.
                let value = (f64::from(*logit) - penalty).max(f64::from(f32::MIN));
                *logit = value as f32;
            }
        }
    }

    /// How many of the last tokens stand behind the last one in which a sequence breaker ends.
    fn behind_breaker(&mut self, vocabulary: &impl Vocabulary) -> usize {
        let longest = self.breakers.iter().map(Vec::len).max().unwrap_or(0);
        let mut tokens = self.reversed.iter();
        self.text.clear();
        let mut from = 0;
        for (place, &token) in self.reversed.iter().enumerate() {
            let to = from + vocabulary.token_bytes(token).unwrap_or_default().len();
            while self.text.len() < to + longest
                && let Some(&older) = tokens.next()
            {
                self.text.extend(vocabulary.token_bytes(older).unwrap_or_default().iter().rev());
            }
            let ends = |at: usize| self.breakers.iter().any(|it| self.text[at..].starts_with(it));
            if (from..to).any(ends) {
                return place;
            }
            from = to;
        }
        self.reversed.len()
    }

    /// Fills `repeated` (the Z algorithm: Gusfield, Algorithms on Strings, Trees, and Sequences,
    /// 1.4).
    fn find_repetitions(&mut self) {
        let (text, repeated) = (&self.reversed, &mut self.repeated);
        repeated.clear();
        repeated.resize(text.len(), 0);
        // What is known to be equal to the beginning, and reaches furthest.
        let (mut start, mut end) = (0, 0);
        for place in 1..text.len() {
            let mut length = match place < end {
                true => repeated[place - start].min(end - place),
                false => 0,
            };
            while text.get(place + length).is_some_and(|token| *token == text[length]) {
                length += 1;
            }
            repeated[place] = length;
            if place + length > end {
                (start, end) = (place, place + length);
            }
        }
    }
}
