//! The contract `trefoil:llm` as plain Rust types.
//!
//! The crates between the bindings speak these types, so that they build and
//! test natively and no crate but the components' glue depends on generated
//! bindings. Names and meanings are those of `wit/`; what is documented there
//! is not repeated here in full.

#![deny(missing_docs)]

mod error;
mod inference;
mod part;
mod setting;

pub use error::Error;
pub use inference::{
    Conversation, Delta, Done, Event, FinishReason, Message, MessagePart, ModelInfo, Prompt,
    PromptProgress, Relevance, Request, ResponseFormat, TokenChoice, TokenProbability,
    TokenizeOptions, ToolCall, ToolCallDelta, ToolChoice, ToolResult, Usage,
};
pub use part::{
    FORMAT_GGUF, FORMAT_GGUF_ROWS_16, Part, ROWS_16_SOURCE_KEY, ROWS_16_VERSION_KEY, Role,
};
pub use setting::{Setting, Value};

/// Version of the contract, as in the names of its interfaces.
pub const VERSION: &str = "0.1.0";

/// The most that one `read` of the `model` interface may ask for, in bytes.
pub const READ_LENGTH_MAX: u32 = 1 << 20;

/// Bytes as `model.read` returns them: eight in a little-endian word, zeros filling up the last.
pub fn words(bytes: &[u8]) -> Vec<u64> {
    let (whole, last) = bytes.as_chunks::<8>();
    let mut words: Vec<_> = whole.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    if !last.is_empty() {
        let mut bytes = [0; 8];
        bytes[..last.len()].copy_from_slice(last);
        words.push(u64::from_le_bytes(bytes));
    }
    words
}

/// Result of an operation of the contract.
pub type Result<T, E = Error> = std::result::Result<T, E>;
