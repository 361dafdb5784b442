use std::path::PathBuf;

use anyhow::Result;

use crate::exit;
use crate::session::Session;
use crate::terminal::Meter;

/// Make a model component of a GGUF file
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The .gguf file
    #[arg(value_name = "MODEL.gguf")]
    model: PathBuf,
    /// The component to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, session: &Session) -> Result<i32> {
    let mut meter = Meter::new(&session.terminal, &session.interrupt, "packing");
    trefoil_compose::pack(&arguments.model, &arguments.output, &mut meter)?;
    Ok(exit::OK)
}
