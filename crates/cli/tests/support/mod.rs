//! What the tests of the `trefoil` command share.
#![allow(dead_code)] // Each test file uses a part of it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use trefoil_fixtures::{TinyLlama, tiny_llama};

/// The command under test. Its cache lies below the build folder, so that compiled engines serve
/// all tests; models of the user's cache are not seen.
pub(crate) fn trefoil() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trefoil"));
    command.env("TREFOIL_CACHE", cache()).env_remove("TREFOIL_STATS");
    command
}

pub(crate) fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

/// SmolLM2-135M-Instruct in Q4_1.
pub(crate) fn smollm2() -> PathBuf {
    needed("TREFOIL_SMOLLM2")
}

/// A path that `cargo xtask test` provides.
pub(crate) fn needed(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => path.into(),
        None => {
            panic!("{variable} is not set: run `cargo xtask test`, which fetches what it names")
        }
    }
}

/// Runs to the end and expects success; returns standard output.
pub(crate) fn succeed(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{command:?} failed:\n{}", show(&output));
    output.stdout
}

/// As [`succeed`], with standard input.
pub(crate) fn succeed_with_input(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let output = with_input(command, input);
    assert!(output.status.success(), "{command:?} failed:\n{}", show(&output));
    output.stdout
}

/// Runs to the end with standard input.
pub(crate) fn with_input(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the command ends");
    // A command may end without reading all of it.
    let _ = writer.join().expect("the writer does not panic");
    output
}

/// Expects failure with this exit code; returns standard error.
pub(crate) fn fail(command: &mut Command, code: i32) -> String {
    let output = command.output().expect("the command starts");
    assert_eq!(output.status.code(), Some(code), "{command:?}:\n{}", show(&output));
    String::from_utf8(output.stderr).expect("messages are UTF-8")
}

pub(crate) fn show(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Sends JSON lines to a window of one process and returns its answers.
pub(crate) fn ask(arguments: &[&str], model: &Path, questions: &[Value]) -> Vec<Value> {
    let lines: String = questions.iter().map(|question| format!("{question}\n")).collect();
    let mut command = trefoil();
    command.arg(arguments[0]).arg(model).args(&arguments[1..]).arg("--jsonl");
    let output = succeed_with_input(&mut command, lines.as_bytes());
    let answers: Vec<Value> = String::from_utf8(output)
        .expect("JSON is UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    assert_eq!(answers.len(), questions.len(), "one answer for each question");
    answers
}

/// Writes a tiny model.
pub(crate) fn write_tiny(folder: &Path, options: &TinyLlama) -> PathBuf {
    let path = folder.join(format!("{}.gguf", options.name.replace(' ', "-").to_lowercase()));
    std::fs::write(&path, tiny_llama(options)).expect("the model can be written");
    path
}
