use trefoil_contract::{Error, Result};

/// Which logits, or which vectors, a span of tokens should give.
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
    /// keeps, which must be [`reusable`](Forward::reusable). Anything cached from there on is
    /// overwritten.
    pub position: u32,
    /// The tokens, at least one.
    pub tokens: &'a [u32],
    /// Which logits are wanted, or which vectors.
    pub logits: Logits,
}

/// What is cached of a sequence, as something that can be saved: pages of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedCache {
    /// How keys and values lie in pages, for people too. One form cannot be restored as another.
    pub form: String,
    /// Tokens that are cached.
    pub tokens: u32,
    /// The first token that is still cached everywhere: sliding windows give up those before.
    pub first: u32,
    /// Number of pages.
    pub pages: u64,
    /// Bytes of a page.
    pub page_bytes: u32,
}

/// What a model says that has nothing to rank texts with.
pub fn not_ranking() -> Error {
    Error::unsupported("ranking with this model; take one that ranks texts, a reranker")
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
    /// grow, `io` and others. The cache then holds each sequence up to its span's `position`, as
    /// [`truncate`](Forward::truncate) leaves it.
    fn forward(&mut self, batch: &[Span<'_>], logits: &mut Vec<f32>) -> Result<()>;

    /// Likewise, but the rows are the tokens' vectors, behind the last norm. An encoder takes each
    /// sequence as a whole, from position 0 on, and keeps nothing of it.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); `unsupported` unless an engine says otherwise.
    fn embed(&mut self, _batch: &[Span<'_>], _vectors: &mut Vec<f32>) -> Result<()> {
        Err(Error::unsupported("embeddings; this engine generates text"))
    }

    /// How well two texts go together, of which the model has made this vector: that of the first
    /// token of both, behind the last norm. The vector must come from [`embed`](Self::embed).
    ///
    /// # Errors
    /// [`not_ranking`] unless the model ranks texts.
    fn relevance(&mut self, _vector: &[f32]) -> Result<f32> {
        Err(not_ranking())
    }

    /// Whether every token sees all others, those behind it included: such a model gives no logits.
    fn is_encoder(&self) -> bool {
        false
    }

    /// How many tokens of a sequence are of use behind which other ones than now are to follow:
    /// `tokens`, or all that are cached if those are fewer, or none. Where a sliding window has
    /// moved on, what the next token attends to is not cached any more, and the sequence has to be
    /// computed from its beginning.
    fn reusable(&self, sequence: usize, tokens: u32) -> u32;

    /// Frees the cache of a sequence behind its first `tokens` tokens, or all of it if these are
    /// not [`reusable`](Forward::reusable).
    fn truncate(&mut self, sequence: usize, tokens: u32);

    /// Replaces what is cached of the sequence `to` by a copy of what is cached of `from`.
    ///
    /// # Errors
    /// `out-of-memory` and others; nothing is cached of `to` then. `unsupported` unless an engine
    /// says otherwise: what was to be copied is computed again.
    fn copy(&mut self, _from: usize, _to: usize) -> Result<()> {
        Err(Error::unsupported("copying a sequence"))
    }

    /// What is cached of a sequence.
    ///
    /// # Errors
    /// `unsupported` unless an engine says otherwise.
    fn saved(&self, _sequence: usize) -> Result<SavedCache> {
        Err(Error::unsupported("saving a sequence"))
    }

    /// Replaces `bytes` by a page of what is cached of a sequence.
    ///
    /// # Errors
    /// `invalid-argument` for a page that [`saved`](Forward::saved) does not count; `unsupported`
    /// unless an engine says otherwise.
    fn save_page(&mut self, _sequence: usize, _page: u64, _bytes: &mut Vec<u8>) -> Result<()> {
        Err(Error::unsupported("saving a sequence"))
    }

    /// Replaces what is cached of a sequence by pages without content, which
    /// [`restore_page`](Forward::restore_page) then brings, each once.
    ///
    /// # Errors
    /// `invalid-argument` for what cannot be or has another form, `context-overflow`,
    /// `out-of-memory`, and others; nothing is cached of the sequence then. `unsupported` unless an
    /// engine says otherwise.
    fn restore(&mut self, _sequence: usize, _saved: &SavedCache) -> Result<()> {
        Err(Error::unsupported("restoring a sequence"))
    }

    /// Brings a page of a sequence that is being restored. Any bytes will do: with others the
    /// sequence has other keys and values.
    ///
    /// # Errors
    /// `invalid-argument` for a page that there is not, or that has another length; `unsupported`
    /// unless an engine says otherwise.
    fn restore_page(&mut self, _sequence: usize, _page: u64, _bytes: &[u8]) -> Result<()> {
        Err(Error::unsupported("restoring a sequence"))
    }
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

    fn reusable(&self, sequence: usize, tokens: u32) -> u32 {
        (**self).reusable(sequence, tokens)
    }

    fn embed(&mut self, batch: &[Span<'_>], vectors: &mut Vec<f32>) -> Result<()> {
        (**self).embed(batch, vectors)
    }

    fn relevance(&mut self, vector: &[f32]) -> Result<f32> {
        (**self).relevance(vector)
    }

    fn is_encoder(&self) -> bool {
        (**self).is_encoder()
    }

    fn truncate(&mut self, sequence: usize, tokens: u32) {
        (**self).truncate(sequence, tokens);
    }

    fn copy(&mut self, from: usize, to: usize) -> Result<()> {
        (**self).copy(from, to)
    }

    fn saved(&self, sequence: usize) -> Result<SavedCache> {
        (**self).saved(sequence)
    }

    fn save_page(&mut self, sequence: usize, page: u64, bytes: &mut Vec<u8>) -> Result<()> {
        (**self).save_page(sequence, page, bytes)
    }

    fn restore(&mut self, sequence: usize, saved: &SavedCache) -> Result<()> {
        (**self).restore(sequence, saved)
    }

    fn restore_page(&mut self, sequence: usize, page: u64, bytes: &[u8]) -> Result<()> {
        (**self).restore_page(sequence, page, bytes)
    }
}
