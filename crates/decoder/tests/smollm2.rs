//! The real model against golden data from llama.cpp (`tests/reference/README.md` says how they
//! were made).
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;
use trefoil_decoder::{Decoder, Options};
use trefoil_generation::{Forward, Logits, Span};
use trefoil_gguf::{Gguf, Source};

/// Root mean square of the distance from the oracle's 64 best logits. llama.cpp itself, which
/// rounds activations to 8 bits as the kernels do, is 0.158 away.
const LOGITS_RMS_MAX: f64 = 0.25;
/// A first difference of greedy texts is rounding where the two best logits are this close:
/// llama.cpp differs from itself at margins up to 0.54.
const GREEDY_MARGIN_MAX: f64 = 0.6;
/// Greedy texts to compare; each costs about 50 steps.
const GREEDY_PROMPTS: usize = 2;

/// The file without reading all of it into memory.
struct FileSource(File, u64);

impl Source for FileSource {
    fn size(&self) -> u64 {
        self.1
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        self.0.read_exact_at(buffer, offset).map_err(|error| error.to_string())
    }
}

/// One decoder for all tests of this file: loading takes longer than computing.
fn decoder() -> MutexGuard<'static, Decoder> {
    static DECODER: OnceLock<Mutex<Decoder>> = OnceLock::new();
    let load = || {
        let path = std::env::var_os("TREFOIL_SMOLLM2")
            .expect("run `cargo xtask test`, which fetches the model and sets TREFOIL_SMOLLM2");
        let file = File::open(path).expect("TREFOIL_SMOLLM2 names a file");
        let size = file.metadata().expect("a size").len();
        let source = FileSource(file, size);
        let gguf = Gguf::read(&source).expect("a GGUF file");
        let options = Options { context_tokens: 2048, sequences_max: 1 };
        Mutex::new(Decoder::load(&gguf, &source, options).expect("a llama model"))
    };
    DECODER.get_or_init(load).lock().unwrap_or_else(PoisonError::into_inner)
}

fn golden(list: &str) -> Vec<Value> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/smollm2-135m.json");
    let text = std::fs::read_to_string(path).expect("the golden data");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all[list].as_array().expect("a list").clone()
}

fn tokens(list: &Value) -> Vec<u32> {
    let list = list.as_array().expect("a list of tokens");
    list.iter().map(|token| token.as_u64().expect("a token") as u32).collect()
}

fn numbers(list: &Value) -> Vec<f64> {
    let list = list.as_array().expect("a list of numbers");
    list.iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn forward(decoder: &mut Decoder, position: u32, tokens: &[u32]) -> Vec<f32> {
    let span = Span { sequence: 0, position, tokens, logits: Logits::Last };
    let mut logits = Vec::new();
    decoder.forward(&[span], &mut logits).expect("room in the context");
    logits
}

#[test]
fn last_logits_are_as_near_to_the_oracle_as_rounding_allows() {
    let mut decoder = decoder();
    let cases = golden("logits");
    assert_eq!(cases.len(), 5);
    for case in cases {
        let oracle = &case["oracle"];
        let logits = forward(&mut decoder, 0, &tokens(&oracle["prompt_ids"]));
        let ids = tokens(&oracle["ids"]);
        let pairs = ids.iter().map(|id| f64::from(logits[*id as usize]));
        let squares = pairs.zip(numbers(&oracle["values"])).map(|(a, b)| (a - b).powi(2));
        let rms = (squares.sum::<f64>() / ids.len() as f64).sqrt();
        println!("rms {rms:.3} for {}", case["prompt"]);
        assert!(rms <= LOGITS_RMS_MAX, "rms {rms} for {}", case["prompt"]);
    }
}

#[test]
fn greedy_text_first_differs_where_the_margin_is_small() {
    let mut decoder = decoder();
    let cases = golden("greedy");
    assert!(cases.len() >= GREEDY_PROMPTS);
    for case in &cases[..GREEDY_PROMPTS] {
        let prompt = tokens(&case["oracle"]["prompt_ids"]);
        let wanted = ["llama_cpp", "oracle"].map(|name| tokens(&case[name]["ids"]));
        let ours = greedy(&mut decoder, &prompt, wanted.iter().map(Vec::len).max().unwrap());
        let agrees = ["llama_cpp", "oracle"].iter().zip(&wanted).map(|(name, theirs)| {
            let margins = numbers(&case[*name]["margin_top1_top2"]);
            // A text that ended is a prefix: ours ends there too.
            let differs = ours.iter().zip(theirs).position(|(a, b)| a != b);
            println!("{name}: first difference {differs:?} for {}", case["prompt"]);
            differs.is_none_or(|at| margins[at] <= GREEDY_MARGIN_MAX)
        });
        assert!(agrees.fold(false, |any, one| any | one), "{}: {ours:?}", case["prompt"]);
    }
}

/// The likeliest tokens one after another, to the end of the text or `count`.
fn greedy(decoder: &mut Decoder, prompt: &[u32], count: usize) -> Vec<u32> {
    const END_OF_TEXT: [u32; 2] = [0, 2];
    let mut ids = Vec::new();
    let mut logits = forward(decoder, 0, prompt);
    while ids.len() < count {
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        let best = best.expect("a vocabulary") as u32;
        let position = (prompt.len() + ids.len()) as u32;
        ids.push(best);
        if END_OF_TEXT.contains(&best) {
            break;
        }
        logits = forward(decoder, position, &[best]);
    }
    ids
}
