//! `trefoil web`: what it writes, and what it refuses.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::Place;
use support::site::{manifest, sha256, tree};
use trefoil_fixtures::{TinyLlama, tiny_llama};

/// The bytes of a part, joined from its pieces, each of which is what its name says.
fn joined(place: &Path, part: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in part["pieces"].as_array().expect("a list") {
        let file = piece["file"].as_str().expect("a path");
        let piece_bytes = fs::read(place.join(file)).expect("is there");
        assert_eq!(piece["size"], piece_bytes.len());
        let digest = sha256(&piece_bytes);
        assert_eq!(piece["sha256"], digest.as_str());
        assert_eq!(file, format!("weights/{digest}.bin"));
        bytes.extend(piece_bytes);
    }
    bytes
}

/// That the core modules are there, and what they should be.
fn check_cores(folder: &Path, cores: &Value) {
    let cores = cores.as_array().expect("a list");
    assert!(!cores.is_empty());
    for core in cores {
        let bytes = fs::read(folder.join(core["file"].as_str().expect("a name"))).expect("exists");
        assert_eq!((&core["size"], &core["sha256"]), (&json!(bytes.len()), &json!(sha256(&bytes))));
    }
}

#[test]
fn a_site_has_the_page_both_engines_and_the_weights_in_pieces() {
    let place = Place::with_model();
    let flags = ["--piece-size", "64K", "--title", "Tiny", "--system", "Be kind."];
    let said = place.run(&[&["web", "tiny.gguf", "-o", "site", "--json"], &flags[..]].concat());
    let site = place.path("site");
    let manifest = manifest(&site);
    assert_eq!(said.json(), manifest);
    assert_eq!(place.files(), ["site", "tiny.gguf"]);

    let head = [&manifest["trefoil"], &manifest["title"], &manifest["system"]];
    assert_eq!(head, [&json!(1), &json!("Tiny"), &json!("Be kind.")]);
    // As `pack --for cpu` stores them.
    place.run(&["pack", "--for", "cpu", "tiny.gguf", "-o", "cpu.wasm"]).succeeded();
    let packed = place.run(&["inspect", "--json", "cpu.wasm"]).json()["files"][0].take();
    let parts = manifest["parts"].as_array().expect("a list");
    assert_eq!(parts.len(), 1);
    let bytes = joined(&site, &parts[0]);
    let expected = json!({
        "name": packed["name"], "role": "weights", "format": "gguf-rows-16", "size": bytes.len(),
        "sha256": sha256(&bytes), "license": packed["license"], "pieces": parts[0]["pieces"],
    });
    assert_eq!(parts[0], expected);
    assert_eq!((&packed["size"], &packed["sha256"]), (&parts[0]["size"], &parts[0]["sha256"]));
    let sizes = parts[0]["pieces"].as_array().expect("a list");
    let (last, all) = sizes.split_last().expect("at least one");
    assert!(all.len() > 1 && all.iter().all(|piece| piece["size"] == 64 << 10));
    assert!(last["size"].as_u64() <= Some(64 << 10));

    let engines = manifest["engines"].as_array().expect("a list");
    let relaxed = json!(["simd", "relaxed-simd"]);
    for (engine, (name, requires)) in
        engines.iter().zip([("cpu-relaxed", relaxed), ("cpu", json!(["simd"]))])
    {
        assert_eq!((&engine["name"], &engine["requires"]), (&json!(name), &requires));
        assert_eq!(engine["weights"], "outside");
        let module = site.join(engine["module"].as_str().expect("a path"));
        let suspending = site.join(engine["suspending"].as_str().expect("a path"));
        assert_eq!(module.parent(), suspending.parent());
        for (file, promises) in [(&module, false), (&suspending, true)] {
            let text = fs::read_to_string(file).expect("a module");
            assert!(text.contains("export function instantiate("));
            assert_eq!(text.contains("= async function open("), promises, "{}", file.display());
        }
        check_cores(module.parent().expect("a folder"), &engine["cores"]);
    }
    assert_eq!(engines.len(), 2);
    for file in ["index.html", "sw.js"] {
        assert!(site.join(file).is_file(), "{file}");
    }

    let again = ["web", "tiny.gguf", "-o", "again"];
    place.run(&[&again, &flags[..]].concat()).succeeded();
    assert!(tree(&site) == tree(&place.path("again")), "the same input gives the same bytes");
}

#[test]
fn weights_may_be_inside_a_core_module() {
    let place = Place::with_model();
    let flags = ["--weights", "inside", "--engine", "cpu-relaxed"];
    place.run(&[&["web", "tiny.gguf", "-o", "site"], &flags[..]].concat()).succeeded();
    let site = place.path("site");
    let manifest = manifest(&site);
    let engines = manifest["engines"].as_array().expect("a list");
    assert_eq!(engines.len(), 1);
    assert_eq!(
        (&engines[0]["name"], &engines[0]["weights"]),
        (&json!("cpu-relaxed"), &json!("inside"))
    );
    assert_eq!(engines[0]["requires"], json!(["simd", "relaxed-simd", "multi-memory"]));
    assert_eq!(manifest["parts"][0]["pieces"], json!([]));
    assert!(!site.join("weights").exists());
    let module = site.join(engines[0]["module"].as_str().expect("a path"));
    let folder = module.parent().expect("a folder");
    check_cores(folder, &engines[0]["cores"]);
    let tiny = fs::read(place.path("tiny.gguf")).expect("is there").len();
    let data = |core: &Vec<u8>| core.windows(4).any(|window| window == b"GGUF");
    let is_there = tree(folder).values().any(|core| core.len() > tiny && data(core));
    assert!(is_there, "a core module holds the weights");
}

#[test]
fn a_composition_keeps_its_engine_configuration_and_models_but_not_its_app() {
    let place = Place::with_model();
    let other = TinyLlama { seed: 9, ..TinyLlama::default() };
    place.write("other.gguf", &tiny_llama(&other));
    place.write("c.toml", b"context-tokens = 77\n");
    let models = ["--model", "first=tiny.gguf", "--model", "other.gguf", "--config", "c.toml"];
    let compose = ["compose", "--app", "chat", "--engine", "cpu-relaxed", "-o", "chat.wasm"];
    place.run(&[&compose[..], &models].concat()).succeeded();
    place.run(&["web", "chat.wasm", "-o", "site"]).succeeded();
    let site = place.path("site");
    let manifest = manifest(&site);
    assert_eq!(manifest["engines"].as_array().map(Vec::len), Some(1));
    assert_eq!(manifest["engines"][0]["name"], "cpu-relaxed");
    assert_eq!((&manifest["title"], &manifest["system"]), (&json!("first"), &Value::Null));
    for (part, file) in [(0, "tiny.gguf"), (1, "other.gguf")] {
        let expected = fs::read(place.path(file)).expect("is there");
        assert!(joined(&site, &manifest["parts"][part]) == expected, "{file}");
    }
    assert_eq!(manifest["parts"][0]["name"], "first");

    // Another engine, and its name.
    place.run(&["web", "chat.wasm", "-o", "site", "--engine", "cpu"]).succeeded();
    assert_eq!(support::site::manifest(&site)["engines"][0]["name"], "cpu");
}

#[test]
fn a_folder_that_was_written_before_is_replaced_and_others_are_refused() {
    let place = Place::with_model();
    let web = ["web", "tiny.gguf", "--engine", "cpu", "-o", "site"];
    place.run(&web).succeeded();
    let first = tree(&place.path("site"));
    place.write("site/stale", b"x");
    place.run(&web).succeeded();
    assert!(tree(&place.path("site")) == first, "nothing of the older one is left");

    fs::create_dir(place.path("empty")).expect("a folder");
    place.run(&["web", "tiny.gguf", "--engine", "cpu", "-o", "empty/"]).succeeded();
    assert!(tree(&place.path("empty")) == first);

    fs::create_dir(place.path("mine")).expect("a folder");
    place.write("mine/index.html", b"mine");
    place.write("file", b"mine");
    let before = (place.files(), tree(place.folder.path()));
    for target in ["mine", "file"] {
        let ended = place.run(&["web", "tiny.gguf", "--engine", "cpu", "-o", target]);
        ended.failed(1, &[target, "exists", "trefoil.json", "another folder"]);
        assert!((place.files(), tree(place.folder.path())) == before, "{target}");
    }
}

/// Arguments, exit code, and what the message must have.
type Case = (&'static [&'static str], i32, &'static [&'static str]);

#[test]
fn bad_inputs_are_named_and_nothing_is_left_behind() {
    let place = Place::with_model();
    place.write("text", b"hello");
    place.write("cut.gguf", &fs::read(place.path("tiny.gguf")).expect("is there")[..1000]);
    let compose = ["compose", "--model", "file:tiny.gguf", "-o", "run-time.wasm"];
    place.run(&compose).succeeded();
    place.run(&["compose", "--model", "tiny.gguf", "-o", "c.wasm"]).succeeded();
    let before = place.files();
    let cases: &[Case] = &[
        (&["web", "-o", "o"], 2, &["<MODEL>"]),
        (&["web", "tiny.gguf"], 2, &["--output"]),
        (&["web", "absent.gguf", "-o", "o"], 1, &["`absent.gguf`"]),
        (&["web", "text", "-o", "o"], 1, &["`text`", "neither"]),
        (&["web", "cut.gguf", "-o", "o"], 1, &["`cut.gguf`"]),
        (&["web", "tiny.gguf", "-o", "no/o"], 1, &["cannot write `no/o`"]),
        (&["web", "run-time.wasm", "-o", "o"], 1, &["does not hold its weights", ".gguf"]),
        (
            &["web", "run-time.wasm", "--weights", "inside", "-o", "o"],
            1,
            &["`wasi:", "the page does not provide", "--lib"],
        ),
        (&["web", "file:tiny.gguf", "-o", "o"], 1, &["does not hold its weights", ".gguf"]),
        (&["web", "tiny.gguf", "--engine", "gpu", "-o", "o"], 1, &["`--engine gpu`", "`cpu`"]),
        (&["web", "tiny.gguf", "--piece-size", "1K", "-o", "o"], 2, &["--piece-size", "64 KiB"]),
        (&["web", "c.wasm", "--adapter", "a.gguf", "-o", "o"], 1, &["c.wasm", "--adapter"]),
        (&["web", "c.wasm", "--lib", "--title", "T", "-o", "o"], 2, &["--lib", "--title"]),
        (&["web", "--lib", "text", "-o", "o"], 1, &["`text`", "neither"]),
    ];
    for (arguments, code, pieces) in cases {
        place.run(arguments).failed(*code, pieces);
        assert_eq!(place.files(), before, "{arguments:?}");
    }
}

/// A full disk: files may not grow beyond 50 KiB, and the signal that would end the process is
/// ignored.
#[cfg(unix)]
#[test]
fn a_site_that_does_not_fit_is_named_and_removed() {
    let place = Place::with_model();
    // So that only the site is written then.
    place.run(&["web", "tiny.gguf", "-o", "site"]).succeeded();
    fs::remove_dir_all(place.path("site")).expect("is there");
    let trefoil = place.command(&[]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\""]);
    command.arg(trefoil.get_program()).args(["web", "tiny.gguf", "-o", "site"]);
    command.current_dir(place.folder.path());
    for (name, value) in trefoil.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = command.output().expect("sh starts");
    support::Ended::from(output).failed(1, &["cannot write", "File too large"]);
    assert_eq!(place.files(), ["tiny.gguf"]);
}

#[test]
fn a_library_has_types_and_says_what_it_wants() {
    let place = Place::with_model();
    place.run(&["compose", "--model", "tiny.gguf", "-o", "plug in.wasm"]).succeeded();
    place.run(&["web", "--lib", "plug in.wasm", "-o", "lib"]).succeeded();
    let lib = place.path("lib");
    let manifest = manifest(&lib);
    assert_eq!((&manifest["module"], &manifest["imports"]), (&json!("plug-in.js"), &json!([])));
    let exports = manifest["exports"].to_string();
    assert!(exports.contains("trefoil:llm/inference@0.1.0"), "{exports}");
    check_cores(&lib, &manifest["cores"]);
    let files: BTreeMap<String, Vec<u8>> = tree(&lib);
    let text = |name: &str| String::from_utf8_lossy(&files[name]).into_owned();
    assert!(text("plug-in.d.ts").contains("instantiate"));
    assert!(text("interfaces/trefoil-llm-inference.d.ts").contains("class Generation"));
    // A model without a composition gets the engine `cpu`.
    place.run(&["web", "--lib", "tiny.gguf", "-o", "other"]).succeeded();
    assert_eq!(support::site::manifest(&place.path("other"))["requires"][0], "simd");
}
