//! The commands on a real model, against what llama.cpp computed (`tests/reference`).

#![allow(missing_docs, unreachable_pub)]

mod support;

use serde_json::{Value, json};
use support::Place;
use trefoil_fixtures::golden::{Bytes, smollm2, text8k};

/// Half as much again as the root mean square by which llama.cpp's own logits differ from the
/// oracle's on this model, over all prompts (`tests/reference/README.md`).
const LOGITS_RMS_MAX: f64 = 0.158 * 1.5;

/// Between llama.cpp and the oracle it is 0.0035.
const MEAN_NLL_DIFFERENCE_MAX: f64 = 0.01;

fn model() -> String {
    std::env::var("TREFOIL_SMOLLM2")
        .expect("run `cargo xtask test`, which fetches the model and sets TREFOIL_SMOLLM2")
}

fn json_text(Bytes(bytes): &Bytes) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": hex })
        }
    }
}

fn lines(requests: &[Value]) -> Vec<u8> {
    requests.iter().flat_map(|request| format!("{request}\n").into_bytes()).collect()
}

#[test]
fn tokens_are_those_of_llama_cpp() {
    let cases = smollm2().tokenization;
    let mut requests = Vec::new();
    let mut expected = Vec::new();
    for case in &cases {
        for (add_special, parse_special, ids) in [
            (false, false, &case.ids_plain),
            (false, true, &case.ids_special),
            (true, false, &case.ids_addspecial_plain),
            (true, true, &case.ids_addspecial_special),
        ] {
            requests.push(json!({
                "text": json_text(&case.text),
                "add_special": add_special,
                "parse_special": parse_special,
            }));
            expected.push(json!(ids));
        }
    }
    let run = ["tokenize", &model(), "--jsonl"];
    let answers = Place::new().run_with_input(&run, &lines(&requests)).json_lines();
    assert_eq!(answers.len(), expected.len());
    for ((answer, ids), request) in answers.iter().zip(&expected).zip(&requests) {
        assert_eq!(&answer["ids"], ids, "{request}");
    }
}

#[test]
fn chats_are_rendered_as_the_template_says() {
    let cases = smollm2().chat;
    let mut requests = Vec::new();
    let mut expected = Vec::new();
    for case in &cases {
        let message = |it: &trefoil_fixtures::golden::Message| json!({ "role": it.role, "content": it.content });
        let messages: Vec<_> = case.messages.iter().map(message).collect();
        for (prompt, text) in
            [(true, &case.rendered_jinja), (false, &case.rendered_jinja_no_generation_prompt)]
        {
            requests.push(json!({ "messages": messages, "add_generation_prompt": prompt }));
            expected.push(json!({ "text": text }));
        }
    }
    let run = ["render-chat", &model(), "--jsonl"];
    assert_eq!(Place::new().run_with_input(&run, &lines(&requests)).json_lines(), expected);
}

#[test]
fn logits_are_near_the_oracles() {
    for engine in ["cpu", "cpu-relaxed"] {
        let cases = smollm2().logits;
        let requests: Vec<_> = cases
            .iter()
            .map(|case| json!({ "prompt": case.oracle.prompt, "top": 100000 }))
            .collect();
        let run = ["logits", &model(), "--engine", engine, "--jsonl"];
        let answers = Place::new().run_with_input(&run, &lines(&requests)).json_lines();
        assert_eq!(answers.len(), cases.len());
        let (mut squares, mut count) = (0.0, 0);
        for (answer, case) in answers.iter().zip(&cases) {
            assert_eq!(answer["prompt_ids"], json!(case.oracle.prompt_ids));
            let numbers = |key: &str| answer[key].as_array().expect("is a list").clone();
            let logits: std::collections::HashMap<_, _> =
                numbers("ids").iter().map(Value::as_u64).zip(numbers("values")).collect();
            for (id, value) in case.oracle.ids.iter().zip(&case.oracle.values) {
                let found = logits.get(&Some(u64::from(*id))).and_then(Value::as_f64);
                squares += (found.expect("all logits are there") - value).powi(2);
                count += 1;
            }
        }
        let rms = (squares / f64::from(count)).sqrt();
        println!("{engine}: rms {rms:.3}");
        assert!(rms <= LOGITS_RMS_MAX, "{engine}: rms {rms}");
    }
}

#[test]
fn perplexity_is_near_the_oracles() {
    let expected = smollm2().perplexity.oracle;
    let window = expected.window.to_string();
    let run = ["perplexity", &model(), "--engine", "cpu-relaxed", "--json", "--window", &window];
    let json = Place::new().run_with_input(&run, text8k().as_bytes()).json();
    assert_eq!(json["windows"], expected.n_windows);
    let difference = json["mean_nll"].as_f64().expect("a number") - expected.mean_nll_all_positions;
    assert!(difference.abs() <= MEAN_NLL_DIFFERENCE_MAX, "{difference}");
}
