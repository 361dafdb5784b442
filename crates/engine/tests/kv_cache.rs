//! What the precision of cached keys and values costs, with a real model.
#![allow(clippy::expect_used)]

use std::rc::Rc;

use trefoil_contract::{Part, Result, Role, Setting, TokenizeOptions, Value};
use trefoil_engine::{Engine, Imports};
use trefoil_fixtures::{ModelFile, golden};
use trefoil_gguf::Source;

/// Tokens whose likelihoods are compared.
const TOKENS: usize = 256;
/// Most by which their mean negative log likelihood may be beside the oracle's, which has unrounded
/// keys and values. llama.cpp's, with half precision, is 0.0035 beside it over three windows.
const NLL_DISTANCE_MAX: f64 = 0.01;

/// Imports with one model.
struct OneModel {
    file: ModelFile,
    kv_cache_type: &'static str,
}

impl Imports for OneModel {
    fn parts(&self) -> Result<Vec<Part>> {
        Ok(vec![Part {
            name: "model".into(),
            role: Role::Weights,
            format: "gguf".into(),
            size: self.file.size(),
            sha256: String::new(),
            license: String::new(),
        }])
    }

    fn read(&self, _: u32, offset: u64, length: u32) -> Result<Vec<u64>> {
        let rest = self.file.size().saturating_sub(offset);
        let mut bytes = vec![0; u64::from(length).min(rest) as usize];
        self.file.read_at(offset, &mut bytes).expect("the file can be read");
        Ok(trefoil_contract::words(&bytes))
    }

    fn configure(&self, _: &[Part]) -> Result<Vec<Setting>, String> {
        let cache_type = Value::Text(self.kv_cache_type.into());
        Ok(vec![Setting::new("cpu.kv-cache-type", cache_type)])
    }

    fn collective_rank(&self) -> u32 {
        0
    }

    fn collective_size(&self) -> u32 {
        1
    }

    fn broadcast(&self, _: &[u8]) -> Result<Vec<u8>> {
        panic!("there is nobody to exchange with")
    }

    fn all_gather(&self, _: &[u8]) -> Result<Vec<u8>> {
        panic!("there is nobody to exchange with")
    }

    fn gather(&self, _: &[u8]) -> Result<Vec<u8>> {
        panic!("there is nobody to exchange with")
    }
}

#[test]
fn a_text_is_as_likely_with_keys_and_values_in_8_bits() {
    let file = ModelFile::named_by("TREFOIL_SMOLLM2");
    let imports = OneModel { file, kv_cache_type: "q8" };
    let model = Engine::new("cpu", Rc::new(imports)).open(None).expect("a model");
    let options = TokenizeOptions { add_special: false, parse_special: false };
    let tokens = model.tokenize(golden::text8k().as_bytes(), options);
    let scores = model.score(&tokens[..TOKENS]).expect("scores");
    let expected = &golden::smollm2().perplexity.oracle.per_token_nll[0][..TOKENS - 1];
    let nll = scores.iter().map(|score| -f64::from(*score));
    let distance = nll.zip(expected).map(|(a, b)| a - b).sum::<f64>() / expected.len() as f64;
    println!("{distance:+.4}");
    assert!(distance.abs() <= NLL_DISTANCE_MAX, "{distance}");
}
