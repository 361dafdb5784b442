use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};
use trefoil_contract::{Error, ResponseFormat, Result};
use trefoil_decoder::{CacheType, Decoder, Options};
use trefoil_fixtures::{TinyLlama, tiny_llama};
use trefoil_generation::{
    AnswerForm, GenerationId, GenerationOptions, Generations, Identity, ToolFormat,
};
use trefoil_gguf::{Gguf, TensorType};
use trefoil_settings::Settings;
use trefoil_tokenizer::Tokenizer;

type Model = Generations<Decoder, Tokenizer>;

/// Bytes of the digest at the end, which the input lacks.
const DIGEST_BYTES: usize = 32;
/// Events that are asked for behind a restored one.
const STEPS: usize = 6;

/// A snapshot of a generation. What is restored goes on or says why not, and is saved as what is
/// restored as the same; what is not leaves its place free.
///
/// The input is a snapshot without the digest at its end, which is made to fit.
pub fn snapshot(data: &[u8]) {
    let bytes = [data, &Sha256::digest(data)].concat();
    let mut model = model();
    let id = match restore(&mut model, &bytes) {
        Ok(id) => id,
        Err(error) => {
            let expected = matches!(
                error,
                Error::InvalidArgument(_)
                    | Error::InvalidSetting { .. }
                    | Error::ContextOverflow { .. }
                    | Error::Unsupported(_)
            );
            assert!(expected, "{error}");
            assert_eq!(model.active(), 0);
            return;
        }
    };
    let saved = save(&mut model, id);
    let again = restore(&mut model, &saved).expect("what was saved can be restored");
    assert!(save(&mut model, again) == saved);
    for _ in 0..STEPS {
        let results = model.step(&[id, again]);
        assert_eq!(results[0], results[1]);
    }
    model.cancel(id);
    model.cancel(again);
    assert_eq!(model.active(), 0);
}

fn identity() -> Box<Identity> {
    Box::new([("engine", "fuzz".to_owned())])
}

fn model() -> Model {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        tiny_llama(&TinyLlama {
            layers: 1,
            embedding_length: 32,
            feed_forward_length: 32,
            heads: 2,
            kv_heads: 1,
            context_tokens: 64,
            values: vec![("llama.attention.sliding_window".into(), 16u32.into())],
            ..TinyLlama::with_matrices(TensorType::Q8_0)
        })
    });
    let gguf = Gguf::read(file).expect("a good file");
    let options = Options { context_tokens: 0, sequences_max: 2, kv_cache_type: CacheType::Q8 };
    let decoder = Decoder::load(&gguf, file, options).expect("a good model");
    let tokenizer = Tokenizer::from_gguf(&gguf.metadata).expect("a good tokenizer");
    Generations::new(decoder, tokenizer, 16)
}

fn restore(model: &mut Model, bytes: &[u8]) -> Result<GenerationId> {
    let mut restoration = model.begin_restoration(bytes.len() as u64, &identity())?;
    for piece in bytes.chunks(1000) {
        // What is wrong is said again at the end.
        let _ = model.write_restoration(&mut restoration, piece);
    }
    let (saved, slot) = model.finish_restoration(restoration)?;
    let resumed = model.resume(&saved, &slot);
    if resumed.is_err() {
        model.release(slot);
    }
    resumed
}

fn save(model: &mut Model, id: GenerationId) -> Vec<u8> {
    let mut snapshot = model.snapshot(id, &identity()).expect("it can be saved");
    let size = snapshot.size();
    model.read_snapshot(&mut snapshot, 0, size as usize).expect("all of it")
}

/// Seeds of the target, by name.
pub fn snapshot_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let plain = Settings::default().request;
    let mut guessing = plain.clone();
    (guessing.lookup_tokens, guessing.lookup_ngram, guessing.temperature) = (8, 1, 0.0);
    (guessing.shifts_context, guessing.mirostat) = (true, 1);
    guessing.stop = vec!["stop".into()];
    let bias = (0..3).map(|token| (token, f32::NEG_INFINITY)).collect();
    let reporting = GenerationOptions {
        logit_bias: bias,
        log_probabilities: Some(2),
        ..GenerationOptions::default()
    };
    let calling = GenerationOptions {
        response_format: ResponseFormat::JsonSchema(r#"{"enum": ["aaaaaaaa"]}"#.into()),
        answer: AnswerForm {
            reasoning: Some("<think>".into()),
            tool_calls: Some((ToolFormat::Hermes, vec!["f".into()])),
        },
        ..GenerationOptions::default()
    };
    let seed = |name, settings, options, prompt: u32, steps| {
        let mut model = model();
        let prompt = (0..prompt).map(|place| 10 + place % 3).collect();
        let id = model.start(prompt, settings, options).expect("it starts");
        for _ in 0..steps {
            model.step(&[id]).remove(0).expect("it goes on");
        }
        let mut bytes = save(&mut model, id);
        bytes.truncate(bytes.len() - DIGEST_BYTES);
        (name, bytes)
    };
    vec![
        seed("prompt", &plain, &GenerationOptions::default(), 40, 1),
        seed("guesses", &guessing, &reporting, 30, 6),
        seed("form-and-calls", &plain, &calling, 3, 4),
    ]
}
