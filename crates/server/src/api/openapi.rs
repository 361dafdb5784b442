use axum::Json;
use utoipa::OpenApi;

use super::{chat, completions, embeddings, info, tokens};

/// What is served, as OpenAPI describes it.
#[derive(OpenApi)]
#[openapi(
    info(title = "Trefoil", description = "OpenAI-compatible access to models in a sandbox"),
    paths(
        info::list,
        info::one,
        info::health,
        info::metrics,
        chat::create,
        completions::create,
        embeddings::create,
        tokens::tokenize,
        tokens::detokenize,
    ),
    components(schemas(chat::ChatChunk))
)]
struct Document;

pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
