use std::time::Instant;

use anyhow::Result;

use crate::adapters::AdapterFlags;
use crate::commands::run::Job;
use crate::composition::Wanted;
use crate::flags::{GuestFlags, RequestSettings};
use crate::hub;
use crate::instances::Instances;
use crate::parts::{ConfigurationFlags, Engine, ModelSource};
use crate::response_format::{self, ResponseFormatFlags};
use crate::session::Session;

/// Chat with a model
///
/// Without a prompt this holds a dialogue: one message a line on standard input, answers on
/// standard output.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The name of a model (`trefoil models`), a .gguf file, a model component, file:PATH, or a
    /// composition. A model that is not there is pulled first if standard error is a terminal
    #[arg(default_value = "smollm2")]
    model: String,
    /// Answer this and end; `-` reads it from standard input
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// System message: how the assistant should behave
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "raw")]
    system: Option<String>,
    /// Continue the prompt as it is, without the chat template
    #[arg(long, requires = "prompt")]
    raw: bool,
    /// Which model, where the file contains several
    #[arg(long = "model", id = "model-name", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    adapters: AdapterFlags,
    /// `cpu`, `cpu-relaxed`, or an engine component [default: cpu-relaxed; a composition keeps its
    /// own]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    #[command(flatten)]
    configuration: ConfigurationFlags,
    #[command(flatten)]
    response_format: ResponseFormatFlags,
    /// Report times, speed and memory on standard error
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    guest: GuestFlags,
    #[command(flatten)]
    settings: RequestSettings,
}

pub(crate) fn run(arguments: &Arguments, session: &Session) -> Result<i32> {
    let begin = Instant::now();
    hub::pull_if_absent(&arguments.model, session)?;
    let model = ModelSource::find(&arguments.model, session)?;
    let wanted = Wanted {
        model: &model,
        adapters: &arguments.adapters,
        engine: arguments.engine.as_deref().map(Engine::from),
        default_engine: Engine::CpuRelaxed,
        configuration: &arguments.configuration,
        chat: true,
        instances: Instances::per_core(arguments.guest.instances),
    };
    let program = session.load(&wanted.prepare(session)?)?;
    let job = Job {
        begin,
        program: &program,
        model_bytes: model.size(),
        guest: &arguments.guest,
        arguments: arguments.for_app(),
        stats: arguments.stats,
        instances: wanted.instances.for_program(&program),
    };
    job.run(session)
}

impl Arguments {
    /// The flags that are the app's, as it spells them.
    fn for_app(&self) -> Vec<String> {
        let texts = [("prompt", &self.prompt), ("system", &self.system), ("model", &self.name)];
        let mut arguments: Vec<String> = texts
            .into_iter()
            .filter_map(|(name, text)| Some(format!("--{name}={}", text.as_ref()?)))
            .collect();
        if self.raw {
            arguments.push("--raw".into());
        }
        let settings = self.settings.0.iter();
        arguments.extend(settings.map(|setting| format!("--{}={}", setting.key, setting.value)));
        arguments.extend(response_format::argument(self.response_format.get()));
        arguments
    }
}
