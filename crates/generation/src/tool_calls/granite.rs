//! Granite 3: the template of `ibm-granite/granite-3.1-8b-instruct`.

use super::format::{Body, Opener, Syntax};

const OPENER: &str = "<|tool_call|>";

pub(super) const SYNTAX: Syntax = Syntax {
    openers: &[Opener { text: OPENER, body: Body::Json { closer: "" } }],
    is_bare: false,
    markers: &[OPENER],
};
