//! What is served, and how HTTP becomes requests.

mod answer;
mod body;
mod embeddings;
mod info;
mod openapi;
mod page;
mod refused;
mod rerank;
mod tokens;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use sha2::{Digest, Sha256};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::timeout::RequestBodyTimeoutLayer;
use trefoil_openai::{ChatRequest, CompletionRequest, Failure, ResponsesRequest};

use crate::batch::Client;
use crate::{Access, Models};
use body::{Body, LargeBodies};
use refused::Refused;

/// How long a client may pause while it sends a request.
const BODY_PAUSE: Duration = Duration::from_secs(30);

/// What handlers share.
#[derive(Clone)]
struct App {
    models: Arc<Models>,
    /// SHA-256 of the keys: comparing these tells nothing about the keys by its time.
    keys: Arc<[[u8; 32]]>,
    large_bodies: LargeBodies,
}

/// Everything that is served.
pub(crate) fn router(models: Arc<Models>, access: &Access) -> std::io::Result<Router> {
    let keys = access.keys.iter().map(|key| Sha256::digest(key).into()).collect();
    let app = App { models, keys, large_bodies: LargeBodies::default() };
    let guarded = Router::new()
        .route("/v1/models", get(info::list))
        .route("/v1/models/{*name}", get(info::one))
        .route("/v1/chat/completions", post(answer::create::<ChatRequest>))
        .route("/v1/completions", post(answer::create::<CompletionRequest>))
        .route("/v1/responses", post(answer::create::<ResponsesRequest>))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/rerank", post(rerank::create))
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

/// Lets requests pass that may, and says whose they are.
async fn authorise(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let key = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| <[u8; 32]>::from(Sha256::digest(key.trim())));
    let mut hasher = DefaultHasher::new();
    match key.filter(|key| app.keys.contains(key)) {
        Some(key) => key.hash(&mut hasher),
        None if app.keys.is_empty() => {
            let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
            address.map(|ConnectInfo(address)| address.ip()).hash(&mut hasher);
        }
        None => return Refused(Failure::unauthorised()).into_response(),
    }
    request.extensions_mut().insert(Client(hasher.finish()));
    next.run(request).await
}

/// Counts the answer. Paths that do not exist are one: clients choose them.
async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    let path = path.as_deref().unwrap_or("other");
    app.models.metrics.answered(path, response.status().as_u16());
    response
}

async fn no_page(uri: Uri) -> Refused {
    Refused(Failure::no_page(uri.path()))
}

async fn no_method(method: Method, uri: Uri) -> Refused {
    Refused(Failure::no_method(method.as_str(), uri.path()))
}
