//! The forward pass on tiny models, against the same computation in f64.
#![allow(clippy::expect_used)]

mod naive;

use naive::Naive;
use trefoil_contract::Error;
use trefoil_decoder::{CacheType, Decoder, Options};
use trefoil_fixtures::{TinyLlama, tiny_llama};
use trefoil_generation::{Forward, Logits, Span};
use trefoil_gguf::{Gguf, TensorType, Value, Writer};

/// Root mean square distance of logits (standard deviation 2 and more) from the f64 computation:
/// weights that multiply f32 activations.
const RMS_MAX_F32_ACTIVATIONS: f64 = 2e-5;
/// The same for quantised weights, which multiply rounded activations.
const RMS_MAX_ROUNDED_ACTIVATIONS: f64 = 1e-3;

const TYPES: [(TensorType, f64); 10] = [
    (TensorType::F32, RMS_MAX_F32_ACTIVATIONS),
    (TensorType::F16, RMS_MAX_F32_ACTIVATIONS),
    (TensorType::Q4_0, RMS_MAX_ROUNDED_ACTIVATIONS),
    (TensorType::Q4_1, RMS_MAX_ROUNDED_ACTIVATIONS),
    (TensorType::Q5_0, RMS_MAX_ROUNDED_ACTIVATIONS),
    (TensorType::Q5_1, RMS_MAX_ROUNDED_ACTIVATIONS),
    (TensorType::Q8_0, RMS_MAX_ROUNDED_ACTIVATIONS),
    (TensorType::Q4_K, RMS_MAX_ROUNDED_ACTIVATIONS),
    (TensorType::Q5_K, RMS_MAX_ROUNDED_ACTIVATIONS),
    (TensorType::Q6_K, RMS_MAX_ROUNDED_ACTIVATIONS),
];

/// Long enough for several tiles of keys, and of no round number.
const TOKENS: [u32; 23] = [
    72, 101, 108, 259, 111, 44, 32, 119, 111, 260, 108, 100, 33, 10, 0, 255, 7, 7, 7, 256, 99, 3,
    250,
];

fn load(file: &[u8], sequences_max: u32) -> Decoder {
    let gguf = Gguf::read(&file).expect("a well-formed file");
    Decoder::load(
        &gguf,
        &file,
        Options { context_tokens: 0, sequences_max, kv_cache_type: CacheType::F32 },
    )
    .expect("a model")
}

fn tiny(matrices: TensorType, sequences_max: u32) -> Decoder {
    load(&tiny_llama(&TinyLlama::with_matrices(matrices)), sequences_max)
}

fn span(sequence: usize, position: u32, tokens: &[u32], logits: Logits) -> Span<'_> {
    Span { sequence, position, tokens, logits }
}

/// Rows of logits.
fn forward(decoder: &mut Decoder, batch: &[Span<'_>]) -> Vec<Vec<f32>> {
    let mut logits = vec![f32::NAN];
    decoder.forward(batch, &mut logits).expect("a good batch");
    logits.chunks(decoder.vocabulary_tokens()).map(<[f32]>::to_vec).collect()
}

fn all(decoder: &mut Decoder, tokens: &[u32]) -> Vec<Vec<f32>> {
    forward(decoder, &[span(0, 0, tokens, Logits::All)])
}

#[track_caller]
fn assert_near(ours: &[Vec<f32>], naive: &[Vec<f64>], rms_max: f64, what: &str) {
    assert_eq!(ours.len(), naive.len());
    for (position, (ours, naive)) in ours.iter().zip(naive).enumerate() {
        assert_eq!(ours.len(), naive.len());
        let square = |(a, b): (&f32, &f64)| (f64::from(*a) - b).powi(2);
        let sum: f64 = ours.iter().zip(naive).map(square).sum();
        let rms = (sum / naive.len() as f64).sqrt();
        assert!(rms <= rms_max, "{what}: rms {rms} at position {position}");
    }
}

/// The file with more metadata and a further tensor.
fn extended(file: &[u8], values: &[(&str, Value)], name: &str, numbers: &[f32]) -> Vec<u8> {
    let gguf = Gguf::read(&file).expect("a well-formed file");
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata.iter() {
        writer.value(key, value.clone());
    }
    for (key, value) in values {
        writer.value(*key, value.clone());
    }
    for tensor in &gguf.tensors {
        let start = tensor.offset as usize;
        let data = file[start..start + tensor.size as usize].to_vec();
        writer.tensor(&tensor.name, &tensor.dimensions, tensor.tensor_type, data);
    }
    let data = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    writer.tensor(name, &[numbers.len() as u64], TensorType::F32, data);
    writer.to_bytes().expect("a file")
}

#[test]
fn logits_are_those_of_the_naive_computation_for_every_type() {
    for (matrices, rms_max) in TYPES {
        for tied in [true, false] {
            let options = TinyLlama { tied, ..TinyLlama::with_matrices(matrices) };
            let file = tiny_llama(&options);
            let ours = all(&mut load(&file, 1), &TOKENS);
            let naive = Naive::new(&file).logits(&TOKENS);
            let what = format!("{} tied {tied}", matrices.name());
            assert_near(&ours, &naive, rms_max, &what);
        }
    }
}

#[test]
fn heads_and_blocks_follow_the_metadata() {
    for (heads, kv_heads, layers) in [(1, 1, 1), (4, 4, 1), (8, 1, 3), (8, 4, 2), (6, 2, 2)] {
        let embedding_length = if heads == 6 { 96 } else { 64 };
        let options = TinyLlama { heads, kv_heads, layers, embedding_length, ..Default::default() };
        let file = tiny_llama(&options);
        let ours = all(&mut load(&file, 1), &TOKENS);
        let what = format!("{heads} heads, {kv_heads} KV heads, {layers} blocks");
        assert_near(&ours, &Naive::new(&file).logits(&TOKENS), RMS_MAX_F32_ACTIVATIONS, &what);
    }
}

#[test]
fn rope_follows_the_metadata() {
    let linear: &[(&str, Value)] =
        &[("llama.rope.scaling.type", "linear".into()), ("llama.rope.scaling.factor", 4f32.into())];
    for values in [linear, &[("llama.rope.dimension_count", 8.into())]] {
        let values: Vec<_> =
            values.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let file =
            tiny_llama(&TinyLlama { values, rope_freq_base: 100_000.0, ..Default::default() });
        let ours = all(&mut load(&file, 1), &TOKENS);
        let naive = Naive::new(&file).logits(&TOKENS);
        assert_near(&ours, &naive, RMS_MAX_F32_ACTIVATIONS, "scaled or partial");
    }
    let factors = [1.0, 1.0, 1.0, 1.5, 2.0, 4.0, 8.0, 8.0];
    let file = extended(&tiny_llama(&TinyLlama::default()), &[], "rope_freqs.weight", &factors);
    let ours = all(&mut load(&file, 1), &TOKENS);
    let naive = Naive::new(&file).logits(&TOKENS);
    assert_near(&ours, &naive, RMS_MAX_F32_ACTIVATIONS, "factors");
}

#[test]
fn chunks_and_single_tokens_give_the_bits_of_the_whole() {
    for (matrices, _) in TYPES {
        let mut decoder = tiny(matrices, 1);
        let whole = all(&mut decoder, &TOKENS);
        for chunk_tokens in [1, 2, 5, 16] {
            let mut rows = Vec::new();
            for (index, chunk) in TOKENS.chunks(chunk_tokens).enumerate() {
                let position = (index * chunk_tokens) as u32;
                rows.extend(forward(&mut decoder, &[span(0, position, chunk, Logits::All)]));
            }
            assert_eq!(rows, whole, "{} in chunks of {chunk_tokens}", matrices.name());
        }
    }
}

#[test]
fn sequences_in_one_batch_do_not_touch_each_other() {
    let mut alone = tiny(TensorType::Q4_1, 1);
    let texts = [&TOKENS[..], &TOKENS[5..12], &TOKENS[9..10]];
    let expected = texts.map(|tokens| all(&mut alone, tokens));

    let mut decoder = tiny(TensorType::Q4_1, 4);
    let first = [
        span(3, 0, &texts[0][..9], Logits::All),
        span(0, 0, &texts[1][..3], Logits::None),
        span(1, 0, texts[2], Logits::Last),
    ];
    let rows = forward(&mut decoder, &first);
    assert_eq!(rows[..9], expected[0][..9]);
    assert_eq!(rows[9..], expected[2]);
    let second =
        [span(0, 3, &texts[1][3..], Logits::Last), span(3, 9, &texts[0][9..], Logits::All)];
    let rows = forward(&mut decoder, &second);
    assert_eq!(rows[0], expected[1][6]);
    assert_eq!(rows[1..], expected[0][9..]);
}

#[test]
fn only_wanted_rows_are_given() {
    let mut decoder = tiny(TensorType::F32, 1);
    let whole = all(&mut decoder, &TOKENS);
    assert_eq!(forward(&mut decoder, &[span(0, 0, &TOKENS, Logits::Last)]), whole[22..]);
    assert!(forward(&mut decoder, &[span(0, 0, &TOKENS, Logits::None)]).is_empty());
    assert!(forward(&mut decoder, &[]).is_empty());
}

#[test]
fn goes_on_behind_truncation_as_if_the_rest_had_never_been() {
    let mut decoder = tiny(TensorType::Q8_0, 1);
    let whole = all(&mut decoder, &TOKENS);
    let other = [1, 2, 3, 4, 5, 6, 7];
    all(&mut decoder, &TOKENS);
    decoder.truncate(0, 6);
    forward(&mut decoder, &[span(0, 6, &other, Logits::None)]);
    // Without a call of `truncate`, the span's position does the same.
    let rows = forward(&mut decoder, &[span(0, 6, &TOKENS[6..], Logits::All)]);
    assert_eq!(rows, whole[6..]);
    // Beyond what is cached, and of no sequence: nothing happens.
    decoder.truncate(0, 100);
    decoder.truncate(9, 0);
    decoder.truncate(0, 22);
    assert_eq!(forward(&mut decoder, &[span(0, 22, &TOKENS[22..], Logits::All)]), whole[22..]);
}

#[test]
fn a_full_context_is_an_error_that_keeps_what_stood_before_the_span() {
    let mut decoder = tiny(TensorType::F32, 1);
    let text: Vec<u32> = (0..256).collect();
    let whole = all(&mut decoder, &text);
    let too_much = [span(0, 250, &TOKENS[..7], Logits::Last)];
    let mut logits = Vec::new();
    let error = decoder.forward(&too_much, &mut logits);
    let expected = Error::ContextOverflow { needed_tokens: 257, available_tokens: 256 };
    assert_eq!(error, Err(expected));
    assert!(logits.is_empty());
    let rest = forward(&mut decoder, &[span(0, 250, &text[250..], Logits::All)]);
    assert_eq!(rest, whole[250..]);
}

#[test]
fn context_is_the_trained_one_or_what_was_asked_for() {
    let file = tiny_llama(&TinyLlama { context_tokens: 100_000, ..Default::default() });
    let gguf = Gguf::read(&file).expect("a well-formed file");
    for (asked, expected) in [(0, 8192), (17, 17), (100_000, 100_000)] {
        let options =
            Options { context_tokens: asked, sequences_max: 3, kv_cache_type: CacheType::F16 };
        let decoder = Decoder::load(&gguf, &file, options).expect("a model");
        assert_eq!(decoder.context_tokens(), expected);
        assert_eq!(decoder.sequences_max(), 3);
    }
    assert_eq!(tiny(TensorType::F32, 1).context_tokens(), 256);
}

#[test]
fn refuses_batches_that_make_no_sense() {
    let mut decoder = tiny(TensorType::F32, 2);
    let vocabulary = decoder.vocabulary_tokens() as u32;
    let unknown = [5, vocabulary];
    let one = &TOKENS[..1];
    for (batch, message) in [
        (
            vec![span(2, 0, one, Logits::Last)],
            "span 0: sequence 2 is none of the 2 sequences".into(),
        ),
        (
            vec![span(1, 0, one, Logits::Last), span(1, 1, one, Logits::Last)],
            "span 1: sequence 1 occurs twice in the batch".into(),
        ),
        (vec![span(0, 0, &[], Logits::None)], "span 0: sequence 0 brings no tokens".into()),
        (
            vec![span(0, 1, one, Logits::None)],
            "span 0: sequence 0 goes on at position 1, but only 0 tokens are cached".into(),
        ),
        (
            vec![span(0, 0, &unknown, Logits::None)],
            format!("span 0: token {vocabulary} is outside the vocabulary of {vocabulary}"),
        ),
    ] {
        let error = decoder.forward(&batch, &mut Vec::new());
        assert_eq!(error, Err(Error::InvalidArgument(message)));
    }
}

#[test]
fn tied_models_hold_the_embedding_once() {
    let [tied, untied] = [true, false].map(|tied| {
        load(&tiny_llama(&TinyLlama { tied, ..Default::default() }), 1).weights_bytes()
    });
    let embedding_bytes = (tiny(TensorType::F32, 1).vocabulary_tokens() * 64 * 4) as u64;
    assert!(untied - tied >= embedding_bytes, "{tied} {untied}");
}
