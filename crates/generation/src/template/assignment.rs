//! Bounds what a template can build up through namespaces.
//!
//! Each use of a value (printing, comparing, even dropping it) recurses over its nesting, so that a
//! template that nests a list 100,000 times, or puts a namespace into itself, would overflow the
//! stack. Only assignments to a namespace's attribute carry values from one turn of a loop to the
//! next, so [`guard`] sends what is assigned there through the filter [`FILTER`], which copies it
//! with a limit. What a template nests without a loop is bounded by its length.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

/// Name of the filter [`assigned`].
pub(super) const FILTER: &str = "__assigned";
/// Deepest nesting of what a namespace holds.
const DEPTH_MAX: usize = 32;

/// Rewrites `{% set ns.x = value %}` to `{% set ns.x = (value)|__assigned %}` wherever it stands,
/// keeping the lines. Comments and raw blocks are not exempt: no template could hide in them then.
pub(super) fn guard(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start + 2);
        text.push_str(before);
        rest = tag;
        let body = tag.trim_start_matches(['-', '+']).trim_start();
        let Some(target) =
            body.strip_prefix("set").filter(|t| t.starts_with([' ', '\t', '\n', '\r', '(']))
        else {
            continue;
        };
        let end = tag_end(tag);
        let Some(operator) = target.find(['=', '|', '%', '"', '\'']) else { continue };
        if !target[..operator].contains('.') {
            continue;
        }
        let operator = tag.len() - target.len() + operator;
        if operator >= end {
            continue;
        }
        match tag.as_bytes()[operator] {
            b'=' => {
                text.push_str(&tag[..=operator]);
                text.push('(');
                text.push_str(&tag[operator + 1..end]);
                text.push(')');
            }
            _ => text.push_str(&tag[..end]),
        }
        text.push('|');
        text.push_str(FILTER);
        text.push(' ');
        rest = &tag[end..];
    }
    text.push_str(rest);
    text
}

/// Where a tag's `%}` begins, with its sign; strings may hold it.
fn tag_end(tag: &str) -> usize {
    let bytes = tag.as_bytes();
    let mut quote = None;
    let mut index = 0;
    while index < bytes.len() {
        match (bytes[index], quote) {
            (b'\\', Some(_)) => index += 1,
            (byte, Some(open)) if byte == open => quote = None,
            (b'"' | b'\'', None) => quote = Some(bytes[index]),
            (b'%', None) if bytes.get(index + 1) == Some(&b'}') => {
                let signed = index > 0 && matches!(bytes[index - 1], b'-' | b'+');
                return index - usize::from(signed);
            }
            _ => {}
        }
        index += 1;
    }
    tag.len()
}

/// A copy of what a namespace is to hold.
///
/// # Errors
/// Nesting deeper than 32, or a namespace in it.
pub(super) fn assigned(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    copy(state, &value, 0)
}

fn copy(state: &State<'_, '_>, value: &Value, depth: usize) -> Result<Value, Error> {
    let refuse = |text: &'static str| Err(Error::new(ErrorKind::InvalidOperation, text));
    if depth > DEPTH_MAX {
        return refuse("a namespace holds at most 32 nested levels");
    }
    let items = match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => value.try_iter()?,
        _ => return Ok(value.clone()),
    };
    if is_namespace(value) {
        return refuse("a namespace cannot hold a namespace");
    }
    if value.kind() == ValueKind::Map {
        let mut entries = Vec::new();
        for key in items {
            state.consume_fuel(1)?;
            let item = copy(state, &value.get_item(&key)?, depth + 1)?;
            entries.push((key, item));
        }
        return Ok(Value::from_pairs(entries));
    }
    let mut copies = Vec::new();
    for item in items {
        state.consume_fuel(1)?;
        copies.push(copy(state, &item, depth + 1)?);
    }
    Ok(Value::from(copies))
}

/// The type is private to minijinja, its name is not.
pub(super) fn is_namespace(value: &Value) -> bool {
    let type_name = |value: &Value| value.as_object().map(|object| object.type_name());
    let namespace = minijinja::functions::namespace(None).ok();
    namespace.is_some_and(|namespace| type_name(&namespace) == type_name(value))
}
