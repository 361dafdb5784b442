//! Packing models for the engines that come with Trefoil.

#![allow(missing_docs, unreachable_pub)]

mod support;

use support::Place;
use trefoil_fixtures::{TinyLlama, tiny_llama};
use trefoil_gguf::TensorType;

/// The decoder's own tests do the same for every type of weights.
#[test]
fn a_model_packed_for_cpu_gives_the_same_logits_in_both_engines() {
    let place = Place::new();
    place.write("tiny.gguf", &tiny_llama(&TinyLlama::with_matrices(TensorType::Q5_K)));
    place.run(&["pack", "tiny.gguf", "-o", "plain.wasm"]).succeeded();
    place.run(&["pack", "--for", "cpu", "tiny.gguf", "-o", "cpu.wasm"]).succeeded();
    let inspected = place.run(&["inspect", "cpu.wasm"]).text();
    assert!(inspected.contains("gguf-rows-16"), "{inspected}");
    for engine in ["cpu", "cpu-relaxed"] {
        let logits = |model: &str| {
            place.run(&["logits", model, "--engine", engine, "-p", "hello", "--json"]).json()
        };
        let expected = logits("plain.wasm");
        assert_eq!(expected["ids"].as_array().map(Vec::len), Some(64), "{expected}");
        assert_eq!(logits("cpu.wasm"), expected, "{engine}");
    }
}

#[test]
fn an_engine_to_pack_for_must_be_known() {
    let place = Place::with_model();
    let ended = place.run(&["pack", "--for", "nn", "tiny.gguf", "-o", "out.wasm"]);
    ended.failed(2, &["nn", "--for", "cpu"]);
    assert_eq!(place.files(), ["tiny.gguf"]);
}
