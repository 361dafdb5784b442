//! What is served, and how HTTP becomes requests.

mod answer;
mod chat;
mod completions;
mod embeddings;
mod info;
mod message;
mod openapi;
mod page;
mod sampling;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use sha2::{Digest, Sha256};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::failure::Failure;
use crate::{Access, Models};

/// Bytes of a request at most.
const BODY_BYTES_MAX: usize = 32 << 20;

/// How long a client may pause while it sends a request.
const BODY_PAUSE: Duration = Duration::from_secs(30);

/// What handlers share.
#[derive(Clone)]
struct App {
    models: Arc<Models>,
    /// SHA-256 of the keys: comparing these tells nothing about the keys by its time.
    keys: Arc<[[u8; 32]]>,
}

/// Everything that is served.
pub(crate) fn router(models: Arc<Models>, access: &Access) -> std::io::Result<Router> {
    let keys = access.keys.iter().map(|key| Sha256::digest(key).into()).collect();
    let app = App { models, keys };
    let guarded = Router::new()
        .route("/v1/models", get(info::list))
        .route("/v1/models/{*name}", get(info::one))
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/metrics", get(info::metrics))
        .route_layer(middleware::from_fn_with_state(app.clone(), authorise));
    let open = Router::new()
        .route("/", get(page::chat))
        .route("/health", get(info::health))
        .route("/openapi.json", get(openapi::document));
    let router = guarded
        .merge(open)
        .fallback(no_page)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(app.clone(), count))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(RequestBodyTimeoutLayer::new(BODY_PAUSE))
        .with_state(app);
    Ok(match cors(&access.origins)? {
        Some(cors) => router.layer(cors),
        None => router,
    })
}

fn cors(origins: &[String]) -> std::io::Result<Option<CorsLayer>> {
    if origins.is_empty() {
        return Ok(None);
    }
    let invalid = |origin: &String| {
        let message =
            format!("`{origin}` is no origin; give one such as https://example.org, or *");
        std::io::Error::new(std::io::ErrorKind::InvalidInput, message)
    };
    let origins = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let parse = |origin: &String| {
            let is_origin = origin.contains("://") && !origin.ends_with('/');
            let value = HeaderValue::from_str(origin).ok().filter(|_| is_origin);
            value.ok_or_else(|| invalid(origin))
        };
        AllowOrigin::list(origins.iter().map(parse).collect::<Result<Vec<_>, _>>()?)
    };
    let headers = [header::AUTHORIZATION, header::CONTENT_TYPE];
    let methods = [Method::GET, Method::POST];
    Ok(Some(CorsLayer::new().allow_origin(origins).allow_headers(headers).allow_methods(methods)))
}

async fn authorise(State(app): State<App>, request: Request, next: Next) -> Response {
    let key = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| <[u8; 32]>::from(Sha256::digest(key.trim())));
    let known = key.is_some_and(|key| app.keys.contains(&key));
    if app.keys.is_empty() || known {
        next.run(request).await
    } else {
        Failure::unauthorised().into_response()
    }
}

/// Counts the answer. Paths that do not exist are one: clients choose them.
async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    let path = path.as_deref().unwrap_or("other");
    app.models.metrics.answered(path, response.status().as_u16());
    response
}

async fn no_page(uri: Uri) -> Failure {
    Failure::no_page(uri.path())
}

async fn no_method(method: Method, uri: Uri) -> Failure {
    Failure::no_method(method.as_str(), uri.path())
}

/// A body in JSON, whose faults are reported as OpenAI does: with the name of the parameter.
/// Content types are not looked at: clients without one mean JSON.
struct Body<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if let Some(bytes) = announced.filter(|bytes| *bytes > BODY_BYTES_MAX) {
            // Not read at all: the client is told at once.
            let message = format!("the body has {bytes} bytes; at most {BODY_BYTES_MAX} are taken");
            return Err(Failure::body(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Failure::body(rejection.status(), rejection.body_text()))?;
        let value: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::invalid(format!("the body is not JSON: {error}")))?;
        // Of flattened fields the name is known to their own type only.
        parameter::<sampling::Sampling>(&value)?;
        parameter(&value).map(Body)
    }
}

fn parameter<T: serde::de::DeserializeOwned>(value: &serde_json::Value) -> Result<T, Failure> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." => Failure::invalid(error.into_inner().to_string()),
            _ => Failure::parameter(&path, format!("`{path}`: {}", error.inner())),
        }
    })
}
