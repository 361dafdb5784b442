//! From conversations to tokens and back.
mod forward;
pub use forward::{Forward, Logits, Span};
