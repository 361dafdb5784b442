//! Tiny random models of every architecture against the logits of llama.cpp (`cargo xtask golden`
//! makes both).
#![allow(clippy::expect_used)]

use std::collections::BTreeSet;

use trefoil_decoder::{ARCHITECTURES, CacheType, Config, Decoder, Options};
use trefoil_fixtures::golden::{self, ArchitectureModel};
use trefoil_generation::{Forward, Logits, Span};
use trefoil_gguf::Gguf;

/// Root mean square of the distance, as a share of the standard deviation of llama.cpp's logits.
const TOLERANCE: f64 = 1e-4;
/// The same where llama.cpp looks GELU up in a table of half precision.
const TOLERANCE_GELU: f64 = 1e-3;
/// The same where llama.cpp rounds activations to 8 bits.
const TOLERANCE_QUANTISED: f64 = 0.03;

const OPTIONS: Options =
    Options { context_tokens: 0, sequences_max: 1, kv_cache_type: CacheType::F32 };

fn tolerance(model: &ArchitectureModel) -> f64 {
    let has_gelu = model.name.starts_with("gemma") || model.name == "starcoder2";
    match model.name.starts_with("types-") {
        true => TOLERANCE_QUANTISED,
        false if has_gelu => TOLERANCE_GELU,
        false => TOLERANCE,
    }
}

/// Logits of all tokens, computed so many at a time.
fn logits(model: &ArchitectureModel, tokens_at_once: usize) -> Vec<Vec<f32>> {
    let gguf = Gguf::read(&model.file).expect("a GGUF file");
    let mut decoder = Decoder::load(&gguf, &model.file, OPTIONS)
        .unwrap_or_else(|error| panic!("{}: {error}", model.name));
    let mut all = Vec::new();
    for (index, tokens) in model.golden.tokens.chunks(tokens_at_once).enumerate() {
        let position = (index * tokens_at_once) as u32;
        let span = Span { sequence: 0, position, tokens, logits: Logits::All };
        let mut logits = Vec::new();
        decoder.forward(&[span], &mut logits).expect("room in the context");
        let rows = logits.chunks_exact(decoder.config().vocabulary_tokens);
        all.extend(rows.map(<[f32]>::to_vec));
    }
    all
}

/// How far logits are from llama.cpp's.
fn distance(model: &ArchitectureModel, logits: &[Vec<f32>]) -> f64 {
    let golden = &model.golden;
    let pairs = || {
        let rows = golden.places.iter().zip(&golden.logits);
        rows.flat_map(|(place, expected)| {
            let ours = logits[*place].iter().map(|logit| f64::from(*logit));
            ours.zip(expected.iter().copied())
        })
    };
    let count = pairs().count() as f64;
    let mean = pairs().map(|(_, expected)| expected).sum::<f64>() / count;
    let variance = pairs().map(|(_, expected)| (expected - mean).powi(2)).sum::<f64>();
    let error = pairs().map(|(ours, expected)| (ours - expected).powi(2)).sum::<f64>();
    (error / variance).sqrt()
}

#[test]
fn logits_are_llama_cpps() {
    let mut failures = Vec::new();
    for model in golden::architectures() {
        let distance = distance(&model, &logits(&model, usize::MAX));
        println!("{}: {distance:.1e}", model.name);
        // Written so that NaN fails.
        let is_close = distance <= tolerance(&model);
        if !is_close {
            failures.push(format!("{}: {distance:.1e}", model.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join(", "));
}

#[test]
fn a_prompt_in_pieces_gives_the_same_bits() {
    for model in golden::architectures() {
        let whole = logits(&model, usize::MAX);
        for tokens_at_once in [1, 7] {
            assert!(logits(&model, tokens_at_once) == whole, "{}", model.name);
        }
    }
}

#[test]
fn every_architecture_has_a_model() {
    let embedding = golden::embeddings().into_iter().map(|model| model.file);
    let tested: BTreeSet<_> = golden::architectures()
        .into_iter()
        .map(|model| model.file)
        .chain(embedding)
        .map(|file| {
            let gguf = Gguf::read(&file).expect("a GGUF file");
            Config::from_gguf(&gguf).expect("a known architecture").architecture.name
        })
        .collect();
    assert_eq!(tested, ARCHITECTURES.iter().map(|row| row.name).collect());
}
