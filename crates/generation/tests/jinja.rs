//! Chat templates against Jinja's own rendering, as `transformers` sets Jinja up: each template in a
//! folder of `tests/reference/templates` with each conversation there. `cargo xtask golden` makes the
//! data.
//!
//! `TREFOIL_TEMPLATES` names another folder of the same form, so that templates can be tried that are
//! not ours (`tests/reference/README.md` says how).
#![allow(clippy::expect_used)]

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use trefoil_contract::{Conversation, Error, Message, MessagePart, ToolCall, ToolResult};
use trefoil_fixtures::golden;
use trefoil_generation::ChatTemplate;

/// As in `xtask/golden/templates.py`.
const NOW: i64 = 1_738_555_506;
const BOS: &str = "<s>";
const EOS: &str = "</s>";

fn folders() -> Vec<PathBuf> {
    match std::env::var_os("TREFOIL_TEMPLATES") {
        Some(folder) => vec![folder.into()],
        None => ["constructs", "families"]
            .map(|name| golden::directory().join("templates").join(name))
            .into(),
    }
}

fn json(path: &Path) -> Vec<Value> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(fields: &Map<String, Value>, key: &str) -> Option<String> {
    fields.get(key)?.as_str().map(str::to_owned)
}

/// A message in OpenAI's form as one of the contract.
fn message(value: &Value) -> Message {
    let mut fields = value.as_object().expect("a message").clone();
    let mut parts = Vec::new();
    parts.extend(text(&fields, "reasoning_content").map(MessagePart::Reasoning));
    match text(&fields, "tool_call_id") {
        Some(id) => {
            parts.push(MessagePart::ToolResult(ToolResult {
                id,
                texts: text(&fields, "content").into_iter().collect(),
            }));
            // The template finds the name by the call.
            fields.remove("name");
        }
        None => parts.extend(text(&fields, "content").map(MessagePart::Text)),
    }
    let calls = fields.get("tool_calls").and_then(Value::as_array);
    parts.extend(calls.into_iter().flatten().map(|call| {
        let field = |key: &str| call["function"][key].clone();
        MessagePart::ToolCall(ToolCall {
            id: call["id"].as_str().expect("an id").into(),
            name: field("name").as_str().expect("a name").into(),
            arguments: spaced(&field("arguments")),
        })
    }));
    let role = text(&fields, "role").expect("a role");
    for key in ["role", "content", "reasoning_content", "tool_calls", "tool_call_id"] {
        fields.remove(key);
    }
    let variables = (!fields.is_empty()).then(|| Value::Object(fields).to_string());
    Message { role, parts, variables }
}

/// JSON as Python's `json.dumps` spaces it.
fn spaced(value: &Value) -> String {
    let template = ChatTemplate::new("{{ value|tojson }}").expect("a template");
    let conversation = Conversation {
        messages: Vec::new(),
        tools: None,
        variables: Some(serde_json::json!({ "value": value }).to_string()),
        add_generation_prompt: false,
    };
    template.render(&conversation, "", "").expect("JSON")
}

fn conversation(value: &Value, add_generation_prompt: bool) -> Conversation {
    let mut variables =
        value.get("variables").and_then(Value::as_object).cloned().unwrap_or_default();
    variables.insert("now".into(), NOW.into());
    Conversation {
        messages: value["messages"].as_array().expect("messages").iter().map(message).collect(),
        tools: value.get("tools").map(Value::to_string),
        variables: Some(Value::Object(variables).to_string()),
        add_generation_prompt,
    }
}

/// Says where a rendering is not Jinja's.
fn difference(found: &Result<String, Error>, row: &Value) -> Option<String> {
    let expected = |key: &str| row.get(key).and_then(Value::as_str);
    match (found, expected("text"), expected("raised")) {
        (Ok(text), Some(expected), _) if text == expected => None,
        (Ok(text), Some(expected), _) => {
            let same = text.bytes().zip(expected.bytes()).take_while(|(a, b)| a == b).count();
            let part = |text: &str| {
                let part = &text.as_bytes()[same.saturating_sub(30)..text.len().min(same + 60)];
                String::from_utf8_lossy(part).into_owned()
            };
            Some(format!("{:?} is not {:?}", part(text), part(expected)))
        }
        (Err(Error::Template(text)), None, Some(raised)) if text == raised => None,
        (Err(Error::Template(_)), None, None) => None,
        _ => Some(format!("{found:.200?} is not {row:.200?}")),
    }
}

#[test]
fn templates_render_as_in_jinja() {
    let (mut count, mut texts, mut failures) = (0, 0, Vec::new());
    for path in folders().iter().flat_map(|folder| templates(folder)) {
        let name = path.file_stem().expect("a name").to_string_lossy();
        let conversations = json(&path.with_file_name("conversations.json"));
        let template = ChatTemplate::new(&std::fs::read_to_string(&path).expect("a template"));
        for row in json(&path.with_extension("json")) {
            // A template that Jinja does not read has one row.
            let label = row.get("conversation").and_then(Value::as_str).unwrap_or("syntax");
            let prompt = row.get("prompt").and_then(Value::as_bool).unwrap_or(false);
            let found = template.as_ref().map_err(Error::clone).and_then(|template| {
                let named = |it: &&Value| it["name"].as_str() == Some(label);
                let value = conversations.iter().find(named).unwrap_or(&conversations[0]);
                template.render(&conversation(value, prompt), BOS, EOS)
            });
            count += 1;
            texts += usize::from(found.is_ok());
            let difference = difference(&found, &row);
            failures.extend(difference.map(|text| format!("{name}, {label}, {prompt}: {text}")));
        }
    }
    println!("{count} renderings, {texts} of them texts");
    assert!(texts > 0);
    assert!(failures.is_empty(), "{} of {count} differ:\n{}", failures.len(), failures.join("\n"));
}

fn templates(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a file").path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "jinja")).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{}: no templates", folder.display());
    paths
}
