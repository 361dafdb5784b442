//! `POST /v1/embeddings`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Failure;
use crate::usage::UsageBody;

/// Texts of a request at most.
const INPUTS_MAX: usize = 2048;

/// A request for the vectors of texts.
#[derive(Debug, Deserialize, ToSchema)]
pub struct EmbeddingRequest {
    /// The model's name; may be missing where there is only one.
    model: Option<String>,
    /// A text or several, or their tokens.
    input: Input,
    /// `float`, or `base64` of little-endian 32-bit floats.
    #[serde(default)]
    encoding_format: Encoding,
    /// Not supported: another length than the model's.
    dimensions: Option<u32>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum Input {
    /// A text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// A text's tokens.
    Tokens(Vec<u32>),
    /// Several texts' tokens.
    ManyTokens(Vec<Vec<u32>>),
}

/// How a vector is written.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// Numbers.
    #[default]
    Float,
    /// Base64 of little-endian 32-bit floats.
    Base64,
}

/// The vectors.
#[derive(Debug, Serialize, ToSchema)]
pub struct EmbeddingResponse {
    /// `list`
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: UsageBody,
}

/// A text's vector, of length 1.
#[derive(Debug, Serialize, ToSchema)]
struct Embedding {
    /// `embedding`
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Vector {
    /// Numbers.
    Numbers(Vec<f32>),
    /// Base64 of little-endian 32-bit floats.
    Base64(String),
}

/// A text or its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// A text, to be tokenized with the tokens that the model wants around it.
    Text(String),
    /// Its tokens.
    Tokens(Vec<u32>),
}

impl EmbeddingRequest {
    /// The model that it names.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The texts, and what their vectors are given to.
    ///
    /// # Errors
    /// No text or too many, or a parameter that is not supported.
    pub fn texts(self, model: &str) -> Result<(Vec<Text>, Embeddings), Failure> {
        if self.dimensions.is_some() {
            let message = "`dimensions` is not supported: vectors are as long as the model's";
            return Err(Failure::unsupported("dimensions", message));
        }
        let texts: Vec<_> = match self.input {
            Input::Text(text) => vec![Text::Text(text)],
            Input::Tokens(tokens) => vec![Text::Tokens(tokens)],
            Input::Texts(texts) => texts.into_iter().map(Text::Text).collect(),
            Input::ManyTokens(texts) => texts.into_iter().map(Text::Tokens).collect(),
        };
        if texts.is_empty() || texts.len() > INPUTS_MAX {
            let message = format!("`input` has {} texts; give 1 to {INPUTS_MAX}", texts.len());
            return Err(Failure::parameter("input", message));
        }
        let (encoding, model) = (self.encoding_format, model.to_owned());
        Ok((texts, Embeddings { encoding, model, data: Vec::new(), tokens: 0 }))
    }
}

/// Makes OpenAI's answer of vectors.
#[derive(Debug)]
pub struct Embeddings {
    encoding: Encoding,
    model: String,
    data: Vec<Embedding>,
    tokens: u64,
}

impl Embeddings {
    /// Adds the next text's vector, and its number of tokens.
    pub fn add(&mut self, vector: Vec<f32>, tokens: usize) {
        let embedding = match self.encoding {
            Encoding::Float => Vector::Numbers(vector),
            Encoding::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                Vector::Base64(STANDARD.encode(bytes))
            }
        };
        self.data.push(Embedding { object: "embedding", index: self.data.len(), embedding });
        self.tokens += tokens as u64;
    }

    /// All that were added.
    pub fn whole(self) -> EmbeddingResponse {
        let usage = UsageBody::of_prompt(self.tokens);
        EmbeddingResponse { object: "list", data: self.data, model: self.model, usage }
    }
}
