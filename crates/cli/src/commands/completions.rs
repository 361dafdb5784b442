use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::exit;
use crate::session::print;

/// Print a completion script for a shell
#[derive(clap::Args)]
pub(crate) struct Arguments {
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<i32> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::Cli::command(), "trefoil", &mut script);
    print(&script)?;
    Ok(exit::OK)
}
