//! Tiny random models that embed texts, against the vectors of llama.cpp (`cargo xtask golden` makes
//! both).
#![allow(clippy::expect_used)]

use trefoil_contract::Error;
use trefoil_decoder::{CacheType, Decoder, Options};
use trefoil_fixtures::golden::{self, EmbeddingModel};
use trefoil_generation::{Forward, Logits, Pooling, Span};
use trefoil_gguf::Gguf;

/// Root mean square of the distance, as a share of that of llama.cpp's vectors.
const TOLERANCE: f64 = 1e-4;
/// The same where llama.cpp looks GELU up in a table of half precision.
const TOLERANCE_GELU: f64 = 1e-3;
/// The same where llama.cpp rounds activations to 8 bits.
const TOLERANCE_QUANTISED: f64 = 0.03;

const OPTIONS: Options =
    Options { context_tokens: 0, sequences_max: 2, kv_cache_type: CacheType::F32 };

fn tolerance(model: &EmbeddingModel) -> f64 {
    match model.name.as_str() {
        "bert-types" => TOLERANCE_QUANTISED,
        name if name.starts_with("bert") => TOLERANCE_GELU,
        _ => TOLERANCE,
    }
}

fn load(model: &EmbeddingModel) -> Decoder {
    let gguf = Gguf::read(&model.file).expect("a GGUF file");
    Decoder::load(&gguf, &model.file, OPTIONS)
        .unwrap_or_else(|error| panic!("{}: {error}", model.name))
}

fn span(sequence: usize, tokens: &[u32], logits: Logits) -> Span<'_> {
    Span { sequence, position: 0, tokens, logits }
}

fn embed(decoder: &mut Decoder, batch: &[Span<'_>]) -> Vec<Vec<f32>> {
    let mut vectors = Vec::new();
    decoder.embed(batch, &mut vectors).expect("a good batch");
    vectors.chunks_exact(decoder.config().embedding_length).map(<[f32]>::to_vec).collect()
}

fn distance(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (error, square) = pairs.fold((0.0, 0.0), |(error, square), (ours, expected)| {
        (error + (ours - expected).powi(2), square + expected.powi(2))
    });
    (error / square).sqrt()
}

#[test]
fn vectors_are_llama_cpps() {
    let mut failures = Vec::new();
    for model in golden::embeddings() {
        let golden = &model.golden;
        let rows = embed(&mut load(&model), &[span(0, &golden.tokens, Logits::All)]);
        let pairs = golden.places.iter().zip(&golden.vectors).flat_map(|(place, expected)| {
            rows[*place].iter().map(|x| f64::from(*x)).zip(expected.iter().copied())
        });
        let distance = distance(pairs);
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
fn the_file_says_how_vectors_become_one() {
    let mut failures = Vec::new();
    for model in golden::embeddings() {
        let golden = &model.golden;
        let mut decoder = load(&model);
        let rows = embed(&mut decoder, &[span(0, &golden.tokens, Logits::All)]);
        let pooled = |place: usize| match decoder.config().pooling.expect("the file says") {
            Pooling::Mean => {
                rows.iter().map(|row| f64::from(row[place])).sum::<f64>() / rows.len() as f64
            }
            Pooling::Cls => rows[0][place].into(),
            Pooling::Last => rows[rows.len() - 1][place].into(),
        };
        let pairs = golden.vector.iter().enumerate().map(|(place, x)| (pooled(place), *x));
        let distance = distance(pairs);
        let is_close = distance <= tolerance(&model);
        if !is_close {
            failures.push(format!("{}: {distance:.1e}", model.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join(", "));
}

#[test]
fn texts_in_one_batch_do_not_see_each_other() {
    for model in golden::embeddings() {
        let mut decoder = load(&model);
        let (first, second) = model.golden.tokens.split_at(13);
        let mut alone = embed(&mut decoder, &[span(0, first, Logits::All)]);
        alone.extend(embed(&mut decoder, &[span(1, second, Logits::Last)]));
        let batch = [span(1, first, Logits::All), span(0, second, Logits::Last)];
        assert!(embed(&mut decoder, &batch) == alone, "{}", model.name);
    }
}

#[test]
fn a_token_of_an_encoder_sees_those_behind_it() {
    for model in golden::embeddings() {
        let mut decoder = load(&model);
        let mut first =
            |tokens: &[u32]| embed(&mut decoder, &[span(0, tokens, Logits::All)]).swap_remove(0);
        let same = first(&[2, 7, 9]) == first(&[2, 7, 8]);
        assert_eq!(same, !decoder.is_encoder(), "{}", model.name);
    }
}

#[test]
fn an_encoder_gives_no_logits_and_begins_at_the_beginning() {
    for model in golden::embeddings() {
        let mut decoder = load(&model);
        if !decoder.is_encoder() {
            continue;
        }
        let refused = decoder.forward(&[span(0, &[2], Logits::Last)], &mut Vec::new());
        let name = decoder.config().architecture.name;
        let message = format!("logits of architecture `{name}`, an encoder; use `embed`");
        assert_eq!(refused, Err(Error::unsupported(message)));
        embed(&mut decoder, &[span(0, &[2, 5], Logits::Last)]);
        let later = Span { position: 2, ..span(0, &[3], Logits::Last) };
        let refused = decoder.embed(&[later], &mut Vec::new());
        assert!(matches!(refused, Err(Error::InvalidArgument(_))), "{refused:?}");
        let long = vec![2; 129];
        let refused = decoder.embed(&[span(0, &long, Logits::Last)], &mut Vec::new());
        let overflow = Error::ContextOverflow { needed_tokens: 129, available_tokens: 128 };
        assert_eq!(refused, Err(overflow));
        assert_eq!(embed(&mut decoder, &[span(1, &long[1..], Logits::All)]).len(), 128);
    }
}
