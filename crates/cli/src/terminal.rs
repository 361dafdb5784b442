//! Standard error: progress, notes and errors.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use trefoil_host::Interrupt;

/// How often a spinner turns.
const SPIN: Duration = Duration::from_millis(100);

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl ColorChoice {
    /// Looks for `--color` before the command line is parsed: help and usage errors obey it too.
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = OsString>) -> Self {
        let texts = arguments.map_while(|argument| argument.into_string().ok());
        let mut is_value = false;
        for text in texts.take_while(|text| text != "--") {
            let value = if is_value { Some(text.as_str()) } else { text.strip_prefix("--color=") };
            match value {
                Some("always") => return ColorChoice::Always,
                Some("never") => return ColorChoice::Never,
                _ => is_value = text == "--color",
            }
        }
        ColorChoice::Auto
    }
}

impl From<ColorChoice> for clap::ColorChoice {
    fn from(choice: ColorChoice) -> Self {
        match choice {
            ColorChoice::Auto => clap::ColorChoice::Auto,
            ColorChoice::Always => clap::ColorChoice::Always,
            ColorChoice::Never => clap::ColorChoice::Never,
        }
    }
}

/// Where people look.
#[derive(Clone)]
pub(crate) struct Terminal {
    bars: Arc<MultiProgress>,
    quiet: bool,
    color: bool,
}

impl Terminal {
    pub(crate) fn new(quiet: bool, color: ColorChoice) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let target = match is_terminal && !quiet {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let color = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        Terminal { bars: Arc::new(MultiProgress::with_draw_target(target)), quiet, color }
    }

    /// A bar over bytes.
    pub(crate) fn bar(&self, what: &str, total_bytes: u64) -> ProgressBar {
        let style = ProgressStyle::with_template(
            "{msg:<22} {bar:30} {bytes:>11} of {total_bytes} {elapsed}",
        );
        let bar = ProgressBar::new(total_bytes).with_message(what.to_owned());
        self.bars.add(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// A bar over bytes that come from elsewhere, some of which are here already.
    pub(crate) fn transfer(&self, what: &str, done: u64, total_bytes: u64) -> ProgressBar {
        let style = ProgressStyle::with_template(
            "{msg:<30!} {wide_bar} {bytes:>11} of {total_bytes} {binary_bytes_per_sec:>12}, {eta} left",
        );
        let bar = ProgressBar::new(total_bytes).with_message(what.to_owned());
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let bar = self.bars.add(bar.with_position(done));
        // What is here already says nothing of the speed: it is counted, and then forgotten.
        bar.tick();
        bar.reset_eta();
        bar
    }

    /// Whether bars are seen.
    pub(crate) fn shows_bars(&self) -> bool {
        !self.bars.is_hidden()
    }

    /// A spinner, for work that cannot tell how far it is.
    pub(crate) fn spinner(&self, what: &str) -> ProgressBar {
        let style = ProgressStyle::with_template("{msg:<22} {spinner} {elapsed}");
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        let bar = self
            .bars
            .add(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner())));
        // The ticking thread would draw on a hidden target for nothing.
        if !self.bars.is_hidden() {
            bar.enable_steady_tick(SPIN);
        }
        bar
    }

    /// Takes all progress off the screen.
    pub(crate) fn clear(&self) {
        let _ = self.bars.clear();
    }

    /// Something to know that is no error.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.say("note", "36", text);
        }
    }

    /// Lines that were asked for, so that `--quiet` does not hold them back.
    pub(crate) fn report(&self, text: &str) {
        self.clear();
        let _ = writeln!(io::stderr(), "{text}");
    }

    pub(crate) fn error(&self, text: &str) {
        self.say("error", "1;31", text);
    }

    fn say(&self, label: &str, style: &str, text: &str) {
        self.clear();
        // Nobody is left to tell if standard error is gone.
        let _ = match self.color {
            true => writeln!(io::stderr(), "\x1b[{style}m{label}:\x1b[0m {text}"),
            false => writeln!(io::stderr(), "{label}: {text}"),
        };
    }
}

/// A bar that appears with the first report of a size, and passes Ctrl-C on as a cancellation.
pub(crate) struct Meter<'a> {
    terminal: &'a Terminal,
    interrupt: &'a Interrupt,
    what: &'a str,
    bar: Option<ProgressBar>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(terminal: &'a Terminal, interrupt: &'a Interrupt, what: &'a str) -> Self {
        Meter { terminal, interrupt, what, bar: None }
    }
}

impl trefoil_compose::Progress for Meter<'_> {
    fn advance(&mut self, done: u64, total: u64) -> ControlFlow<()> {
        let bar = self.bar.get_or_insert_with(|| self.terminal.bar(self.what, total));
        bar.set_length(total);
        bar.set_position(done);
        match self.interrupt.is_raised() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_color_flag_is_found_in_both_spellings() {
        let find = |texts: &[&str]| ColorChoice::from_arguments(texts.iter().map(OsString::from));
        assert_eq!(find(&["--color", "never", "x"]), ColorChoice::Never);
        assert_eq!(find(&["x", "--color=always"]), ColorChoice::Always);
        assert_eq!(find(&["x", "--", "--color=always"]), ColorChoice::Auto);
    }
}
