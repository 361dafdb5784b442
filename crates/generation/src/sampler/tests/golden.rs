//! What llama.cpp's samplers leave of logits (`xtask/golden/samplers.py`).

use serde_json::Value;
use trefoil_fixtures::golden;
use trefoil_gguf::Gguf;
use trefoil_settings::Settings;
use trefoil_tokenizer::Tokenizer;

use super::super::candidates::Candidates;
use super::super::dry::Dry;
use super::super::mirostat::Mirostat;
use super::super::temperature::Temperature;
use super::super::xtc::Xtc;
use super::settings;

/// llama.cpp computes in single precision.
const TOLERANCE: f64 = 1e-5;

fn cases() -> Value {
    let path = golden::directory().join("samplers/samplers.json");
    let json = std::fs::read(path).expect("run `cargo xtask golden`");
    serde_json::from_slice(&json).expect("is JSON")
}

fn list(value: &Value) -> &[Value] {
    let list = value.as_array().expect("a list");
    assert!(!list.is_empty());
    list
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn whole(value: &Value) -> u32 {
    value.as_u64().and_then(|value| value.try_into().ok()).expect("a whole number")
}

fn tokens(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(whole).collect()
}

/// The candidates that a case begins with.
fn all(cases: &Value, case: &Value, n_sigma: f64) -> Candidates {
    let logits = list(&cases["logits"][whole(&case["logits"]) as usize]);
    let logits: Vec<f32> = logits.iter().map(|logit| number(logit) as f32).collect();
    let mut candidates = Candidates::default();
    candidates.select(&logits, n_sigma, 0);
    candidates
}

/// By rising tokens.
fn left(candidates: &Candidates) -> Vec<u32> {
    let mut tokens: Vec<_> = candidates.kept.iter().map(|candidate| candidate.token).collect();
    tokens.sort_unstable();
    tokens
}

#[test]
fn typical_xtc_and_top_n_sigma_leave_what_llama_cpp_leaves() {
    let cases = cases();
    for case in list(&cases["cutting"]) {
        let (kind, parameter) = (case["kind"].as_str(), number(&case["parameter"]));
        let mut candidates = all(&cases, case, 0.0);
        match kind {
            Some("typical-p") => candidates.keep_typical(parameter),
            Some("xtc-threshold") => {
                let settings =
                    settings(|s| (s.xtc_probability, s.xtc_threshold) = (1.0, parameter));
                Xtc::new(&settings).expect("has a probability").apply(&mut candidates, 0.5);
            }
            Some("top-n-sigma") => candidates = all(&cases, case, parameter),
            other => panic!("{other:?}"),
        }
        assert_eq!(left(&candidates), tokens(&case["tokens"]), "{kind:?} {parameter}");
    }
}

#[test]
fn the_dynamic_temperature_is_llama_cpps() {
    let cases = cases();
    for case in list(&cases["heating"]) {
        let mut candidates = all(&cases, case, 0.0);
        let temperature = Temperature::new(&settings(|s| {
            s.temperature = number(&case["temperature"]);
            s.dynamic_temperature_range = number(&case["range"]);
            s.dynamic_temperature_exponent = number(&case["exponent"]);
        }));
        let temperature = temperature.of(&mut candidates);
        for (candidate, divided) in candidates.kept.iter().zip(list(&case["divided"])) {
            let (found, expected) = (f64::from(candidate.logit) / temperature, number(divided));
            let is_close = (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0);
            assert!(is_close, "{found} is not {expected}: {temperature}");
        }
    }
}

#[test]
fn mirostat_leaves_what_llama_cpp_leaves_whatever_was_chosen_before() {
    let cases = cases();
    for case in list(&cases["mirostat"]) {
        let mut mirostat = Mirostat::new(&settings(|s| {
            s.mirostat = whole(&case["version"]);
            (s.mirostat_tau, s.mirostat_eta) = (number(&case["tau"]), number(&case["eta"]));
        }))
        .expect("has a version");
        let temperature = number(&case["temperature"]);
        for (place, step) in list(&case["steps"]).iter().enumerate() {
            let mut candidates = all(&cases, step, 0.0);
            mirostat.keep(&mut candidates, temperature);
            let what = format!("step {place} of {mirostat:?}");
            assert_eq!(left(&candidates), tokens(&step["tokens"]), "{what}");
            let total = candidates.weigh(temperature);
            let chosen = whole(&step["chosen"]);
            let index = candidates.kept.iter().position(|candidate| candidate.token == chosen);
            mirostat.observe(candidates.weights[index.expect("is left")] / total);
        }
    }
}

#[test]
fn dry_subtracts_what_llama_cpp_subtracts() {
    let models = golden::architectures();
    let model = models.iter().find(|model| model.name == "llama").expect("is among them");
    let gguf = Gguf::read(&model.file).expect("a well-formed file");
    let tokenizer = Tokenizer::from_gguf(&gguf.metadata).expect("a tokenizer");
    for case in list(&cases()["dry"]) {
        let mut settings = Settings::default().request;
        settings.dry_multiplier = number(&case["multiplier"]);
        settings.dry_base = number(&case["base"]);
        settings.dry_allowed_length = whole(&case["allowed_length"]);
        settings.dry_penalty_tokens = whole(&case["penalty_tokens"]);
        let breakers = case["breakers"].as_array().expect("a list").iter();
        settings.dry_sequence_breakers =
            breakers.map(|text| text.as_str().expect("a text").to_owned()).collect();
        let mut dry = Dry::new(&settings).expect("valid").expect("has a multiplier");
        let mut logits = vec![0.0; tokenizer.vocabulary_tokens() as usize];
        dry.apply(&mut logits, &tokens(&case["history"]), &tokenizer);
        for expected in case["subtracted"].as_array().expect("a list") {
            let (token, expected) = (whole(&expected[0]), number(&expected[1]));
            let found = f64::from(std::mem::take(&mut logits[token as usize]));
            let is_close = (found + expected).abs() <= TOLERANCE * expected;
            assert!(is_close, "{found} is not -{expected} for token {token}: {case}");
        }
        assert!(logits.iter().all(|logit| *logit == 0.0), "others are changed: {case}");
    }
}
