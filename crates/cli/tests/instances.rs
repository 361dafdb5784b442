//! Compositions in several instances.

#![allow(missing_docs, unreachable_pub)]

mod support;

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use support::{Ended, Place, smollm2};
use trefoil_fixtures::{TinyLlama, tiny_llama};
use trefoil_gguf::TensorType;

const PROMPT: [&str; 6] = ["-p", "hello", "--temperature", "0", "-n", "12"];

/// One with heads that two or three instances cannot share evenly.
fn place() -> Place {
    let place = Place::new();
    let shape = TinyLlama {
        heads: 9,
        kv_heads: 3,
        embedding_length: 288,
        ..TinyLlama::with_matrices(TensorType::Q4_1)
    };
    place.write("tiny.gguf", &tiny_llama(&shape));
    place
}

fn composed() -> Place {
    let place = place();
    place.run(&["compose", "--model", "tiny.gguf", "--app", "chat", "-o", "c.wasm"]).succeeded();
    place
}

#[test]
fn both_engines_give_the_same_bits_with_any_number_of_instances() {
    let place = place();
    let text = "once upon a time there were several instances ".repeat(3);
    let questions = [
        json!({"prompt": text, "top": 300}),
        json!({"tokens": [1, 2, 3], "top": 300}),
        json!({"tokens": [1, 2, 3, 4], "top": 300}),
    ];
    let lines: String = questions.iter().map(|question| format!("{question}\n")).collect();
    for engine in ["cpu", "cpu-relaxed"] {
        let logits = |instances: &str, prefill: &str| {
            let run = ["logits", "tiny.gguf", "--jsonl", "--engine", engine];
            let more = ["--instances", instances, "--prefill-tokens", prefill];
            place.run_with_input(&[&run[..], &more].concat(), lines.as_bytes()).text()
        };
        let expected = logits("1", "512");
        assert_eq!(expected.lines().count(), 3);
        for (instances, prefill) in [("2", "512"), ("3", "512"), ("2", "7"), ("12", "1")] {
            let found = logits(instances, prefill);
            assert!(found == expected, "{engine}: {instances} instances, chunks of {prefill}");
        }
    }
}

#[test]
fn apps_answer_the_same_however_many_instances_compute() {
    let place = composed();
    let answer = |arguments: &[&str], instances: &str| {
        let flags = ["--instances", instances];
        let (command, file) = arguments.split_at(1);
        let app: &[&str] = if command == ["run"] { &["--"] } else { &[] };
        place.run(&[command, &flags, file, app, &PROMPT].concat()).text()
    };
    let expected = answer(&["run", "c.wasm"], "1");
    assert!(!expected.is_empty());
    for instances in ["2", "3"] {
        assert_eq!(answer(&["run", "c.wasm"], instances), expected);
        assert_eq!(answer(&["chat", "c.wasm"], instances), expected);
        assert_eq!(answer(&["chat", "tiny.gguf", "--engine", "cpu"], instances), expected);
    }
    // Whatever the machine has.
    let file = ["run", "c.wasm"];
    assert_eq!(place.run(&[&file[..], &PROMPT].concat()).text(), expected);
    let dialogue = |instances: &str| {
        let run = ["chat", "c.wasm", "--temperature", "0", "-n", "5", "--instances", instances];
        place.run_with_input(&run, b"hello\nagain\n").text()
    };
    assert_eq!(dialogue("2"), dialogue("1"));
}

#[test]
fn every_instance_may_read_a_model_at_run_time() {
    let place = place();
    let compose = ["compose", "--model", "file:tiny.gguf", "--app", "chat", "-o", "f.wasm"];
    place.run(&compose).succeeded();
    let run = |more: &[&str]| place.run(&[&["run"], more, &["f.wasm"], &PROMPT].concat());
    let expected = run(&["--dir", ".", "--instances", "1"]).text();
    assert_eq!(run(&["--dir", ".", "--instances", "3"]).text(), expected);
    run(&["--instances", "2"]).failed(1, &["`tiny.gguf`", "--dir ."]);
}

#[test]
fn what_is_no_composition_runs_in_one_instance() {
    let place = composed();
    // A composition that another tool has rewritten has lost its record.
    let bytes = std::fs::read(place.path("c.wasm")).expect("is there");
    let name = b"trefoil:composition";
    let at = bytes.windows(name.len()).rposition(|window| window == name).expect("has a record");
    let mut other = bytes.clone();
    other[at] = b'T';
    place.write("o.wasm", &other);
    let answer = place.run(&[&["run", "o.wasm"], &PROMPT[..]].concat()).text();
    assert!(!answer.is_empty());
    place.run(&["run", "--instances", "2", "o.wasm"]).failed(
        1,
        &["`o.wasm`", "2 instances, only in one", "has no `trefoil:composition` record"],
    );
    place.run(&["run", "--instances", "0", "c.wasm"]).failed(2, &["--instances"]);
    place.run(&["run", "--instances", "1000", "c.wasm"]).failed(2, &["--instances"]);
}

#[test]
fn the_memory_limit_counts_all_instances() {
    let place = composed();
    let run = |instances: &str, memory: &str| {
        let flags = ["run", "--instances", instances, "--memory-max", memory, "c.wasm"];
        place.run(&[&flags[..], &PROMPT].concat())
    };
    // Each instance reads through a buffer of 1 MiB of its own.
    run("1", "8M").succeeded();
    let ended = run("6", "8M");
    let code = ended.code.unwrap_or_default();
    assert_ne!(code, 0);
    ended.failed(code, &["--memory-max", "8 MiB"]);
}

#[test]
fn time_limit_and_ctrl_c_end_instances_that_wait() {
    let place = composed();
    let run = ["run", "--instances", "3"];
    place.run(&[&run[..], &["c.wasm"], &PROMPT].concat()).succeeded();
    let started = |more: &[&str]| {
        let mut command = place.command(&[&run[..], more, &["c.wasm"]].concat());
        command.stdin(Stdio::piped()).spawn().expect("starts")
    };
    let mut child = started(&["--timeout", "0.7"]);
    let stdin = child.stdin.take();
    let ended: Ended = child.wait_with_output().expect("ends").into();
    drop(stdin);
    ended.failed(124, &["--timeout", "0.7 s"]);

    let mut child = started(&[]);
    let stdin = child.stdin.take();
    std::thread::sleep(Duration::from_millis(500));
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("there is `kill`").success());
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    drop(stdin);
}

#[test]
fn smollm2_gives_the_same_bits_in_two_instances() {
    let place = Place::new();
    let model = smollm2();
    let logits = |instances: &str| {
        let run = ["logits", &model, "-p", "Once upon a time", "--json"];
        place.run(&[&run[..], &["--instances", instances]].concat()).json()
    };
    assert_eq!(logits("2"), logits("1"));
}
