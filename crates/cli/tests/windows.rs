//! The commands that call the engine directly, on a tiny model.

#![allow(missing_docs, unreachable_pub)]

mod support;

use serde_json::{Value, json};
use support::Place;
use trefoil_fixtures::golden;

#[test]
fn tokens_become_the_text_again() {
    let place = Place::with_model();
    let text = "hello, world!\n\u{fc}";
    let json = place.run_with_input(&["tokenize", "tiny.gguf", "--json"], text.as_bytes()).json();
    let ids = json["ids"].as_array().expect("is a list");
    assert_eq!(json["pieces"].as_array().map(Vec::len), Some(ids.len()));
    let ids: Vec<_> = ids.iter().map(Value::to_string).collect();
    let arguments: Vec<_> =
        ["detokenize", "tiny.gguf"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    assert_eq!(place.run(&arguments).text(), text);
    let plain = place.run_with_input(&["tokenize", "tiny.gguf"], text.as_bytes()).text();
    assert_eq!(plain, ids.join(" ") + "\n");
    let piped = place.run_with_input(&["detokenize", "tiny.gguf"], json.to_string().as_bytes());
    assert_eq!(piped.text(), text);
}

#[test]
fn a_gguf_a_model_component_and_compositions_answer_the_same() {
    let place = Place::with_model();
    place.run(&["pack", "tiny.gguf", "-o", "m.wasm"]).succeeded();
    place.run(&["compose", "--model", "m.wasm", "-o", "plug.wasm"]).succeeded();
    place.run(&["compose", "--model", "m.wasm", "--app", "chat", "-o", "chat.wasm"]).succeeded();
    let logits = |model: &str| place.run(&["logits", model, "-p", "hello", "--json"]).json();
    let expected = logits("tiny.gguf");
    assert_eq!(expected["ids"].as_array().map(Vec::len), Some(64), "{expected}");
    for model in ["m.wasm", "plug.wasm", "chat.wasm"] {
        assert_eq!(logits(model), expected, "{model}");
    }
}

#[test]
fn json_lines_are_answered_one_by_one_and_bad_ones_do_not_end_it() {
    let place = Place::with_model();
    let lines = "{\"text\": \"a\"}\n\nnonsense\n[]\n{\"txt\": \"a\"}\n{\"text\": {\"hex\": \"61\"}}\n\
                 {\"text\": \"a\", \"add_special\": 1}\n{\"text\": \"a\"}";
    let run = place.run_with_input(&["tokenize", "tiny.gguf", "--jsonl"], lines.as_bytes());
    let answers = run.json_lines();
    let failed: Vec<_> = answers.iter().map(|answer| answer.get("error").is_some()).collect();
    assert_eq!(failed, [false, true, true, true, false, true, false], "{answers:?}");
    assert_eq!(answers[0], answers[4]);
    assert_eq!(answers[0], answers[6]);
    assert!(answers[5]["error"]["message"].to_string().contains("add_special"));
}

#[test]
fn a_greedy_generation_is_the_same_every_time() {
    let place = Place::with_model();
    let run = ["generate", "tiny.gguf", "-p", "hello", "--raw", "--temperature", "0", "-n", "6"];
    let json = place.run(&[&run[..], &["--json"]].concat()).json();
    assert_eq!(json["usage"]["generated_tokens"], json!(json["ids"].as_array().map(Vec::len)));
    let text = json["text"].as_str().expect("is text");
    assert_eq!(place.run(&run).text().trim_end_matches('\n'), text.trim_end_matches('\n'));
    let line = json!({"prompt": "hello", "raw": true, "temperature": 0, "max_tokens": 6});
    let lines = format!("{line}\n{line}\n");
    let answers = place.run_with_input(&["generate", "tiny.gguf", "--jsonl"], lines.as_bytes());
    let answers = answers.json_lines();
    assert_eq!(answers.len(), 2);
    for answer in answers {
        assert_eq!((&answer["ids"], &answer["text"]), (&json["ids"], &json["text"]));
    }
}

#[test]
fn log_probabilities_of_an_answer_are_printed_for_programs() {
    let place = Place::with_model();
    let run = ["generate", "tiny.gguf", "-p", "hello", "--raw", "--temperature", "0", "-n", "5"];
    let flags = ["--log-probabilities", "2"];
    let json = place.run(&[&run[..], &flags, &["--json"]].concat()).json();
    let choices = json["log_probabilities"].as_array().expect("a list");
    let ids: Vec<_> = choices.iter().map(|choice| choice["id"].clone()).collect();
    assert_eq!(json["ids"], json!(ids));
    assert_eq!(ids.len(), 5);
    for choice in choices {
        // At temperature 0 the likeliest is chosen.
        let top = choice["top"].as_array().expect("a list");
        assert_eq!(top.len(), 2);
        for key in ["id", "text", "log_probability"] {
            assert_eq!(choice[key], top[0][key]);
        }
        let [first, second] = [0, 1].map(|place| top[place]["log_probability"].as_f64());
        assert!(second <= first && first < Some(0.0), "{choice}");
    }
    let line = json!({ "prompt": "hello", "raw": true, "temperature": 0, "max_tokens": 5,
        "log_probabilities": 2 });
    let answer =
        place.run_with_input(&["generate", "tiny.gguf", "--jsonl"], format!("{line}").as_bytes());
    assert_eq!(answer.json_lines(), std::slice::from_ref(&json));
    let plain = place.run(&[&run[..], &["--json"]].concat()).json();
    assert_eq!((&plain["ids"], &plain["log_probabilities"]), (&json["ids"], &Value::Null));
    place.run(&[&run[..], &flags].concat()).failed(2, &["--json"]);
    let many = ["--log-probabilities", "33", "--json"];
    place.run(&[&run[..], &many].concat()).failed(1, &["33", "at most 32"]);
}

#[test]
fn several_answers_are_those_of_single_runs() {
    let place = Place::with_model();
    let run = ["generate", "tiny.gguf", "-p", "hello", "--raw", "-n", "5", "--temperature", "2"];
    let several = ["--seed", "7", "--choices", "3"];
    let json = place.run(&[&run[..], &several, &["--json"]].concat()).json();
    let seeds = ["7", "8", "9"];
    let single =
        seeds.map(|seed| place.run(&[&run[..], &["--seed", seed, "--json"]].concat()).json());
    assert_eq!(json, json!({ "choices": single }));
    assert_ne!(single[0]["ids"], single[1]["ids"]);
    place.run(&[&run[..], &several].concat()).failed(2, &["--json"]);
    place.run(&[&run[..], &["--choices", "5", "--json"]].concat()).failed(1, &["`sequences-max`"]);
}

#[test]
fn settings_of_the_model_come_from_flags_and_toml() {
    let place = Place::with_model();
    place.write("c.toml", b"context-tokens = 16\n");
    let prompt = "hello ".repeat(40);
    let run = ["generate", "tiny.gguf", "--raw", "-p", &prompt];
    for more in [["--config", "c.toml"], ["--context-tokens", "16"]] {
        place.run(&[&run[..], &more].concat()).failed(1, &["16"]);
    }
}

#[test]
fn a_conversation_is_rendered_with_or_without_the_generation_prompt() {
    let place = Place::with_model();
    place.write("c.json", br#"{"messages": [{"role": "user", "content": "hello"}]}"#);
    let with = place.run(&["render-chat", "tiny.gguf", "c.json"]).text();
    let without = ["render-chat", "tiny.gguf", "c.json", "--no-generation-prompt"];
    let without = place.run(&without).text();
    assert!(with.contains("hello") && with.starts_with(&without) && with != without, "{with:?}");
    let json = place.run(&["render-chat", "tiny.gguf", "c.json", "--json"]).json();
    assert_eq!(json, json!({ "text": with }));
}

/// The numbers of a list.
fn singles(list: &Value) -> Vec<f32> {
    let numbers = list.as_array().expect("is a list").iter().filter_map(Value::as_f64);
    numbers.map(|number| number as f32).collect()
}

#[test]
fn an_encoder_embeds_and_generates_nothing() {
    let place = Place::new();
    let models = golden::embeddings();
    for model in models.iter().filter(|it| ["bert-cls", "nomic-bert"].contains(&it.name.as_str())) {
        let (file, golden) = (format!("{}.gguf", model.name), &model.golden);
        place.write(&file, &model.file);
        let run = ["embed", &file, "-t", &golden.text, "--json"];
        let json = place.run(&run).json();
        assert_eq!(json["ids"], json!([golden.tokens]));
        let norm = golden.vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        let vector = singles(&json["vectors"][0]);
        let pairs = vector.iter().zip(&golden.vector);
        let square: f64 = pairs.map(|(x, y)| (f64::from(*x) - y / norm).powi(2)).sum();
        let is_close = square.sqrt() < 1e-3;
        assert!(is_close, "{}: {square}", model.name);
        assert_eq!(place.run(&[&run[..], &["--instances", "3"]].concat()).json(), json);
        let pieces = ["unsupported", &model.name, "an encoder; use `embed`"];
        place.run(&["generate", &file, "--raw", "-p", "x"]).failed(1, &pieces);
        place.run(&["logits", &file, "-p", "x"]).failed(1, &pieces);
    }
}

#[test]
fn documents_are_sorted_by_a_model_that_ranks() {
    let place = Place::new();
    let model = golden::ranking().swap_remove(0);
    place.write("rank.gguf", &model.file);
    let golden = model.golden;
    let mut run = vec!["rerank", "rank.gguf", "-Q", &golden.query];
    golden.documents.iter().for_each(|it| run.extend(["-d", &it.document]));
    let json = place.run(&[&run[..], &["--json"]].concat()).json();
    let results = json["results"].as_array().expect("is a list");
    assert_eq!(results.len(), golden.documents.len());
    assert!(results.is_sorted_by_key(|it| std::cmp::Reverse(
        (it["score"].as_f64().unwrap_or(f64::NAN) * 1e6) as i64
    )));
    for result in results {
        let expected = &golden.documents[result["index"].as_u64().expect("an index") as usize];
        assert_eq!(result["document"], expected.document);
        let is_close = (result["score"].as_f64().expect("a score") - expected.score).abs() < 1e-3;
        assert!(is_close, "{result}, not {}", expected.score);
    }
    let instances = place.run(&[&run[..], &["--json", "--instances", "3"]].concat());
    assert_eq!(instances.json(), json);
    let lines = place.run_with_input(&run[..4], b"one\ntwo\n").text();
    let columns: Vec<Vec<_>> = lines.lines().map(|line| line.split('\t').collect()).collect();
    assert!(
        columns.iter().all(|line| line.len() == 3 && line[0].parse::<f32>().is_ok()),
        "{lines}"
    );
    let input = json!({ "query": golden.query, "documents": ["one"] }).to_string() + "\n{}\n";
    let answers = place.run_with_input(&["rerank", "rank.gguf", "--jsonl"], input.as_bytes());
    let answers = answers.json_lines();
    assert_eq!(answers[0]["results"][0]["index"], 0);
    assert_eq!(answers[1]["error"]["code"], "invalid-argument");
    let other = Place::with_model();
    other.run(&["rerank", "tiny.gguf", "-Q", "x", "-d", "y"]).failed(1, &["a reranker"]);
}

#[test]
fn texts_become_vectors_of_length_1() {
    let place = Place::with_model();
    let run = ["embed", "tiny.gguf", "--pooling", "mean"];
    let texts = ["-t", "hello, world", "-t", "hello"];
    let json = place.run(&[&run[..], &texts, &["--json"]].concat()).json();
    let vectors = json["vectors"].as_array().expect("is a list");
    assert_eq!((vectors.len(), json["ids"].as_array().map(Vec::len)), (2, Some(2)));
    for vector in vectors {
        let numbers = vector.as_array().expect("is a list").iter().filter_map(Value::as_f64);
        let square: f64 = numbers.map(|x| x * x).sum();
        assert!((square - 1.0).abs() < 1e-6, "{square}");
    }
    let lines = place.run(&[&run[..], &texts].concat()).text();
    assert_eq!(lines.lines().count(), 2);
    for (line, vector) in lines.lines().zip(vectors) {
        let numbers: Vec<f32> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
        assert_eq!(numbers, singles(vector));
    }
    let instances = place.run(&[&run[..], &texts, &["--json", "--instances", "2"]].concat());
    assert_eq!(instances.json(), json);
    let input = json!({"tokens": json["ids"]}).to_string() + "\n{\"texts\": [\"hello\"]}\n{}\n";
    let answers = place.run_with_input(&[&run[..], &["--jsonl"]].concat(), input.as_bytes());
    let answers = answers.json_lines();
    assert_eq!(answers[0], json);
    assert_eq!(answers[1]["vectors"][0], json["vectors"][1]);
    assert_eq!(answers[2]["error"]["code"], "invalid-argument");
    place.run(&["embed", "tiny.gguf", "-t", "x"]).failed(1, &["pooling_type", "--pooling"]);
}

#[test]
fn perplexity_scores_full_windows_only() {
    let place = Place::with_model();
    let text = "the quick brown fox jumps over the lazy dog. ".repeat(10);
    let ids = place.run_with_input(&["tokenize", "tiny.gguf", "--json"], text.as_bytes()).json();
    let tokens = ids["ids"].as_array().expect("is a list").len();
    let run = ["perplexity", "tiny.gguf", "--window", "16", "--json", "--per-token-nll"];
    let json = place.run_with_input(&run, text.as_bytes()).json();
    let windows = tokens / 16;
    assert_eq!(json["windows"], windows);
    assert_eq!(json["tokens_scored"], windows * 15);
    assert_eq!(json["per_token_nll"].as_array().map(Vec::len), Some(windows * 15));
    assert!(json["mean_nll"].as_f64().is_some_and(|nll| nll > 0.0), "{json}");
    let run = ["perplexity", "tiny.gguf", "--window", "100000"];
    place.run_with_input(&run, text.as_bytes()).failed(1, &["window", "100000"]);
}

#[test]
fn wrong_requests_are_refused_with_a_reason() {
    let place = Place::with_model();
    place.write("bad.json", b"{\"messages\": [{\"content\": 1}]}");
    place.write("no.json", b"nonsense");
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["generate", "tiny.gguf"], 2, &["-p PROMPT"]),
        (&["tokenize", "tiny.gguf", "absent"], 1, &["`absent`"]),
        (&["tokenize", "tiny.gguf", "--json", "--jsonl"], 2, &["--json"]),
        (&["tokenize", "tiny.gguf", "no.json", "--jsonl"], 2, &["--jsonl", "FILE"]),
        (&["logits", "tiny.gguf", "no.json", "--jsonl"], 2, &["--jsonl", "FILE"]),
        (&["detokenize", "tiny.gguf", "99999999"], 1, &["99999999"]),
        (&["render-chat", "tiny.gguf", "no.json"], 1, &["`no.json`", "JSON"]),
        (&["render-chat", "tiny.gguf", "bad.json"], 1, &["message 0", "`role`"]),
        (&["logits", "tiny.gguf", "--engine", "gpu", "-p", "x"], 1, &["gpu", "`cpu`"]),
    ];
    for (arguments, code, pieces) in cases {
        place.run(arguments).failed(*code, pieces);
    }
}
