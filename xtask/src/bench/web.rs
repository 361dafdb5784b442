//! The page beside wllama, which is llama.cpp for browsers: alternately in the same Chromium.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::targets::{Bound, Row, median};
use super::{Measured, output_json, page};
use crate::{command, model, npm, root, target, tools};

const WLLAMA_PACKAGE: &str = "@wllama/wllama@3.8.1";

const WORKERS: [&str; 2] = ["1", "2"];

const PREFILL: &str = "pp128";
const DECODE: &str = "tg64";
const FIRST_TOKEN: &str = "first_token_ms";
const MEMORY: &str = "renderer_bytes";

fn trefoil(workers: &str) -> String {
    format!("Trefoil, workers: {workers}")
}

/// The same in a page whose workers share no memory.
fn trefoil_by_messages(workers: &str) -> String {
    format!("{} (messages)", trefoil(workers))
}

fn wllama(threads: &str) -> String {
    format!("wllama, threads: {threads}")
}

/// Measures, prints, and writes `docs/benchmarks/web.md`.
pub(crate) fn run(rounds: u32) -> Result<()> {
    ensure!(rounds > 0, "at least one round is needed");
    println!("==> set-up");
    tools::rust()?;
    let (npm, model) = (tools::npm()?, model::smollm2()?);
    let browser = Browser {
        node: tools::node(&npm)?.join("node_modules/.bin/node"),
        chromium: tools::chromium()?,
    };
    let arguments = ["build", "--locked", "--release", "--package", "trefoil"];
    command::run(&mut tools::cargo(&npm, &arguments))?;
    let package = npm::install(&npm, &npm::pack(&npm)?)?;
    let peer = peer(&npm)?;
    let site = target().join("bench").join("site");
    fs::create_dir_all(target().join("bench"))?;
    let mut make = Command::new(target().join("release").join("trefoil"));
    command::run(make.args(["web", "--quiet"]).arg(&model).arg("--output").arg(&site))?;

    let ours = |workers| {
        let mut command = browser.program("trefoil", workers);
        command.arg("--site").arg(&site).arg("--package").arg(&package);
        command
    };
    let theirs = |threads| {
        let mut command = browser.program("wllama", threads);
        command.arg("--model").arg(&model).arg("--package").arg(&peer);
        command
    };
    let mut by_messages = ours("2");
    by_messages.args(["--exchange", "messages"]);
    let mut programs: Vec<_> = WORKERS
        .into_iter()
        .flat_map(|count| [(trefoil(count), ours(count)), (wllama(count), theirs(count))])
        .chain([(trefoil_by_messages("2"), by_messages)])
        .collect();
    let mut measured = Measured::new();
    for round in 1..=rounds {
        for (name, command) in &mut programs {
            let report = output_json(command)?;
            keep(&mut measured, name, &report)?;
            println!("round {round} of {rounds}: {name} ({})", report["used"]);
        }
    }
    let model_bytes = fs::metadata(&model)?.len() as f64;
    let rows = rows(&measured, model_bytes);
    print!("{}", page::table(&measured, &rows, rounds));
    page::write_web(&measured, &rows, rounds)
}

/// The folder of wllama's modules.
fn peer(npm: &Path) -> Result<PathBuf> {
    let folder = target().join("tools").join("wllama");
    let modules = folder.join("node_modules/@wllama/wllama/esm");
    if !modules.join("index.js").exists() {
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("package.json"), "{ \"private\": true }\n")?;
        let arguments = ["install", "--no-audit", "--no-fund", "--loglevel=error", WLLAMA_PACKAGE];
        command::run_quietly(tools::with_npm(npm, &arguments).current_dir(&folder))?;
    }
    Ok(modules)
}

struct Browser {
    node: PathBuf,
    chromium: PathBuf,
}

impl Browser {
    /// What measures a program in a browser of its own; where its files are comes behind.
    fn program(&self, name: &str, workers: &str) -> Command {
        let mut command = Command::new(&self.node);
        command.current_dir(root().join("web")).arg("test/bench.mjs");
        command.args(["--program", name, "--workers", workers]);
        command.env("TREFOIL_CHROMIUM", &self.chromium);
        command
    }
}

fn keep(measured: &mut Measured, name: &str, report: &Value) -> Result<()> {
    for (test, field) in [
        (PREFILL, "prefill_tokens_per_s"),
        (DECODE, "decode_tokens_per_s"),
        (FIRST_TOKEN, "first_token_ms"),
        (MEMORY, "memory_bytes"),
    ] {
        let value = report[field].as_f64().with_context(|| format!("{name}: no `{field}`"))?;
        measured.entry((name.to_owned(), test.to_owned())).or_default().push(value);
    }
    Ok(())
}

/// What the page wants to reach.
fn rows(measured: &Measured, model_bytes: f64) -> Vec<Row> {
    use Bound::{AtLeast, AtMost};
    let value = |program: String, test: &str| {
        let values = measured.get(&(program, test.to_owned()));
        median(values.map_or(&[], Vec::as_slice))
    };
    let same = |workers, test| value(trefoil(workers), test) / value(wllama(workers), test);
    let row = |what, ratio, bound| Row { what, ratio, bound };
    vec![
        row("prefill 128, 1 worker : wllama 1 thread", same("1", PREFILL), AtLeast(8.0)),
        row("decode, 1 worker : wllama 1 thread", same("1", DECODE), AtLeast(8.0)),
        row("prefill 128, 2 workers : wllama 2 threads", same("2", PREFILL), AtLeast(5.0)),
        row("decode, 2 workers : wllama 2 threads", same("2", DECODE), AtLeast(5.0)),
        row("load to first token, 1 worker : wllama 1 thread", same("1", FIRST_TOKEN), AtMost(0.7)),
        row(
            "peak memory of the page, 1 worker : model file",
            value(trefoil("1"), MEMORY) / model_bytes,
            AtMost(2.2),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_reached() {
        assert!(rows(&Measured::new(), 1.0).iter().all(|row| !row.is_reached()));
    }
}
