//! LoRA adapters against llama.cpp, and those that no model can have.
#![allow(clippy::expect_used)]

mod member;

use std::sync::Arc;

use member::Member;
use trefoil_contract::Error;
use trefoil_decoder::{Adapter, Alone, CacheType, Decoder, Exchange, Options};
use trefoil_fixtures::Meeting;
use trefoil_fixtures::golden::{self, AdapterModel};
use trefoil_generation::{Forward, Logits, Span};
use trefoil_gguf::{Gguf, TensorType, Writer};

/// Root mean square of the distance, as a share of the standard deviation of llama.cpp's logits.
const TOLERANCE: f64 = 1e-4;
/// The same where llama.cpp rounds activations to half precision, as the adapter is.
const TOLERANCE_F16: f64 = 3e-3;

const OPTIONS: Options =
    Options { context_tokens: 0, sequences_max: 1, kv_cache_type: CacheType::F32 };

fn logits<E: Exchange>(model: &AdapterModel, exchange: Option<E>) -> Vec<f32> {
    let gguf = Gguf::read(&model.base.file).expect("a GGUF file");
    let adapter = Gguf::read(&model.file).expect("a GGUF file");
    let adapters =
        [Adapter { name: &model.name, gguf: &adapter, source: &model.file, scale: model.scale }];
    let decoder = Decoder::load_share(&gguf, &model.base.file, &adapters, OPTIONS, exchange);
    let mut logits = Vec::new();
    let span =
        Span { sequence: 0, position: 0, tokens: &model.base.golden.tokens, logits: Logits::All };
    decoder.expect("fits").forward(&[span], &mut logits).expect("room in the context");
    logits
}

#[test]
fn logits_are_llama_cpps() {
    for model in golden::adapters() {
        let ours = logits::<Alone>(&model, None);
        let golden = &model.base.golden;
        let width = golden.logits[0].len();
        let expected: Vec<f64> = golden.logits.concat();
        let found = golden.places.iter().flat_map(|place| &ours[place * width..][..width]);
        let mean = expected.iter().sum::<f64>() / expected.len() as f64;
        let variance: f64 = expected.iter().map(|value| (value - mean).powi(2)).sum();
        let error: f64 =
            found.zip(&expected).map(|(ours, value)| (f64::from(*ours) - value).powi(2)).sum();
        let distance = (error / variance).sqrt();
        println!("{}: {distance:.1e}", model.name);
        let tolerance = if model.name == "phi3-lora" { TOLERANCE_F16 } else { TOLERANCE };
        assert!(distance <= tolerance, "{}: {distance:.1e}", model.name);
    }
}

#[test]
fn several_instances_give_the_same_bits() {
    for model in golden::adapters() {
        let expected = logits::<Alone>(&model, None);
        for size in [2, 3] {
            let meeting = Arc::new(Meeting::new(size));
            let first = std::thread::scope(|scope| {
                let instance = |rank| {
                    let member = Member { meeting: Arc::clone(&meeting), rank };
                    let model = &model;
                    scope.spawn(move || logits(model, Some(member)))
                };
                let threads: Vec<_> = (0..size).map(instance).collect();
                let mut found = threads.into_iter().map(|thread| thread.join().expect("ends"));
                let first = found.next().expect("rank 0");
                found.for_each(drop);
                first
            });
            assert!(first == expected, "{} in {size} instances", model.name);
        }
    }
}

/// What loading a model with this adapter reports.
fn refused(change: impl FnOnce(&mut Writer)) -> Error {
    refused_for("llama", change)
}

fn refused_for(architecture: &str, change: impl FnOnce(&mut Writer)) -> Error {
    let mut writer = Writer::new();
    writer.value("general.architecture", architecture);
    change(&mut writer);
    let file = writer.to_bytes().expect("a GGUF file");
    let models = golden::architectures();
    let base = models.iter().find(|model| model.name == "llama").expect("is there");
    refused_by(&base.file, &file)
}

fn refused_by(base: &[u8], file: &[u8]) -> Error {
    let (gguf, adapter) = (Gguf::read(&base).expect("GGUF"), Gguf::read(&file).expect("GGUF"));
    let adapters = [Adapter { name: "law", gguf: &adapter, source: &file, scale: 1.0 }];
    let loaded = Decoder::<Alone>::load_share(&gguf, &base, &adapters, OPTIONS, None);
    let Err(error) = loaded else { panic!("was accepted") };
    error
}

fn lora(writer: &mut Writer) -> &mut Writer {
    writer.value("general.type", "adapter").value("adapter.type", "lora")
}

fn pair<'a>(writer: &'a mut Writer, name: &str, down: [u64; 2], up: [u64; 2]) -> &'a mut Writer {
    for (suffix, shape) in [("lora_a", down), ("lora_b", up)] {
        let data = vec![0; (shape[0] * shape[1] * 4) as usize];
        writer.tensor(format!("{name}.{suffix}"), &shape, TensorType::F32, data);
    }
    writer
}

#[test]
fn adapters_that_do_not_fit_are_refused_by_name() {
    let check = |error: Error, pieces: &[&str]| {
        let text = error.to_string();
        assert!(text.contains("`law`"), "{text}");
        for piece in pieces {
            assert!(text.contains(piece), "`{piece}` is not in: {text}");
        }
    };
    let query = "blk.0.attn_q.weight";
    check(refused(|_| {}), &["general.type"]);
    check(
        refused(|writer| {
            writer.value("general.type", "adapter").value("adapter.type", "control");
        }),
        &["`control`", "`lora`"],
    );
    check(
        refused_for("phi3", |writer| {
            lora(writer);
        }),
        &["phi3"],
    );
    check(
        refused(|writer| {
            pair(lora(writer), "blk.7.attn_q.weight", [32, 2], [2, 32]);
        }),
        &["`blk.7.attn_q.weight`", "another model"],
    );
    check(
        refused(|writer| {
            pair(lora(writer), query, [32, 2], [3, 32]);
        }),
        &[query, "2 x 32", "32 x 3"],
    );
    check(
        refused(|writer| {
            pair(lora(writer), query, [16, 2], [2, 32]);
        }),
        &[query, "2 x 16", "the model has 32 x 32"],
    );
    check(
        refused(|writer| {
            pair(lora(writer), query, [32, 1025], [1025, 32]);
        }),
        &["rank 1025", "1024"],
    );
    check(
        refused(|writer| {
            pair(lora(writer), "token_embd.weight", [32, 2], [2, 272]);
        }),
        &["`token_embd.weight`", "cannot be changed"],
    );
    check(
        refused(|writer| {
            lora(writer).tensor(format!("{query}.lora_a"), &[32, 2], TensorType::F32, vec![0; 256]);
        }),
        &["`blk.0.attn_q.weight.lora_b` is missing"],
    );
    check(
        refused(|writer| {
            lora(writer).tensor("blk.0.attn_norm.weight", &[32], TensorType::F32, vec![0; 128]);
        }),
        &["`blk.0.attn_norm.weight`"],
    );
    check(
        refused(|writer| {
            let alpha = f32::INFINITY;
            pair(lora(writer), query, [32, 2], [2, 32]).value("adapter.lora.alpha", alpha);
        }),
        &["scale"],
    );
}

#[test]
fn embeddings_of_an_encoder_cannot_be_changed() {
    let models = golden::embeddings();
    let of_bert = |model: &&golden::EmbeddingModel| {
        let gguf = Gguf::read(&model.file).expect("GGUF");
        gguf.metadata.string("general.architecture") == Ok(Some("bert"))
    };
    let bert = models.iter().find(of_bert).expect("is there");
    let gguf = Gguf::read(&bert.file).expect("GGUF");
    for name in ["token_embd.weight", "token_types.weight", "position_embd.weight"] {
        let shape = &gguf.tensor(name).expect("is there").dimensions;
        let rows = shape.get(1).copied().unwrap_or(1);
        let mut writer = Writer::new();
        writer.value("general.architecture", "bert");
        pair(lora(&mut writer), name, [shape[0], 2], [2, rows]);
        let error = refused_by(&bert.file, &writer.to_bytes().expect("a GGUF file")).to_string();
        assert!(error.contains(name) && error.contains("cannot be changed"), "{error}");
    }
}
