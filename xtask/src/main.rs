//! Every chore of the project, in Rust: `cargo xtask --help` lists them.

mod bench;
mod command;
mod demo;
mod docs;
mod golden;
mod model;
mod npm;
mod test;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Set-up, demo, tests and generated documents of Trefoil.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// From nothing to an answer: installs targets, fetches the small model, builds, packs,
    /// composes, runs.
    Demo {
        /// What to ask.
        #[arg(default_value = "What is the capital of France?")]
        prompt: String,
    },
    /// Everything that CI checks.
    Test {
        /// Also what takes long: fresh fuzzing, a minute for each target.
        #[arg(long)]
        all: bool,
        /// Only the stages whose names contain one of these words.
        stages: Vec<String>,
    },
    /// Measures Trefoil beside llama.cpp and candle, and writes `docs/benchmarks/`.
    Bench {
        /// How often all programs take their turn.
        #[arg(long, default_value_t = 5)]
        rounds: u32,
        /// Only a few fast tests; nothing is written.
        #[arg(long)]
        quick: bool,
        /// Only the servers with one client and with eight; nothing is written.
        #[arg(long, conflicts_with = "quick")]
        servers: bool,
        /// Instead the page beside wllama in Chromium; writes `docs/benchmarks/web.md`.
        #[arg(long, conflicts_with_all = ["quick", "servers"])]
        web: bool,
        /// Instead counts the instructions of each kernel with callgrind, and fails if they are
        /// more than those accepted in `docs/benchmarks/instructions.csv`.
        #[arg(long, conflicts_with_all = ["rounds", "quick", "servers", "web"])]
        instructions: bool,
        /// Accepts the instructions that are counted.
        #[arg(long, requires = "instructions")]
        accept: bool,
    },
    /// Builds the npm package `@trefoil/llm` as a tarball in `target/npm/`, and tries it.
    Npm,
    /// Rewrites the generated pages in `docs/`.
    Docs,
    /// Remakes the golden data that come from generated models and texts: what llama.cpp computes
    /// with them.
    Golden {
        /// Only these models.
        names: Vec<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Demo { prompt } => demo::run(&prompt),
        Task::Test { all, stages } => test::run(all, &stages),
        Task::Bench { instructions: true, accept, .. } => bench::instructions::run(accept),
        Task::Bench { rounds, web: true, .. } => bench::web::run(rounds),
        Task::Bench { rounds, quick, servers, .. } => {
            bench::run(&bench::Options { rounds, quick, servers })
        }
        Task::Npm => npm::run(),
        Task::Docs => docs::write(),
        Task::Golden { names } => golden::make(&names),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Where builds go.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where models are kept between clones: the folder that `trefoil` uses too.
fn cache() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = variable("TREFOIL_CACHE") {
        return Ok(folder.into());
    }
    let base = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    base.map(|base| base.join("trefoil"))
        .ok_or_else(|| anyhow::anyhow!("no home directory: set TREFOIL_CACHE to a folder"))
}
