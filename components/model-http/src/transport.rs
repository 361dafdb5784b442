//! Requests through `wasi:http/outgoing-handler`.

use std::ops::Range;
use std::time::Duration;

use trefoil_remote::{Failure, Head, Scheme, Transport, Url};

use crate::bindings::wasi::clocks::monotonic_clock::subscribe_duration;
use crate::bindings::wasi::http::outgoing_handler::handle;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, OutgoingRequest, RequestOptions, Scheme as WasiScheme,
};
use crate::bindings::wasi::io::streams::{InputStream, StreamError};

/// Nanoseconds for a connection, TLS included.
const CONNECT_NS: u64 = 15_000_000_000;

/// Nanoseconds without a byte of an answer.
const SILENCE_NS: u64 = 30_000_000_000;

pub(crate) struct Wasi;

/// Dropped in this order: a stream is its body's child.
pub(crate) struct Body {
    stream: InputStream,
    _body: IncomingBody,
}

impl Transport for Wasi {
    type Body = Body;

    fn get(&mut self, url: &Url, range: Range<u64>) -> Result<(Head, Body), Failure> {
        let last = range.end.saturating_sub(1);
        let fields = [
            ("accept-encoding", "identity".to_owned()),
            ("range", format!("bytes={}-{last}", range.start)),
            ("user-agent", concat!("trefoil/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.into_bytes()));
        let fields = Fields::from_list(&fields).map_err(|_| lasting("the request's fields"))?;
        let request = OutgoingRequest::new(fields);
        let scheme = match url.scheme() {
            Scheme::Http => WasiScheme::Http,
            Scheme::Https => WasiScheme::Https,
        };
        request
            .set_scheme(Some(&scheme))
            .and_then(|()| request.set_authority(Some(&url.authority())))
            .and_then(|()| request.set_path_with_query(Some(url.path_and_query())))
            .map_err(|()| lasting("the address"))?;
        let options = RequestOptions::new();
        // A host without time limits of its own still has those of its TCP.
        let _ = options.set_connect_timeout(Some(CONNECT_NS));
        let _ = options.set_first_byte_timeout(Some(SILENCE_NS));
        let _ = options.set_between_bytes_timeout(Some(SILENCE_NS));

        let answer = handle(request, Some(options)).map_err(failure)?;
        answer.subscribe().block();
        let response = match answer.get() {
            Some(Ok(response)) => response.map_err(failure)?,
            _ => return Err(lasting("no answer, where one was announced")),
        };
        let headers = response.headers();
        let header = |name: &str| {
            let value = headers.get(name).into_iter().next();
            value.map(|value| String::from_utf8_lossy(&value).into_owned())
        };
        let head = Head {
            status: response.status(),
            content_range: header("content-range"),
            content_encoding: header("content-encoding"),
            etag: header("etag"),
            location: header("location"),
            retry_after: header("retry-after"),
        };
        let body = response.consume().map_err(|()| lasting("an answer's body"))?;
        let stream = body.stream().map_err(|()| lasting("an answer's body"))?;
        Ok((head, Body { stream, _body: body }))
    }

    fn pause(&mut self, time: Duration) {
        subscribe_duration(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).block();
    }
}

impl trefoil_remote::Body for Body {
    fn read(&mut self, length_max: usize) -> Result<Vec<u8>, String> {
        loop {
            match self.stream.blocking_read(length_max as u64) {
                // Not the end: a host may wake early.
                Ok(bytes) if bytes.is_empty() && length_max > 0 => {}
                Ok(bytes) => return Ok(bytes),
                Err(StreamError::Closed) => return Ok(Vec::new()),
                Err(StreamError::LastOperationFailed(error)) => {
                    return Err(format!("the connection broke: {}", error.to_debug_string()));
                }
            }
        }
    }
}

fn lasting(what: &str) -> Failure {
    Failure::Lasting(format!("the host does not accept {what}"))
}

fn failure(code: ErrorCode) -> Failure {
    let passing = |words: &str| Failure::Passing(words.to_owned());
    match code {
        ErrorCode::HttpRequestDenied => Failure::Denied,
        ErrorCode::DnsTimeout | ErrorCode::DnsError(_) | ErrorCode::DestinationNotFound => {
            passing("its name is not known")
        }
        ErrorCode::DestinationUnavailable | ErrorCode::ConnectionRefused => {
            passing("no connection: it is refused, or the name is not known")
        }
        ErrorCode::ConnectionTimeout => passing("no connection in time"),
        ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => {
            passing("no answer in time")
        }
        ErrorCode::TlsCertificateError => Failure::Lasting("its certificate is not trusted".into()),
        ErrorCode::DestinationIpProhibited | ErrorCode::HttpRequestUriInvalid => {
            Failure::Lasting(format!("the host does not allow it ({code:?})"))
        }
        ErrorCode::InternalError(Some(words)) => Failure::Passing(words),
        code => Failure::Passing(format!("the request failed ({code:?})")),
    }
}
