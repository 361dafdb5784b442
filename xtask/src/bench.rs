//! `cargo xtask bench`: Trefoil beside its peers, alternately in one run.

pub(crate) mod instructions;
mod page;
pub(crate) mod peers;
mod servers;
mod targets;
pub(crate) mod web;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{command, model, root, target, tools};
use peers::{Depth, Peers};

/// Prompt of the golden data with which all programs are checked.
const CHECKED_PROMPT: usize = 0;

/// From which margin between the two likeliest tokens on another choice is an error
/// (`tests/reference/README.md`).
const MARGIN_DECISIVE: f64 = 0.6;

/// How often each test of Gemma 3 runs in a round, of which the median counts: they are near their
/// targets, and one prompt takes a third of a second.
const GEMMA3_REPETITIONS: &str = "3";

/// What to measure.
pub(crate) struct Options {
    /// Alternations.
    pub(crate) rounds: u32,
    /// Only what takes seconds, and nothing is written.
    pub(crate) quick: bool,
    /// Only the servers, and nothing is written.
    pub(crate) servers: bool,
}

/// Measured values by program and test, in the order of the rounds.
pub(crate) type Measured = BTreeMap<(String, String), Vec<f64>>;

/// Measures, prints, and writes `docs/benchmarks/`.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "at least one round is needed");
    println!("==> set-up");
    tools::rust()?;
    let (model, gemma3) = (model::smollm2()?, model::gemma3()?);
    let arguments = ["build", "--locked", "--release", "--package", "trefoil"];
    command::run(&mut tools::cargo(&tools::npm()?, &arguments))?;
    let trefoil = target().join("release").join("trefoil");
    let peers = Peers::prepare()?;
    check_outputs(&trefoil, &peers, &model)?;

    let is_full = !options.quick && !options.servers;
    let mut measured = Measured::new();
    for round in 1..=options.rounds {
        let mut programs = match options.servers {
            true => Vec::new(),
            false => programs(&trefoil, &peers, &model, options.quick),
        };
        if is_full {
            programs.extend(programs_of_gemma3(&trefoil, &peers, &gemma3));
        }
        for mut program in programs {
            let start = Instant::now();
            let report = output_json(&mut program.command)?;
            keep(&mut measured, &program, &report)?;
            println!(
                "round {round} of {}: {} ({:.0} s)",
                options.rounds,
                program.name,
                start.elapsed().as_secs_f64()
            );
        }
        if !options.quick {
            let start = Instant::now();
            servers::measure(&trefoil, &peers, &model, &mut measured)?;
            let time_s = start.elapsed().as_secs_f64();
            println!("round {round} of {}: servers ({time_s:.0} s)", options.rounds);
        }
    }
    let model_bytes = std::fs::metadata(&model)?.len() as f64;
    let mut rows = targets::rows(&measured, model_bytes);
    if !is_full {
        // What was left out on purpose is no target missed.
        rows.retain(|row| !row.ratio.is_nan());
    }
    print!("{}", page::table(&measured, &rows, options.rounds));
    if is_full {
        page::write(&measured, &rows, options.rounds)?;
    }
    Ok(())
}

struct Program {
    name: &'static str,
    command: Command,
    /// Stands before the names of its tests; then only speeds are kept.
    prefix: &'static str,
}

/// What of one round is about another model.
fn programs_of_gemma3(trefoil: &PathBuf, peers: &Peers, model: &PathBuf) -> [Program; 2] {
    let mut command = Command::new(trefoil);
    command.args(["bench", "--json", "--quiet", "--repetitions", GEMMA3_REPETITIONS]);
    command.args(["--instances", "1", "--no-first-token", "--tests", "pp128,tg128"]).arg(model);
    let mut llama = peers.llama(model, "1", Depth::Quick);
    llama.args(["--repetitions", GEMMA3_REPETITIONS]);
    [("Trefoil, 1 instance", command), ("llama.cpp, 1 thread", llama)]
        .map(|(name, command)| Program { name, command, prefix: "Gemma 3 270M, " })
}

/// One round.
fn programs(trefoil: &PathBuf, peers: &Peers, model: &PathBuf, quick: bool) -> Vec<Program> {
    let mut programs = Vec::new();
    for (instances, name, peer) in [
        ("1", "Trefoil, 1 instance", "llama.cpp, 1 thread"),
        ("2", "Trefoil, 2 instances", "llama.cpp, 2 threads"),
    ] {
        let mut command = Command::new(trefoil);
        command.args([
            "bench",
            "--json",
            "--quiet",
            "--repetitions",
            "1",
            "--instances",
            instances,
        ]);
        // The deep context takes llama.cpp most of a round; one thread is what is compared there.
        let depth = match (quick, instances) {
            (true, _) => Depth::Quick,
            (false, "1") => Depth::Full,
            (false, _) => Depth::Short,
        };
        let tests = match (quick, instances) {
            (true, _) => "pp128,tg128",
            (false, "1") => "pp128,pp512,tg128,tg128-json,tg128@2048,tg128x8",
            (false, _) => "pp128,pp512,tg128",
        };
        command.args(["--tests", tests]).arg(model);
        programs.push(Program { name, command, prefix: "" });
        let command = peers.llama(model, instances, depth);
        programs.push(Program { name: peer, command, prefix: "" });
    }
    let command = peers.candle(model, "1");
    programs.push(Program { name: "candle, 1 thread", command, prefix: "" });
    programs
}

/// Runs a program that prints JSON on standard output.
fn output_json(command: &mut Command) -> Result<Value> {
    let output =
        command.output().with_context(|| format!("starting {}", command::show(command)))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}:\n{}",
            command::show(command),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{} printed no JSON", command::show(command)))
}

/// Takes the numbers out of a report.
fn keep(measured: &mut Measured, program: &Program, report: &Value) -> Result<()> {
    let &Program { name, prefix, .. } = program;
    let mut add = |test: &str, value: f64| {
        measured.entry((name.to_owned(), format!("{prefix}{test}"))).or_default().push(value);
    };
    for result in report["results"].as_array().context("a report without `results`")? {
        let test = result["test"].as_str().context("a result without `test`")?;
        add(test, result["tokens_per_s"].as_f64().context("a result without `tokens_per_s`")?);
    }
    if !prefix.is_empty() {
        return Ok(());
    }
    let number = |value: &Value| value.as_f64().or_else(|| value["median"].as_f64());
    for key in [
        "load_ms",
        "first_token_ms",
        "anonymous_memory_bytes",
        "memory_read_bytes_per_s",
        "weight_bytes_per_token",
    ] {
        if let Some(value) = number(&report[key]) {
            add(key, value);
        }
    }
    Ok(())
}

/// That the programs compute the model: their greedy continuations of a prompt differ from the
/// golden data at first where the two likeliest tokens are close.
fn check_outputs(trefoil: &PathBuf, peers: &Peers, model: &PathBuf) -> Result<()> {
    let path = root().join("tests/reference/smollm2-135m.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let greedy = &golden["greedy"][CHECKED_PROMPT];
    let prompt = greedy["prompt"].as_str().context("a golden prompt")?;
    for engine in ["cpu", "cpu-relaxed"] {
        for instances in ["1", "2"] {
            let mut command = Command::new(trefoil);
            command.args(["generate", "--json", "--quiet", "--raw", "--engine", engine]);
            command.args(["--instances", instances, "--temperature", "0", "-n", "48"]);
            command.arg(model).args(["--prompt", prompt]);
            let ids = output_json(&mut command)?["ids"].clone();
            check_ids(&ids, &greedy["oracle"], &format!("engine {engine}, {instances} instances"))?;
        }
    }
    let ids = greedy["llama_cpp"]["prompt_ids"].as_array().context("golden ids")?;
    let ids: Vec<_> = ids.iter().map(Value::to_string).collect();
    let mut command = peers.llama(model, "1", Depth::Quick);
    command.args(["--prompt-ids", &ids.join(",")]);
    check_ids(&output_json(&mut command)?["ids"], &greedy["oracle"], "llama.cpp")
}

fn check_ids(ids: &Value, oracle: &Value, program: &str) -> Result<()> {
    let list = |value: &Value| value.as_array().cloned().context("a list of tokens");
    let (ids, expected, margins) =
        (list(ids)?, list(&oracle["ids"])?, list(&oracle["margin_top1_top2"])?);
    ensure!(!ids.is_empty(), "{program} generated nothing");
    let differs = ids.iter().zip(&expected).position(|(id, expected)| id != expected);
    if let Some(place) = differs {
        let margin = margins.get(place).and_then(Value::as_f64).context("a margin")?;
        ensure!(
            margin < MARGIN_DECISIVE,
            "{program} chose token {} at place {place}, the golden data have {} by a margin of \
             {margin}: it does not compute the model",
            ids[place],
            expected[place]
        );
    }
    Ok(())
}
