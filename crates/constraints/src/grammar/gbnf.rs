//! GBNF, the grammars of llama.cpp (its `grammars/README.md`), as Lark.
//!
//! The library cuts text into the longest pieces that terminals match. So what needs no recursion
//! becomes one terminal: a rule, or a stretch of a rule.

mod lark;
mod parser;

use trefoil_contract::{Error, Result};

/// What a rule is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    /// A text, or a class of characters, as a regular expression.
    Expression(String),
    /// A special token: its name with the brackets, or its number.
    Token(String),
    /// Another rule, and the byte where it is named.
    Rule(String, usize),
    /// One after the other.
    Sequence(Vec<Node>),
    /// One of several.
    Alternatives(Vec<Node>),
    /// So often; without a second number, as often as it may be.
    Repeated(Box<Node>, u32, Option<u32>),
}

/// Most that a repetition may count to.
const REPETITIONS_MAX: u32 = 10_000;
/// Deepest nesting of parentheses.
const NESTING_MAX: usize = 64;

/// A rule by its name.
#[derive(Debug)]
struct Rule {
    name: String,
    node: Node,
}

/// Whether a grammar is GBNF and not Lark.
pub(super) fn is_gbnf(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let after = line.trim_start_matches(is_part);
        after.len() < line.len() && after.trim_start().starts_with("::=")
    })
}

/// The same grammar in Lark.
///
/// # Errors
/// [`Error::InvalidArgument`] with line and column for what is no GBNF, for rules that no text of
/// finite length satisfies, and for chains of rules that are too long.
pub(super) fn to_lark(text: &str) -> Result<String> {
    let rules = parser::parse(text)?;
    lark::write(&rules, text)
}

/// Something that is no GBNF.
fn broken(text: &str, byte: usize, what: impl std::fmt::Display) -> Error {
    let (line, column) = super::lark::position(text, byte);
    Error::InvalidArgument(format!("the grammar is broken at line {line}, column {column}: {what}"))
}
