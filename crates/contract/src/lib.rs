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
    PromptProgress, ResponseFormat, TokenChoice, TokenProbability, TokenizeOptions, ToolCall,
    ToolCallDelta, ToolChoice, ToolResult, Usage,
};
pub use part::{
    FORMAT_GGUF, FORMAT_GGUF_ROWS_16, Part, ROWS_16_SOURCE_KEY, ROWS_16_VERSION_KEY, Role,
};
pub use setting::{Setting, Value};

/// Version of the contract, as in the names of its interfaces.
pub const VERSION: &str = "0.1.0";

/// The most that one `read` of the `model` interface may ask for, in bytes.
pub const READ_LENGTH_MAX: u32 = 1 << 20;

/// Result of an operation of the contract.
pub type Result<T, E = Error> = std::result::Result<T, E>;
