//! What can go wrong between a name and a file in the cache.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::address::Address;
use crate::cached::ModelsError;
use crate::digest::Digest;
use crate::reference::ReferenceError;

/// Why a model could not be pulled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The name is a reference, and wrong.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The cache, or the name is not one.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// The server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The source has no such file.
    #[error("`{place}` has no file to pull: {problem}")]
    NoFile {
        /// The repository or artifact.
        place: String,
        /// What it has.
        problem: String,
    },
    /// An address that is made of the reference, or `HF_ENDPOINT`, is none.
    #[error("`{address}` is not an address to download from: {problem}")]
    Endpoint {
        /// The address.
        address: String,
        /// What is wrong.
        problem: String,
    },
    /// The hub has another file than the one that was asked for.
    #[error(
        "`{source_name}` is another file now: the hub gives its SHA-256 as {found}, expected \
         {expected}; to have it nevertheless, `trefoil pull {source_name}`"
    )]
    Changed {
        /// The reference.
        source_name: String,
        /// What the hub says.
        found: Digest,
        /// What was to come.
        expected: Digest,
    },
    /// One digest for several files.
    #[error("a SHA-256 cannot be given for a model of {count} files")]
    OneDigest {
        /// How many there are.
        count: usize,
    },
}

impl PullError {
    /// Whether the user wanted to end.
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            PullError::Client(ClientError::Cancelled)
                | PullError::Download(DownloadError::Client(ClientError::Cancelled))
                | PullError::Models(ModelsError::Cancelled)
        )
    }
}

/// Why a file could not be downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What came has another digest.
    #[error(
        "`{address}` is not what it should be: its SHA-256 is {found}, expected {expected}; what \
         came was removed"
    )]
    Digest {
        /// From where.
        address: String,
        /// What came.
        found: Digest,
        /// What was to come.
        expected: Digest,
    },
    /// The server's file has another size than its hub says.
    #[error("`{address}` has {found} bytes, expected {expected}")]
    Size {
        /// From where.
        address: String,
        /// What the server says.
        found: u64,
        /// What the hub says.
        expected: u64,
    },
    /// The server does not say how long the file is, or it is absurdly short or long.
    #[error("`{address}` {problem}")]
    Length {
        /// From where.
        address: String,
        /// What is wrong.
        problem: String,
    },
    /// Something else than a model.
    #[error("`{address}` is not a GGUF file: it begins with `{head}`")]
    NotGguf {
        /// From where.
        address: String,
        /// The first bytes, as far as they can be printed.
        head: String,
    },
    /// The disk has not enough room, or had not.
    #[error(
        "no room on the disk for `{}`: {needed} bytes are to come{}; free some and pull again, \
         which goes on from there, or set `TREFOIL_CACHE` to a folder elsewhere",
        path.display(),
        free.map(|bytes| format!(", {bytes} are free")).unwrap_or_default()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// Bytes that are still to come.
        needed: u64,
        /// Bytes that may be written.
        free: Option<u64>,
    },
    /// The file system.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

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
    /// The file of certificates, which `SSL_CERT_FILE` names, is something else.
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
