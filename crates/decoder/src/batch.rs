//! A batch of spans, checked and laid out as one list of tokens.

use trefoil_contract::{Error, Result};
use trefoil_generation::{Logits, Span};

use crate::cache::Cache;

/// What the spans are checked against.
pub(crate) struct Bounds<'a> {
    pub(crate) vocabulary_tokens: usize,
    pub(crate) context_tokens: u32,
    pub(crate) cache: &'a Cache,
}

/// Checks all spans before anything is computed.
///
/// # Errors
/// `invalid-argument` and `context-overflow`.
pub(crate) fn check(batch: &[Span<'_>], bounds: &Bounds<'_>) -> Result<()> {
    for (index, span) in batch.iter().enumerate() {
        let refuse = |what: String| Err(Error::InvalidArgument(format!("span {index}: {what}")));
        let sequence = span.sequence;
        let Some(&cached) = bounds.cache.tokens().get(sequence) else {
            let sequences = bounds.cache.tokens().len();
            return refuse(format!("sequence {sequence} is none of the {sequences} sequences"));
        };
        if batch[..index].iter().any(|other| other.sequence == sequence) {
            return refuse(format!("sequence {sequence} occurs twice in the batch"));
        }
        if span.tokens.is_empty() {
            return refuse(format!("sequence {sequence} brings no tokens"));
        }
        if span.position > cached {
            return refuse(format!(
                "sequence {sequence} goes on at position {}, but only {cached} tokens are cached",
                span.position
            ));
        }
        if bounds.cache.reusable(sequence, span.position) < span.position {
            return refuse(format!(
                "sequence {sequence} cannot go on at position {}: sliding windows have moved on, \
                 and hold nothing from before it any more; compute it from the beginning",
                span.position
            ));
        }
        let is_unknown = |token: &&u32| **token as usize >= bounds.vocabulary_tokens;
        if let Some(token) = span.tokens.iter().find(is_unknown) {
            return refuse(format!(
                "token {token} is outside the vocabulary of {}",
                bounds.vocabulary_tokens
            ));
        }
        let needed_tokens = u64::from(span.position) + span.tokens.len() as u64;
        let available_tokens = u64::from(bounds.context_tokens);
        if needed_tokens > available_tokens {
            return Err(Error::ContextOverflow { needed_tokens, available_tokens });
        }
    }
    Ok(())
}

/// Tokens in all.
pub(crate) fn tokens_count(batch: &[Span<'_>]) -> usize {
    batch.iter().map(|span| span.tokens.len()).sum()
}

/// Each span with the number of its first token in the batch.
pub(crate) fn with_starts<'a, 'b>(
    batch: &'b [Span<'a>],
) -> impl Iterator<Item = (usize, &'b Span<'a>)> {
    batch.iter().scan(0, |next, span| {
        let start = *next;
        *next += span.tokens.len();
        Some((start, span))
    })
}

/// Numbers of the tokens in the batch whose logits are wanted, in order.
pub(crate) fn wanted(batch: &[Span<'_>]) -> impl Iterator<Item = usize> {
    with_starts(batch).flat_map(|(start, span)| {
        let end = start + span.tokens.len();
        match span.logits {
            Logits::None => end..end,
            Logits::Last => end - 1..end,
            Logits::All => start..end,
        }
    })
}
