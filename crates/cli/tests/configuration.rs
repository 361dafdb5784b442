//! The example configuration: a component that the user writes.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::Place;
use trefoil_fixtures::{TinyLlama, tiny_llama};

/// Builds the example as its documentation says, into a folder of its own.
fn example() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let status = Command::new(env!("CARGO"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2"])
        .args(["--package", "trefoil-example-configuration", "--target-dir"])
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .status()
        .expect("cargo starts");
    assert!(status.success(), "run `rustup target add wasm32-wasip2`");
    target.join("wasm32-wasip2/release/trefoil_example_configuration.wasm")
}

#[test]
fn a_users_configuration_component_decides_by_the_models_parts() {
    let place = Place::new();
    std::fs::copy(example(), place.path("configuration.wasm")).expect("the example was built");
    let generated = |name: &str| {
        let model = TinyLlama { name: name.into(), ..TinyLlama::default() };
        place.write("model.gguf", &tiny_llama(&model));
        let compose = ["compose", "--model", "model.gguf", "--config", "configuration.wasm"];
        place.run(&[&compose[..], &["-o", "out.wasm"]].concat()).succeeded();
        let generate = ["generate", "out.wasm", "--raw", "-p", "Once", "--json"];
        let flags = ["--temperature", "2", "--seed", "7"];
        let json = place.run(&[&generate[..], &flags].concat()).json();
        json["usage"]["generated_tokens"].as_u64().expect("a number")
    };
    assert!(generated("tiny facts") <= 16, "the configuration limits answers to 16 tokens");
    let story = generated("tiny stories");
    assert!((17..=48).contains(&story), "a model of stories may use 48 tokens, used {story}");
}
