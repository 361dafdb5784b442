//! What an answer is made of: text, reasoning and calls, in `generate` and `chat`.

#![allow(missing_docs, unreachable_pub)]

mod support;

use serde_json::{Value, json};
use support::Place;

/// Tiny models think for ever where the template has them begin.
const THINKING: &str = "{{ messages[0].content }}<think>\n";
/// A template that knows tools: the prompt is longer where there are some.
const TOOLS: &str =
    "{{ messages[0].content }}{% if tools %}[TOOL_CALLS]{{ tools[0].function.name }}{% endif %}";
const WEATHER: &str = r#"[{"type": "function", "function": {"name": "weather"}}]"#;

fn greedy<'a>(command: &'a str, template: &'a str) -> Vec<&'a str> {
    let model = ["tiny.gguf", "-p", "hello", "--temperature", "0", "-n", "6"];
    [&[command], &model[..], &["--chat-template", template]].concat()
}

#[test]
fn reasoning_goes_to_standard_error_unless_it_is_to_be_text() {
    let place = Place::with_model();
    place.write("think.jinja", THINKING.as_bytes());
    let run = greedy("generate", "think.jinja");
    let with = |more: &[&str]| place.run(&[&run, more].concat());
    let apart = with(&["--json"]).json();
    let reasoning = apart["reasoning"].as_str().expect("is text").to_owned();
    assert_eq!(apart["text"], "");
    assert!(!reasoning.is_empty());
    let text = with(&["--json", "--reasoning", "text"]).json();
    assert_eq!((&text["text"], text.get("reasoning")), (&json!(reasoning), None));
    assert_eq!(text["ids"], apart["ids"]);

    let streamed = with(&[]);
    assert!(streamed.stderr.contains(&reasoning), "{}", streamed.stderr);
    assert!(!streamed.stderr.contains('\x1b'), "{}", streamed.stderr);
    assert_eq!(streamed.text(), "\n");
    let chat = ["--engine", "cpu", "--seed", "0"];
    let chat = place.run(&[&greedy("chat", "think.jinja")[..], &chat].concat());
    assert!(chat.stderr.contains(&reasoning), "{}", chat.stderr);
    assert_eq!(chat.text(), "\n");
}

#[test]
fn tools_come_from_a_file_or_a_line() {
    let place = Place::with_model();
    place.write("tools.jinja", TOOLS.as_bytes());
    place.write("tools.json", WEATHER.as_bytes());
    let run = greedy("generate", "tools.jinja");
    let json = |more: &[&str]| place.run(&[&run, more, &["--json"]].concat()).json();
    let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().expect("a number");
    let (with, without) = (json(&["--tools", "tools.json"]), json(&[]));
    assert!(tokens(&with) > tokens(&without), "{with} {without}");
    place.run(&[&run[..], &["--tools", "tools.json"]].concat()).failed(2, &["add `--json`"]);
    place.write("wrong.json", b"[");
    place
        .run(&[&run[..], &["--tools", "wrong.json", "--json"]].concat())
        .failed(1, &["`wrong.json` is no JSON"]);

    let tools: Value = serde_json::from_str(WEATHER).expect("JSON");
    let line = |choice: Value| {
        json!({
            "prompt": "hello", "tools": tools, "tool_choice": choice, "temperature": 0,
            "max_tokens": 6,
        })
    };
    let mut of_messages = line(json!("auto"));
    let messages = json!([{"role": "user", "content": "hello"}]);
    of_messages.as_object_mut().expect("an object").remove("prompt");
    of_messages["messages"] = messages;
    let mut raw = line(json!("auto"));
    raw["raw"] = json!(true);
    let lines = [line(json!("auto")), line(json!("none")), line(json!("any")), of_messages, raw];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let run = ["generate", "tiny.gguf", "--chat-template", "tools.jinja", "--jsonl"];
    let answers = place.run_with_input(&run, lines.as_bytes()).json_lines();
    // The later one finds the prompt in the cache.
    assert_eq!((&answers[0], &answers[3]["ids"]), (&with, &with["ids"]));
    assert_eq!(tokens(&answers[3]), tokens(&with));
    assert_eq!(tokens(&answers[1]), tokens(&without));
    for (answer, expected) in [(&answers[2], "`tool_choice` must be"), (&answers[4], "`tools`")] {
        let message = answer["error"]["message"].to_string();
        assert!(message.contains(expected), "{answer}");
    }
}
