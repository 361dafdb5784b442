use std::fmt;

/// Why a file is not a usable GGUF, or lacks what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The first bytes are others.
    #[error("not a GGUF file: it begins with `{found}`, expected `GGUF`; {cure}")]
    NotGguf {
        /// The first bytes, escaped.
        found: String,
        /// What the file seems to be and what to do.
        cure: &'static str,
    },
    /// The numbers are stored the other way round.
    #[error(
        "the file is big endian (version {version} byte-swapped, at byte 4): convert it with \
         `gguf_convert_endian.py` or download a little-endian file"
    )]
    ByteSwapped {
        /// The version, in the right order.
        version: u32,
    },
    /// A version that is too old or too new.
    #[error("GGUF version {version} at byte 4, expected 2 or 3: {cure}")]
    Version {
        /// The version.
        version: u32,
        /// What to do.
        cure: &'static str,
    },
    /// The source failed.
    #[error("{place}: {length} bytes at byte {offset} cannot be read: {message}")]
    Read {
        /// What was being read.
        place: String,
        /// From where on.
        offset: u64,
        /// How much.
        length: u64,
        /// The source's words.
        message: String,
    },
    /// The file ends too early.
    #[error(
        "{place}: {needed} bytes are needed at byte {offset}, but the file ends at byte {size}: \
         the file is truncated, download it again"
    )]
    Truncated {
        /// What was being read.
        place: String,
        /// From where on.
        offset: u64,
        /// Bytes needed there, at least.
        needed: u64,
        /// Size of the file.
        size: u64,
    },
    /// A number of things exceeds a limit of this reader.
    #[error(
        "{place}: {found} {unit} at byte {offset}, at most {limit} are supported: the file is \
         damaged, download it again"
    )]
    Limit {
        /// What was being read.
        place: String,
        /// Where the number stands.
        offset: u64,
        /// The number.
        found: u64,
        /// What it counts.
        unit: &'static str,
        /// The greatest number.
        limit: u64,
    },
    /// A number has no meaning in the format.
    #[error("{place}: {what} {found} at byte {offset}, expected {expected}: {cure}")]
    Invalid {
        /// What was being read.
        place: String,
        /// What the number is.
        what: &'static str,
        /// The number.
        found: String,
        /// Where it stands.
        offset: u64,
        /// What it should be.
        expected: String,
        /// What to do.
        cure: &'static str,
    },
    /// Two keys or two tensors have the same name.
    #[error(
        "{what} `{name}` occurs twice, at byte {first} and at byte {second}: make the file again \
         with a current converter"
    )]
    Duplicate {
        /// `key` or `tensor`.
        what: &'static str,
        /// The name.
        name: String,
        /// Where the first one stands.
        first: u64,
        /// Where the second one stands.
        second: u64,
    },
    /// A tensor's data reach beyond the file.
    #[error(
        "tensor `{tensor}`: its data lie at bytes {start} to {end}, but the file ends at byte \
         {size}: the file is truncated, download it again"
    )]
    DataBeyondEnd {
        /// The tensor.
        tensor: String,
        /// Where its data begin.
        start: u64,
        /// Where they would end.
        end: u64,
        /// Size of the file.
        size: u64,
    },
    /// Two tensors' data share bytes.
    #[error(
        "tensors `{first}` and `{second}` overlap: the one's data end at byte {end}, the other's \
         begin at byte {start}: make the file again with a current converter"
    )]
    Overlap {
        /// The tensor that begins first.
        first: String,
        /// The tensor inside it.
        second: String,
        /// Where the first one's data end.
        end: u64,
        /// Where the second one's data begin.
        start: u64,
    },
    /// Memory does not suffice for something that the file does hold.
    #[error("{place}: out of memory for {bytes} bytes")]
    OutOfMemory {
        /// What was being read.
        place: String,
        /// Bytes wanted.
        bytes: u64,
    },
    /// A key that is needed is not there.
    #[error(
        "key `{key}` is missing from the model's metadata: make the file again with a current \
         converter"
    )]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A key's value is of another type or out of range.
    #[error(
        "key `{key}` at byte {offset}: expected {expected}, found {found}: make the file again \
         with a current converter"
    )]
    KeyType {
        /// The key.
        key: String,
        /// Where its record begins.
        offset: u64,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

/// What is being read, for messages.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Header,
    /// The key with this number, while its name is not known.
    KeyNumber(u64),
    Key(String),
    /// The tensor with this number, while its name is not known.
    TensorNumber(u64),
    Tensor(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Header => f.write_str("header"),
            Place::KeyNumber(number) => write!(f, "key number {number}"),
            Place::Key(name) => write!(f, "key `{}`", shown(name)),
            Place::TensorNumber(number) => write!(f, "tensor number {number}"),
            Place::Tensor(name) => write!(f, "tensor `{}`", shown(name)),
        }
    }
}

/// Characters of a name that a message shows.
const SHOWN_CHARACTERS_MAX: usize = 80;

/// A name from the file as a message may show it: short and without control characters.
pub(crate) fn shown(name: &str) -> String {
    let mut shown: String =
        name.chars().take(SHOWN_CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN_CHARACTERS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
