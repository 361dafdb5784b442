//! One vector for given tokens.

use trefoil_contract::{Error, Result};

use super::{Generations, Rows, Work};
use crate::pooling::Pool;
use crate::{Forward, Logits, Pooling, Vocabulary};

impl<F: Forward, V: Vocabulary> Generations<F, V> {
    /// One vector of length 1 for all of `tokens`. Gives up what a free slot has cached, the least
    /// recently used. Encoders compute the tokens in one batch, others in chunks.
    ///
    /// # Errors
    /// As [`logits`](Self::logits); [`Error::InvalidModel`](trefoil_contract::Error::InvalidModel)
    /// for vectors that are no numbers.
    pub fn embed(&mut self, tokens: &[u32], pooling: Pooling) -> Result<Vec<f32>> {
        self.pooled(tokens, pooling)?.finish()
    }

    fn pooled(&mut self, tokens: &[u32], pooling: Pooling) -> Result<Pool> {
        self.check(tokens, 0)?;
        // What follows the first token does not change its vector where it is not seen.
        let tokens = match pooling {
            Pooling::Cls if !self.forward.is_encoder() => &tokens[..1],
            _ => tokens,
        };
        let slot = self.free_slot(&[])?;
        self.reuse(slot, &[]);
        self.slots[slot].tokens = tokens.to_vec();
        let result = self.embed_slot(slot, pooling);
        self.slots[slot].release();
        result
    }

    /// How well two texts go together, given as one sequence of tokens.
    ///
    /// # Errors
    /// As [`logits`](Self::logits), [`Error::Unsupported`](trefoil_contract::Error::Unsupported)
    /// unless the model ranks texts; [`Error::InvalidModel`](trefoil_contract::Error::InvalidModel)
    /// for a score that is no number.
    pub fn relevance(&mut self, tokens: &[u32]) -> Result<f32> {
        let vector = self.pooled(tokens, Pooling::Cls)?.raw();
        let score = self.forward.relevance(&vector)?;
        if !score.is_finite() {
            let text = "the score of the texts is no number; its weights are damaged";
            return Err(Error::InvalidModel(text.into()));
        }
        Ok(score)
    }

    fn embed_slot(&mut self, slot: usize, pooling: Pooling) -> Result<Pool> {
        let is_encoder = self.forward.is_encoder();
        let mut pool = Pool::new(pooling);
        loop {
            let missing = self.slots[slot].missing();
            let length = if is_encoder { missing } else { missing.min(self.prefill_tokens) };
            let logits = match pooling {
                Pooling::Last if length < missing => Logits::None,
                Pooling::Last => Logits::Last,
                Pooling::Mean | Pooling::Cls => Logits::All,
            };
            let work = Work::new(slot, length, logits);
            self.compute(std::slice::from_ref(&work), Rows::Vectors)?;
            pool.push(&self.logits, work.rows());
            if length == missing {
                // Those of an encoder are not cached.
                self.slots[slot].cached += if is_encoder { 0 } else { length };
                return Ok(pool);
            }
            self.slots[slot].cached += length;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::super::fake::{FakeForward, FakeVocabulary, Seen, logits_behind};
    use super::*;

    const TOKENS: [u32; 10] = [6, 7, 8, 9, 10, 6, 7, 8, 9, 10];

    fn generations() -> (Generations<FakeForward, FakeVocabulary>, Rc<RefCell<Seen>>) {
        let forward = FakeForward::new(1, 10);
        let seen = Rc::clone(&forward.seen);
        (Generations::new(forward, FakeVocabulary, 4), seen)
    }

    /// What the rows behind so many tokens give.
    fn pooled(pooling: Pooling, ends: impl Iterator<Item = usize>) -> Result<Vec<f32>> {
        let mut pool = Pool::new(pooling);
        ends.for_each(|end| pool.push(&logits_behind(&TOKENS[..end]), 1));
        pool.finish()
    }

    #[test]
    fn a_decoder_embeds_in_chunks() {
        let (mut generations, seen) = generations();
        let mean = generations.embed(&TOKENS, Pooling::Mean);
        assert_eq!(mean, pooled(Pooling::Mean, 1..=10));
        assert_eq!(seen.borrow().batches, [[4], [4], [2]]);
        let last = generations.embed(&TOKENS, Pooling::Last);
        assert_eq!(last, pooled(Pooling::Last, 10..=10));
        let first = generations.embed(&TOKENS, Pooling::Cls);
        assert_eq!(first, pooled(Pooling::Cls, 1..=1));
        assert_eq!(seen.borrow().batches[6..], [[1]]);
    }

    #[test]
    fn an_encoder_embeds_a_text_as_a_whole_and_keeps_nothing() {
        let (mut generations, seen) = generations();
        seen.borrow_mut().is_encoder = true;
        for (pooling, ends) in [(Pooling::Mean, 1..=10), (Pooling::Cls, 1..=1)] {
            assert_eq!(generations.embed(&TOKENS, pooling), pooled(pooling, ends));
        }
        assert_eq!(generations.embed(&TOKENS, Pooling::Last), pooled(Pooling::Last, 10..=10));
        assert_eq!(seen.borrow().batches, [[10], [10], [10]]);
    }

    #[test]
    fn texts_that_cannot_be_embedded_leave_the_place_free() {
        let (mut generations, seen) = generations();
        let error = generations.embed(&[6; 11], Pooling::Mean);
        assert_eq!(error, Err(Error::ContextOverflow { needed_tokens: 11, available_tokens: 10 }));
        for bad in [&[][..], &[6, 99]] {
            let error = generations.embed(bad, Pooling::Mean);
            assert!(matches!(error, Err(Error::InvalidArgument(_))), "{error:?}");
        }
        seen.borrow_mut().damaged = true;
        let error = generations.embed(&TOKENS, Pooling::Last);
        assert!(matches!(error, Err(Error::InvalidModel(_))), "{error:?}");
        seen.borrow_mut().damaged = false;
        seen.borrow_mut().failing.push((0, Error::Io("gone".into())));
        assert_eq!(generations.embed(&TOKENS, Pooling::Last), Err(Error::Io("gone".into())));
        seen.borrow_mut().failing.clear();
        assert_eq!(generations.active(), 0);
        assert!(generations.embed(&TOKENS, Pooling::Last).is_ok());
    }
}
