//! Constraints on generated text: which tokens may follow, so that the whole satisfies a JSON
//! schema, a regular expression or a grammar.
//!
//! [`Constraints`] holds what a model's vocabulary alone decides and is made once for a model;
//! [`Constraint`] follows one answer.
//!
//! The grammars over tokens are those of `llguidance`. What it would leave out of a schema without
//! a word is refused before it sees it ([`Constraints::start`]).
//!
//! The crate does no I/O, reads no clock, and limits what a schema, an expression or a grammar can
//! cost.

#![deny(missing_docs)]

mod clock;
mod constraint;
mod constraints;
mod expression;
mod grammar;
mod schema;
mod vocabulary;

pub use constraint::Constraint;
pub use constraints::{Constraints, TEXT_BYTES_MAX};
pub use vocabulary::Token;
