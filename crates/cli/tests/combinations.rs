//! Every combination of engine, number of instances and size of a prompt's chunks computes the same,
//! on a tiny model. `golden.rs` judges a real one.

mod support;

use serde_json::{Value, json};
use support::Place;

/// Root of the mean square distance that is allowed between the two engines: `cpu-relaxed` rounds
/// activations to 8 bits for 4-bit weights. llama.cpp's distance from an oracle, with the same
/// rounding, is 0.158 on a real model.
const ENGINES_RMS_MAX: f64 = 0.25;

/// Logits behind prompts of several lengths, in the order of the tokens.
fn logits(place: &Place, engine: &str, flags: &[&str]) -> Vec<Vec<f64>> {
    let prompts = [1, 3, 40, 150].map(|length| {
        let tokens: Vec<u32> = (0..length).map(|index| 3 + 7 * index % 250).collect();
        json!({ "tokens": tokens, "top": 100_000 })
    });
    let lines: String = prompts.iter().map(|question| format!("{question}\n")).collect();
    let arguments = [&["logits", "tiny.gguf", "--engine", engine, "--jsonl"], flags].concat();
    let answers = place.run_with_input(&arguments, lines.as_bytes()).json_lines();
    assert_eq!(answers.len(), prompts.len());
    answers.iter().map(in_order).collect()
}

fn in_order(answer: &Value) -> Vec<f64> {
    let list = |key: &str| answer[key].as_array().expect("a list").clone();
    let mut logits = vec![f64::NAN; list("ids").len()];
    for (id, value) in list("ids").iter().zip(list("values")) {
        logits[id.as_u64().expect("an id") as usize] = value.as_f64().expect("a number");
    }
    assert!(logits.len() > 100 && logits.iter().all(|logit| logit.is_finite()));
    logits
}

#[test]
fn instances_and_chunks_change_no_bit_and_engines_differ_by_rounding() {
    let place = Place::with_model();
    let references = ["cpu", "cpu-relaxed"].map(|engine| {
        let reference = logits(&place, engine, &[]);
        for instances in ["1", "2", "3"] {
            for chunk in ["1", "7", "128"] {
                let flags = ["--instances", instances, "--prefill-tokens", chunk];
                let found = logits(&place, engine, &flags);
                assert_eq!(found, reference, "{engine} with {flags:?}");
            }
        }
        reference
    });
    let [cpu, relaxed] = &references;
    assert_ne!(cpu, relaxed, "they round differently");
    for (cpu, relaxed) in cpu.iter().zip(relaxed) {
        let squares = cpu.iter().zip(relaxed).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let rms = (squares / cpu.len() as f64).sqrt();
        assert!(rms <= ENGINES_RMS_MAX, "rms {rms}");
    }
}
