use axum::Json;
use axum::extract::State;
use trefoil_contract::TokenizeOptions;
use trefoil_openai::{EmbeddingRequest, EmbeddingResponse, Text};

use super::{App, Body, Refused};

/// Computes the vectors of texts.
pub(super) async fn create(
    State(app): State<App>,
    Body { value: body, share: _share }: Body<EmbeddingRequest>,
) -> Result<Json<EmbeddingResponse>, Refused> {
    let model = app.models.get(body.model())?;
    let (texts, mut embeddings) = body.texts(&model.name)?;
    // Text by text, so that answers under way go on in between.
    for text in texts {
        let (vector, tokens) = model
            .call(move |backend| {
                let options = TokenizeOptions { add_special: true, parse_special: false };
                let tokens = match text {
                    Text::Text(text) => backend.tokenize(text.as_bytes(), options)?,
                    Text::Tokens(tokens) => tokens,
                };
                Ok((backend.embed(&tokens)?, tokens.len()))
            })
            .await?;
        embeddings.add(vector, tokens);
    }
    Ok(Json(embeddings.whole()))
}
