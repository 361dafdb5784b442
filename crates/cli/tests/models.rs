//! Models in shards, and several models in one composition, run like a single one.

mod support;

use std::process::Command;

use serde_json::Value;
use support::{Place, needed};
use trefoil_fixtures::golden;
use trefoil_fixtures::{TinyLlama, split_gguf, tiny_llama};

/// A model of some megabytes.
fn large(name: &str, seed: u64) -> Vec<u8> {
    let shape =
        TinyLlama { embedding_length: 256, feed_forward_length: 640, ..TinyLlama::default() };
    tiny_llama(&TinyLlama { name: name.into(), seed, layers: 3, ..shape })
}

fn logits(place: &Place, model: &str, flags: &[&str]) -> Value {
    let arguments = ["logits", model, "--prompt", "Once upon a time", "--top", "20", "--json"];
    place.run(&[&arguments[..], flags].concat()).json()
}

#[test]
fn a_model_in_shards_computes_what_the_whole_one_does() {
    let place = Place::new();
    place.write("large.gguf", &large("Large", 1));
    let whole = logits(&place, "large.gguf", &[]);
    assert!(whole["values"].as_array().is_some_and(|list| list.len() == 20), "{whole}");
    for (layout, out) in [(&[][..], "plain.wasm"), (&["--for", "cpu"], "arranged.wasm")] {
        let pack = ["pack", "large.gguf", "--shard-size", "1M", "-o", out];
        place.run(&[&pack[..], layout].concat()).succeeded();
        let inspection = place.run(&["inspect", out, "--json"]).json();
        let parts = inspection["parts"].as_array().expect("has parts");
        assert!(parts.iter().filter(|part| part["role"] == "model").count() >= 3, "{inspection}");
        assert_eq!(logits(&place, out, &[]), whole, "{out}");
        assert_eq!(logits(&place, out, &["--instances", "2"]), whole, "{out} in two instances");
    }
}

#[test]
fn a_model_in_shards_runs_in_the_stock_wasmtime() {
    let place = Place::new();
    place.write("large.gguf", &large("Large", 1));
    place.run(&["pack", "large.gguf", "--shard-size", "1M", "-o", "large.wasm"]).succeeded();
    place
        .run(&["compose", "--model", "large.wasm", "--app", "chat", "-o", "chat.wasm"])
        .succeeded();
    let arguments = ["-p", "hello", "--temperature", "0", "-n", "8"];
    let ours = place.run(&[&["run", "chat.wasm", "--"], &arguments[..]].concat()).succeeded();
    let mut stock = Command::new(needed("TREFOIL_WASMTIME"));
    stock.arg("run").arg(place.path("chat.wasm")).args(arguments);
    let stock = support::run_with_input(stock, b"").succeeded();
    assert_eq!(ours, stock);
    assert!(ours.len() > 1);
}

#[test]
fn models_in_one_composition_are_opened_by_name() {
    let place = Place::new();
    place.write("a.gguf", &large("A", 1));
    place.write("b.gguf", &large("B", 2));
    place.run(&["pack", "a.gguf", "--shard-size", "1M", "-o", "a.wasm"]).succeeded();
    let models = ["--model", "a.wasm", "--model", "b.gguf", "--model", "third=file:a.gguf"];
    place.run(&[&["compose"], &models[..], &["-o", "out.wasm"]].concat()).succeeded();

    let (a, b) = (logits(&place, "a.gguf", &[]), logits(&place, "b.gguf", &[]));
    assert_ne!(a, b);
    let of = |flags: &[&str]| logits(&place, "out.wasm", &[&["--dir", "."], flags].concat());
    assert_eq!(of(&[]), a, "the first is the default");
    assert_eq!(of(&["--model", "A"]), a);
    assert_eq!(of(&["--model", "B"]), b);
    assert_eq!(of(&["--model", "third"]), a);
    assert_eq!(of(&["--model", "B", "--instances", "2"]), b);
    place
        .run(&["logits", "out.wasm", "--dir", ".", "--prompt", "x", "--model", "C"])
        .failed(1, &["no model is named `C`", "`A`, `B`, `third`"]);
}

#[test]
fn a_file_that_is_not_granted_is_named_whichever_model_is_opened() {
    let place = Place::with_model();
    let models = ["--model", "tiny.gguf", "--model", "other=file:models/other.gguf"];
    place.run(&[&["compose"], &models[..], &["-o", "out.wasm"]].concat()).succeeded();
    place
        .run(&["logits", "out.wasm", "--prompt", "x"])
        .failed(1, &["models/other.gguf", "--dir models"]);
}

#[test]
fn two_models_of_one_name_are_refused() {
    let place = Place::with_model();
    place
        .run(&["compose", "--model", "tiny.gguf", "--model", "tiny.gguf", "-o", "out.wasm"])
        .failed(1, &["`Tiny Llama`", "--model NAME="]);
    assert_eq!(place.files(), ["tiny.gguf"]);
}

#[test]
fn a_model_in_several_files_computes_what_the_whole_one_does() {
    let place = Place::with_model();
    let whole = logits(&place, "tiny.gguf", &[]);
    let bytes = tiny_llama(&TinyLlama::default());
    for (number, file) in (1..).zip(split_gguf(&bytes, 3)) {
        place.write(&format!("part-0000{number}-of-00003.gguf"), &file);
    }
    // Any of the files names all.
    assert_eq!(logits(&place, "part-00002-of-00003.gguf", &[]), whole);
    let at_run_time = ["--dir", ".", "--instances", "2"];
    assert_eq!(logits(&place, "file:part-00001-of-00003.gguf", &at_run_time), whole);

    std::fs::remove_file(place.path("part-00003-of-00003.gguf")).expect("is there");
    let pack = ["pack", "part-00001-of-00003.gguf", "-o", "out.wasm"];
    place.run(&pack).failed(1, &["part-00003-of-00003.gguf"]);
    place
        .run(&["logits", "file:part-00001-of-00003.gguf", "--dir", ".", "-p", "x"])
        .failed(1, &["part-00003-of-00003.gguf", "no such file"]);
    std::fs::rename(place.path("part-00001-of-00003.gguf"), place.path("one.gguf")).expect("moves");
    place.run(&["pack", "one.gguf", "-o", "out.wasm"]).failed(1, &["one.gguf", "-of-00003.gguf"]);
    place.run(&["logits", "file:one.gguf", "--dir", ".", "-p", "x"]).failed(1, &["one of 3 files"]);
    assert!(!place.path("out.wasm").exists());
}

#[test]
fn an_adapter_changes_the_model_as_the_setting_says() {
    let place = Place::new();
    let adapter = &golden::adapters()[0];
    place.write("base.gguf", &adapter.base.file);
    place.write("law.gguf", &adapter.file);
    let compose = ["compose", "--model", "base.gguf", "--adapter", "law.gguf", "-o", "out.wasm"];
    place.run(&compose).succeeded();
    let of = |file: &str, flags: &[&str]| {
        let question = serde_json::json!({ "tokens": adapter.base.golden.tokens, "top": 500 });
        let arguments = [&["logits", file, "--jsonl"], flags].concat();
        let mut answers =
            place.run_with_input(&arguments, format!("{question}\n").as_bytes()).json_lines();
        answers.remove(0)
    };
    let plain = of("base.gguf", &[]);
    assert_eq!(of("out.wasm", &["--adapters", ""]), plain);
    assert_eq!(of("out.wasm", &["--adapters", "law=0"])["ids"], plain["ids"]);
    let changed = of("out.wasm", &["--adapters", &format!("law={}", adapter.scale)]);
    assert_eq!(of("out.wasm", &["--adapters", "law=0.75", "--instances", "2"]), changed);
    assert_ne!(of("out.wasm", &[]), changed, "the scale is 1 unless said");
    let bare = ["--adapter", "law.gguf", "--adapters", "law=0.75"];
    assert_eq!(of("base.gguf", &bare), changed);
    let named = ["--adapter", "m=law.gguf", "--adapters", "m=0.75", "--instances", "2"];
    assert_eq!(of("base.gguf", &named), changed);

    // The last place is the end of the prompt: llama.cpp's logits, in our order.
    let expected = adapter.base.golden.logits.last().expect("has places");
    let ids = changed["ids"].as_array().expect("a list").iter();
    for (id, value) in ids.zip(changed["values"].as_array().expect("a list")) {
        let expected = expected[id.as_u64().expect("a token") as usize];
        let value = value.as_f64().expect("a number");
        assert!((value - expected).abs() < 1e-2, "{id}: {value}, llama.cpp has {expected}");
    }
    place
        .run(&["logits", "out.wasm", "-p", "x", "--adapters", "medicine"])
        .failed(1, &["medicine", "`law`"]);
    place
        .run(&["logits", "out.wasm", "-p", "x", "--adapter", "law.gguf"])
        .failed(1, &["`out.wasm` is a finished composition", "compose --model MODEL"]);
    place
        .run(&["logits", "base.gguf", "-p", "x", "--adapter", "base.gguf"])
        .failed(1, &["base.gguf", "no adapter"]);
    let chat = ["chat", "base.gguf", "--raw", "-p", "x", "-n", "4", "--temperature", "0"];
    let with = |flags: &[&str]| place.run(&[&chat, flags].concat()).text();
    assert_ne!(with(&["--adapter", "law.gguf"]), with(&[]));
    place
        .run(&["compose", "--model", "law.gguf", "-o", "none.wasm"])
        .failed(1, &["law.gguf", "--adapter"]);
    place
        .run(&["compose", "--model", "base.gguf", "--adapter", "base.gguf", "-o", "none.wasm"])
        .failed(1, &["base.gguf", "--model"]);
    place
        .run(&["pack", "law.gguf", "--for", "cpu", "-o", "none.wasm"])
        .failed(1, &["law.gguf", "--for"]);
    assert!(!place.path("none.wasm").exists());
}
