//! What models take of memory, told before they are loaded, and the context that fits.
#![allow(clippy::expect_used)]

mod member;

use std::sync::Arc;

use member::Member;
use trefoil_contract::{Error, Result};
use trefoil_decoder::{CONTEXT_TOKENS_FITTED_MIN, CacheType, Decoder, Options, fit};
use trefoil_fixtures::{Meeting, TinyLlama, golden, tiny_llama};
use trefoil_generation::{Forward, Logits, Span};
use trefoil_gguf::{Gguf, TensorType};

const PREFILL_TOKENS: u32 = 32;

const OPTIONS: Options =
    Options { context_tokens: 0, sequences_max: 2, kv_cache_type: CacheType::F16 };

/// Bytes of each instance with no context, which leaves its weights, and with the whole of it.
fn bytes(gguf: &Gguf, options: Options, instances: usize) -> Vec<u64> {
    fit(gguf, options, PREFILL_TOKENS, &vec![u64::MAX; instances]).expect("a model").bytes
}

#[test]
fn bytes_are_those_that_are_taken() {
    let types = [TensorType::F32, TensorType::Q4_0, TensorType::Q4_K, TensorType::Q8_0];
    let tiny = types.map(|it| (it.name().to_owned(), tiny_llama(&TinyLlama::with_matrices(it))));
    let golden = golden::architectures().into_iter().map(|model| (model.name, model.file));
    for (name, file) in tiny.into_iter().chain(golden) {
        let gguf = Gguf::read(&file).expect("a well-formed file");
        for kv_cache_type in CacheType::ALL {
            let options = Options { kv_cache_type, ..OPTIONS };
            let told = bytes(&gguf, options, 1)[0];
            let mut decoder = Decoder::load(&gguf, &file, options).expect("a model");
            let mut held = 0;
            for sequence in 0..2 {
                for position in (0..decoder.context_tokens()).step_by(PREFILL_TOKENS as usize) {
                    let tokens = [7; PREFILL_TOKENS as usize];
                    let span = Span { sequence, position, tokens: &tokens, logits: Logits::None };
                    decoder.forward(&[span], &mut Vec::new()).expect("room in the context");
                }
                held = decoder.weights_bytes() + decoder.cache_bytes();
            }
            let has_window = decoder.config().has_window.contains(&true);
            let holds = if has_window { held <= told } else { held == told };
            assert!(holds, "{name}, {kv_cache_type:?}: {held} bytes held, {told} told");
        }
    }
}

#[test]
fn weights_are_told_for_every_instance() {
    for model in golden::architectures() {
        let gguf = Gguf::read(&model.file).expect("a well-formed file");
        for size in [2, 3, 7] {
            let meeting = Arc::new(Meeting::new(size));
            for rank in 0..size {
                let exchange = Member { meeting: Arc::clone(&meeting), rank };
                let decoder = Decoder::load_share(&gguf, &model.file, &[], OPTIONS, Some(exchange));
                let held = decoder.expect("a model").weights_bytes();
                let [short, long] = [64, 128].map(|context_tokens| {
                    bytes(&gguf, Options { context_tokens, ..OPTIONS }, size)[rank]
                });
                // Of the first page the cache takes as much as of the second one.
                let is_linear = !model.name.starts_with("gemma");
                assert!(!is_linear || 2 * short - long == held, "{} {rank}: {held}", model.name);
                assert!(held <= short, "{}", model.name);
            }
        }
    }
}

/// A model of 16 KiB for each page of the context and sequence, in half precision.
fn model() -> Vec<u8> {
    tiny_llama(&TinyLlama { context_tokens: 100_000, ..TinyLlama::default() })
}

const PAGE_BYTES: u64 = 64 * 2 * 2 * 2 * 16 * 2;

fn weights_bytes(gguf: &Gguf) -> u64 {
    let page = Options { context_tokens: 64, sequences_max: 1, ..OPTIONS };
    bytes(gguf, page, 1)[0] - PAGE_BYTES
}

/// The context in force where an instance has room for the weights and so many pages.
fn context_in(pages: u64, options: Options, instances: usize) -> Result<u32> {
    let file = model();
    let gguf = Gguf::read(&file).expect("a well-formed file");
    let free = vec![weights_bytes(&gguf) + pages * PAGE_BYTES; instances];
    Ok(fit(&gguf, options, PREFILL_TOKENS, &free)?.options.context_tokens)
}

#[test]
fn the_default_context_is_what_fits() {
    assert_eq!(context_in(1 << 30, OPTIONS, 1), Ok(8192));
    assert_eq!(context_in(256, OPTIONS, 1), Ok(8192));
    assert_eq!(context_in(255, OPTIONS, 1), Ok(127 * 64));
    assert_eq!(context_in(16, OPTIONS, 1), Ok(CONTEXT_TOKENS_FITTED_MIN));
    let error = context_in(15, OPTIONS, 1).expect_err("too little");
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    // One that the model was trained for is enough, however short.
    let short = tiny_llama(&TinyLlama { context_tokens: 100, ..TinyLlama::default() });
    let gguf = Gguf::read(&short).expect("a well-formed file");
    let needed = bytes(&gguf, OPTIONS, 1);
    let fitted = fit(&gguf, OPTIONS, PREFILL_TOKENS, &needed).expect("just enough");
    assert_eq!((fitted.options.context_tokens, &fitted.bytes), (100, &needed));
    let less = [needed[0] - 1];
    assert!(fit(&gguf, OPTIONS, PREFILL_TOKENS, &less).is_err());
}

#[test]
fn a_context_that_was_asked_for_is_refused_with_what_would_fit() {
    let asked = Options { context_tokens: 16_384, ..OPTIONS };
    assert_eq!(context_in(512, asked, 1), Ok(16_384));
    let error = context_in(300, asked, 1).expect_err("too little");
    let Error::OutOfMemory { needed_bytes, purpose } = &error else { panic!("{error}") };
    assert!((512 * PAGE_BYTES..513 * PAGE_BYTES + (1 << 20)).contains(needed_bytes), "{error}");
    assert!(purpose.contains("of 16384 tokens for `sequences-max` = 2"), "{error}");
    let (_, fitting) = purpose.split_once("what would fit: ").expect("proposals");
    let fitting: Vec<_> = fitting.split(", or ").collect();
    let expected = [
        "`context-tokens` = 9600",
        "`cpu.kv-cache-type` = `q8`",
        "`sequences-max` = 1",
        "2 instances (`--instances 2`)",
    ];
    assert_eq!(fitting, expected);
    // What is proposed is true, and what is a little more is not.
    for (context_tokens, fits) in [(9600, true), (9601, false)] {
        let fitted = context_in(300, Options { context_tokens, ..asked }, 1);
        assert_eq!(fitted.is_ok(), fits, "{fitted:?}");
    }
    assert!(context_in(300, Options { kv_cache_type: CacheType::Q8, ..asked }, 1).is_ok());
    assert!(context_in(300, Options { sequences_max: 1, ..asked }, 1).is_ok());
    assert!(context_in(300, asked, 2).is_ok());
    // With less memory 8 bits need a shorter context as well.
    let error = context_in(200, asked, 1).expect_err("too little").to_string();
    assert!(error.contains("`q8` with `context-tokens` = 11328"), "{error}");
}

#[test]
fn weights_that_do_not_fit_ask_for_more_instances() {
    let file = model();
    let gguf = Gguf::read(&file).expect("a well-formed file");
    let refused = |free: u64| {
        let error = fit(&gguf, OPTIONS, PREFILL_TOKENS, &[free]).expect_err("too little");
        error.to_string()
    };
    let text = refused(weights_bytes(&gguf) / 5 * 4);
    assert!(!text.contains("context-tokens") && text.contains("--instances"), "{text}");
    assert!(refused(1000).ends_with("nothing smaller would fit"), "{}", refused(1000));
}
