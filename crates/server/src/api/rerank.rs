use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use trefoil_openai::{RerankRequest, RerankResponse};

use super::{App, Body, Refused};

/// Sorts documents by how well they go with a query.
pub(super) async fn create(
    State(app): State<App>,
    Body { value: body, share: _share }: Body<RerankRequest>,
) -> Result<Json<RerankResponse>, Refused> {
    let model = app.models.get(body.model())?;
    let (query, documents, mut reranking) = body.texts(&model.name)?;
    let query: Arc<str> = query.into();
    // Document by document, so that answers under way go on in between.
    for document in documents {
        let query = Arc::clone(&query);
        let relevance = model
            .call(move |backend| backend.relevance(query.as_bytes(), document.as_bytes()))
            .await?;
        reranking.add(relevance);
    }
    Ok(Json(reranking.whole()))
}
