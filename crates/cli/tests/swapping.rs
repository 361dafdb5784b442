//! Swapping a part needs no compiler: one app with two models, two engines, two configurations.

mod support;

use std::collections::BTreeSet;

use support::{smollm2, succeed, trefoil, write_tiny};
use trefoil_fixtures::TinyLlama;

#[test]
fn one_app_runs_with_two_models_two_engines_and_two_configurations() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = write_tiny(folder.path(), &TinyLlama::default());
    let packed = folder.path().join("smollm2.wasm");
    succeed(trefoil().arg("pack").arg(smollm2()).arg("-o").arg(&packed));
    let short = folder.path().join("short.toml");
    std::fs::write(&short, "max-tokens = 3\ntemperature = 0\n").unwrap();
    let stopping = folder.path().join("stopping.toml");
    std::fs::write(&stopping, "max-tokens = 9\ntemperature = 0\ncontext-tokens = 128\n").unwrap();

    let mut answers = BTreeSet::new();
    for model in [&tiny, &packed] {
        for engine in ["cpu", "cpu-relaxed"] {
            let mut lengths = Vec::new();
            for config in [&short, &stopping] {
                let out = folder.path().join("out.wasm");
                let mut compose = trefoil();
                compose.args(["compose", "--app", "chat", "--engine", engine]);
                compose.arg("--model").arg(model).arg("--config").arg(config);
                succeed(compose.arg("-o").arg(&out));
                let answer =
                    succeed(trefoil().arg("run").arg(&out).args(["--", "-p", "Tell me a story"]));
                assert!(!answer.is_empty());
                lengths.push(answer.len());
                answers.insert((model.clone(), answer));
            }
            assert!(lengths[0] < lengths[1], "3 tokens are shorter than 9: {lengths:?}");
        }
    }
    assert!(answers.len() >= 4, "models and configurations give different answers");
}
