//! Hermes 2 and 3, Qwen 2.5 and 3: `NousResearch/Hermes-Function-Calling`, the template of
//! `Qwen/Qwen2.5-7B-Instruct`.

use super::format::{Body, Opener, Syntax};

pub(super) const OPENER: &str = "<tool_call>";
pub(super) const CLOSER: &str = "</tool_call>";

pub(super) const SYNTAX: Syntax = Syntax {
    openers: &[Opener { text: OPENER, body: Body::Json { closer: CLOSER } }],
    is_bare: false,
    markers: &[OPENER, CLOSER],
};
