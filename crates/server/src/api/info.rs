use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use crate::failure::{ErrorBody, Failure};

/// The media type of OpenMetrics' text.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The models that are offered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelList {
    /// `list`
    object: &'static str,
    data: Vec<ModelBody>,
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelBody {
    /// Its name.
    id: String,
    /// `model`
    object: &'static str,
    /// When the server was started, in seconds since 1970.
    created: u64,
    /// `trefoil`
    owned_by: &'static str,
}

fn body(app: &App, name: &str) -> ModelBody {
    let created = app.models.created_s();
    ModelBody { id: name.into(), object: "model", created, owned_by: "trefoil" }
}

/// Whether the server is up.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`
    status: &'static str,
}

/// Lists the models.
#[utoipa::path(
    get, path = "/v1/models",
    responses(
        (status = 200, description = "The models", body = ModelList),
        (status = "default", description = "Why there is no answer", body = ErrorBody),
    )
)]
pub(super) async fn list(State(app): State<App>) -> Json<ModelList> {
    let data = app.models.names().iter().map(|name| body(&app, name)).collect();
    Json(ModelList { object: "list", data })
}

/// Shows a model.
#[utoipa::path(
    get, path = "/v1/models/{name}", params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The model", body = ModelBody),
        (status = "default", description = "Why there is no answer", body = ErrorBody),
    )
)]
pub(super) async fn one(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<ModelBody>, Failure> {
    let model = app.models.get(Some(&name))?;
    Ok(Json(body(&app, &model.name)))
}

/// Says that the server is up.
#[utoipa::path(
    get, path = "/health",
    responses((status = 200, description = "It is", body = Health))
)]
pub(super) async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Counters in OpenMetrics' text form, as Prometheus reads it.
#[utoipa::path(
    get, path = "/metrics",
    responses(
        (status = 200, description = "The counters", body = String,
            content_type = "application/openmetrics-text"),
        (status = "default", description = "Why there are none", body = ErrorBody),
    )
)]
pub(super) async fn metrics(State(app): State<App>) -> Response {
    match app.models.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
