use std::fmt;

/// Why an operation failed (`types.error`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The model's data cannot be used.
    InvalidModel(String),
    /// A setting is unknown, mistyped or out of range.
    InvalidSetting {
        /// The key as given.
        key: String,
        /// The value as given.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// An argument of a call is not acceptable.
    InvalidArgument(String),
    /// The component cannot do this. Make it with [`Error::unsupported`].
    Unsupported(String),
    /// The context does not suffice.
    ContextOverflow {
        /// Tokens that were to be held.
        needed_tokens: u64,
        /// Tokens that the context holds.
        available_tokens: u64,
    },
    /// Memory does not suffice.
    OutOfMemory {
        /// Bytes asked for.
        needed_bytes: u64,
        /// What for, and what would need less.
        purpose: String,
    },
    /// No such model or part.
    NotFound(String),
    /// The weights could not be read.
    Io(String),
    /// The chat template failed.
    Template(String),
    /// All places are taken.
    Busy(String),
    /// The generation has already ended.
    Finished,
    /// The same generation was passed twice.
    Duplicate,
    /// Anything else.
    Other {
        /// Stable name in kebab case.
        code: String,
        /// For people.
        message: String,
    },
}

impl Error {
    /// An [`Error::Unsupported`] with the prefix that the contract promises.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Error::Unsupported(format!("unsupported: {what}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidModel(text) => write!(f, "the model cannot be used: {text}"),
            Error::InvalidSetting { key, value, expected } => {
                write!(f, "setting `{key}` cannot be `{value}`: expected {expected}")
            }
            Error::ContextOverflow { needed_tokens, available_tokens } => write!(
                f,
                "{needed_tokens} tokens do not fit into the context of {available_tokens}; \
                 shorten the prompt or raise `context-tokens`"
            ),
            Error::OutOfMemory { needed_bytes, purpose } => {
                write!(f, "out of memory: {needed_bytes} bytes for {purpose}")
            }
            Error::NotFound(text) => write!(f, "not found: {text}"),
            Error::Io(text) => write!(f, "the weights could not be read: {text}"),
            Error::Template(text) => write!(f, "the chat template failed: {text}"),
            Error::Finished => f.write_str("the generation has already ended"),
            Error::Duplicate => f.write_str("the same generation was passed twice in one call"),
            Error::Other { code, message } => write!(f, "{message} ({code})"),
            Error::InvalidArgument(text) | Error::Unsupported(text) | Error::Busy(text) => {
                f.write_str(text)
            }
        }
    }
}

impl std::error::Error for Error {}
