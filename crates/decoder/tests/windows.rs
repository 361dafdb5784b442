//! Sliding windows: what they leave behind costs no memory, and changes no bit.
#![allow(clippy::expect_used)]

use proptest::prelude::*;
use trefoil_contract::Error;
use trefoil_decoder::{CacheType, Decoder, Options};
use trefoil_fixtures::{Edited, TinyLlama, golden, tiny_llama};
use trefoil_generation::{Forward, Logits, Span};
use trefoil_gguf::{Gguf, Value};

const SEQUENCES: usize = 3;

/// Context of the models `*-window`, of which they use what stands below.
const TEXT_TOKENS_MAX: usize = 500;

/// So far back a sequence can be cut at any time.
const CUT_TOKENS: u32 = 128;
/// Tokens that are kept or given up together.
const PAGE_TOKENS: usize = 64;

/// One of the tiny models, with a longer context.
fn model(name: &str, context_tokens: u32) -> Vec<u8> {
    let models = golden::architectures();
    let model = models.into_iter().find(|model| model.name == name).expect("a model of that name");
    let architecture = name.split('-').next().unwrap_or_default();
    let mut edited = Edited::new(&model.file);
    edited.set(&format!("{architecture}.context_length"), context_tokens);
    edited.file()
}

fn load(file: &[u8], sequences_max: usize) -> Decoder {
    let gguf = Gguf::read(&file).expect("a well-formed file");
    let sequences_max = sequences_max as u32;
    let options = Options { context_tokens: 0, sequences_max, kv_cache_type: CacheType::F16 };
    Decoder::load(&gguf, &file, options).expect("a model")
}

fn forward(decoder: &mut Decoder, position: usize, tokens: &[u32]) -> Vec<f32> {
    let position = position as u32;
    let span = Span { sequence: 0, position, tokens, logits: Logits::Last };
    let mut logits = Vec::new();
    decoder.forward(&[span], &mut logits).expect("a good batch");
    logits
}

fn text(tokens: usize) -> Vec<u32> {
    (0..tokens).map(|place| 2 + (place * place * 7 + place * 3) as u32 % 250).collect()
}

#[test]
fn layers_with_windows_take_bounded_memory() {
    let values = vec![("llama.attention.sliding_window".to_owned(), Value::from(10u32))];
    let file = tiny_llama(&TinyLlama { values, context_tokens: 10_000, ..TinyLlama::default() });
    let text = text(4000);
    // Two layers of two heads of 16 elements in half precision.
    let token_bytes = 2 * 2 * 2 * 16 * 2;
    for tokens_at_once in [1, 7, 500] {
        let mut decoder = load(&file, 1);
        for (index, tokens) in text.chunks(tokens_at_once).enumerate() {
            forward(&mut decoder, index * tokens_at_once, tokens);
            let held = decoder.cache_bytes() as usize / token_bytes;
            let bound = (10 + CUT_TOKENS as usize).next_multiple_of(PAGE_TOKENS) + PAGE_TOKENS;
            assert!(held <= bound, "{held} tokens held behind chunk {index}");
        }
    }
}

#[test]
fn layers_without_windows_keep_everything() {
    // Every other layer of this one has windows.
    let mut decoder = load(&model("gemma2", 10_000), 1);
    forward(&mut decoder, 0, &text(3000));
    let page_bytes = 2 * 2 * 8 * PAGE_TOKENS as u64;
    let (pages, pages_of_windows) = (3000u64.div_ceil(PAGE_TOKENS as u64), 3);
    assert_eq!(decoder.cache_bytes(), (pages + pages_of_windows) * page_bytes * 2 * 2);
}

#[test]
fn a_cut_that_windows_have_left_behind_is_refused_and_the_sequence_emptied() {
    let mut decoder = load(&model("gemma3", 10_000), 1);
    let text = text(1000);
    forward(&mut decoder, 0, &text);
    assert_eq!(decoder.reusable(0, 1000 - CUT_TOKENS), 1000 - CUT_TOKENS);
    assert_eq!(decoder.reusable(0, 2000), 1000);
    assert_eq!(decoder.reusable(0, 500), 0);
    assert_eq!(decoder.reusable(1, 0), 0);
    let span = Span { sequence: 0, position: 500, tokens: &[7], logits: Logits::Last };
    let refused = decoder.forward(&[span], &mut Vec::new());
    let text = match refused {
        Err(Error::InvalidArgument(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(text.contains("position 500: sliding windows have moved on"), "{text}");
    assert_eq!((decoder.reusable(0, 1000), decoder.cache_bytes()), (0, 0));
}

/// What one sequence does in a step: nothing, or it goes on, behind a cut at some share of it.
type Action = Option<(Option<prop::sample::Index>, Vec<u32>)>;

/// From which sequence to which another one before a step.
fn copy() -> impl Strategy<Value = Option<(usize, usize)>> {
    prop::option::weighted(0.3, (0..SEQUENCES, 0..SEQUENCES))
}

fn action() -> impl Strategy<Value = Action> {
    let tokens = prop_oneof![
        prop::collection::vec(2u32..250, 1..4),
        prop::collection::vec(2u32..250, 100..300),
    ];
    let cut = prop::option::weighted(0.3, any::<prop::sample::Index>());
    prop::option::weighted(0.7, (cut, tokens))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn whatever_windows_give_up_the_bits_are_those_of_a_computation_at_once(
        name in prop::sample::select(vec!["gemma2-window", "gemma3-window"]),
        steps in prop::collection::vec((copy(), prop::array::uniform3(action())), 1..10),
    ) {
        let file = model(name, TEXT_TOKENS_MAX as u32);
        let mut together = load(&file, SEQUENCES);
        let mut alone = load(&file, 1);
        let mut texts: [Vec<u32>; SEQUENCES] = Default::default();
        // How long each was at most since it began: windows do not move back.
        let mut longest = [0; SEQUENCES];
        for (copy, step) in steps {
            if let Some((from, to)) = copy {
                together.copy(from, to).expect("memory for a copy");
                texts[to] = texts[from].clone();
                longest[to] = longest[from];
            }
            let mut positions = Vec::new();
            for (sequence, action) in step.into_iter().enumerate() {
                let Some((cut, tokens)) = action else { continue };
                let text = &mut texts[sequence];
                let mut position = text.len();
                if let Some(cut) = cut {
                    text.truncate(cut.index(text.len() + 1));
                    let kept = together.reusable(sequence, text.len() as u32) as usize;
                    prop_assert!(kept == text.len() || kept == 0);
                    let has_moved_on = text.len() + (CUT_TOKENS as usize) < longest[sequence];
                    prop_assert!(kept == text.len() || has_moved_on);
                    if kept == 0 {
                        longest[sequence] = 0;
                    }
                    position = kept;
                    if tokens[0] % 2 == 0 {
                        // Otherwise the batch cuts.
                        together.truncate(sequence, text.len() as u32);
                    }
                }
                text.extend(tokens);
                text.truncate(TEXT_TOKENS_MAX);
                longest[sequence] = longest[sequence].max(text.len());
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
                prop_assert_eq!(row, forward(&mut alone, 0, &texts[sequence]), "{}", sequence);
            }
        }
    }
}
