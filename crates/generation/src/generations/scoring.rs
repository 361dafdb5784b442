//! Logits and likelihoods of given tokens.

use trefoil_contract::{Error, Result};

use super::{Generations, Rows, Work};
use crate::log_probabilities::LogSoftmax;
use crate::{Forward, Logits, Vocabulary};

/// Most rows of logits that are held at once.
const ROWS_MAX: usize = 64;
/// Most logits that are held at once, in rows of a large vocabulary: 16 MiB.
pub(super) const LOGITS_MAX: usize = 4 << 20;

impl<F: Forward, V: Vocabulary> Generations<F, V> {
    /// The logits behind the last of `tokens`, one for each token of the vocabulary. Uses a free
    /// slot and what it has cached, and leaves `tokens` there.
    ///
    /// # Errors
    /// As [`start`](Self::start), but the context may be full; and those of the forward pass.
    pub fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.check(tokens, 0)?;
        let slot = self.free_slot(tokens)?;
        self.reuse(slot, tokens);
        self.slots[slot].tokens = tokens.to_vec();
        let result = loop {
            let work = self.next_work(slot);
            if let Err(error) = self.compute(std::slice::from_ref(&work), Rows::Logits) {
                break Err(error);
            }
            self.slots[slot].cached += work.length;
            if self.slots[slot].missing() == 0 {
                break Ok(std::mem::take(&mut self.logits));
            }
        };
        self.slots[slot].release();
        result
    }

    /// The natural logarithm of the probability of each token but the first, given those before
    /// it: one fewer than `tokens`. Gives up what a free slot has cached, the least recently used,
    /// and leaves `tokens` there.
    ///
    /// # Errors
    /// As [`logits`](Self::logits); [`Error::InvalidModel`] for logits that are no numbers.
    pub fn score(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.check(tokens, 0)?;
        // The logits of all positions are needed, so nothing that is cached helps.
        let slot = self.free_slot(&[])?;
        self.reuse(slot, &[]);
        self.slots[slot].tokens = tokens[..tokens.len() - 1].to_vec();
        let result = self.score_slot(slot, tokens);
        self.slots[slot].release();
        result
    }

    fn score_slot(&mut self, slot: usize, tokens: &[u32]) -> Result<Vec<f32>> {
        let vocabulary_tokens = self.forward.vocabulary_tokens().max(1);
        let rows_max = (LOGITS_MAX / vocabulary_tokens).clamp(1, ROWS_MAX);
        let mut scores = Vec::with_capacity(tokens.len() - 1);
        while self.slots[slot].missing() > 0 {
            let length = self.slots[slot].missing().min(rows_max).min(self.prefill_tokens);
            self.compute(&[Work::new(slot, length, Logits::All)], Rows::Logits)?;
            self.slots[slot].cached += length;
            for row in self.logits.chunks_exact(vocabulary_tokens) {
                let place = scores.len() + 1;
                let softmax = LogSoftmax::new(row).ok_or_else(|| {
                    Error::InvalidModel(format!(
                        "the logits in front of token {place} are no numbers; its weights are \
                         damaged"
                    ))
                })?;
                scores.push(softmax.log_probability(row[tokens[place] as usize]));
            }
        }
        Ok(scores)
    }
}
