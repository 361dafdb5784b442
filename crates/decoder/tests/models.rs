//! Real models against golden data from llama.cpp (`tests/reference/README.md` says how they
//! were made).
#![allow(clippy::expect_used, clippy::unwrap_used)]

use trefoil_decoder::{CacheType, Decoder, Options};
use trefoil_fixtures::golden::{self, Both, Continuation, Golden, MARGIN_DECISIVE};
use trefoil_generation::{Forward, Logits, Span};
use trefoil_gguf::Gguf;

/// Root mean square of the distance from the oracle's 64 best logits. The scalar kernels round
/// activations to 16 bits; llama.cpp, which rounds them to 8, is 0.158 (SmolLM2) and 0.248 (Gemma 3)
/// away.
const LOGITS_RMS_MAX: f64 = 0.01;
/// The same with keys and values in 8 bits: 0.145 (SmolLM2) and 0.132 (Gemma 3) at most. With such
/// keys and values llama.cpp's logits move by 0.19 and 1.05 at most, with those of half precision by
/// 0.26 and 0.39.
const LOGITS_RMS_MAX_Q8: f64 = 0.2;
/// Greedy texts to compare; each costs about 50 steps.
const GREEDY_PROMPTS: usize = 2;

/// The models with their golden data.
fn models() -> [(&'static str, Golden); 2] {
    [("TREFOIL_SMOLLM2", golden::smollm2()), ("TREFOIL_GEMMA3", golden::gemma3())]
}

/// Loads the model that a variable names.
fn load(variable: &str, kv_cache_type: CacheType) -> Decoder {
    let path = std::env::var_os(variable).unwrap_or_else(|| {
        panic!("run `cargo xtask test`, which fetches models and sets {variable}")
    });
    let file = std::fs::read(path).expect("the variable names a file");
    let gguf = Gguf::read(&file).expect("a GGUF file");
    let options = Options { context_tokens: 2048, sequences_max: 1, kv_cache_type };
    Decoder::load(&gguf, &file, options).expect("a supported model")
}

fn forward(decoder: &mut Decoder, position: u32, tokens: &[u32]) -> Vec<f32> {
    let span = Span { sequence: 0, position, tokens, logits: Logits::Last };
    let mut logits = Vec::new();
    decoder.forward(&[span], &mut logits).expect("room in the context");
    logits
}

#[test]
fn last_logits_are_as_near_to_the_oracle_as_rounding_allows() {
    distances(CacheType::F16, LOGITS_RMS_MAX);
}

#[test]
fn keys_and_values_in_8_bits_cost_a_named_distance() {
    distances(CacheType::Q8, LOGITS_RMS_MAX_Q8);
}

/// Checks how far the last logits of the prompts are from the oracle.
fn distances(kv_cache_type: CacheType, rms_max: f64) {
    for (variable, golden) in models() {
        let mut decoder = load(variable, kv_cache_type);
        assert_eq!(golden.logits.len(), 5);
        for Both { oracle, .. } in golden.logits {
            let logits = forward(&mut decoder, 0, &oracle.prompt_ids);
            assert_eq!(oracle.ids.len(), 64);
            let ours = oracle.ids.iter().map(|id| f64::from(logits[*id as usize]));
            let distances: Vec<f64> = ours.zip(&oracle.values).map(|(a, b)| a - b).collect();
            let rms = rms(&distances);
            println!("{variable}: rms {rms:.4}");
            assert!(rms <= rms_max, "{variable}: rms {rms} for {:?}", oracle.prompt);
        }
    }
}

fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt()
}

#[test]
fn greedy_text_first_differs_where_the_margin_is_small() {
    for (variable, golden) in models() {
        let mut decoder = load(variable, CacheType::F16);
        assert!(golden.greedy.len() >= GREEDY_PROMPTS);
        for Both { llama_cpp, oracle } in &golden.greedy[..GREEDY_PROMPTS] {
            let count = llama_cpp.ids.len().max(oracle.ids.len());
            let ours = greedy(&mut decoder, &oracle.prompt_ids, count, &golden.eog_ids);
            let [llama_cpp, oracle] =
                [llama_cpp, oracle].map(|theirs| first_difference(&ours, theirs));
            println!(
                "{variable}: first difference from llama.cpp: {llama_cpp:?}, from the oracle: {oracle:?}"
            );
            let agrees =
                |margin: Option<f64>| margin.is_none_or(|margin| margin <= MARGIN_DECISIVE);
            assert!(
                agrees(llama_cpp) || agrees(oracle),
                "{variable}: margins {llama_cpp:?}, {oracle:?}: {ours:?}"
            );
        }
    }
}

/// The margin of their choice where the texts differ first. Both end where the model ends them.
fn first_difference(ours: &[u32], theirs: &Continuation) -> Option<f64> {
    let at = ours.iter().zip(&theirs.ids).position(|(a, b)| a != b)?;
    Some(theirs.margin_top1_top2[at])
}

/// The likeliest tokens one after another, to the end of the text or `count`.
fn greedy(decoder: &mut Decoder, prompt: &[u32], count: usize, ends: &[u32]) -> Vec<u32> {
    let mut ids = Vec::new();
    let mut logits = forward(decoder, 0, prompt);
    while ids.len() < count {
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        let best = best.expect("a vocabulary") as u32;
        let position = (prompt.len() + ids.len()) as u32;
        ids.push(best);
        if ends.contains(&best) {
            break;
        }
        logits = forward(decoder, position, &[best]);
    }
    ids
}
