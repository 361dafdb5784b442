use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use trefoil_host::{Program, RunOptions, Variable};

use crate::flags::GuestFlags;
use crate::session::Session;
use crate::stats;

/// Run a component that is a command
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Report times, speed and memory on standard error
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    guest: GuestFlags,
    /// The component
    file: PathBuf,
    /// Arguments of the component
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments, session: &Session) -> Result<i32> {
    let begin = Instant::now();
    let program = session.load(&arguments.file)?;
    let job = Job {
        begin,
        program: &program,
        model_bytes: std::fs::metadata(&arguments.file).map_or(0, |metadata| metadata.len()),
        guest: &arguments.guest,
        arguments: arguments.arguments.clone(),
        stats: arguments.stats,
    };
    job.run(session)
}

/// A program to run with its arguments.
pub(crate) struct Job<'a> {
    pub(crate) begin: Instant,
    pub(crate) program: &'a Program,
    pub(crate) model_bytes: u64,
    pub(crate) guest: &'a GuestFlags,
    pub(crate) arguments: Vec<String>,
    pub(crate) stats: bool,
}

impl Job<'_> {
    /// Runs it and returns its exit code.
    pub(crate) fn run(self, session: &Session) -> Result<i32> {
        let (gauges, loaded) = stats::loading(session, self.model_bytes);
        let mut grants = self.guest.grants(self.arguments);
        if self.stats {
            grants.variables.push(Variable { name: "TREFOIL_STATS".into(), value: "1".into() });
        }
        let options = RunOptions {
            grants,
            limits: self.guest.limits(),
            interrupt: session.interrupt.clone(),
            gauges: gauges.clone(),
        };
        let outcome = trefoil_host::run(session.runtime()?, self.program, &options);
        loaded();
        if self.stats {
            stats::report(session, self.begin, self.program, &gauges, outcome.as_ref().ok());
        }
        let outcome = outcome?;
        // The guest has said what it wanted to; that memory was the reason it may not know.
        if let (true, Some(refusal)) = (outcome.exit_code != 0, gauges.refusal()) {
            session.terminal.note(&refusal.to_string());
        }
        Ok(outcome.exit_code)
    }
}
