//! Answers in each format. Where a comment names no source, the text was written for the test, in
//! the form that the source of the format's file describes.

use proptest::prelude::*;

use super::{CALLS_MAX, ToolFormat};
use crate::answer::{AnswerForm, AnswerPart, AnswerStream};

/// Text, reasoning and calls of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    text: String,
    reasoning: String,
    /// Name and arguments.
    calls: Vec<(String, String)>,
    has_called: bool,
    /// All parts, neighbours of a kind joined.
    parts: Vec<AnswerPart>,
}

fn read(format: ToolFormat, pieces: &[&str]) -> Answer {
    let names = ["weather", "now", "convert"].map(str::to_owned).to_vec();
    let form = AnswerForm { reasoning: Some(String::new()), tool_calls: Some((format, names)) };
    let mut stream = AnswerStream::new(&form, &[]).expect("a stream");
    let mut parts = Vec::new();
    for piece in pieces {
        stream.push(piece.as_bytes(), &mut parts);
    }
    stream.finish(&mut parts);
    let mut answer = Answer { has_called: stream.has_called(), ..Answer::default() };
    for part in &parts {
        match part {
            AnswerPart::Text(text) => answer.text += text,
            AnswerPart::Reasoning(text) => answer.reasoning += text,
            AnswerPart::Call { index, name, arguments } => {
                assert_eq!(*index as usize, answer.calls.len());
                answer.calls.push((name.clone(), arguments.clone()));
            }
            AnswerPart::Arguments { index, text } => {
                assert_eq!(*index as usize + 1, answer.calls.len());
                answer.calls.last_mut().expect("a call").1 += text;
            }
            AnswerPart::Syntax(_) => {}
        }
        match (answer.parts.last_mut(), part) {
            (Some(AnswerPart::Text(last)), AnswerPart::Text(text))
            | (Some(AnswerPart::Reasoning(last)), AnswerPart::Reasoning(text))
            | (Some(AnswerPart::Syntax(last)), AnswerPart::Syntax(text))
            | (
                Some(AnswerPart::Arguments { text: last, .. }),
                AnswerPart::Arguments { text, .. },
            ) => last.push_str(text),
            _ => answer.parts.push(part.clone()),
        }
    }
    assert_eq!(whole(&answer.parts), pieces.concat(), "something is lost");
    answer
}

/// What the model wrote.
fn whole(parts: &[AnswerPart]) -> String {
    let text = |part: &AnswerPart| match part {
        AnswerPart::Text(text)
        | AnswerPart::Reasoning(text)
        | AnswerPart::Arguments { text, .. }
        | AnswerPart::Syntax(text) => text.clone(),
        AnswerPart::Call { .. } => String::new(),
    };
    parts.iter().map(text).collect()
}

/// Reads a text whole, character by character, and in pieces of several lengths.
#[track_caller]
fn read_in_any_pieces(format: ToolFormat, text: &str) -> Answer {
    let at_once = read(format, &[text]);
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    for step in [1, 2, 3, 5, 7, 11] {
        let cuts: Vec<usize> = ends.iter().copied().step_by(step).chain([text.len()]).collect();
        let pieces: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
        assert_eq!(read(format, &pieces), at_once, "in pieces of {step}");
    }
    at_once
}

#[track_caller]
fn check(format: ToolFormat, text: &str, rest: &str, calls: &[(&str, &str)]) {
    let answer = read_in_any_pieces(format, text);
    let found: Vec<_> = answer.calls.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!((answer.text.as_str(), found.as_slice()), (rest, calls), "{text}");
    assert_eq!(answer.has_called, !calls.is_empty(), "{text}");
    for (_, arguments) in calls {
        serde_json::from_str::<serde_json::Map<_, _>>(arguments).expect("an object");
    }
}

/// A text without calls comes out as it is.
#[track_caller]
fn check_text(format: ToolFormat, text: &str) {
    check(format, text, text, &[]);
}

use ToolFormat::{Gemma, Generic, Granite, Hermes, Llama3, Mistral};

const ALL: [ToolFormat; 6] = [Hermes, Llama3, Mistral, Granite, Gemma, Generic];

#[test]
fn hermes_and_qwen() {
    // The example of the model card of NousResearch/Hermes-2-Pro-Llama-3-8B, arguments first.
    check(
        Hermes,
        "<tool_call>\n{\"arguments\": {\"symbol\": \"TSLA\"}, \"name\": \"get_stock_fundamentals\"}\n\
         </tool_call>",
        "",
        &[("get_stock_fundamentals", r#"{"symbol": "TSLA"}"#)],
    );
    // Qwen 2.5, with text before and several calls.
    check(
        Hermes,
        "Let me look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"place\": \"Zürich\", \
         \"n\": [1, {\"a\": \"}\"}]}}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": \
         {}}\n</tool_call>",
        "Let me look.",
        &[("weather", r#"{"place": "Zürich", "n": [1, {"a": "}"}]}"#), ("now", "{}")],
    );
    check(
        Hermes,
        "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call> Done.\n",
        " Done.\n",
        &[("now", "{}")],
    );
    // The model stops without the tag that closes, or within it.
    for rest in ["", "\n", "\n</tool_ca"] {
        let text = format!("<tool_call>\n{{\"name\": \"now\", \"arguments\": {{}}}}{rest}");
        check(Hermes, &text, "", &[("now", "{}")]);
    }
    // A tag that is repeated, and one that is forgotten.
    check(
        Hermes,
        "<tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n<tool_call>\n\
         {\"name\": \"now\", \"arguments\": {\"a\": 1}}",
        "<tool_call>",
        &[("now", "{}"), ("now", r#"{"a": 1}"#)],
    );
}

#[test]
fn llama3() {
    // The example of Meta's documentation of Llama 3.1, "JSON based tool calling".
    let expected = [("weather", r#"{"city": "San Francisco"}"#)];
    let object = r#"{"name": "weather", "parameters": {"city": "San Francisco"}}"#;
    check(Llama3, object, "", &expected);
    check(Llama3, &format!("<|python_tag|>{object}"), "", &expected);
    check(
        Llama3,
        r#"{"type": "function", "name": "weather", "parameters": {"city": "San Francisco"}}"#,
        "",
        &expected,
    );
    for separator in ["; ", "\n", ";"] {
        let text = format!("{object}{separator}{{\"name\": \"now\", \"parameters\": {{}}}}");
        check(Llama3, &text, "", &[expected[0], ("now", "{}")]);
    }
    // Without the tag, only tools that there are can be called, and only at the beginning.
    check_text(Llama3, r#"{"name": "Ada", "parameters": {"age": 36}}"#);
    check_text(Llama3, &format!("So: {object}"));
    check_text(Llama3, "[1] A source. {2}");
    // Code for the interpreter, as the documentation shows it.
    check_text(Llama3, "<|python_tag|>brave_search.call(query=\"weather\")");
}

#[test]
fn mistral() {
    // The form of mistral-common's tokenizers 3 and 7, with the ids that the model gives.
    check(
        Mistral,
        r#"[TOOL_CALLS] [{"name": "weather", "arguments": {"location": "Paris", "unit": 1e3}, "id": "VvvODy9mT"}, {"name": "now", "arguments": {}}]"#,
        "",
        &[("weather", r#"{"location": "Paris", "unit": 1e3}"#), ("now", "{}")],
    );
    check(Mistral, r#"[TOOL_CALLS]{"name":"now","arguments":{}}"#, "", &[("now", "{}")]);
    // Of tokenizer 11, with ids and without, and of tokenizer 13.
    check(
        Mistral,
        r#"Hm. [TOOL_CALLS]weather[ARGS]{"a": "[TOOL_CALLS]"}[TOOL_CALLS]now[CALL_ID]9xQ2pLm4a[ARGS]{}"#,
        "Hm.",
        &[("weather", r#"{"a": "[TOOL_CALLS]"}"#), ("now", "{}")],
    );
    check(Mistral, "[TOOL_CALLS]now{}", "", &[("now", "{}")]);
    let inner = r#"{"name": "now", "arguments": {}}"#;
    check(Mistral, &format!("[TOOL_CALLS]a{inner}"), "", &[("a", inner)]);
    check_text(Mistral, "[TOOL_CALLS] is a token, (really).");
    check_text(Mistral, "[TOOL_CALLS]");
    check_text(Mistral, "[TOOL_CALLS] []");
    check_text(Mistral, "[TOOL_CALLS]a b[ARGS]{}");
}

#[test]
fn granite() {
    check(
        Granite,
        r#"<|tool_call|>[{"name": "weather", "arguments": {"a": 1}}, {"name": "now", "arguments": {}}]"#,
        "",
        &[("weather", r#"{"a": 1}"#), ("now", "{}")],
    );
}

#[test]
fn gemma() {
    // The JSON form of "Function calling with Gemma", and in a block of code.
    let object = r#"{"name": "weather", "parameters": {"product_name": "Pixel Watch 3"}}"#;
    let expected = [("weather", r#"{"product_name": "Pixel Watch 3"}"#)];
    check(Gemma, object, "", &expected);
    check(Gemma, &format!("```json\n{object}\n```"), "", &expected);
    check(Gemma, &format!("Sure.\n```json\n[{object}]\n```\n"), "Sure.", &expected);
    // The block `tool_code`, with the example of Google's Gemma 3 notebook.
    check(
        Gemma,
        "```tool_code\nconvert(amount=200000, currency='USD', new_currency=\"EUR\")\n```",
        "",
        &[("convert", r#"{"amount": 200000, "currency": "USD", "new_currency": "EUR"}"#)],
    );
    check(Gemma, "```tool_code\nprint(now())\nnow()", "", &[("now", "{}"), ("now", "{}")]);
    check(
        Gemma,
        "```tool_code\n[now(), now(a=[1])]\n```",
        "",
        &[("now", "{}"), ("now", r#"{"a": [1]}"#)],
    );
    check_text(Gemma, "```json\n{\"name\": \"Ada\", \"age\": 36}\n```\nThat was it.");
    check_text(Gemma, "```tool_code\nimport os\n```");
    check_text(Gemma, "```python\nnow()\n```");
}

#[test]
fn generic() {
    let object = r#"{"name": "now", "arguments": {}}"#;
    check(Generic, &format!("<tool_call>\n{object}\n</tool_call>"), "", &[("now", "{}")]);
    check(Generic, object, "", &[("now", "{}")]);
    check(Generic, &format!("[{object}, {object}]"), "", &[("now", "{}"); 2]);
    check_text(Generic, r#"{"name": "Ada"}"#);
    check_text(Generic, r#"{"answer": [1, 2]} or so"#);
}

#[test]
fn what_only_looks_like_a_call_is_text() {
    for format in ALL {
        for text in [
            "",
            " \n",
            "Hello.",
            "a < b and <tool but not [TOOL_",
            "  {",
            "<|python_tag",
            "\n\n\nText   with    blanks   \n\n",
            "``` ```json",
        ] {
            check_text(format, text);
        }
    }
    for inside in [
        "nothing",
        "{}",
        r#"{"name": "now"}"#,
        r#"{"name": "", "arguments": {}}"#,
        r#"{"name": 1, "arguments": {}}"#,
        r#"{"name": "now", "arguments": []}"#,
        r#"{"name": "now", "arguments": "{}"}"#,
        r#"{"arguments": {}, "other": 1, "name": "now"}"#,
        r#"{"name": "now", "name": "now", "arguments": {}}"#,
        r#"{"arguments": {"a": tru}, "name": "now"}"#,
        r#"{"arguments": {"a": 1"#,
        r#"{'name': 'now', 'arguments': {}}"#,
    ] {
        check_text(Hermes, &format!("<tool_call>\n{inside}\n</tool_call>"));
    }
}

#[test]
fn arguments_that_break_off_leave_the_rest_as_text_and_no_call_is_claimed() {
    let answer = read_in_any_pieces(
        Hermes,
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"place\": Bern}}\n</tool_call>",
    );
    assert_eq!(answer.calls, [("weather".to_owned(), "{\"place\": ".to_owned())]);
    assert_eq!(answer.text, "Bern}}\n</tool_call>");
    assert!(!answer.has_called);
    for (format, text) in [
        (Hermes, "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"b"),
        (Mistral, "[TOOL_CALLS]now[ARGS]{\"a\": \"b"),
    ] {
        let answer = read_in_any_pieces(format, text);
        assert_eq!(answer.calls, [("now".to_owned(), "{\"a\": \"b".to_owned())]);
        assert!(!answer.has_called && answer.text.is_empty());
    }
    // What follows whole arguments takes nothing from the call.
    let text = "<tool_call>{\"name\": \"now\", \"arguments\": {}, \"why\": 1}</tool_call>";
    check(Hermes, text, ", \"why\": 1}</tool_call>", &[("now", "{}")]);
}

#[test]
fn arguments_go_out_as_they_come() {
    let form = AnswerForm { reasoning: None, tool_calls: Some((Hermes, Vec::new())) };
    let mut stream = AnswerStream::new(&form, &[]).expect("a stream");
    let mut parts = Vec::new();
    stream.push(b"<tool_call>{\"name\": \"f\", \"arguments\": {\"a", &mut parts);
    let arguments = |text: &str| AnswerPart::Arguments { index: 0, text: text.into() };
    let call = AnswerPart::Call { index: 0, name: "f".into(), arguments: String::new() };
    assert_eq!(parts[1..], [call, arguments("{\"a")]);
    parts.clear();
    stream.push(b"\": \"\xC3", &mut parts);
    stream.push(b"\xA4\"", &mut parts);
    assert_eq!(parts, [arguments("\": \""), arguments("ä\"")]);
}

#[test]
fn what_is_held_back_is_bounded() {
    let many = "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>";
    let answer = read(Hermes, &[&many.repeat(CALLS_MAX as usize + 1)]);
    assert_eq!((answer.calls.len(), answer.text.as_str()), (CALLS_MAX as usize, many));
    let filler = "x".repeat(20_000);
    let deep = "[".repeat(20_000);
    for (format, text) in [
        (Hermes, format!("<tool_call>{}", " ".repeat(20_000))),
        (
            Hermes,
            format!("<tool_call>{{\"arguments\": {{\"a\": \"{filler}\"}}, \"name\": \"now\"}}"),
        ),
        (Hermes, format!("<tool_call>{{\"name\": \"{filler}\", \"arguments\": {{}}}}")),
        (Gemma, format!("```tool_code\n{filler}()\n```")),
        (Mistral, format!("[TOOL_CALLS]{filler}[ARGS]{{}}")),
        (Llama3, format!("{deep}{deep}")),
        (Hermes, "<tool_call>".repeat(5_000)),
        (Mistral, "[TOOL_CALLS]a".repeat(5_000)),
        (Gemma, "```json\n".repeat(5_000)),
    ] {
        let answer = read(format, &[&text]);
        assert_eq!((answer.text.as_str(), answer.calls.len()), (text.as_str(), 0));
    }
    // Arguments whose name is known have no bound: they are not held.
    let text = format!("<tool_call>{{\"name\": \"now\", \"arguments\": {{\"a\": \"{filler}\"}}}}");
    assert_eq!(read(Hermes, &[&text]).calls[0].1.len(), filler.len() + 9);
    let text = format!("<tool_call>{{\"name\": \"now\", \"arguments\": {{\"a\": {deep}");
    let answer = read(Hermes, &[&text]);
    assert!(!answer.has_called && answer.text.starts_with('['));
}

#[test]
fn formats_are_found_from_templates() {
    let template = |name: &str| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/reference/templates/families");
        let path = format!("{root}/{name}.jinja");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    for (name, format) in [
        ("hermes-tools", Hermes),
        ("qwen2.5-tools", Hermes),
        ("qwen3-thinking", Hermes),
        ("llama3-tools", Llama3),
        ("mistral-v3-tools", Mistral),
        ("granite3-tools", Granite),
        ("gemma2", Gemma),
        ("gemma3", Gemma),
        ("chatml", Generic),
        ("mistral-v1", Generic),
        ("zephyr", Generic),
        // They write calls in forms of their own.
        ("xml-parameters", Generic),
        ("harmony", Generic),
        ("command-r-documents", Generic),
    ] {
        assert_eq!(ToolFormat::of_template(&template(name)), format, "{name}");
    }
}

#[test]
fn each_setting_names_its_format() {
    let named: Vec<_> =
        trefoil_settings::TOOL_FORMATS.iter().map(|name| ToolFormat::named(name)).collect();
    let [model, formats @ ..] = named.as_slice() else { panic!("no values") };
    assert_eq!(*model, None);
    let all = [Hermes, Llama3, Mistral, Granite, Gemma, Generic].map(Some);
    assert_eq!(formats, all);
    assert_eq!(ToolFormat::named("other"), None);
}

/// Pieces of which texts like calls are made.
fn text_like_calls() -> impl Strategy<Value = Vec<String>> {
    let fragment = prop::sample::select(vec![
        "<tool_call>",
        "</tool_call>",
        "<|python_tag|>",
        "<|tool_call|>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "[CALL_ID]",
        "```json\n",
        "```tool_code\n",
        "```",
        "\n",
        " ",
        "{",
        "}",
        "[",
        "]",
        ",",
        ";",
        "\"name\": \"now\"",
        "\"arguments\": {",
        "\"parameters\": {}",
        "\"arguments\": {\"a\": 1}",
        "\"a\": \"}",
        "\"",
        "now",
        "now()",
        "now(a=1)",
        "\\",
        "<think>",
        "</think>",
        "ä",
        "<",
        "a",
        "{\"name\": \"now\", \"arguments\": {}}",
        "{\"arguments\": {\"b\": [1]}, \"name\": \"now\"}",
    ]);
    prop::collection::vec(fragment.prop_map(str::to_owned), 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn nothing_is_lost_and_pieces_change_nothing(
        fragments in text_like_calls(),
        format in prop::sample::select(ALL.to_vec()),
        cuts in prop::collection::vec(1usize..9, 1..8),
    ) {
        let text = fragments.concat();
        let characters: Vec<char> = text.chars().collect();
        let mut pieces = Vec::new();
        let mut rest = characters.as_slice();
        for length in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*length).min(rest.len()));
            pieces.push(piece.iter().collect::<String>());
            rest = after;
        }
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        // `read` itself checks that nothing is lost.
        let answer = read(format, &[&text]);
        prop_assert_eq!(&read(format, &pieces), &answer);
        // Mistral's calls have their names outside of the objects, so that any word may be one.
        let words = text.split("[TOOL_CALLS]").skip(1).map(str::trim_start);
        let is_word = |name: &str| format == Mistral && words.clone().any(|it| it.starts_with(name));
        for (name, arguments) in answer.calls.iter().filter(|_| answer.has_called) {
            prop_assert!(name == "now" || is_word(name), "{name}");
            prop_assert!(serde_json::from_str::<serde_json::Map<_, _>>(arguments).is_ok());
        }
    }
}
