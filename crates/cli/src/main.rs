//! The `trefoil` command: makes, runs and looks into compositions of engine, model and app.

mod adapters;
mod answer;
mod bench;
mod commands;
mod composition;
mod exit;
mod fields;
mod flags;
mod hub;
mod instances;
mod messages;
mod parts;
mod reasoning;
mod remote;
mod response_format;
mod serve;
mod session;
mod stats;
mod terminal;
mod window;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::commands::Command;
use crate::session::Session;
use crate::terminal::{ColorChoice, Terminal};

/// Large language models out of WebAssembly components: engine + model + app in one .wasm.
#[derive(Parser)]
#[command(name = "trefoil", version, after_help = exit::HELP, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    output: OutputFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Args)]
struct OutputFlags {
    /// No progress and no notes on standard error, only errors
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Colours on standard error
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

fn main() {
    let color = ColorChoice::from_arguments(std::env::args_os().skip(1));
    let command = Cli::command().color(color.into());
    let cli = command
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .unwrap_or_else(|error| error.exit());
    let terminal = Terminal::new(cli.output.quiet, cli.output.color);
    let session = Session::new(terminal);
    let code = match session.watch_interrupts().and_then(|()| cli.command.run(&session)) {
        Ok(code) => code,
        Err(error) => exit::report(&error, &session),
    };
    session.terminal.clear();
    // A guest that was left behind in a host call must not keep the process.
    std::process::exit(code);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
