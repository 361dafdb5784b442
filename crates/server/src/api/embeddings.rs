use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use trefoil_contract::TokenizeOptions;
use utoipa::ToSchema;

use super::answer::UsageBody;
use super::{App, Body};
use crate::failure::{ErrorBody, Failure};

/// Texts of a request at most.
const INPUTS_MAX: usize = 2048;

/// A request for the vectors of texts.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct EmbeddingRequest {
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
pub(super) struct EmbeddingResponse {
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
enum Text {
    Text(String),
    Tokens(Vec<u32>),
}

/// Computes the vectors of texts.
#[utoipa::path(
    post, path = "/v1/embeddings", request_body = EmbeddingRequest,
    responses(
        (status = 200, description = "The vectors", body = EmbeddingResponse),
        (status = "default", description = "Why there are none", body = ErrorBody),
    )
)]
pub(super) async fn create(
    State(app): State<App>,
    Body(body): Body<EmbeddingRequest>,
) -> Result<Json<EmbeddingResponse>, Failure> {
    let model = app.models.get(body.model.as_deref())?;
    if body.dimensions.is_some() {
        let message = "`dimensions` is not supported: vectors are as long as the model's";
        return Err(Failure::unsupported("dimensions", message));
    }
    let texts: Vec<_> = match body.input {
        Input::Text(text) => vec![Text::Text(text)],
        Input::Tokens(tokens) => vec![Text::Tokens(tokens)],
        Input::Texts(texts) => texts.into_iter().map(Text::Text).collect(),
        Input::ManyTokens(texts) => texts.into_iter().map(Text::Tokens).collect(),
    };
    if texts.is_empty() || texts.len() > INPUTS_MAX {
        let message = format!("`input` has {} texts; give 1 to {INPUTS_MAX}", texts.len());
        return Err(Failure::parameter("input", message));
    }
    let (mut data, mut tokens_total) = (Vec::new(), 0);
    // Text by text, so that answers under way go on in between.
    for (index, text) in texts.into_iter().enumerate() {
        let (vector, tokens) = model
            .call(move |backend| {
                let options = TokenizeOptions { add_special: true, parse_special: false };
                let tokens = match text {
                    Text::Text(text) => backend.tokenize(text.as_bytes(), options)?,
                    Text::Tokens(tokens) => tokens,
                };
                Ok((backend.embed(&tokens)?, tokens.len() as u64))
            })
            .await?;
        tokens_total += tokens;
        let embedding = match body.encoding_format {
            Encoding::Float => Vector::Numbers(vector),
            Encoding::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                Vector::Base64(STANDARD.encode(bytes))
            }
        };
        data.push(Embedding { object: "embedding", index, embedding });
    }
    let usage = UsageBody::of_prompt(tokens_total);
    Ok(Json(EmbeddingResponse { object: "list", data, model: model.name.clone(), usage }))
}
