use axum::Json;
use utoipa::OpenApi;

use super::info;

/// What this server has besides, as OpenAPI describes it.
#[derive(OpenApi)]
#[openapi(paths(info::metrics))]
struct Document;

pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    let mut document = trefoil_openai::document();
    document.merge(Document::openapi());
    Json(document)
}
