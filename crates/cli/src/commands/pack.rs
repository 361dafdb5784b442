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
    /// Store the weights as this engine holds them in memory: it loads faster, other engines
    /// refuse the model. `cpu`: for `cpu` and `cpu-relaxed`
    #[arg(long = "for", value_name = "ENGINE")]
    engine: Option<Target>,
    /// The component to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// What a model can be packed for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Target {
    Cpu,
}

pub(crate) fn run(arguments: &Arguments, session: &Session) -> Result<i32> {
    let mut meter = Meter::new(&session.terminal, &session.interrupt, "packing");
    let pack = match arguments.engine {
        Some(Target::Cpu) => trefoil_compose::pack_arranged,
        None => trefoil_compose::pack,
    };
    pack(&arguments.model, &arguments.output, &mut meter)?;
    Ok(exit::OK)
}
