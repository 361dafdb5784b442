//! `run` and `chat` on a tiny model.

#![allow(missing_docs, unreachable_pub)]

mod support;

use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Ended, Place};

const PROMPT: [&str; 6] = ["-p", "hello", "--temperature", "0", "-n", "5"];

fn with_prompt<'a>(command: &[&'a str]) -> Vec<&'a str> {
    [command, &PROMPT].concat()
}

fn composed() -> Place {
    let place = Place::with_model();
    place.run(&["compose", "--model", "tiny.gguf", "--app", "chat", "-o", "c.wasm"]).succeeded();
    place
}

#[test]
fn a_composition_answers_the_same_however_it_is_started() {
    let place = composed();
    let answer = place.run(&with_prompt(&["run", "c.wasm"])).text();
    assert!(!answer.is_empty());
    assert_eq!(place.run(&with_prompt(&["run", "c.wasm", "--"])).text(), answer);
    assert_eq!(place.run(&with_prompt(&["chat", "c.wasm"])).text(), answer);
    // An app is added to a composition that has none.
    place.run(&["compose", "--model", "tiny.gguf", "-o", "plug.wasm"]).succeeded();
    assert_eq!(place.run(&with_prompt(&["chat", "plug.wasm"])).text(), answer);
    assert_eq!(place.run(&with_prompt(&["chat", "tiny.gguf", "--engine", "cpu"])).text(), answer);
}

#[test]
fn a_dialogue_answers_line_by_line() {
    let place = composed();
    let arguments = ["chat", "c.wasm", "--temperature", "0", "-n", "3"];
    let answers = place.run_with_input(&arguments, b"hello\n\nagain\n").text();
    assert!(answers.lines().count() >= 2, "{answers:?}");
}

#[test]
fn stats_are_on_standard_error() {
    let place = composed();
    let ended = place.run(&with_prompt(&["run", "--stats", "c.wasm"]));
    for piece in ["tokens/s", "first token", "compile", "guest memory", "total"] {
        assert!(ended.stderr.contains(piece), "`{piece}` is not in: {}", ended.stderr);
    }
    assert!(!ended.text().contains("tokens/s"));
}

#[test]
fn a_model_that_is_read_at_run_time_needs_its_directory() {
    let place = Place::with_model();
    let compose = ["compose", "--model", "file:tiny.gguf", "--app", "chat", "-o", "f.wasm"];
    place.run(&compose).succeeded();
    place.run(&with_prompt(&["run", "f.wasm"])).failed(1, &["`tiny.gguf`", "--dir ."]);
    let answer = place.run(&with_prompt(&["run", "--dir", ".", "f.wasm"])).text();
    place.run(&["compose", "--model", "tiny.gguf", "--app", "chat", "-o", "c.wasm"]).succeeded();
    assert_eq!(place.run(&with_prompt(&["run", "c.wasm"])).text(), answer);
}

#[test]
fn the_exit_code_is_the_guests() {
    composed().run(&["run", "c.wasm", "--no-such-flag"]).failed(1, &["--no-such-flag"]);
}

#[test]
fn too_little_memory_is_explained() {
    let place = composed();
    let run = with_prompt(&["run", "--memory-max", "2M", "c.wasm"]);
    let ended = place.run(&run);
    assert_ne!(ended.code, Some(0));
    let code = ended.code.unwrap_or_default();
    ended.failed(code, &["--memory-max", "2 MiB"]);
}

#[test]
fn a_timeout_ends_a_guest_that_waits_for_input() {
    let place = composed();
    let mut command = place.command(&["run", "--timeout", "0.5", "c.wasm"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("starts");
    let stdin = child.stdin.take();
    let ended: Ended = child.wait_with_output().expect("ends").into();
    drop(stdin);
    ended.failed(124, &["--timeout", "0.5 s"]);
}

#[test]
fn ctrl_c_ends_a_guest_that_waits_for_input_at_once() {
    let place = composed();
    // So that the signal does not meet the compiler.
    place.run(&with_prompt(&["run", "c.wasm"])).succeeded();
    let mut command = place.command(&["run", "c.wasm"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("starts");
    // Else waiting closes it, and the guest may end by itself before the signal arrives.
    let stdin = child.stdin.take();
    std::thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("there is `kill`").success());
    let status = child.wait().expect("ends");
    drop(stdin);
    assert_eq!(status.code(), Some(130));
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = composed();
    let run = ["run", "c.wasm", "-p", "hello", "-n", "200"];
    let mut child = place.command(&run).spawn().expect("starts");
    let mut stdout = child.stdout.take().expect("is piped");
    stdout.read_exact(&mut [0]).expect("writes something");
    drop(stdout);
    let ended: Ended = child.wait_with_output().expect("ends").into();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_is_told_once() {
    let place = composed();
    let full = || File::options().write(true).open("/dev/full").expect("Linux has it");
    for arguments in [&["run", "c.wasm", "-p", "hello"][..], &["inspect", "c.wasm"]] {
        let output = place.command(arguments).stdout(full()).output().expect("starts");
        let ended: Ended = output.into();
        let told = ended.stderr.matches("error: ").count();
        assert_eq!(told, 1, "{}", ended.stderr);
        ended.failed(1, &["standard output", "No space left"]);
    }
}
