use trefoil_contract::Result;

/// Which logits a span of tokens should give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// None: more of the prompt follows.
    None,
    /// Those behind the last token.
    Last,
    /// Those behind each token.
    All,
}

/// Consecutive tokens of one sequence in a batch.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// The sequence, below [`Forward::sequences_max`].
    pub sequence: usize,
    /// Position of the first token: the number of tokens that the sequence's cache holds and
    /// keeps. Anything cached from there on is overwritten.
    pub position: u32,
    /// The tokens, at least one.
    pub tokens: &'a [u32],
    /// Which logits are wanted.
    pub logits: Logits,
}

/// The forward pass of a model with its KV cache: all that differs between engines.
pub trait Forward {
    /// Size of the vocabulary: the length of a row of logits.
    fn vocabulary_tokens(&self) -> usize;

    /// Context of one sequence, in tokens.
    fn context_tokens(&self) -> u32;

    /// Sequences that the cache can hold.
    fn sequences_max(&self) -> usize;

    /// Computes one batch. Each sequence occurs at most once. Replaces the content of `logits`
    /// by the wanted rows, in the order of spans and tokens.
    ///
    /// # Errors
    /// `context-overflow` if a span ends beyond the context, `out-of-memory` if the cache cannot
    /// grow, `io` and others. The cache then holds each sequence up to its span's `position`.
    fn forward(&mut self, batch: &[Span<'_>], logits: &mut Vec<f32>) -> Result<()>;

    /// Frees the cache of a sequence behind its first `tokens` tokens.
    fn truncate(&mut self, sequence: usize, tokens: u32);
}

impl<F: Forward + ?Sized> Forward for Box<F> {
    fn vocabulary_tokens(&self) -> usize {
        (**self).vocabulary_tokens()
    }

    fn context_tokens(&self) -> u32 {
        (**self).context_tokens()
    }

    fn sequences_max(&self) -> usize {
        (**self).sequences_max()
    }

    fn forward(&mut self, batch: &[Span<'_>], logits: &mut Vec<f32>) -> Result<()> {
        (**self).forward(batch, logits)
    }

    fn truncate(&mut self, sequence: usize, tokens: u32) {
        (**self).truncate(sequence, tokens);
    }
}
