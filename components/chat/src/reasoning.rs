use std::io::{self, IsTerminal};

use super::{Failure, print};

/// What the model thinks, on standard error, dimmed on a terminal.
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
    pub(crate) fn show(&mut self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        if self.is_dimmed && !self.is_open {
            print(io::stderr(), "\x1b[2m")?;
        }
        self.is_open = true;
        print(io::stderr(), text)
    }

    /// Ends it before the answer.
    pub(crate) fn end(&mut self) -> Result<(), Failure> {
        match std::mem::take(&mut self.is_open) {
            true if self.is_dimmed => print(io::stderr(), "\x1b[0m\n"),
            true => print(io::stderr(), "\n"),
            false => Ok(()),
        }
    }
}
