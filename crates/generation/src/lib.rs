//! From conversations to tokens and back: all that is text and bookkeeping, shared by the engines.
//!
//! ```text
//! Conversation ─ ChatTemplate ─> text ─ Tokenizer ─> tokens ─ Generations ─> Events
//!                                                               │   ▲
//!                                              Forward::forward ▼   │ Sampler, AnswerStream
//!                                                             logits
//! ```
//!
//! - [`ChatTemplate`] renders a conversation with the model's Jinja template, which is data from an
//!   untrusted file: fuel, recursion and output are limited.
//! - [`Generations`] is the generation loop. It owns the forward pass ([`Forward`]) and a slot for
//!   each sequence that the forward pass can cache; one [`Generations::step`] computes one batch
//!   for many generations. Slots keep their tokens after an answer, so that a dialogue's next
//!   prompt computes only what is new.
//! - [`SavedGeneration`] is a generation as a value, [`Snapshot`] as bytes, with its keys and values;
//!   both go on in a slot of [`Generations`].
//! - [`Pooling`] makes one vector of those of a text's tokens, where no text is generated.
//! - [`Sampler`] chooses a token from logits; the same seed gives the same tokens on every platform.
//! - [`AnswerStream`] makes text, reasoning and tool calls of the bytes of tokens: behind
//!   [`TextStream`], which makes whole characters and watches for stop texts, stand the parsers of
//!   the forms that models write calls in ([`ToolFormat`]).
//! - [`render`] tells a model of [`Tools`] whose template knows none.
//!
//! The crate does no I/O, reads no clock, and knows no randomness but the request's seed.

#![deny(missing_docs)]

mod answer;
mod forward;
mod generations;
mod log_probabilities;
mod pooling;
mod sampler;
mod snapshot;
mod template;
mod text_stream;
mod tool_calls;
mod vocabulary;

pub use answer::{AnswerForm, AnswerPart, AnswerStream};
pub use forward::{Forward, Logits, SavedCache, Span, not_ranking};
pub use generations::{
    GenerationId, GenerationOptions, Generations, READ_BYTES_MAX, ReservedSlot, Restoration,
    SavedGeneration, Snapshot,
};
pub use pooling::Pooling;
pub use sampler::Sampler;
pub use snapshot::Identity;
pub use template::ChatTemplate;
pub use text_stream::TextStream;
pub use tool_calls::{ToolFormat, Tools, render};
pub use vocabulary::Vocabulary;
