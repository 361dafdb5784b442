use serde::Serialize;
use trefoil_contract::Error;
use utoipa::ToSchema;

use crate::BODY_BYTES_MAX;

/// Seconds after which a client may try again when the queue was full.
const RETRY_AFTER_S: &str = "1";

/// Why a request has no answer, as OpenAI's clients expect it.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    status: u16,
    kind: &'static str,
    code: Option<String>,
    param: Option<String>,
    message: String,
}

/// The body of an answer that is an error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    error: ErrorDetails,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorDetails {
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
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Failure { status, kind, code: None, param: None, message: message.into() }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// A parameter of the request is wrong.
    pub fn parameter(name: &str, message: impl Into<String>) -> Self {
        let mut failure = Self::invalid(message);
        failure.param = Some(name.into());
        failure.code("invalid_value")
    }

    /// A parameter that would change the answer, and that this server does not know.
    pub fn unsupported(name: &str, message: impl Into<String>) -> Self {
        let mut failure = Self::invalid(message);
        failure.param = Some(name.into());
        failure.code("unsupported_parameter")
    }

    /// There is no such model.
    pub fn no_model(name: &str, known: &[String]) -> Self {
        let message = format!("there is no model `{name}`; there are: {}", known.join(", "));
        let mut failure = Self::new(404, "invalid_request_error", message);
        failure.param = Some("model".into());
        failure.code("model_not_found")
    }

    /// There is no such page.
    pub fn no_page(path: &str) -> Self {
        let message = format!("there is nothing at `{path}`; GET /openapi.json says what there is");
        Self::new(404, "invalid_request_error", message).code("not_found")
    }

    /// The page has no such method.
    pub fn no_method(method: &str, path: &str) -> Self {
        let message = format!("`{path}` does not take {method}");
        Self::new(405, "invalid_request_error", message).code("method_not_allowed")
    }

    /// The key is missing or wrong.
    pub fn unauthorised() -> Self {
        let message = "an API key is needed: `Authorization: Bearer KEY`";
        Self::new(401, "authentication_error", message).code("invalid_api_key")
    }

    /// Too many requests wait already.
    pub fn queue_full(waiting: usize) -> Self {
        let message = format!("{waiting} requests wait already; try again later");
        Self::new(429, "rate_limit_error", message).code("queue_full")
    }

    /// Large bodies of requests take all the memory that there is for them.
    pub fn too_much_at_once(bytes_max: usize) -> Self {
        let message = format!(
            "requests that are under way have {bytes_max} bytes together already; try again later"
        );
        Self::new(429, "rate_limit_error", message).code("bodies_full")
    }

    /// The answer took longer than allowed.
    pub fn too_slow(seconds: u64) -> Self {
        let message = format!("the answer took longer than the {seconds} s that are allowed");
        Self::new(504, "server_error", message).code("timeout")
    }

    /// The server is being stopped.
    pub fn stopping() -> Self {
        Self::new(503, "server_error", "the server is being stopped").code("stopping")
    }

    /// The model cannot be opened.
    pub fn not_opened(message: impl Into<String>) -> Self {
        Self::new(503, "server_error", message).code("model_not_loaded")
    }

    /// The body is not what it should be.
    pub fn body(status: u16, message: impl Into<String>) -> Self {
        Self::new(status, "invalid_request_error", message).code("invalid_body")
    }

    /// The body is longer than [`BODY_BYTES_MAX`].
    pub fn too_large(bytes: u64) -> Self {
        Self::body(413, format!("the body has {bytes} bytes; at most {BODY_BYTES_MAX} are taken"))
    }

    /// The instance that computed the answer has ended.
    pub fn instance_failed(message: impl Into<String>) -> Self {
        Self::new(500, "server_error", message).code("instance_failed")
    }

    fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The answer's status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// A header that the answer needs besides, in lower case, and its value.
    pub fn header(&self) -> Option<(&'static str, &'static str)> {
        match self.status {
            401 => Some(("www-authenticate", "Bearer")),
            429 => Some(("retry-after", RETRY_AFTER_S)),
            _ => None,
        }
    }

    /// The answer's body.
    pub fn into_body(self) -> ErrorBody {
        let Failure { kind, code, param, message, .. } = self;
        ErrorBody { error: ErrorDetails { message, kind, param, code } }
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
                Self::new(404, "invalid_request_error", message).code("not_found")
            }
            Error::Busy(_) | Error::OutOfMemory { .. } => {
                Self::new(503, "server_error", message).code("overloaded")
            }
            Error::InvalidModel(_)
            | Error::Io(_)
            | Error::Finished
            | Error::Duplicate
            | Error::Other { .. } => Self::new(500, "server_error", message).code("engine_error"),
        }
    }
}
