//! Requests of guests over HTTP: only to hosts that were granted, and no longer than the guest may
//! run.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::str::FromStr;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::Scheme;
use http::{Method, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Interval, interval};
use wasmtime_wasi_http::p2::bindings::http::types::{DnsErrorPayload, ErrorCode};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks, default_send_request,
};

use crate::GrantError;
use crate::guest::Watch;
use crate::runtime::TICK;

/// Whom a guest may send HTTP requests to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpHost {
    name: Name,
    /// Without one, the port that belongs to `http` or `https`.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// Every host, at every port unless one is named.
    Any,
    /// Every host below this domain, which begins with a dot.
    Below(String),
    /// This one, in lower case.
    Exactly(String),
}

impl FromStr for HttpHost {
    type Err = GrantError;

    /// `HOST` or `HOST:PORT`; the host is a name, an IPv4 address, an IPv6 address in brackets,
    /// `*.DOMAIN` for all below a domain, or `*` for all.
    fn from_str(text: &str) -> Result<Self, GrantError> {
        let error = || GrantError::Host(text.into());
        // The colons of an IPv6 address lie inside its brackets.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            Some(port) => Some(port.parse().ok().filter(|port| *port != 0).ok_or_else(error)?),
            None => None,
        };
        let host = host.to_ascii_lowercase();
        let is_name = |name: &str| {
            let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !name.is_empty() && name.bytes().all(is_fit)
        };
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let name = match (host.as_str(), address, host.strip_prefix('*')) {
            ("*", ..) => Name::Any,
            (_, Some(address), _) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                Name::Exactly(host)
            }
            (.., Some(domain))
                if domain.len() > 1 && domain.starts_with('.') && is_name(domain) =>
            {
                Name::Below(domain.into())
            }
            (name, None, None) if is_name(name) => Name::Exactly(host),
            _ => return Err(error()),
        };
        Ok(HttpHost { name, port })
    }
}

impl HttpHost {
    fn allows(&self, uri: &Uri) -> bool {
        let scheme_port = if uri.scheme() == Some(&Scheme::HTTP) { 80 } else { 443 };
        let port = uri.port_u16().unwrap_or(scheme_port);
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let is_host = match &self.name {
            Name::Any => true,
            Name::Below(domain) => host.len() > domain.len() && host.ends_with(domain),
            Name::Exactly(name) => host == *name,
        };
        let is_port = match (self.port, &self.name) {
            (Some(granted), _) => port == granted,
            (None, Name::Any) => true,
            (None, _) => port == scheme_port,
        };
        is_host && is_port && !host.is_empty()
    }
}

/// What `wasi:http` needs of a guest's state.
pub(crate) struct Http {
    pub(crate) context: WasiHttpCtx,
    pub(crate) gate: Gate,
}

/// Decides on every request.
pub(crate) struct Gate {
    pub(crate) hosts: Vec<HttpHost>,
    /// Instances beside rank 0 have a model to read and nothing to send.
    pub(crate) only_reads: bool,
    pub(crate) watch: Watch,
}

impl Gate {
    fn allows(&self, request: &Request<WasiBody>) -> bool {
        let reads = [Method::GET, Method::HEAD].contains(request.method());
        (reads || !self.only_reads) && self.hosts.iter().any(|host| host.allows(request.uri()))
    }
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Io), Error>;

impl WasiHttpHooks for Gate {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        if !self.allows(&request) {
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        let watch = self.watch.clone();
        Box::new(async move {
            let sent = default_send_request(request, options);
            let (response, io) = until_stopped(sent, watch.clone()).await?;
            let body = |body| Watched { body: Box::pin(body), stop: Stop::new(watch) };
            Ok((response.map(|it| body(it).boxed_unsync()), Box::new(io) as Io))
        })
    }

    fn p2_error_from_connect(&mut self, error: &std::io::Error) -> ErrorCode {
        match error.kind() {
            std::io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
            std::io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
            std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
                ErrorCode::DestinationUnavailable
            }
            // Looking a name up fails without a kind of its own.
            _ => ErrorCode::DnsError(DnsErrorPayload {
                rcode: Some(error.to_string()),
                info_code: None,
            }),
        }
    }

    fn p2_error_from_tls(&mut self, error: &std::io::Error) -> ErrorCode {
        // rustls says so; its type is none of this crate's dependencies.
        match error.to_string().contains("certificate") {
            true => ErrorCode::TlsCertificateError,
            false => ErrorCode::TlsProtocolError,
        }
    }
}

/// Looks from time to time whether the guest should stop.
struct Stop {
    watch: Watch,
    ticks: Interval,
}

impl Stop {
    fn new(watch: Watch) -> Stop {
        Stop { watch, ticks: interval(TICK) }
    }

    /// Ready when it should. Whoever gets this error does not see it: the guest ends before.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        while self.ticks.poll_tick(context).is_ready() {
            if self.watch.stopped().is_some() {
                return Poll::Ready(Error::ConnectionTerminated);
            }
        }
        Poll::Pending
    }
}

async fn until_stopped<T>(
    future: impl Future<Output = Result<T, Error>>,
    watch: Watch,
) -> Result<T, Error> {
    let mut future = pin!(future);
    let mut stop = Stop::new(watch);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Pending => stop.poll(context).map(Err),
        ready => ready,
    })
    .await
}

/// A body that ends when the guest should.
struct Watched {
    body: Pin<Box<dyn Body<Data = Bytes, Error = Error> + Send>>,
    stop: Stop,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.body.as_mut().poll_frame(context) {
            Poll::Pending => self.stop.poll(context).map(|error| Some(Err(error))),
            ready => ready,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(grant: &str, uri: &str) -> bool {
        let host: HttpHost = grant.parse().expect("is a grant");
        host.allows(&uri.parse().expect("is an address"))
    }

    #[test]
    fn a_host_is_granted_at_the_scheme_s_port_unless_another_is_named() {
        for uri in ["https://a.org/x", "http://A.org/", "https://a.org:443/", "http://a.org:80/"] {
            assert!(allows("a.org", uri), "{uri}");
        }
        for uri in ["https://a.org:80/", "http://a.org:8080/", "https://b.a.org/", "https://aa.org"]
        {
            assert!(!allows("A.org", uri), "{uri}");
        }
        assert!(allows("a.org:8080", "http://a.org:8080/x"));
        assert!(!allows("a.org:8080", "http://a.org/x"));
        assert!(allows("[::1]:8080", "http://[::1]:8080/x"));
        assert!(allows("[::1]", "http://[::1]/x"));
        assert!(!allows("127.0.0.1:8080", "http://localhost:8080/x"));
    }

    #[test]
    fn a_star_stands_for_what_is_below_a_domain_or_for_all() {
        assert!(allows("*.a.org", "https://b.a.org/"));
        assert!(allows("*.a.org:81", "https://c.b.a.org:81/"));
        for uri in ["https://a.org/", "https://ba.org/", "https://b.a.org.evil.org/"] {
            assert!(!allows("*.a.org", uri), "{uri}");
        }
        assert!(allows("*", "http://a.org:8080/"));
        assert!(!allows("*:81", "http://a.org:8080/"));
    }

    #[test]
    fn what_is_no_host_is_refused_with_what_is() {
        let texts = [
            "",
            ":80",
            "a:0",
            "a:65536",
            "a:x",
            "https://a.org",
            "a/b",
            "*a.org",
            "*.",
            "a*",
            "::1",
        ];
        for text in texts {
            let error = text.parse::<HttpHost>().expect_err(text).to_string();
            assert!(error.contains("HOST:PORT") && error.contains("*.DOMAIN"), "{error}");
        }
    }
}
