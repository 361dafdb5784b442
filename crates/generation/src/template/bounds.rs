//! Bounds on what minijinja's parser and compiler recurse over without a limit of their own:
//! chains of operators in one tag, and branches of conditions. Its recursion limit covers nesting
//! only, and a component's stack is small. Counts generously: what stands in strings, or between
//! tags of `raw`, may count too.

use trefoil_contract::{Error, Result};

/// Operators in one tag, and `elif` branches in a template. Published templates have some dozens;
/// twice this number still fits the stack.
const CHAIN_MAX: usize = 1_000;

/// Refuses a template whose chains are too long, naming the line.
pub(super) fn check(source: &str) -> Result<()> {
    let mut branches = 0;
    for (start, tag) in tags(source) {
        let words = tag.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let mut operators = tag.bytes().filter(|byte| b"|+-*/%~.[(<>=!".contains(byte)).count();
        for word in words {
            match word {
                "elif" => branches += 1,
                "and" | "or" | "not" | "if" | "is" | "in" => operators += 1,
                _ => {}
            }
        }
        let (count, what) = match operators {
            0..=CHAIN_MAX => (branches, "`elif` branches"),
            _ => (operators, "operators in one expression"),
        };
        if count > CHAIN_MAX {
            let line = 1 + source[..start].bytes().filter(|byte| *byte == b'\n').count();
            return Err(Error::Template(format!(
                "it has {count} {what} (line {line}); at most {CHAIN_MAX} are accepted"
            )));
        }
    }
    Ok(())
}

/// The insides of `{{ }}` and `{% %}`, with their places. Strings are left out of them, so that
/// an end mark in a string does not end a tag.
fn tags(source: &str) -> impl Iterator<Item = (usize, String)> {
    let mut position = 0;
    std::iter::from_fn(move || {
        let mut start;
        loop {
            let rest = &source[position..];
            let begins = ["{{", "{%", "{#"].map(|mark| rest.find(mark));
            start = position + begins.into_iter().flatten().min()?;
            if !source[start..].starts_with("{#") {
                break;
            }
            position = start + 2 + source[start + 2..].find("#}")?;
        }
        let end = if source[start..].starts_with("{{") { "}}" } else { "%}" };
        let mut tag = String::new();
        let mut quote = None;
        position = source.len();
        for (index, c) in source[start + 2..].char_indices() {
            let at = start + 2 + index;
            match quote {
                Some(open) => quote = (c != open).then_some(open),
                None if source[at..].starts_with(end) => {
                    position = at + 2;
                    break;
                }
                None if c == '"' || c == '\'' => quote = Some(c),
                None => tag.push(c),
            }
        }
        Some((start, tag))
    })
}
