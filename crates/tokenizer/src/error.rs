use std::fmt;

use crate::pre_tokenizer::TABLE;
use crate::vocabulary::{MERGES_MAX, SPECIAL_TOKEN_BYTES_MAX, VOCABULARY_TOKENS_MAX};
use crate::word_piece::WORD_PIECE_BYTES_MAX;

/// Why the tokenizer's data cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key is missing, or its value has the wrong type or range.
    #[error(transparent)]
    Metadata(#[from] trefoil_gguf::Error),
    /// Another kind of tokenizer.
    #[error(
        "`tokenizer.ggml.model` is `{0}`, which is not supported; supported are `gpt2` \
         (byte-level BPE), `llama` (SentencePiece's BPE) and `bert` (WordPiece)"
    )]
    UnsupportedModel(String),
    /// A pre-tokenizer that is not in the table.
    #[error("`tokenizer.ggml.pre` is `{0}`, which is not supported; supported are {supported}", supported = Names)]
    UnsupportedPreTokenizer(String),
    /// The vocabulary has no tokens.
    #[error("`tokenizer.ggml.tokens` is empty; convert the model again with its tokenizer")]
    NoTokens,
    /// The vocabulary is larger than any real one.
    #[error(
        "`tokenizer.ggml.tokens` has {0} tokens, more than the limit of {VOCABULARY_TOKENS_MAX}"
    )]
    TooManyTokens(usize),
    /// There are more merges than in any real vocabulary.
    #[error("`tokenizer.ggml.merges` has {0} merges, more than the limit of {MERGES_MAX}")]
    TooManyMerges(usize),
    /// Tokens and their types do not belong together.
    #[error(
        "`tokenizer.ggml.token_type` has {types} entries for {tokens} tokens of \
         `tokenizer.ggml.tokens`; convert the model again"
    )]
    TokenTypes {
        /// Entries of `tokenizer.ggml.token_type`.
        types: usize,
        /// Entries of `tokenizer.ggml.tokens`.
        tokens: usize,
    },
    /// Tokens and their scores do not belong together.
    #[error(
        "`tokenizer.ggml.scores` has {scores} entries for {tokens} tokens of \
         `tokenizer.ggml.tokens`; convert the model again"
    )]
    Scores {
        /// Entries of `tokenizer.ggml.scores`.
        scores: usize,
        /// Entries of `tokenizer.ggml.tokens`.
        tokens: usize,
    },
    /// A score has no place in the order of scores.
    #[error("`tokenizer.ggml.scores` is not a number at token {token}; convert the model again")]
    NotAScore {
        /// The token.
        token: usize,
    },
    /// A text stands for two tokens.
    #[error("`tokenizer.ggml.tokens` has the text `{text}` twice, as token {first} and {second}")]
    DuplicateToken {
        /// The text.
        text: String,
        /// The lower token.
        first: u32,
        /// The higher token.
        second: u32,
    },
    /// A special token's text is longer than any real one.
    #[error(
        "special token {token} of `tokenizer.ggml.tokens` is {bytes} bytes long, more than the \
         limit of {SPECIAL_TOKEN_BYTES_MAX}"
    )]
    SpecialTokenTooLong {
        /// The token.
        token: u32,
        /// Bytes of its text.
        bytes: usize,
    },
    /// A token's text is longer than that of any real piece of a word.
    #[error(
        "token {token} of `tokenizer.ggml.tokens` is {bytes} bytes long, more than WordPiece's \
         limit of {WORD_PIECE_BYTES_MAX}"
    )]
    WordPieceTooLong {
        /// The token.
        token: u32,
        /// Bytes of its text.
        bytes: usize,
    },
    /// WordPiece does without a token that it needs.
    #[error(
        "`{key}` is missing, and the vocabulary of {tokens} tokens has no {default}, which stands \
         for it; convert the model again"
    )]
    NoWordPieceToken {
        /// The key that should name the token.
        key: &'static str,
        /// BERT's token of that kind.
        default: u32,
        /// Size of the vocabulary.
        tokens: usize,
    },
    /// A merge is not two texts with a space between them.
    #[error(
        "merge {index} of `tokenizer.ggml.merges` is `{text}`; a merge is two tokens' texts with \
         a space between them"
    )]
    MalformedMerge {
        /// Place in the list, from 0.
        index: usize,
        /// The merge.
        text: String,
    },
    /// A key names a token that does not exist.
    #[error("`{key}` is {token}, but the vocabulary has only {tokens} tokens")]
    NoSuchToken {
        /// The key.
        key: &'static str,
        /// Its value.
        token: u32,
        /// Size of the vocabulary.
        tokens: usize,
    },
    /// A token is to be added to texts that no key names.
    #[error("`{flag}` is true, but `{key}` is missing; the file must name the token")]
    NoTokenToAdd {
        /// The key that wants a token added.
        flag: &'static str,
        /// The key that should name it.
        key: &'static str,
    },
    /// The tables do not fit into memory.
    #[error("no memory for {0} bytes of the vocabulary's tables; use a smaller model")]
    OutOfMemory(u64),
}

/// The supported pre-tokenizers, for people.
struct Names;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, row) in TABLE.iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}`{}`", row.names.join("`, `"))?;
        }
        Ok(())
    }
}
