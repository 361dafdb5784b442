use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use trefoil_contract::Error;
use utoipa::ToSchema;

use crate::BackendError;

/// Seconds after which a client may try again when the queue was full.
const RETRY_AFTER_S: u64 = 1;

/// Why a request has no answer, as OpenAI's clients expect it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    status: StatusCode,
    kind: &'static str,
    code: Option<String>,
    param: Option<String>,
    message: String,
}

/// The body of an answer that is an error.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorDetails,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorDetails {
    /// For people.
    message: String,
    /// `invalid_request_error`, `authentication_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The parameter that is wrong, if it is one.
    param: Option<String>,
    /// For programs: `context_length_exceeded`, `model_not_found`, ...
    code: Option<String>,
}

impl Failure {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Failure { status, kind, code: None, param: None, message: message.into() }
    }

    /// The request is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// A parameter of the request is wrong.
    pub(crate) fn parameter(name: &str, message: impl Into<String>) -> Self {
        let mut failure = Self::invalid(message);
        failure.param = Some(name.into());
        failure.code("invalid_value")
    }

    /// A parameter that would change the answer, and that this server does not know.
    pub(crate) fn unsupported(name: &str, message: impl Into<String>) -> Self {
        let mut failure = Self::invalid(message);
        failure.param = Some(name.into());
        failure.code("unsupported_parameter")
    }

    /// There is no such model.
    pub(crate) fn no_model(name: &str, known: &[String]) -> Self {
        let message = format!("there is no model `{name}`; there are: {}", known.join(", "));
        let mut failure = Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
        failure.param = Some("model".into());
        failure.code("model_not_found")
    }

    /// There is no such page.
    pub(crate) fn no_page(path: &str) -> Self {
        let message = format!("there is nothing at `{path}`; GET /openapi.json says what there is");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message).code("not_found")
    }

    /// The page has no such method.
    pub(crate) fn no_method(method: &str, path: &str) -> Self {
        let message = format!("`{path}` does not take {method}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
            .code("method_not_allowed")
    }

    /// The key is missing or wrong.
    pub(crate) fn unauthorised() -> Self {
        let message = "an API key is needed: `Authorization: Bearer KEY`";
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message).code("invalid_api_key")
    }

    /// Too many requests wait already.
    pub(crate) fn queue_full(waiting: usize) -> Self {
        let message = format!("{waiting} requests wait already; try again later");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message).code("queue_full")
    }

    /// The answer took longer than allowed.
    pub(crate) fn too_slow(seconds: u64) -> Self {
        let message = format!("the answer took longer than the {seconds} s that are allowed");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "server_error", message).code("timeout")
    }

    /// The server is being stopped.
    pub(crate) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the server is being stopped")
            .code("stopping")
    }

    /// The model cannot be opened.
    pub(crate) fn not_opened(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message).code("model_not_loaded")
    }

    /// The body is not what it should be.
    pub(crate) fn body(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "invalid_request_error", message).code("invalid_body")
    }

    fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The body.
    pub(crate) fn into_body(self) -> ErrorBody {
        let Failure { kind, code, param, message, .. } = self;
        ErrorBody { error: ErrorDetails { message, kind, param, code } }
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::Refused(error) => error.into(),
            BackendError::Failed(message) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
                    .code("instance_failed")
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::InvalidSetting { key, .. } => Self::parameter(&key.replace('-', "_"), message),
            Error::InvalidArgument(_) => Self::invalid(message).code("invalid_value"),
            Error::Unsupported(_) => Self::invalid(message).code("unsupported"),
            Error::Template(_) => Self::invalid(message).code("template_error"),
            Error::ContextOverflow { .. } => Self::invalid(message).code("context_length_exceeded"),
            Error::NotFound(_) => {
                Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message).code("not_found")
            }
            Error::Busy(_) | Error::OutOfMemory { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
                    .code("overloaded")
            }
            Error::InvalidModel(_)
            | Error::Io(_)
            | Error::Finished
            | Error::Duplicate
            | Error::Other { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
                    .code("engine_error")
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self.into_body())).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}
