use std::io::Read;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use trefoil_contract::{Setting, TokenizeOptions, Value};
use trefoil_host::{Gauges, Inference, Program, RunOptions};

use crate::adapters::AdapterFlags;
use crate::bench::machine;
use crate::bench::report::{Report, Series};
use crate::bench::speed::Bench;
use crate::bench::test::{DEFAULT, Test};
use crate::composition::Wanted;
use crate::exit;
use crate::flags::{GuestFlags, ModelSettings};
use crate::instances::Instances;
use crate::parts::{ConfigurationFlags, Engine, ModelSource};
use crate::session::{Session, print, print_json};

/// Tokens of the prompt before the first token.
const FIRST_TOKEN_PROMPT_TOKENS: usize = 32;

/// What is run once before anything is timed.
const WARM_UP: Test = Test::Decode { tokens: 8, depth: 32, batch: 1 };

/// Measure how fast a model runs here
///
/// Tests are named as in llama-bench: `pp512` processes a prompt of 512 tokens, `tg128` produces
/// 128 tokens, `tg128@2048` does so behind 2048 others, `tg128x8` in 8 sequences at once, and
/// `tg128-json` as JSON that satisfies a schema.
/// Besides, the time to load the model, the time from the start of a process to the first token,
/// memory, and the share of the memory's speed that decoding reaches.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The name of a model (`trefoil models`), a .gguf file, a model component, file:PATH, or a
    /// composition
    model: String,
    /// Tests, separated by commas [default:
    /// pp128,pp512,tg128,tg128-json,tg128@2048,tg128x4,tg128x8]
    #[arg(long, value_name = "TESTS", value_delimiter = ',')]
    tests: Vec<Test>,
    /// How often each test is run
    #[arg(short, long, value_name = "COUNT", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    repetitions: u32,
    /// Do not measure the time from the start of a process to its first token
    #[arg(long)]
    no_first_token: bool,
    #[command(flatten)]
    adapters: AdapterFlags,
    /// `cpu`, `cpu-relaxed`, or an engine component [default: cpu-relaxed; a composition keeps its
    /// own]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    #[command(flatten)]
    configuration: ConfigurationFlags,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    guest: GuestFlags,
    #[command(flatten)]
    settings: ModelSettings,
}

pub(crate) fn run(arguments: &Arguments, session: &Session) -> Result<i32> {
    let report = arguments.measure(session)?;
    if arguments.json {
        print_json(&report.json())?;
    } else if arguments.csv {
        print(report.csv().as_bytes())?;
    } else {
        print(report.table().as_bytes())?;
    }
    Ok(exit::OK)
}

impl Arguments {
    fn measure(&self, session: &Session) -> Result<Report> {
        let model = ModelSource::find(&self.model, session)?;
        let wanted = Wanted {
            model: &model,
            adapters: &self.adapters,
            engine: self.engine.as_deref().map(Engine::from),
            default_engine: Engine::CpuRelaxed,
            configuration: &self.configuration,
            chat: false,
            instances: Instances::per_core(self.guest.instances),
        };
        let path = wanted.prepare(session)?;
        let program = session.load(&path)?;
        let instances = wanted.instances.for_program(&program);
        let gauges = Arc::new(Gauges::default());

        let mut load_ms = Series(Vec::new());
        let mut inference = self.open(&program, instances, &gauges, &[], session)?;
        let info = inference.info()?;
        let prompt = first_token_prompt(&mut inference)?;
        drop(inference);
        let tests = self.tests();
        let fits = |test: &Test| test.context_tokens() <= info.context_tokens_trained;
        let mut settings = vec![Setting::new(
            "sequences-max",
            Value::Integer(tests.iter().map(|test| i64::from(test.batch())).max().unwrap_or(1)),
        )];
        if let Some(tokens) =
            tests.iter().filter(|test| fits(test)).map(|t| t.context_tokens()).max()
        {
            settings.push(Setting::new("context-tokens", Value::Integer(tokens.into())));
        }
        // What the user says has the last word.
        settings.extend(self.settings.0.iter().cloned());

        let progress = session.terminal.spinner("measuring");
        let mut inference = None;
        for _ in 0..self.repetitions {
            drop(inference.take());
            let start = Instant::now();
            inference = Some(self.open(&program, instances, &gauges, &settings, session)?);
            load_ms.0.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let Some(mut inference) = inference else { bail!("no repetition was asked for") };
        let context_tokens = inference.info()?.context_tokens;
        let mut bench = Bench::new(inference)?;
        if WARM_UP.context_tokens() <= context_tokens {
            bench.run(WARM_UP)?;
        }
        let mut speeds: Vec<_> = tests
            .iter()
            .map(|test| {
                let series = match test.context_tokens() <= context_tokens {
                    true => Ok(Series(Vec::new())),
                    false => Err(format!(
                        "it needs a context of {} tokens, but {context_tokens} are in force \
                         (trained for: {})",
                        test.context_tokens(),
                        info.context_tokens_trained
                    )),
                };
                (test.to_string(), series)
            })
            .collect();
        // Round by round, so that a disturbance does not hit all runs of one test.
        for round in 1..=self.repetitions {
            for (test, (name, series)) in tests.iter().zip(&mut speeds) {
                let Ok(series) = series else { continue };
                progress.set_message(format!("{name}, run {round} of {}", self.repetitions));
                series.0.push(bench.run(*test)?);
            }
        }
        drop(bench);

        let (mut first_token_ms, mut anonymous_memory_bytes) = (None, None);
        if !self.no_first_token {
            progress.set_message("first token");
            let (times, bytes) = self.first_token(&prompt.text, instances, session)?;
            (first_token_ms, anonymous_memory_bytes) = (Some(times), bytes);
        }
        progress.set_message("memory");
        let inspection = trefoil_compose::inspect(&path)?;
        let (model_bytes, token_bytes) = match inspection.model_file() {
            Some(model) => (info.size, model.token_bytes),
            // A model that is read at run time.
            None => (info.size, info.size),
        };
        let memory_read_bytes_per_s = machine::read_bytes_per_s(model_bytes.max(64 << 20));
        progress.finish_and_clear();
        Ok(Report {
            model: info.name,
            engine: info.engine,
            instances,
            speeds,
            load_ms,
            first_token_ms,
            first_token_prompt_tokens: prompt.tokens,
            guest_memory_bytes: gauges.memory_bytes(),
            anonymous_memory_bytes,
            model_bytes,
            token_bytes,
            memory_read_bytes_per_s,
        })
    }

    fn tests(&self) -> Vec<Test> {
        match self.tests.is_empty() {
            true => DEFAULT.iter().filter_map(|text| text.parse().ok()).collect(),
            false => self.tests.clone(),
        }
    }

    fn open(
        &self,
        program: &Program,
        instances: u32,
        gauges: &Arc<Gauges>,
        settings: &[Setting],
        session: &Session,
    ) -> Result<Inference> {
        let options = RunOptions {
            grants: self.guest.grants(Vec::new()),
            limits: self.guest.limits(),
            interrupt: session.interrupt.clone(),
            gauges: gauges.clone(),
            instances,
        };
        Inference::open(session.runtime()?, program, &options, settings, None)
            .with_context(|| format!("cannot open the model `{}`", self.model))
    }

    /// Milliseconds from the start of `trefoil chat` to its first output, and the most anonymous
    /// memory that it held then. One run more than is reported makes everything that can be cached
    /// so.
    fn first_token(
        &self,
        prompt: &str,
        instances: u32,
        session: &Session,
    ) -> Result<(Series, Option<u64>)> {
        let program = std::env::current_exe().context("cannot find the own program")?;
        let (mut series, mut most_bytes) = (Series(Vec::new()), None);
        for _ in 0..=self.repetitions {
            let mut command = Command::new(&program);
            command.args([
                "chat",
                &self.model,
                "--quiet",
                "--raw",
                "-n",
                "1",
                "--temperature",
                "0",
            ]);
            command.arg(format!("--prompt={prompt}"));
            command.arg(format!("--instances={instances}"));
            if let Some(engine) = &self.engine {
                command.args(["--engine", engine]);
            }
            command.args(self.adapters.to_arguments());
            command.args(self.configuration.to_arguments());
            let start = Instant::now();
            let mut child = command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .context("cannot start the own program")?;
            let mut first = [0];
            let mut output = child.stdout.take();
            let read = output.as_mut().map(|output| output.read(&mut first));
            series.0.push(start.elapsed().as_secs_f64() * 1e3);
            // While it writes the tokens that follow.
            most_bytes = most_bytes.max(machine::anonymous_bytes(child.id()));
            let rest = output.map(|mut output| std::io::copy(&mut output, &mut std::io::sink()));
            let status = child.wait().context("cannot wait for the own program")?;
            if !status.success() || !matches!((read, rest), (Some(Ok(1)), Some(Ok(_)))) {
                bail!("`trefoil chat` ended with {status} before its first token");
            }
            if session.interrupt.is_raised() {
                bail!(trefoil_host::Failure::Interrupted);
            }
        }
        series.0.remove(0);
        Ok((series, most_bytes))
    }
}

struct FirstTokenPrompt {
    text: String,
    tokens: u32,
}

/// A text of [`FIRST_TOKEN_PROMPT_TOKENS`] tokens, or the next number that this text gives.
fn first_token_prompt(inference: &mut Inference) -> Result<FirstTokenPrompt> {
    let options = TokenizeOptions { add_special: true, parse_special: false };
    let mut text = String::from("Once");
    loop {
        let tokens = inference.tokenize(text.as_bytes(), options)?.len();
        if tokens >= FIRST_TOKEN_PROMPT_TOKENS {
            return Ok(FirstTokenPrompt { text, tokens: tokens as u32 });
        }
        text.push_str(" upon");
    }
}
