//! HTTP, as downloads need it: redirects with rules, limits on all that a server sends, retries.

use std::cell::Cell;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ureq::http::Response as Answer;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

use crate::address::Address;
use crate::failure::ClientError;
use crate::progress::{Cancelled, Event, Progress};

/// Most redirects from one address to the next.
const REDIRECTS_MAX: usize = 10;

/// Most bytes of a response's header.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Most bytes of a document (JSON) that a server sends: the largest repositories have thousands of
/// files.
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;

/// Time for a connection, its encryption included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Time without a byte.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for a response's header, and for a whole document.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a wait looks whether it is cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// When and how often something is tried again.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Attempts in a row that bring nothing new.
    pub attempts_max: u32,
    /// The wait after the first of them; it doubles each time.
    pub first_wait: Duration,
    /// The longest such wait.
    pub wait_max: Duration,
    /// The longest wait that a server may ask for (`Retry-After`).
    pub asked_wait_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            attempts_max: 6,
            first_wait: Duration::from_millis(500),
            wait_max: Duration::from_secs(30),
            asked_wait_max: Duration::from_secs(120),
        }
    }
}

/// A client, whose connections are kept for the next request.
pub(crate) struct Client {
    agent: Agent,
    allow_http: bool,
    retry: Retry,
    cancelled: Cancelled,
    /// Whether any server ever answered: until then there may be no network at all.
    answered: Cell<bool>,
    /// Ends the thread that watches for cancellation, when dropped.
    _watch: mpsc::Sender<()>,
}

/// A request without a body.
pub(crate) struct Request<'a> {
    pub(crate) address: &'a Address,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Sent to the address's own origin alone.
    pub(crate) bearer: Option<&'a str>,
    /// Time for the body, if it is known to be short.
    pub(crate) body_timeout: Option<Duration>,
}

/// What a server sent, whatever the status.
pub(crate) struct Response {
    answer: Answer<Body>,
    /// After redirects.
    pub(crate) address: Address,
    /// The SHA-256 or other entity tag that Hugging Face sends before it redirects.
    pub(crate) linked_etag: Option<String>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(address: &'a Address) -> Self {
        Request { address, headers: Vec::new(), bearer: None, body_timeout: None }
    }

    /// One for a document, which does not take long.
    pub(crate) fn document(address: &'a Address) -> Self {
        Request { body_timeout: Some(DOCUMENT_TIMEOUT), ..Request::new(address) }
    }
}

impl Client {
    /// `authorities` is a file with certificates in place of the built-in ones.
    pub(crate) fn new(
        allow_http: bool,
        authorities: Option<&Path>,
        retry: Retry,
        cancelled: Cancelled,
    ) -> Result<Self, ClientError> {
        let tls = match authorities {
            Some(path) => TlsConfig::builder().root_certs(certificates(path)?).build(),
            None => TlsConfig::default(),
        };
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(HEADER_BYTES_MAX)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .timeout_per_write(Some(READ_TIMEOUT))
            .timeout_recv_response(Some(DOCUMENT_TIMEOUT))
            .user_agent(concat!("trefoil/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build()
            .into();
        let watch = watch(agent.clone(), cancelled.clone());
        let answered = Cell::new(false);
        Ok(Client { agent, allow_http, retry, cancelled, answered, _watch: watch })
    }

    pub(crate) fn retry(&self) -> &Retry {
        &self.retry
    }

    pub(crate) fn check_cancelled(&self) -> Result<(), ClientError> {
        if (self.cancelled)() { Err(ClientError::Cancelled) } else { Ok(()) }
    }

    /// Waits, unless cancelled.
    pub(crate) fn wait(&self, time: Duration) -> Result<(), ClientError> {
        let mut left = time;
        while !left.is_zero() {
            self.check_cancelled()?;
            let step = left.min(LOOK);
            std::thread::sleep(step);
            left -= step;
        }
        self.check_cancelled()
    }

    /// Asks once, and again where redirected to.
    pub(crate) fn get(&self, request: &Request<'_>) -> Result<Response, ClientError> {
        let mut address = request.address.clone();
        let mut linked_etag = None;
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.ask(request, &address)?;
            let status = answer.status().as_u16();
            if linked_etag.is_none() && address.has_origin_of(request.address) {
                linked_etag = header(&answer, "x-linked-etag").map(unquoted);
            }
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Ok(Response { answer, address, linked_etag });
            }
            let location = header(&answer, "location").ok_or_else(|| ClientError::Malformed {
                address: address.clone(),
                problem: format!("it redirects (status {status}) without saying where to"),
            })?;
            let next = address.join(&location).map_err(|problem| ClientError::Malformed {
                address: address.clone(),
                problem: format!("it redirects to where we cannot go: {problem}"),
            })?;
            if address.is_https() && !next.is_https() {
                return Err(ClientError::Downgrade { from: address, to: next });
            }
            address = next;
        }
        Err(ClientError::Redirects { address: request.address.clone(), count: REDIRECTS_MAX })
    }

    fn ask(&self, request: &Request<'_>, address: &Address) -> Result<Answer<Body>, ClientError> {
        self.check_cancelled()?;
        if !address.is_https() && !address.is_loopback() && !self.allow_http {
            return Err(ClientError::Plain { address: address.clone() });
        }
        let mut builder = self.agent.get(address.full());
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(token) = request.bearer
            && address.has_origin_of(request.address)
        {
            builder = builder.header("authorization", format!("Bearer {token}"));
        }
        // A proxy has another loopback than we.
        let proxy = if address.is_loopback() { None } else { Proxy::try_from_env() };
        let config = builder.config().proxy(proxy).timeout_recv_body(request.body_timeout);
        let answer = config.build().call().map_err(|source| match (self.cancelled)() {
            true => ClientError::Cancelled,
            false => ClientError::from_ureq(address, source, self.answered.get()),
        })?;
        self.answered.set(true);
        Ok(answer)
    }

    /// A document, asked for again where that may help. Its status is 200 or 401.
    pub(crate) fn document(
        &self,
        request: &Request<'_>,
        progress: &mut dyn Progress,
    ) -> Result<(Response, Vec<u8>), ClientError> {
        let mut attempt = 1;
        loop {
            let error = match self.document_once(request) {
                Ok(document) => return Ok(document),
                Err(error) => error,
            };
            let wait = self.pause(attempt, error)?;
            progress.event(Event::Retry { reason: &wait.reason, wait: wait.time });
            self.wait(wait.time)?;
            attempt += 1;
        }
    }

    fn document_once(&self, request: &Request<'_>) -> Result<(Response, Vec<u8>), ClientError> {
        let mut response = self.get(request)?;
        let mut document = Vec::new();
        let read = response.reader().take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut document);
        self.check_cancelled()?;
        let address = &response.address;
        read.map_err(|source| ClientError::Cut { address: address.clone(), source })?;
        if document.len() as u64 > DOCUMENT_BYTES_MAX {
            let problem = format!("its answer is longer than {DOCUMENT_BYTES_MAX} bytes");
            return Err(ClientError::Malformed { address: address.clone(), problem });
        }
        // A registry asks for a token with 401: that is an answer.
        match response.status() {
            200 | 401 => Ok((response, document)),
            _ => Err(response.refusal(&document)),
        }
    }

    /// How long to wait after the given attempt failed; the error again, if it is the last.
    pub(crate) fn pause(&self, attempt: u32, error: ClientError) -> Result<Pause, ClientError> {
        if attempt >= self.retry.attempts_max || !error.is_transient() {
            return Err(error);
        }
        let doubled = self.retry.first_wait.saturating_mul(1 << (attempt - 1).min(16));
        let time = match error.asked_wait() {
            Some(asked) if asked > self.retry.asked_wait_max => return Err(error),
            Some(asked) => asked,
            None => doubled.min(self.retry.wait_max),
        };
        Ok(Pause { time, reason: error.to_string() })
    }
}

/// A wait before the next attempt.
pub(crate) struct Pause {
    pub(crate) time: Duration,
    pub(crate) reason: String,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.answer.status().as_u16()
    }

    /// A header, if it is there and is text.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        header(&self.answer, name)
    }

    /// Bytes of the body, if the server says how many.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The body. Ends early with an error where the server said how long it is.
    pub(crate) fn reader(&mut self) -> impl Read + '_ {
        self.answer.body_mut().as_reader()
    }

    /// The error for a status that is not what was asked for.
    pub(crate) fn refusal(&self, document: &[u8]) -> ClientError {
        // Seconds; the other form, a date, is rare.
        let asked = self.header("retry-after").and_then(|text| text.trim().parse().ok());
        let said = self.header("x-error-message").or_else(|| first_line(document));
        ClientError::Status {
            address: self.address.clone(),
            status: self.status(),
            said: said.map(|text| printable(&text)).filter(|text| !text.is_empty()),
            retry_after: asked.map(Duration::from_secs),
        }
    }
}

fn header(answer: &Answer<Body>, name: &str) -> Option<String> {
    Some(answer.headers().get(name)?.to_str().ok()?.to_owned())
}

/// The tag itself, of `"TAG"` or `W/"TAG"`.
fn unquoted(etag: String) -> String {
    etag.trim_start_matches("W/").trim_matches('"').to_owned()
}

fn first_line(document: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(document).ok()?.trim();
    // Pages for people say nothing in their first line.
    let line = text.lines().next().filter(|line| !line.starts_with('<'))?;
    Some(line.to_owned())
}

/// What a server says may be printed: without control characters, and not much of it.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Certificates of authorities in place of the built-in ones.
fn certificates(path: &Path) -> Result<RootCerts, ClientError> {
    let error = |problem: String| ClientError::Certificates { path: path.into(), problem };
    let pem = std::fs::read(path).map_err(|source| error(source.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        match item.map_err(|source| error(source.to_string()))? {
            PemItem::Certificate(certificate) => found.push(certificate),
            _ => continue,
        }
    }
    if found.is_empty() {
        return Err(error("it contains no certificate in PEM form".into()));
    }
    Ok(RootCerts::Specific(Arc::new(found)))
}

/// Ends all connections when cancelled: reads that wait for a server end then, too.
fn watch(agent: Agent, cancelled: Cancelled) -> mpsc::Sender<()> {
    let (sender, receiver) = mpsc::channel();
    let watcher = move || {
        while receiver.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
            if cancelled() {
                return agent.shutdown();
            }
        }
    };
    // Without the thread a cancellation takes until the next byte, nothing else.
    let _ = std::thread::Builder::new().name("cancellation".into()).spawn(watcher);
    sender
}
