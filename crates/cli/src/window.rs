//! Commands that call the engine directly: they look at one model through its composition.

use std::io::{self, BufRead, Read};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use trefoil_contract::Error;
use trefoil_host::{CallError, Inference, RunOptions};

use crate::adapters::AdapterFlags;
use crate::composition::Wanted;
use crate::exit;
use crate::fields::{Fields, invalid};
use crate::flags::{GuestFlags, ModelSettings};
use crate::instances::Instances;
use crate::parts::{ConfigurationFlags, Engine, ModelSource};
use crate::session::{Session, print, print_json};
use crate::stats;

/// Longest line of `--jsonl`, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Longest input file, in bytes.
const INPUT_BYTES_MAX: u64 = 1 << 30;

/// The model, and how answers are written.
#[derive(Args)]
pub(crate) struct WindowFlags {
    /// The name of a model (`trefoil models`), a .gguf file, a model component, file:PATH, or a
    /// composition
    model: String,
    /// Which model, where there are several
    #[arg(long = "model", id = "model-name", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    adapters: AdapterFlags,
    /// `cpu`, `cpu-relaxed`, or an engine component [default: cpu; a composition keeps its own]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    #[command(flatten)]
    configuration: ConfigurationFlags,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Answer each JSON object on a line of standard input by one line; keys are named as the flags
    #[arg(long, conflicts_with = "json")]
    jsonl: bool,
    #[command(flatten)]
    guest: GuestFlags,
    #[command(flatten)]
    settings: ModelSettings,
}

/// A command of this kind: a request, which is a JSON object, gets an answer, which is another.
pub(crate) trait Window {
    /// The request that the command line stands for.
    fn request(&self) -> Result<Value>;

    /// Computes the answer.
    fn answer(&self, inference: &mut Inference, request: Fields) -> Result<Value, CallError>;

    /// The answer for people.
    fn show(&self, answer: &Value) -> Vec<u8>;

    /// Writes the answer for people while it is computed, where that makes sense. Returns whether
    /// it did.
    fn stream(&self, _: &mut Inference, _: Value) -> Result<bool> {
        Ok(false)
    }
}

impl WindowFlags {
    /// Whether the answer is for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.json || self.jsonl
    }

    /// Runs a window on the model.
    pub(crate) fn run(&self, window: &impl Window, session: &Session) -> Result<i32> {
        // Wrong arguments should show before minutes of work.
        let request = if self.jsonl { None } else { Some(window.request()?) };
        let mut inference = self.open(session)?;
        let Some(request) = request else {
            return answer_lines(&mut inference, window, session);
        };
        if !self.json && window.stream(&mut inference, request.clone())? {
            return Ok(exit::OK);
        }
        let fields = Fields::new(request)?;
        let answer = window.answer(&mut inference, fields)?;
        if self.json {
            print_json(&answer)?
        } else {
            print(&window.show(&answer))?
        }
        Ok(exit::OK)
    }

    fn open(&self, session: &Session) -> Result<Inference> {
        let model = ModelSource::find(&self.model, session)?;
        let wanted = Wanted {
            model: &model,
            adapters: &self.adapters,
            engine: self.engine.as_deref().map(Engine::from),
            default_engine: Engine::Cpu,
            configuration: &self.configuration,
            chat: false,
            instances: Instances::one(self.guest.instances),
        };
        let program = session.load(&wanted.prepare(session)?)?;
        let (gauges, loaded) = stats::loading(session, model.size());
        let options = RunOptions {
            grants: self.guest.grants(Vec::new()),
            limits: self.guest.limits(),
            interrupt: session.interrupt.clone(),
            gauges,
            instances: wanted.instances.for_program(&program),
        };
        let (settings, name) = (&self.settings.0, self.name.as_deref());
        let inference = Inference::open(session.runtime()?, &program, &options, settings, name);
        loaded();
        inference.with_context(|| format!("cannot open the model `{}`", self.model))
    }
}

fn answer_lines(inference: &mut Inference, window: &impl Window, session: &Session) -> Result<i32> {
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    while !session.interrupt.is_raised() {
        line.clear();
        let count = input
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .context("cannot read standard input")?;
        if count == 0 {
            break;
        }
        if count as u64 == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            bail!("a line of standard input is longer than {LINE_BYTES_MAX} bytes");
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let request = serde_json::from_slice(&line)
            .map_err(|error| invalid(format!("the line is not JSON: {error}")))
            .and_then(Fields::new)
            .map_err(CallError::from);
        match request.and_then(|fields| window.answer(inference, fields)) {
            Ok(answer) => print_json(&answer)?,
            Err(CallError::Refused(error)) => print_json(&json!({ "error": {
                "code": code(&error), "message": error.to_string()
            }}))?,
            // The instance is gone, and with it all further answers.
            Err(CallError::Failure(failure)) => {
                print_json(&json!({ "error": {
                    "code": "failure", "message": failure.to_string()
                }}))?;
                return Err(failure.into());
            }
        }
    }
    Ok(exit::OK)
}

/// The error's case, as the contract spells it.
fn code(error: &Error) -> &str {
    match error {
        Error::InvalidModel(_) => "invalid-model",
        Error::InvalidSetting { .. } => "invalid-setting",
        Error::InvalidArgument(_) => "invalid-argument",
        Error::Unsupported(_) => "unsupported",
        Error::ContextOverflow { .. } => "context-overflow",
        Error::OutOfMemory { .. } => "out-of-memory",
        Error::NotFound(_) => "not-found",
        Error::Io(_) => "io",
        Error::Template(_) => "template",
        Error::Busy(_) => "busy",
        Error::Finished => "finished",
        Error::Duplicate => "duplicate",
        Error::Other { code, .. } => code,
    }
}

/// The bytes of a file, or of standard input for `-` or none.
pub(crate) fn input(file: Option<&str>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (name, result) = match file {
        None | Some("-") => (
            "standard input".to_owned(),
            io::stdin().lock().take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes),
        ),
        Some(path) => (
            format!("`{path}`"),
            std::fs::File::open(path)
                .and_then(|file| file.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes)),
        ),
    };
    result.with_context(|| format!("cannot read {name}"))?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        bail!("{name} is longer than {INPUT_BYTES_MAX} bytes; give a shorter one");
    }
    Ok(bytes)
}
