//! What can go wrong between us and a server.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::address::Address;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection.
    #[error(
        "cannot reach `{}`, from where `{address}` was wanted; check the network (proxies are \
         taken from `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`)",
        address.host()
    )]
    Unreachable {
        /// What was wanted.
        address: Address,
        /// Whether some server answered before, so that there is a network.
        later: bool,
        /// Why not.
        #[source]
        source: ureq::Error,
    },
    /// The connection was no good: encryption, or what is not HTTP.
    #[error("cannot talk to `{}`, from where `{address}` was wanted", address.host())]
    Protocol {
        /// What was wanted.
        address: Address,
        /// What was wrong.
        #[source]
        source: ureq::Error,
    },
    /// The connection ended too early, or stood still.
    #[error("the connection to `{}` broke", address.host())]
    Cut {
        /// What was wanted.
        address: Address,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server does not give it.
    #[error("{}", refusal(address, *status, said.as_deref(), *retry_after))]
    Status {
        /// What was wanted.
        address: Address,
        /// The HTTP status.
        status: u16,
        /// What the server said besides.
        said: Option<String>,
        /// The time to wait that it asked for.
        retry_after: Option<Duration>,
    },
    /// The server's answer makes no sense.
    #[error("`{address}` gave no usable answer: {problem}")]
    Malformed {
        /// What was asked for.
        address: Address,
        /// What is wrong.
        problem: String,
    },
    /// From one address to the next without end.
    #[error("`{address}` redirects more than {count} times")]
    Redirects {
        /// Where it began.
        address: Address,
        /// How many were followed.
        count: usize,
    },
    /// A redirect away from encryption.
    #[error("`{from}` redirects from https to `{to}`, which is not encrypted: not followed")]
    Downgrade {
        /// From where.
        from: Address,
        /// Where to.
        to: Address,
    },
    /// No encryption to begin with.
    #[error(
        "`{address}` is not encrypted; use https, or say `--allow-http` if you trust the network"
    )]
    Plain {
        /// What was wanted.
        address: Address,
    },
    /// A registry wants a token from where none can be had.
    #[error("the registry wants a token from `{realm}`: {problem}")]
    Realm {
        /// Where from.
        realm: String,
        /// What is wrong.
        problem: String,
    },
    /// `SSL_CERT_FILE` names something else.
    #[error("cannot use the certificates of `SSL_CERT_FILE`, `{}`: {problem}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The user wanted to end.
    #[error("interrupted")]
    Cancelled,
}

impl ClientError {
    pub(crate) fn from_ureq(address: &Address, source: ureq::Error, answered: bool) -> Self {
        let address = address.clone();
        match source {
            ureq::Error::Io(error) if is_cut(&error) => ClientError::Cut { address, source: error },
            // Encryption that fails comes as an input error, too.
            ureq::Error::Io(ref error) if error.kind() == io::ErrorKind::InvalidData => {
                ClientError::Protocol { address, source }
            }
            ureq::Error::Io(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::ConnectProxyFailed(_)
            | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                ClientError::Unreachable { address, later: answered, source }
            }
            ureq::Error::Timeout(_) => {
                let source = io::Error::new(io::ErrorKind::TimedOut, source.to_string());
                ClientError::Cut { address, source }
            }
            _ => ClientError::Protocol { address, source },
        }
    }

    /// Whether the same request may succeed in a moment.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            ClientError::Cut { .. } => true,
            ClientError::Unreachable { later, .. } => *later,
            ClientError::Status { status, .. } => {
                matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }

    /// The time that the server wants us to wait.
    pub(crate) fn asked_wait(&self) -> Option<Duration> {
        match self {
            ClientError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn is_cut(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

fn refusal(
    address: &Address,
    status: u16,
    said: Option<&str>,
    retry_after: Option<Duration>,
) -> String {
    let meaning = match status {
        401 | 403 => "is not given to us",
        404 | 410 => "does not exist",
        429 => "was asked for too often",
        500..=599 => "cannot be given at the moment",
        _ => "was refused",
    };
    let said = said.map(|text| format!(": {text}")).unwrap_or_default();
    let cure = match (status, retry_after) {
        (401 | 403, _) => {
            "; if it needs an account or a licence, accept it on the hub and set `HF_TOKEN`".into()
        }
        (_, Some(wait)) => format!("; the server asks to come back in {} s", wait.as_secs()),
        _ => String::new(),
    };
    format!("`{address}` {meaning} (HTTP status {status}{said}){cure}")
}
