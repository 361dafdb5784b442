//! Reasoning on standard error, dimmed on a terminal.

use std::io::{self, IsTerminal, Write};

/// Shows what a model thinks. It is no part of the output: where standard error is closed, nothing
/// is lost.
pub(crate) struct Reasoning {
    is_dimmed: bool,
    is_open: bool,
}

impl Reasoning {
    pub(crate) fn new() -> Self {
        let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Reasoning { is_dimmed: has_colours && io::stderr().is_terminal(), is_open: false }
    }

    /// Shows more of it.
    pub(crate) fn show(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let dim = if self.is_dimmed && !self.is_open { "\x1b[2m" } else { "" };
        self.is_open = true;
        let _ = write!(io::stderr(), "{dim}{text}");
    }

    /// Ends it before the answer.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.is_open) {
            let plain = if self.is_dimmed { "\x1b[0m" } else { "" };
            let _ = writeln!(io::stderr(), "{plain}");
        }
    }
}
