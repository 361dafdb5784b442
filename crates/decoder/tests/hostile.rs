//! Damaged and hostile files: whatever they hold, loading and computing end with a result or an
//! error.
#![allow(clippy::expect_used)]

use trefoil_decoder::{CacheType, Decoder, Options};
use trefoil_fixtures::{Random, TinyLlama, tiny_llama};
use trefoil_generation::{Forward, Logits, Span};
use trefoil_gguf::{Gguf, TensorType};

const FILES: u64 = 400;

/// Reads, loads and computes; says how far it came.
fn run(file: &[u8]) -> &'static str {
    let Ok(gguf) = Gguf::read(&file) else { return "not read" };
    let options = Options { context_tokens: 0, sequences_max: 1, kv_cache_type: CacheType::F16 };
    let Ok(mut decoder) = Decoder::load(&gguf, &file, options) else { return "refused" };
    let mut logits = Vec::new();
    for position in 0..2 {
        let span = Span { sequence: 0, position, tokens: &[1, 2, 3], logits: Logits::All };
        if decoder.forward(&[span], &mut logits).is_ok() {
            assert_eq!(logits.len(), 3 * decoder.vocabulary_tokens());
        }
    }
    "computed"
}

#[test]
fn files_with_changed_bytes_never_panic() {
    let mut ends = Vec::new();
    for matrices in [TensorType::F16, TensorType::Q4_1, TensorType::Q4_K, TensorType::Q6_K] {
        let file = tiny_llama(&TinyLlama::with_matrices(matrices));
        let layout = Gguf::read(&file.as_slice()).expect("a well-formed file").layout;
        // The keys of the architecture, the tensors' records, the weights (infinite scales, NaN).
        let keys = layout.metadata.start..layout.metadata.start + 1000;
        let sections = [keys, layout.tensors, layout.data];
        for (seed, section) in (0..FILES).zip(sections.iter().cycle()) {
            let mut random = Random::new(seed);
            let mut file = file.clone();
            for _ in 0..1 + seed % 8 {
                let place = section.start + random.u64() % (section.end - section.start);
                file[place as usize] = random.u64() as u8;
            }
            ends.push(run(&file));
        }
    }
    for end in ["not read", "refused", "computed"] {
        assert!(ends.contains(&end), "no file was {end}");
    }
}

#[test]
fn weights_of_any_bits_never_panic() {
    use TensorType::{F16, F32, Q4_0, Q4_K, Q5_0, Q5_K, Q6_K, Q8_0};
    for matrices in [F32, F16, Q4_0, Q5_0, Q8_0, Q4_K, Q5_K, Q6_K] {
        let mut file = tiny_llama(&TinyLlama::with_matrices(matrices));
        let data = Gguf::read(&file.as_slice()).expect("a well-formed file").layout.data;
        file[data.start as usize..].fill(0xff);
        assert_eq!(run(&file), "computed");
    }
}
