use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use trefoil_host::{Program, RunOptions, Variable};

use crate::composition::for_instances;
use crate::flags::GuestFlags;
use crate::instances::Instances;
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
    /// The component, and its arguments; flags behind the component are its own
    #[arg(required = true, trailing_var_arg = true, value_names = ["FILE", "ARGS"])]
    file_and_arguments: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments, session: &Session) -> Result<i32> {
    let begin = Instant::now();
    let (file, rest) = split(&arguments.file_and_arguments);
    let instances = Instances::per_core(arguments.guest.instances);
    let program = session.load(&for_instances(Path::new(file), instances, session)?)?;
    let job = Job {
        begin,
        program: &program,
        model_bytes: std::fs::metadata(file).map_or(0, |metadata| metadata.len()),
        guest: &arguments.guest,
        arguments: rest.to_vec(),
        stats: arguments.stats,
        instances: instances.for_program(&program),
    };
    job.run(session)
}

/// `FILE [--] ARGS`: the first `--` only separates.
fn split(texts: &[String]) -> (&str, &[String]) {
    match texts {
        [file, separator, rest @ ..] if separator == "--" => (file, rest),
        [file, rest @ ..] => (file, rest),
        [] => ("", &[]),
    }
}

/// A program to run with its arguments.
pub(crate) struct Job<'a> {
    pub(crate) begin: Instant,
    pub(crate) program: &'a Program,
    pub(crate) model_bytes: u64,
    pub(crate) guest: &'a GuestFlags,
    pub(crate) arguments: Vec<String>,
    pub(crate) stats: bool,
    pub(crate) instances: u32,
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
            instances: self.instances,
        };
        let outcome = trefoil_host::run(session.runtime()?, self.program, &options);
        loaded();
        if self.stats {
            let outcome = outcome.as_ref().ok();
            stats::report(session, self.begin, self.program, &gauges, self.instances, outcome);
        }
        let outcome = outcome?;
        // The guest has said what it wanted to; that memory was the reason it may not know.
        if let (true, Some(refusal)) = (outcome.exit_code != 0, gauges.refusal()) {
            session.terminal.note(&refusal.to_string());
        }
        Ok(outcome.exit_code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn flags_behind_the_file_are_the_components() {
        for line in ["run --stats f.wasm --stats -n 3", "run --stats f.wasm -- --stats -n 3"] {
            let line = Line::try_parse_from(line.split(' ')).expect("valid");
            assert!(line.arguments.stats);
            let (file, rest) = split(&line.arguments.file_and_arguments);
            assert_eq!(file, "f.wasm");
            assert_eq!(rest, ["--stats", "-n", "3"]);
        }
    }
}
