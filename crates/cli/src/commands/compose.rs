use std::path::PathBuf;

use anyhow::Result;
use trefoil_compose::Parts;

use crate::adapters::AdapterFlags;
use crate::exit;
use crate::parts::{self, ConfigurationFlags, Engine};
use crate::remote::RemoteFlags;
use crate::session::Session;
use crate::terminal::Meter;

/// Compose engine, model and app into one component
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// `cpu` (deterministic), `cpu-relaxed` (relaxed SIMD), or an engine component
    #[arg(long, default_value = "cpu")]
    engine: String,
    /// The name of a model (`trefoil models`), a .gguf file, a model component, or what is read at
    /// run time: file:PATH (grant the directory with `--dir` then) or https://HOST/PATH (grant the
    /// host with `--http`). Given several times, apps open the models by name, the first one by
    /// default; NAME= in front gives a model another name than its own
    #[arg(long = "model", required = true, value_name = "[NAME=]MODEL")]
    models: Vec<String>,
    #[command(flatten)]
    adapters: AdapterFlags,
    #[command(flatten)]
    remote: RemoteFlags,
    #[command(flatten)]
    configuration: ConfigurationFlags,
    /// `chat`, `server` (answers HTTP requests as OpenAI's API does: `wasmtime serve`) or an app
    /// component; without one the result exports `trefoil:llm/inference`
    #[arg(long)]
    app: Option<String>,
    /// The component to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, session: &Session) -> Result<i32> {
    let app = arguments.app.as_deref().map(parts::app).transpose()?;
    let engine = Engine::from(arguments.engine.as_str()).component()?;
    let configuration = arguments.configuration.component()?;
    arguments.remote.check(&arguments.models)?;
    let models = &arguments.models;
    let model = Some(parts::models(models, &arguments.adapters, &arguments.remote, session)?);
    let collective = Some(parts::collective()?);
    let parts = Parts { engine, model, configuration, collective, app };
    let mut meter = Meter::new(&session.terminal, &session.interrupt, "composing");
    trefoil_compose::compose(&parts, &arguments.output, &mut meter)?;
    Ok(exit::OK)
}
