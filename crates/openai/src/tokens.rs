//! `POST /tokenize` and `POST /detokenize`.

use serde::{Deserialize, Serialize};
use trefoil_contract::TokenizeOptions;
use utoipa::ToSchema;

/// A text to be cut into tokens.
#[derive(Debug, Deserialize, ToSchema)]
pub struct TokenizeRequest {
    /// The model's name; may be missing where there is only one.
    model: Option<String>,
    /// The text.
    content: String,
    /// Add the tokens that the model wants around a text.
    #[serde(default)]
    add_special: bool,
    /// Read the texts of special tokens as these tokens.
    #[serde(default)]
    parse_special: bool,
}

/// A text's tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenizeResponse {
    tokens: Vec<u32>,
}

/// Tokens to be made text.
#[derive(Debug, Deserialize, ToSchema)]
pub struct DetokenizeRequest {
    /// The model's name; may be missing where there is only one.
    model: Option<String>,
    /// The tokens.
    tokens: Vec<u32>,
    /// Write special tokens, too.
    #[serde(default)]
    special: bool,
}

/// The tokens' text.
#[derive(Debug, Serialize, ToSchema)]
pub struct DetokenizeResponse {
    /// U+FFFD stands for what is no character.
    content: String,
}

impl TokenizeRequest {
    /// The model that it names.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The text, and how it becomes tokens.
    pub fn into_parts(self) -> (String, TokenizeOptions) {
        let TokenizeRequest { content, add_special, parse_special, .. } = self;
        (content, TokenizeOptions { add_special, parse_special })
    }
}

impl TokenizeResponse {
    /// The answer with these tokens.
    pub fn new(tokens: Vec<u32>) -> Self {
        TokenizeResponse { tokens }
    }
}

impl DetokenizeRequest {
    /// The model that it names.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The tokens, and whether special ones are written.
    pub fn into_parts(self) -> (Vec<u32>, bool) {
        (self.tokens, self.special)
    }
}

impl DetokenizeResponse {
    /// The answer with this text.
    pub fn new(text: &[u8]) -> Self {
        DetokenizeResponse { content: String::from_utf8_lossy(text).into_owned() }
    }
}
