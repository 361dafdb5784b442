//! The promise of `cpu`: one composition, prompt and seed give the same bits everywhere. The
//! example app prints a digest of them.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Place, needed, run_with_input};

const PROMPT: &str = "Once upon a time there was a fingerprint of 12,345 numbers";

/// Runs a transpiled command; the arguments follow the file's name.
const NODE: &str = "const { run } = await import(process.argv[1]); run.run();";

/// Builds the example as its documentation says, into a folder of its own.
fn example() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let status = Command::new(env!("CARGO"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2"])
        .args(["--package", "trefoil-example-fingerprint", "--target-dir"])
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .status()
        .expect("cargo starts");
    assert!(status.success(), "run `rustup target add wasm32-wasip2`");
    target.join("wasm32-wasip2/release/trefoil-example-fingerprint.wasm")
}

/// A folder with the composition `f.wasm`.
fn composed(engine: &str) -> Place {
    let place = Place::with_model();
    std::fs::copy(example(), place.path("app.wasm")).expect("the example was built");
    let compose = ["compose", "--engine", engine, "--model", "tiny.gguf", "--app", "app.wasm"];
    place.run(&[&compose[..], &["-o", "f.wasm"]].concat()).succeeded();
    place
}

fn digest(command: Command) -> String {
    // The WASI shim for Node.js leaves the last end of line out.
    let text = run_with_input(command, b"").text().trim_end().to_owned();
    assert_eq!(text.len(), 64, "{text}");
    text
}

fn ours(place: &Place, instances: &str, seed: &str) -> String {
    digest(place.command(&["run", "--instances", instances, "f.wasm", PROMPT, seed]))
}

/// The stock wasmtime command line with these options.
fn stock(wasmtime: Command, place: &Place, options: &[&str]) -> String {
    let mut command = wasmtime;
    command.arg("run").args(options).arg(place.path("f.wasm")).args([PROMPT, "7"]);
    digest(command)
}

#[test]
fn any_number_of_instances_and_any_optimisation_give_the_same_bits() {
    let place = composed("cpu");
    let expected = ours(&place, "1", "7");
    for instances in ["2", "3", "5"] {
        assert_eq!(ours(&place, instances, "7"), expected, "{instances} instances");
    }
    for options in [&[][..], &["-O", "opt-level=0"], &["-O", "signals-based-traps=n"]] {
        let wasmtime = Command::new(needed("TREFOIL_WASMTIME"));
        assert_eq!(stock(wasmtime, &place, options), expected, "wasmtime run {options:?}");
    }
    assert_ne!(ours(&place, "1", "8"), expected, "another seed gives another digest");
}

#[test]
fn v8_gives_the_same_bits() {
    let place = composed("cpu");
    let expected = ours(&place, "1", "7");
    // Inside the folder of the packages, where Node looks for the WASI shim.
    let packages = PathBuf::from(needed("TREFOIL_NODE_PACKAGES"));
    let node = packages.join("node_modules/.bin/node");
    let out = tempfile::tempdir_in(&packages).expect("a folder");
    let mut transpile = Command::new(&node);
    transpile
        .arg(packages.join("node_modules/.bin/jco"))
        .args(["transpile", "--multi-memory", "--base64-cutoff=0", "--quiet"])
        .args(["--name", "f", "--out-dir"])
        .args([out.path(), &place.path("f.wasm")]);
    run_with_input(transpile, b"").succeeded();
    let mut command = Command::new(node);
    command.args(["--no-warnings", "--input-type=module", "--eval", NODE, "--"]);
    command.arg(out.path().join("f.js")).args([PROMPT, "7"]);
    assert_eq!(digest(command), expected);
}

/// As `docs/web.md` says: an app of one's own as a library, in Node.js and in a page.
#[test]
fn the_library_that_web_writes_gives_the_same_bits_in_node_and_in_a_page() {
    let place = composed("cpu");
    let expected = ours(&place, "1", "7");
    place.run(&["web", "--lib", "f.wasm", "-o", "lib"]).succeeded();
    for runtime in ["node", "chromium"] {
        let mut command = support::page::script("library.mjs");
        let shim = "node_modules/@bytecodealliance/preview2-shim";
        let shim = PathBuf::from(needed("TREFOIL_NODE_PACKAGES")).join(shim);
        command.arg("--library").arg(place.path("lib")).arg("--shim").arg(shim);
        command.args(["--where", runtime, "--argument", PROMPT, "--seed", "7"]);
        assert_eq!(digest(command), expected, "{runtime}");
    }
}

/// In `cargo xtask test --all`.
#[cfg(feature = "exhaustive")]
#[test]
fn aarch64_gives_the_same_bits() {
    let place = composed("cpu");
    let mut wasmtime = Command::new("qemu-aarch64");
    wasmtime
        .arg(needed("TREFOIL_WASMTIME_AARCH64"))
        .env("QEMU_LD_PREFIX", "/usr/aarch64-linux-gnu");
    assert_eq!(stock(wasmtime, &place, &[]), ours(&place, "1", "7"));
}
