//! From nothing to an answer, step by step.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::{command, model, target, tools};

/// Runs the demo with this prompt.
pub(crate) fn run(prompt: &str) -> Result<()> {
    let folder = target().join("demo");
    let packed = folder.join("smollm2.wasm");
    let composed = folder.join("chat.wasm");
    let trefoil = target().join("release").join("trefoil");

    step("install the WebAssembly targets", tools::rust)?;
    let npm = step("look for npm", tools::npm)?;
    let gguf = step("fetch SmolLM2-135M-Instruct (98 MB)", model::smollm2)?;
    step("build trefoil (minutes the first time)", || {
        let arguments = ["build", "--release", "--locked", "--package", "trefoil"];
        command::run(&mut tools::cargo(&npm, &arguments))
    })?;
    fs::create_dir_all(&folder)?;
    step("pack the model: GGUF to component", || {
        command::run(Command::new(&trefoil).arg("pack").arg(&gguf).arg("-o").arg(&packed))
    })?;
    step("compose engine, model and app", || {
        command::run(
            Command::new(&trefoil)
                .args(["compose", "--engine", "cpu", "--model"])
                .arg(&packed)
                .args(["--app", "chat", "-o"])
                .arg(&composed),
        )
    })?;
    step("run it", || {
        println!("\n> {prompt}");
        let outcome =
            command::run(Command::new(&trefoil).args(["run", "--stats"]).arg(&composed).args([
                "--",
                "--temperature",
                "0",
                "-n",
                "64",
                "-p",
                prompt,
            ]));
        println!();
        outcome
    })?;

    let trefoil = trefoil.display();
    println!(
        "\nOne file holds engine, model and app: {}\nTry next:\n  \
         {trefoil} chat smollm2                 a dialogue\n  \
         {trefoil} run {} -- --help     what the app can do\n  \
         {trefoil} inspect {}           what is inside\n  \
         wasmtime run {} -p Hello       the same file under the stock wasmtime",
        composed.display(),
        composed.display(),
        composed.display(),
        composed.display(),
    );
    Ok(())
}

/// Announces a step, does it and tells how long it took.
fn step<T>(what: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("==> {what}");
    let begin = Instant::now();
    let outcome = action()?;
    println!("    {:.1} s", begin.elapsed().as_secs_f64());
    Ok(outcome)
}
