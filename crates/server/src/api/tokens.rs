use axum::Json;
use axum::extract::State;
use trefoil_openai::{DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse};

use super::{App, Body, Refused};

/// Turns text into tokens.
pub(super) async fn tokenize(
    State(app): State<App>,
    Body { value: body, share: _share }: Body<TokenizeRequest>,
) -> Result<Json<TokenizeResponse>, Refused> {
    let model = app.models.get(body.model())?;
    let (text, options) = body.into_parts();
    let tokens = model.call(move |backend| backend.tokenize(text.as_bytes(), options)).await?;
    Ok(Json(TokenizeResponse::new(tokens)))
}

/// Turns tokens into text.
pub(super) async fn detokenize(
    State(app): State<App>,
    Body { value: body, share: _share }: Body<DetokenizeRequest>,
) -> Result<Json<DetokenizeResponse>, Refused> {
    let model = app.models.get(body.model())?;
    let (tokens, special) = body.into_parts();
    let text = model.call(move |backend| backend.detokenize(&tokens, special)).await?;
    Ok(Json(DetokenizeResponse::new(&text)))
}
