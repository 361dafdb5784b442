use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use trefoil_openai::{Health, ModelBody, ModelList};

use super::{App, Refused};

/// The media type of OpenMetrics' text.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Lists the models.
pub(super) async fn list(State(app): State<App>) -> Json<ModelList> {
    let names = app.models.names();
    Json(ModelList::new(names.iter().map(String::as_str), app.models.created_s()))
}

/// Shows a model.
pub(super) async fn one(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<ModelBody>, Refused> {
    let model = app.models.get(Some(&name))?;
    Ok(Json(ModelBody::new(&model.name, app.models.created_s())))
}

/// Says that the server is up.
pub(super) async fn health() -> Json<Health> {
    Json(Health::ok())
}

/// Counters in OpenMetrics' text form, as Prometheus reads it.
#[utoipa::path(
    get, path = "/metrics",
    responses(
        (status = 200, description = "The counters", body = String,
            content_type = "application/openmetrics-text"),
        (status = "default", description = "Why there are none", body = trefoil_openai::ErrorBody),
    )
)]
pub(super) async fn metrics(State(app): State<App>) -> Response {
    let metrics = &app.models.metrics;
    let taken = i64::try_from(app.large_bodies.taken_bytes()).unwrap_or(i64::MAX);
    metrics.large_body_bytes.set(taken);
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
