use std::path::PathBuf;

use anyhow::Result;
use trefoil_compose::{PackOptions, pack};

use crate::exit;
use crate::flags;
use crate::hub;
use crate::session::Session;
use crate::terminal::Meter;

/// Make a model component of a GGUF file
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The .gguf file, or the name of a model (`trefoil models`)
    #[arg(value_name = "MODEL.gguf")]
    model: String,
    /// Store the weights as this engine holds them in memory: it loads faster, other engines
    /// refuse the model. `cpu`: for `cpu` and `cpu-relaxed`
    #[arg(long = "for", value_name = "ENGINE")]
    engine: Option<Target>,
    /// Cut the model into shards of at most so many bytes, for runtimes that take no larger
    /// modules [default: what wasmtime takes, just below 1G]
    #[arg(long, value_name = "SIZE", value_parser = flags::size)]
    shard_size: Option<u64>,
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
    let model = hub::file_or_model(&arguments.model, session)?;
    let mut meter = Meter::new(&session.terminal, &session.interrupt, "packing");
    let mut options = match arguments.engine {
        Some(Target::Cpu) => PackOptions::arranged(),
        None => PackOptions::default(),
    };
    options.shard_bytes = arguments.shard_size;
    pack(&model, &arguments.output, &options, &mut meter)?;
    Ok(exit::OK)
}
