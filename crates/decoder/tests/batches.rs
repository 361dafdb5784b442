//! Batches whose sequences come and go, against each sequence by itself.
#![allow(clippy::expect_used)]

use proptest::prelude::*;
use trefoil_decoder::{CacheType, Decoder, Options};
use trefoil_fixtures::{TinyLlama, tiny_llama};
use trefoil_generation::{Forward, Logits, Span};
use trefoil_gguf::{Gguf, TensorType};

const SEQUENCES: usize = 4;

/// Longest text of a sequence: several tiles of keys.
const TEXT_TOKENS_MAX: usize = 30;

/// What one sequence does in a step.
#[derive(Debug, Clone)]
enum Action {
    Wait,
    /// Forgets all tokens behind this share of them, gives up an emptied cache, and goes on.
    GoOn(Option<prop::sample::Index>, Vec<u32>),
}

fn action() -> impl Strategy<Value = Action> {
    let tokens = || prop::collection::vec(0u32..256, 1..9);
    prop_oneof![
        3 => Just(Action::Wait),
        6 => tokens().prop_map(|tokens| Action::GoOn(None, tokens)),
        2 => (any::<prop::sample::Index>(), tokens())
            .prop_map(|(kept, tokens)| Action::GoOn(Some(kept), tokens)),
    ]
}

/// From which sequence to which another one before a step.
fn copy() -> impl Strategy<Value = Option<(usize, usize)>> {
    prop::option::weighted(0.3, (0..SEQUENCES, 0..SEQUENCES))
}

fn decoder(matrices: TensorType, kv_cache_type: CacheType, sequences_max: usize) -> Decoder {
    let file = tiny_llama(&TinyLlama::with_matrices(matrices));
    let gguf = Gguf::read(&file).expect("a well-formed file");
    let sequences_max = sequences_max as u32;
    let options = Options { context_tokens: 0, sequences_max, kv_cache_type };
    Decoder::load(&gguf, &file, options).expect("a model")
}

/// Logits behind a text that is computed by itself, at once.
fn single(decoder: &mut Decoder, text: &[u32]) -> Vec<f32> {
    let mut logits = Vec::new();
    let span = Span { sequence: 0, position: 0, tokens: text, logits: Logits::Last };
    decoder.forward(&[span], &mut logits).expect("a good batch");
    logits
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn batched_results_are_single_ones_bit_for_bit_whatever_joins_or_leaves(
        matrices in prop::sample::select(vec![
            TensorType::F32, TensorType::F16, TensorType::Q4_0, TensorType::Q4_1, TensorType::Q5_0,
            TensorType::Q5_1, TensorType::Q8_0, TensorType::Q4_K, TensorType::Q5_K,
            TensorType::Q6_K,
        ]),
        kv_cache_type in prop::sample::select(CacheType::ALL.to_vec()),
        steps in prop::collection::vec((copy(), prop::array::uniform4(action())), 1..12),
    ) {
        let mut together = decoder(matrices, kv_cache_type, SEQUENCES);
        let mut alone = decoder(matrices, kv_cache_type, 1);
        let mut texts: [Vec<u32>; SEQUENCES] = Default::default();
        for (copy, step) in steps {
            if let Some((from, to)) = copy {
                together.copy(from, to).expect("memory for a copy");
                texts[to] = texts[from].clone();
            }
            let mut positions = Vec::new();
            for (sequence, action) in step.into_iter().enumerate() {
                let Action::GoOn(kept, tokens) = action else { continue };
                let text = &mut texts[sequence];
                if let Some(kept) = kept {
                    text.truncate(kept.index(text.len() + 1));
                    together.truncate(sequence, text.len() as u32);
                }
                let position = text.len();
                text.extend(tokens);
                text.truncate(TEXT_TOKENS_MAX);
                if text.len() > position {
                    positions.push((sequence, position));
                }
            }
            let batch: Vec<_> = positions
                .iter()
                .map(|&(sequence, position)| Span {
                    sequence,
                    position: position as u32,
                    tokens: &texts[sequence][position..],
                    logits: Logits::Last,
                })
                .collect();
            let mut logits = Vec::new();
            together.forward(&batch, &mut logits).expect("a good batch");
            let mut rows = logits.chunks_exact(together.vocabulary_tokens());
            for (sequence, _) in positions {
                let row = rows.next().expect("a row for each sequence");
                prop_assert_eq!(row, single(&mut alone, &texts[sequence]), "sequence {}", sequence);
            }
            prop_assert!(rows.next().is_none());
        }
    }
}
