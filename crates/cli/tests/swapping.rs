//! Swapping a part needs no compiler: one app with two models, two engines, two configurations.

mod support;

use std::collections::BTreeSet;

use support::{Place, smollm2};

#[test]
fn one_app_runs_with_two_models_two_engines_and_two_configurations() {
    let place = Place::with_model();
    place.run(&["pack", &smollm2(), "-o", "smollm2.wasm"]).succeeded();
    place.write("short.toml", b"max-tokens = 3\ntemperature = 0\n");
    place.write("long.toml", b"max-tokens = 9\ntemperature = 0\ncontext-tokens = 128\n");

    let mut answers = BTreeSet::new();
    for model in ["tiny.gguf", "smollm2.wasm"] {
        for engine in ["cpu", "cpu-relaxed"] {
            let lengths = ["short.toml", "long.toml"].map(|config| {
                let parts = ["--engine", engine, "--model", model, "--config", config];
                let compose =
                    [&["compose", "--app", "chat", "-o", "out.wasm"], &parts[..]].concat();
                place.run(&compose).succeeded();
                let run = ["run", "out.wasm", "--", "-p", "Tell me a story"];
                let answer = place.run(&run).succeeded();
                answers.insert((model, answer.clone()));
                answer.len()
            });
            assert!(lengths[0] < lengths[1], "3 tokens are shorter than 9: {lengths:?}");
        }
    }
    assert!(answers.len() >= 4, "models and configurations give different answers");
}
