//! The example of a composition as a plug-in of a Python program.

mod support;

use std::process::Command;

use serde_json::json;
use support::{Place, needed, run_with_input};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/plug-in/plug_in.py");

#[test]
fn a_python_program_generates_what_the_command_generates() {
    let place = Place::with_model();
    let compose = ["compose", "--engine", "cpu", "--model", "tiny.gguf", "-o", "model.wasm"];
    place.run(&compose).succeeded();
    let mut python = Command::new(needed("TREFOIL_PYTHON"));
    python.arg(EXAMPLE).arg(place.path("model.wasm")).args(["Once upon a time", "12"]);
    let printed = String::from_utf8(run_with_input(python, b"").succeeded()).expect("UTF-8");

    let flags = ["--raw", "--temperature", "0", "-n", "12", "--json", "-p", "Once upon a time"];
    let expected = place.run(&[&["generate", "model.wasm"], &flags[..]].concat()).json();
    assert_eq!(json!(printed.trim_end_matches('\n')), expected["text"]);
    assert!(printed.len() > 1, "some text was generated");
}

#[test]
fn errors_reach_the_python_program_with_their_case() {
    let place = Place::with_model();
    let compose = ["compose", "--engine", "cpu", "--model", "tiny.gguf", "-o", "model.wasm"];
    place.run(&compose).succeeded();
    let mut python = Command::new(needed("TREFOIL_PYTHON"));
    let prompt = "many words ".repeat(200);
    python.arg(EXAMPLE).arg(place.path("model.wasm")).args([prompt.as_str(), "12"]);
    run_with_input(python, b"").failed(1, &["[static]request.start", "context-overflow"]);
}
