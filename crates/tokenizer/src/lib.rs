//! Tokenizers from GGUF metadata.
#![allow(unused_variables, clippy::todo)]
use trefoil_gguf::Metadata;

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {}

/// Why the tokenizer's data cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// placeholder
    #[error("{0}")]
    Placeholder(String),
}

impl Tokenizer {
    /// Builds the tokenizer that `tokenizer.ggml.*` describes.
    /// # Errors
    /// [`Error`] naming key and cure; `Error::Unsupported...` names what is supported.
    pub fn from_gguf(metadata: &Metadata) -> Result<Tokenizer, Error> {
        todo!()
    }
    /// Text to tokens. `add_special`: BOS/EOS as the model wants. `parse_special`: texts of
    /// special tokens become these tokens.
    pub fn encode(&self, text: &[u8], add_special: bool, parse_special: bool) -> Vec<u32> {
        todo!()
    }
    /// Bytes of one token as it appears in text (a special token: its name, `<|im_end|>`). `None` beyond the vocabulary.
    pub fn token_bytes(&self, token: u32) -> Option<&[u8]> {
        todo!()
    }
    /// Whether the token is a control token that text output leaves out.
    pub fn is_special(&self, token: u32) -> bool {
        todo!()
    }
    /// Size of the vocabulary.
    pub fn vocabulary_tokens(&self) -> u32 {
        todo!()
    }
    /// Token that begins a text, if the model names one.
    pub fn bos(&self) -> Option<u32> {
        todo!()
    }
    /// Token that ends a text, if the model names one.
    pub fn eos(&self) -> Option<u32> {
        todo!()
    }
    /// Whether the model wants BOS in front of a text.
    pub fn adds_bos(&self) -> bool {
        todo!()
    }
    /// Tokens that end a generation, ascending.
    pub fn end_of_generation(&self) -> &[u32] {
        todo!()
    }
}
