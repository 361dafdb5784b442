use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use trefoil_contract::TokenizeOptions;
use utoipa::ToSchema;

use super::{App, Body};
use crate::failure::{ErrorBody, Failure};

/// A text to be cut into tokens.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct TokenizeRequest {
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
pub(super) struct TokenizeResponse {
    tokens: Vec<u32>,
}

/// Tokens to be made text.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct DetokenizeRequest {
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
pub(super) struct DetokenizeResponse {
    /// U+FFFD stands for what is no character.
    content: String,
}

/// Turns text into tokens.
#[utoipa::path(
    post, path = "/tokenize", request_body = TokenizeRequest,
    responses(
        (status = 200, description = "The tokens", body = TokenizeResponse),
        (status = "default", description = "Why there are none", body = ErrorBody),
    )
)]
pub(super) async fn tokenize(
    State(app): State<App>,
    Body(body): Body<TokenizeRequest>,
) -> Result<Json<TokenizeResponse>, Failure> {
    let model = app.models.get(body.model.as_deref())?;
    let TokenizeRequest { content, add_special, parse_special, .. } = body;
    let options = TokenizeOptions { add_special, parse_special };
    let tokens = model.call(move |backend| backend.tokenize(content.as_bytes(), options)).await?;
    Ok(Json(TokenizeResponse { tokens }))
}

/// Turns tokens into text.
#[utoipa::path(
    post, path = "/detokenize", request_body = DetokenizeRequest,
    responses(
        (status = 200, description = "The text", body = DetokenizeResponse),
        (status = "default", description = "Why there is none", body = ErrorBody),
    )
)]
pub(super) async fn detokenize(
    State(app): State<App>,
    Body(body): Body<DetokenizeRequest>,
) -> Result<Json<DetokenizeResponse>, Failure> {
    let model = app.models.get(body.model.as_deref())?;
    let DetokenizeRequest { tokens, special, .. } = body;
    let bytes = model.call(move |backend| backend.detokenize(&tokens, special)).await?;
    Ok(Json(DetokenizeResponse { content: String::from_utf8_lossy(&bytes).into_owned() }))
}
