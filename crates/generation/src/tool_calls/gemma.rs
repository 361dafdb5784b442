//! Gemma 2 and 3: "Function calling with Gemma" of Google's documentation, which has the prompt ask
//! for an object with `name` and `parameters`, and the blocks `tool_code` of the models' examples.

use super::format::{Body, Opener, Syntax};

/// Ends a block of code.
pub(super) const FENCE: &str = "```";

pub(super) const SYNTAX: Syntax = Syntax {
    openers: &[
        Opener { text: "```tool_code", body: Body::Code },
        Opener { text: "```json", body: Body::Code },
    ],
    is_bare: true,
    markers: &[],
};
