//! Mistral, tokenizers 3 to 13: the documentation of `mistral-common`.

use super::format::{Body, Opener, Syntax};

const OPENER: &str = "[TOOL_CALLS]";
/// Between a call's name and its id.
const ID: &str = "[CALL_ID]";
/// Before a call's arguments.
const ARGUMENTS: &str = "[ARGS]";

pub(super) const SYNTAX: Syntax = Syntax {
    openers: &[Opener { text: OPENER, body: Body::Named }],
    is_bare: false,
    markers: &[OPENER, ID, ARGUMENTS],
};

/// Whether a character may stand between `[TOOL_CALLS]` and the arguments.
pub(super) fn is_head(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_-.[] \n".contains(character)
}

/// The name in what stands between `[TOOL_CALLS]` and the arguments.
pub(super) fn name(head: &str) -> Option<&str> {
    let head = head.trim();
    let name = head.strip_suffix(ARGUMENTS).unwrap_or(head).trim_end();
    let name = name.split_once(ID).map_or(name, |(name, _)| name).trim_end();
    let is_name = |character: char| !"[] \n".contains(character);
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}
