use std::fmt;

use llguidance::TokenParser;
use llguidance::api::StopReason;
use toktrie::SimpleVob;
use trefoil_contract::{Error, Result};

/// Follows one answer: says what may come next, and is told what came.
pub struct Constraint {
    parser: TokenParser,
    ends: Vec<u32>,
    complete: bool,
}

impl Constraint {
    pub(crate) fn new(mut parser: TokenParser, ends: Vec<u32>) -> Self {
        parser.start_without_prompt();
        Constraint { parser, ends, complete: false }
    }

    /// Sets the logits of all tokens to -infinity that must not come next; `logits` has one for
    /// each token of the vocabulary. A token that ends the text may come where the text is whole.
    ///
    /// # Errors
    /// [`Error::Other`] `constraint-too-complex` where finding out would take too long,
    /// `constraint-dead-end` if no token can come next: the vocabulary lacks what the constraint
    /// asks for. The constraint is of no use any more then.
    pub fn apply(&mut self, logits: &mut [f32]) -> Result<()> {
        let allowed = match self.parser.compute_mask() {
            Ok(allowed) => allowed,
            Err(error) => return Err(self.failure(&error)),
        };
        let whole = self.parser.is_accepting();
        exclude(&allowed, logits);
        for &end in self.ends.iter().filter(|_| !whole) {
            if let Some(logit) = logits.get_mut(end as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Takes the token that was chosen. Answers whether the text is whole and nothing can follow.
    ///
    /// # Errors
    /// As [`apply`](Self::apply), and `constraint-fault` for a token that was not allowed.
    pub fn advance(&mut self, token: u32) -> Result<bool> {
        let parser = &mut self.parser;
        match parser.consume_token(token).and_then(|_| parser.check_stop()) {
            Ok(complete) => {
                self.complete = complete;
                Ok(complete)
            }
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Whether the text is whole as it stands; more may be able to follow.
    pub fn is_whole(&mut self) -> bool {
        self.complete || self.parser.is_accepting()
    }

    fn failure(&self, error: &anyhow::Error) -> Error {
        let (code, message) = match self.parser.stop_reason() {
            StopReason::LexerTooComplex | StopReason::ParserTooComplex => (
                "constraint-too-complex",
                format!(
                    "the constraint is too complex to follow: {error}; simplify the schema, the \
                     expression or the grammar"
                ),
            ),
            StopReason::NoExtensionBias => (
                "constraint-dead-end",
                "no token of the vocabulary can come next: the constraint asks for characters that \
                 the model cannot write, or for a text that cannot be"
                    .to_owned(),
            ),
            _ => ("constraint-fault", format!("the constraint failed: {error}")),
        };
        Error::Other { code: code.into(), message }
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").field("complete", &self.complete).finish_non_exhaustive()
    }
}

/// Sets the logits of what is not allowed to -infinity, 32 tokens at a time where all are alike.
fn exclude(allowed: &SimpleVob, logits: &mut [f32]) {
    for (&bits, logits) in allowed.as_slice().iter().zip(logits.chunks_mut(32)) {
        match bits {
            u32::MAX => {}
            0 => logits.fill(f32::NEG_INFINITY),
            bits => {
                for (place, logit) in logits.iter_mut().enumerate() {
                    if bits >> place & 1 == 0 {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
}
