//! Llama 3.1 to 3.3: "JSON based tool calling" of the model cards, with the tag that begins calls
//! where the prompt speaks of an environment.

use super::format::{Body, Opener, Syntax};

const OPENER: &str = "<|python_tag|>";

pub(super) const SYNTAX: Syntax = Syntax {
    openers: &[Opener { text: OPENER, body: Body::Json { closer: "" } }],
    is_bare: true,
    markers: &[OPENER],
};
