//! One composed file, unmodified, prints the same bytes wherever it runs.

mod support;

use std::process::Command;

use support::{Place, needed, run_with_input, smollm2};

/// Runs a command component with Python's `wasmtime`; the arguments follow the file's name.
const PYTHON: &str = r#"
import sys
import wasmtime
from wasmtime import component

engine = wasmtime.Engine()
linker = component.Linker(engine)
linker.add_wasip2()
store = wasmtime.Store(engine)
wasi = wasmtime.WasiConfig()
wasi.argv = sys.argv[1:]
wasi.inherit_stdin()
wasi.inherit_stdout()
wasi.inherit_stderr()
store.set_wasi(wasi)
guest = component.Component.from_file(engine, sys.argv[1])
instance = linker.instantiate(store, guest)
indices = (
    instance.get_export_index(store, f"wasi:cli/run@0.2.{patch}") for patch in range(20)
)
interface = next(index for index in indices if index is not None)
run = instance.get_func(store, instance.get_export_index(store, "run", interface))
run(store)
"#;

/// The same program in the three runtimes.
fn runtimes(place: &Place, arguments: &[&str]) -> [(&'static str, Command); 3] {
    let file = place.path("chat.wasm");
    let mut ours = place.command(&["run", "chat.wasm", "--"]);
    ours.args(arguments);
    let mut stock = Command::new(needed("TREFOIL_WASMTIME"));
    stock.arg("run").arg(&file).args(arguments);
    let mut python = Command::new(needed("TREFOIL_PYTHON"));
    python.args(["-c", PYTHON]).arg(&file).args(arguments);
    [("trefoil run", ours), ("wasmtime run", stock), ("Python", python)]
}

/// Composes `chat` with the model, runs it everywhere and compares standard outputs.
fn same_bytes(place: &Place, model: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let compose = ["compose", "--engine", "cpu", "--app", "chat", "--model", model];
    place.run(&[&compose[..], &["-o", "chat.wasm"]].concat()).succeeded();
    let outputs = runtimes(place, arguments)
        .map(|(name, command)| (name, run_with_input(command, input).succeeded()));
    for (name, output) in &outputs[1..] {
        assert_eq!(output, &outputs[0].1, "{name} prints other bytes than trefoil");
    }
    outputs[0].1.clone()
}

#[test]
fn smollm2_answers_with_the_same_bytes_in_three_runtimes() {
    let arguments = ["-p", "What is the capital of France?", "--temperature", "0", "-n", "24"];
    let answer = same_bytes(&Place::new(), &smollm2(), &arguments, b"");
    assert!(answer.len() > 20, "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_dialogue_on_pipes_gives_the_same_bytes_in_three_runtimes() {
    let place = Place::with_model();
    let arguments = ["--temperature", "0", "-n", "6", "--system", "Be brief."];
    let input = "hello\nwie geht’s\n/clear\nhello\n".as_bytes();
    let answers = same_bytes(&place, "tiny.gguf", &arguments, input);
    let lines = answers.split(|byte| *byte == b'\n').count();
    assert!(lines >= 4, "three answers: {}", String::from_utf8_lossy(&answers));
}

#[test]
fn a_seed_gives_the_same_bytes_in_three_runtimes() {
    let place = Place::with_model();
    let answer = |seed| {
        let sampling = ["--temperature", "1.5", "--seed", seed, "-n", "24"];
        let arguments = [&["--raw", "-p", "Once upon a time"][..], &sampling].concat();
        same_bytes(&place, "tiny.gguf", &arguments, b"")
    };
    assert_ne!(answer("7"), answer("8"), "the seed decides");
}
