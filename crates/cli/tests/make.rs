//! `pack`, `compose` and `inspect`.

#![allow(missing_docs, unreachable_pub)]

mod support;

use support::Place;

#[test]
fn a_packed_model_composes_to_the_same_file_as_its_gguf() {
    let place = Place::with_model();
    place.run(&["pack", "tiny.gguf", "-o", "tiny.wasm"]).succeeded();
    for (model, out) in [("tiny.gguf", "a.wasm"), ("tiny.wasm", "b.wasm")] {
        place.run(&["compose", "--model", model, "--app", "chat", "-o", out]).succeeded();
    }
    let read = |name: &str| std::fs::read(place.path(name)).expect("was written");
    assert!(read("a.wasm") == read("b.wasm"), "the compositions differ");
}

#[test]
fn inspect_tells_what_a_file_is() {
    let place = Place::with_model();
    place.run(&["pack", "tiny.gguf", "-o", "m.wasm"]).succeeded();
    place.run(&["compose", "--model", "m.wasm", "--app", "chat", "-o", "c.wasm"]).succeeded();
    for (file, kind) in [("tiny.gguf", "gguf"), ("m.wasm", "model"), ("c.wasm", "composition")] {
        let json = place.run(&["inspect", "--json", file]).json();
        assert_eq!(json["kind"], kind, "{json}");
    }
    let text = place.run(&["inspect", "c.wasm"]).text();
    for role in ["engine: ", "model: ", "configuration: ", "app: ", "wasi:cli/run@"] {
        assert!(text.contains(role), "`{role}` is not in: {text}");
    }
}

#[test]
fn the_composition_of_bundled_parts_imports_only_wasi() {
    let place = Place::with_model();
    place.run(&["compose", "--model", "tiny.gguf", "-o", "plug.wasm"]).succeeded();
    let json = place.run(&["inspect", "--json", "plug.wasm"]).json();
    assert_eq!(json["imports"].as_array().map(Vec::len), Some(0), "{json}");
    let exports = json["exports"].to_string();
    assert!(exports.contains("trefoil:llm/inference@0.1.0"), "{exports}");
}

/// Arguments, exit code, and what the message must have.
type Case = (&'static [&'static str], i32, &'static [&'static str]);

#[test]
fn bad_inputs_are_named_and_nothing_is_left_behind() {
    let place = Place::with_model();
    place.write("text", b"hello");
    place.write("bad.toml", b"seed = 1\ntemprature = 1\n");
    place.write("cut.gguf", &std::fs::read(place.path("tiny.gguf")).expect("is there")[..1000]);
    place.run(&["pack", "tiny.gguf", "-o", "m.wasm"]).succeeded();
    place.run(&["compose", "--model", "m.wasm", "-o", "c.wasm"]).succeeded();
    let before = place.files();
    let cases: &[Case] = &[
        (&["pack", "absent.gguf", "-o", "o"], 1, &["`absent.gguf`", "No such file"]),
        (&["pack", "text", "-o", "o"], 1, &["`text`", "GGUF"]),
        (&["pack", "cut.gguf", "-o", "o"], 1, &["`cut.gguf`"]),
        (&["pack", "tiny.gguf", "-o", "no/o"], 1, &["cannot write `no/o`"]),
        (&["pack", "tiny.gguf"], 2, &["--output"]),
        (&["compose", "--model", "text", "-o", "o"], 1, &["`text`", "neither"]),
        (&["compose", "--model", "c.wasm", "-o", "o"], 1, &["`c.wasm`", "composition"]),
        (&["compose", "--model", "file:", "-o", "o"], 1, &["`file:`", "path"]),
        (
            &["compose", "--engine", "gpu", "--model", "m.wasm", "-o", "o"],
            1,
            &["`--engine gpu`", "`cpu`", "`cpu-relaxed`"],
        ),
        (
            &["compose", "--engine", "m.wasm", "--model", "m.wasm", "-o", "o"],
            1,
            &["--engine", "model component"],
        ),
        (
            &["compose", "--model", "m.wasm", "--app", "m.wasm", "-o", "o"],
            1,
            &["the app", "`m.wasm`", "model component"],
        ),
        (
            &["compose", "--model", "m.wasm", "--config", "bad.toml", "-o", "o"],
            1,
            &["`bad.toml`", "line 2", "`temperature`"],
        ),
        (&["inspect", "absent"], 1, &["`absent`"]),
        (&["run", "absent.wasm"], 1, &["`absent.wasm`", "No such file"]),
        (&["run", "tiny.gguf"], 1, &["`tiny.gguf`", "a GGUF model", "trefoil compose"]),
        (&["run", "m.wasm"], 1, &["`m.wasm`", "`wasi:cli/run`"]),
        (&["run", "c.wasm"], 1, &["`c.wasm`", "without an app"]),
        (&["run", "--memory-max", "1X", "c.wasm"], 2, &["--memory-max", "512M"]),
        (&["run", "--env", "NO_SUCH_VARIABLE", "c.wasm"], 2, &["`NO_SUCH_VARIABLE`"]),
        (&["chat", "tiny.gguf", "--temperature", "99"], 2, &["temperature", "99", "0 to 10"]),
        (&["nonsense"], 2, &["nonsense"]),
    ];
    for (arguments, code, pieces) in cases {
        place.run(arguments).failed(*code, pieces);
        assert_eq!(place.files(), before, "{arguments:?}");
    }
}

/// A full disk, as far as a process without privileges can have one: files may not grow beyond
/// 50 KiB, and the signal that would end the process is ignored.
#[cfg(unix)]
#[test]
fn output_that_does_not_fit_is_named_and_removed() {
    let place = Place::with_model();
    let before = place.files();
    let limited = "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\"";
    for arguments in [
        ["pack", "tiny.gguf", "-o", "out.wasm"].as_slice(),
        &["compose", "--model", "tiny.gguf", "-o", "out.wasm"],
    ] {
        let trefoil = place.command(&[]);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", limited]).arg(trefoil.get_program()).args(arguments);
        command.current_dir(place.folder.path());
        for (name, value) in trefoil.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let output = command.output().expect("sh starts");
        support::Ended::from(output).failed(1, &["cannot write `out.wasm`", "File too large"]);
        assert_eq!(place.files(), before, "{arguments:?}");
    }
}

#[test]
fn quiet_and_color_are_obeyed() {
    let place = Place::new();
    let colored = place.run(&["--color", "always", "inspect", "absent"]).stderr;
    assert!(colored.starts_with("\x1b[1;31merror:"), "{colored:?}");
    let plain = place.run(&["--color", "never", "inspect", "absent"]).stderr;
    assert!(plain.starts_with("error: "), "{plain:?}");
    assert!(!place.run(&["cache", "path"]).stderr.is_empty());
    assert_eq!(place.run(&["--quiet", "cache", "path"]).stderr, "");
}

#[test]
fn completions_know_the_commands() {
    let script = Place::new().run(&["completions", "bash"]).text();
    assert!(script.contains("perplexity"));
}

#[test]
fn a_missing_smollm2_names_the_command_that_brings_it() {
    let place = Place::new();
    let mut command = place.command(&["chat", "-p", "hi"]);
    command.env("TREFOIL_CACHE", place.path("cache"));
    let ended: support::Ended = command.output().expect("starts").into();
    ended.failed(1, &["`smollm2`", "`trefoil pull smollm2` brings it"]);
}

#[test]
fn a_cache_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_model();
    let cache = place.path("cache");
    std::fs::create_dir(&cache).expect("makes");
    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o777)).expect("opens up");
    let mut command = place.command(&["chat", "tiny.gguf", "-p", "hi"]);
    let ended: support::Ended =
        command.env("TREFOIL_CACHE", &cache).output().expect("starts").into();
    ended.failed(1, &["not safe", "chmod 700"]);
}
