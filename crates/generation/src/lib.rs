//! From conversations to tokens and back: all that is text and bookkeeping, shared by the engines.
//!
//! ```text
//! Conversation ─ ChatTemplate ─> text ─ Tokenizer ─> tokens ─ Generations ─> Events
//!                                                               │   ▲
//!                                              Forward::forward ▼   │ Sampler, TextStream
//!                                                             logits
//! ```
//!
//! - [`ChatTemplate`] renders a conversation with the model's Jinja template, which is data from an
//!   untrusted file: fuel, recursion and output are limited.
//! - [`Generations`] is the generation loop. It owns the forward pass ([`Forward`]) and a slot for
//!   each sequence that the forward pass can cache; one [`Generations::step`] computes one batch
//!   for many generations. Slots keep their tokens after an answer, so that a dialogue's next
//!   prompt computes only what is new.
//! - [`Pooling`] makes one vector of those of a text's tokens, where no text is generated.
//! - [`Sampler`] chooses a token from logits; the same seed gives the same tokens on every platform.
//! - [`TextStream`] turns the bytes of tokens into whole characters and watches for stop texts.
//!
//! The crate does no I/O, reads no clock, and knows no randomness but the request's seed.

#![deny(missing_docs)]

mod forward;
mod generations;
mod log_probabilities;
mod pooling;
mod sampler;
mod template;
mod text_stream;
mod vocabulary;

pub use forward::{Forward, Logits, Span};
pub use generations::{GenerationId, GenerationOptions, Generations};
pub use pooling::Pooling;
pub use sampler::Sampler;
pub use template::ChatTemplate;
pub use text_stream::TextStream;
pub use vocabulary::Vocabulary;
