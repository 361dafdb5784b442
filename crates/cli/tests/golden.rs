//! SmolLM2 and Gemma 3 through both engines, judged against llama.cpp and an oracle (see
//! `tests/reference/README.md`). One process for each kind of data and engine.

mod support;

use serde_json::{Value, json};
use support::{ask, needed};
use trefoil_fixtures::golden::{self, Both, Bytes, Continuation, Golden, MARGIN_DECISIVE};

/// A model with what others computed.
struct Model {
    /// Names its file.
    variable: &'static str,
    golden: fn() -> Golden,
    /// Root mean square distance from the oracle's logits that is allowed for each prompt in
    /// `cpu-relaxed`, which rounds activations to 8 bits like llama.cpp.
    relaxed_rms_max: f64,
}

/// llama.cpp's distance is 0.158 over all prompts.
const SMOLLM2: Model =
    Model { variable: "TREFOIL_SMOLLM2", golden: golden::smollm2, relaxed_rms_max: 0.25 };

/// llama.cpp's distance is 0.248 over all prompts.
const GEMMA3: Model =
    Model { variable: "TREFOIL_GEMMA3", golden: golden::gemma3, relaxed_rms_max: 0.35 };

/// The same for `cpu`, which rounds to 16 bits.
const RMS_MAX: f64 = 0.01;

/// The same with keys and values in 8 bits: 0.145 (SmolLM2) and 0.132 (Gemma 3) at most, as
/// `crates/decoder/tests/models.rs` measures with the scalar kernels, whose bits `cpu` has.
const RMS_MAX_Q8: f64 = 0.2;

/// Flags for keys and values in 8 bits.
const Q8: &[&str] = &["--cpu.kv-cache-type", "q8"];

/// Distance from the oracle's mean negative log likelihood that is allowed.
const MEAN_NLL_DISTANCE_MAX: f64 = 0.01;

/// How a model is computed.
struct Run {
    model: Model,
    engine: &'static str,
    flags: &'static [&'static str],
}

impl Run {
    fn ask(&self, window: &str, questions: &[Value]) -> Vec<Value> {
        let model = needed(self.model.variable);
        ask(&[&[window, &model, "--engine", self.engine], self.flags].concat(), questions)
    }

    fn rms_max(&self) -> f64 {
        match self.engine {
            "cpu" if self.flags == Q8 => RMS_MAX_Q8,
            "cpu" => RMS_MAX,
            _ => self.model.relaxed_rms_max,
        }
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {} {}", self.model.variable, self.engine, self.flags.join(" "))
    }
}

fn text(bytes: &Bytes) -> Value {
    match str::from_utf8(&bytes.0) {
        Ok(text) => json!(text),
        Err(_) => {
            let hex: String = bytes.0.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": hex })
        }
    }
}

fn tokens_are_exact(run: &Run) {
    let golden = (run.model.golden)();
    let modes = [(false, false), (true, false), (false, true), (true, true)];
    let questions: Vec<_> = golden
        .tokenization
        .iter()
        .flat_map(|case| {
            modes.map(|(parse, add)| {
                json!({ "text": text(&case.text), "parse_special": parse, "add_special": add })
            })
        })
        .collect();
    let answers = run.ask("tokenize", &questions);
    for (case, answers) in golden.tokenization.iter().zip(answers.chunks(modes.len())) {
        let expected = [
            &case.ids_plain,
            &case.ids_special,
            &case.ids_addspecial_plain,
            &case.ids_addspecial_special,
        ];
        for (answer, expected) in answers.iter().zip(expected) {
            assert_eq!(answer["ids"], json!(expected), "{:?}", case.text);
        }
        let pieces: Vec<_> = case.pieces_special.iter().map(text).collect();
        assert_eq!(answers[1]["pieces"], json!(pieces), "{:?}", case.text);
    }
    let questions: Vec<_> = golden
        .tokenization
        .iter()
        .map(|case| json!({ "ids": case.ids_special, "special": true }))
        .collect();
    let answers = run.ask("detokenize", &questions);
    for (case, answer) in golden.tokenization.iter().zip(answers) {
        assert_eq!(answer["text"], text(&case.detok_special));
    }
}

fn chats_are_rendered_byte_for_byte(run: &Run) {
    let golden = (run.model.golden)();
    let questions: Vec<_> = golden
        .chat
        .iter()
        .flat_map(|case| {
            let messages: Vec<_> = case
                .messages
                .iter()
                .map(|message| json!({ "role": message.role, "content": message.content }))
                .collect();
            [true, false]
                .map(|prompt| json!({ "messages": messages, "add_generation_prompt": prompt }))
        })
        .collect();
    let answers = run.ask("render-chat", &questions);
    for (case, answers) in golden.chat.iter().zip(answers.chunks(2)) {
        assert_eq!(answers[0]["text"], json!(case.rendered_jinja));
        assert_eq!(answers[1]["text"], json!(case.rendered_jinja_no_generation_prompt));
    }
}

fn logits_are_close_to_the_oracles(run: &Run) {
    let worst = worst_distance(run);
    if run.flags == Q8 {
        // Otherwise the flag did nothing.
        assert!(worst > RMS_MAX, "{run}: rms {worst:.3}");
    }
}

/// The largest distance of a prompt's logits, all of which must be within the bound.
fn worst_distance(run: &Run) -> f64 {
    let mut worst: f64 = 0.0;
    let golden = (run.model.golden)();
    let questions: Vec<_> = golden
        .logits
        .iter()
        .map(|case| json!({ "prompt": case.oracle.prompt, "top": golden.n_vocab }))
        .collect();
    let answers = run.ask("logits", &questions);
    for (case, answer) in golden.logits.iter().zip(answers) {
        assert_eq!(answer["prompt_ids"], json!(case.oracle.prompt_ids));
        let ids: Vec<u32> =
            serde_json::from_value(answer["ids"].clone()).expect("a list of numbers");
        let values: Vec<f64> =
            serde_json::from_value(answer["values"].clone()).expect("a list of numbers");
        let squares = case.oracle.ids.iter().zip(&case.oracle.values).map(|(id, expected)| {
            let index =
                ids.iter().position(|other| other == id).expect("all logits were asked for");
            (values[index] - expected).powi(2)
        });
        let rms = (squares.sum::<f64>() / case.oracle.ids.len() as f64).sqrt();
        let max = run.rms_max();
        assert!(rms <= max, "{run}, {:?}: rms {rms:.3}", case.oracle.prompt);
        let logsumexp = answer["logsumexp"].as_f64().expect("a number");
        assert!((logsumexp - case.oracle.logsumexp).abs() <= max, "{logsumexp}");
        worst = worst.max(rms);
    }
    println!("{run}: rms {worst:.3} at most");
    worst
}

/// The margin at the first difference from a reference; `None` where there is none.
fn first_difference(ids: &[u32], reference: &Continuation) -> Option<f64> {
    let length = ids.len().min(reference.ids.len());
    let index = (0..length).find(|&index| ids[index] != reference.ids[index]);
    match index {
        Some(index) => Some(reference.margin_top1_top2[index]),
        None if ids.len() == reference.ids.len() => None,
        // One ended where the other went on.
        None => Some(reference.margin_top1_top2.get(length).copied().unwrap_or(f64::INFINITY)),
    }
}

fn greedy_texts_differ_only_where_the_choice_is_close(run: &Run) {
    let golden = (run.model.golden)();
    let cases: Vec<&Both<Continuation>> =
        golden.greedy.iter().chain(&golden.chat_replies).collect();
    let questions: Vec<_> = cases
        .iter()
        .map(|case| {
            let mut question = json!({ "temperature": 0, "max-tokens": 48 });
            match &case.oracle.prompt {
                Some(prompt) => {
                    question["prompt"] = json!(prompt);
                    question["raw"] = json!(true);
                }
                None => question["tokens"] = json!(case.oracle.prompt_ids),
            }
            question
        })
        .collect();
    let answers = run.ask("generate", &questions);
    for (case, answer) in cases.iter().zip(answers) {
        let ids: Vec<u32> =
            serde_json::from_value(answer["ids"].clone()).expect("a list of numbers");
        let from_llama_cpp = first_difference(&ids, &case.llama_cpp);
        let from_oracle = first_difference(&ids, &case.oracle);
        let (Some(a), Some(b)) = (from_llama_cpp, from_oracle) else { continue };
        assert!(
            a <= MARGIN_DECISIVE && b <= MARGIN_DECISIVE,
            "{run}, {:?}: first differences at margins {a} and {b}\n{}",
            case.oracle.prompt,
            answer["text"],
        );
    }
}

fn likelihood_is_close_to_the_oracles(run: &Run) {
    let golden = (run.model.golden)();
    let question = json!({ "text": golden::text8k(), "window": golden.perplexity.oracle.window });
    let answers = run.ask("perplexity", &[question]);
    let scored: usize = golden.perplexity.oracle.per_token_nll.iter().map(Vec::len).sum();
    assert_eq!(answers[0]["tokens_scored"], json!(scored));
    let found = answers[0]["mean_nll"].as_f64().expect("a number");
    let expected = golden.perplexity.oracle.mean_nll_all_positions;
    assert!((found - expected).abs() <= MEAN_NLL_DISTANCE_MAX, "{run}: {found}, not {expected}");
}

macro_rules! with_both_engines {
    ($model:expr, $flags:expr; $($check:ident),* $(,)?) => {
        mod cpu {
            const RUN: super::Run = super::Run { model: $model, engine: "cpu", flags: $flags };
            $(#[test] fn $check() { super::$check(&RUN); })*
        }
        mod cpu_relaxed {
            const RUN: super::Run =
                super::Run { model: $model, engine: "cpu-relaxed", flags: $flags };
            $(#[test] fn $check() { super::$check(&RUN); })*
        }
    };
}

mod smollm2 {
    use super::*;
    with_both_engines!(
        crate::SMOLLM2, &[];
        tokens_are_exact,
        chats_are_rendered_byte_for_byte,
        logits_are_close_to_the_oracles,
        greedy_texts_differ_only_where_the_choice_is_close,
        likelihood_is_close_to_the_oracles,
    );
}

mod gemma3 {
    use super::*;
    with_both_engines!(
        crate::GEMMA3, &[];
        tokens_are_exact,
        logits_are_close_to_the_oracles,
    );

    /// What takes longer, in `cargo xtask test --all`.
    #[cfg(feature = "exhaustive")]
    mod longer {
        use super::*;
        with_both_engines!(
            crate::GEMMA3, &[];
            greedy_texts_differ_only_where_the_choice_is_close,
            likelihood_is_close_to_the_oracles,
        );
    }
}

/// Keys and values in 8 bits.
mod q8 {
    use super::*;

    const SMOLLM2: Run = Run { model: crate::SMOLLM2, engine: "cpu", flags: Q8 };
    const GEMMA3: Run = Run { model: crate::GEMMA3, engine: "cpu", flags: Q8 };

    #[test]
    fn logits_of_smollm2_are_close_to_the_oracles() {
        logits_are_close_to_the_oracles(&SMOLLM2);
    }

    #[test]
    fn logits_of_gemma3_are_close_to_the_oracles() {
        logits_are_close_to_the_oracles(&GEMMA3);
    }

    /// In `cargo xtask test --all`.
    #[cfg(feature = "exhaustive")]
    #[test]
    fn likelihood_of_smollm2_is_close_to_the_oracles() {
        likelihood_is_close_to_the_oracles(&SMOLLM2);
    }
}

/// In `cargo xtask test --all`; `combinations.rs` does this on a tiny model.
#[cfg(feature = "exhaustive")]
mod combinations {
    use super::{
        Run, greedy_texts_differ_only_where_the_choice_is_close,
        likelihood_is_close_to_the_oracles, logits_are_close_to_the_oracles,
    };

    macro_rules! combinations {
        ($($name:ident: $flags:expr;)*) => {$(
            mod $name {
                use super::*;
                with_both_engines!(
                    crate::SMOLLM2, $flags;
                    logits_are_close_to_the_oracles,
                    greedy_texts_differ_only_where_the_choice_is_close,
                    likelihood_is_close_to_the_oracles,
                );
            }
        )*};
    }

    combinations!(
        two_instances: &["--instances", "2"];
        in_chunks: &["--prefill-tokens", "16"];
        two_instances_in_chunks: &["--instances", "2", "--prefill-tokens", "16"];
    );
}
