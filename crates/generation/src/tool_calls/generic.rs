//! The form that a prompt of the engine's own explains to models without one.

use super::format::{Body, Opener, Syntax};
use super::hermes::{CLOSER, OPENER};

/// Small models forget the tags.
pub(super) const SYNTAX: Syntax = Syntax {
    openers: &[Opener { text: OPENER, body: Body::Json { closer: CLOSER } }],
    is_bare: true,
    markers: &[OPENER, CLOSER],
};
