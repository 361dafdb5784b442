//! What users read where a template cannot be used: its line and the cause, or the template's own
//! words.
#![allow(clippy::expect_used)]

use trefoil_contract::{Conversation, Error, Message, MessagePart, ToolCall};
use trefoil_generation::ChatTemplate;

fn conversation(messages: Vec<Message>) -> Conversation {
    Conversation { messages, tools: None, variables: None, add_generation_prompt: true }
}

fn render(source: &str, conversation: &Conversation) -> Result<String, Error> {
    ChatTemplate::new(source)?.render(conversation, "<s>", "</s>")
}

#[track_caller]
fn message(source: &str) -> String {
    let spoken = conversation(vec![Message::text("user", "hi")]);
    match render(source, &spoken) {
        Err(Error::Template(text)) => text,
        other => panic!("{source}: expected a template error, found {other:?}"),
    }
}

#[test]
fn errors_name_line_and_cause() {
    let cases = [
        // What the template is.
        ("{% if messages %}\n{{ 1 }", "unexpected `}`", 2),
        ("a\nb\n{% endfor %}", "unknown statement endfor", 3),
        ("a\n{% for m in messages %}\nb", "unexpected end of input", 3),
        ("a\n{{ 'abc }}", "unexpected end of string", 2),
        ("a\n{% include 'other' %}", "include", 2),
        ("a\n{% do messages.append(1) %}", "append", 2),
        // What it asks for.
        ("a\n\n{{ messages|beautify }}", "filter beautify is unknown", 3),
        ("a\n{% if messages is pretty %}{% endif %}", "test pretty is unknown", 2),
        ("a\n{{ today() }}", "today is unknown", 2),
        ("a\n{{ messages[0].content.shout() }}", "string has no method named shout", 2),
        ("a\n{{ messages[9].content }}", "undefined value", 2),
        ("a\n{{ 'a' + messages }}", "unsupported types string and sequence", 2),
        ("a\n{{ 'abc'.index('z') }}", "`z` is not in the text", 2),
        ("a\n{{ 'abc'.split('') }}", "the separator of `split` is empty", 2),
        ("a\n{{ 'abc'.ljust(100000) }}", "at most 4096", 2),
        ("a\n{{ 'abc'|indent(width=100000) }}", "at most 4096", 2),
        ("a\n{{ messages|tojson(indent=99) }}", "at most 16", 2),
        ("a\n{{ messages|tojson(indent=[]) }}", "a number or a text", 2),
        ("a\n{{ messages|tojson(1, 2, 3, 4, 5) }}", "at most 4 options: ensure_ascii, ", 2),
        ("a\n{{ messages|tojson(depth=3) }}", "depth", 2),
        ("a\n{{ strftime_now('%Y') }}", "variable `now`", 2),
        // Where it stands, not where it is used.
        ("{% macro m(x) %}\n{{ x.a.b }}\n{% endmacro %}\n\n{{ m(1) }}", "undefined value", 2),
        (
            "{% for m in messages %}\n{% set x = m.content // 2 %}\n{% endfor %}",
            "use // operator",
            2,
        ),
    ];
    for (source, cause, line) in cases {
        let text = message(source);
        assert!(text.contains(cause), "{source}: {text}");
        assert!(text.ends_with(&format!("(line {line})")), "{source}: {text}");
    }
}

#[test]
fn what_nests_too_deeply_is_not_printed() {
    let nest = "{% set a=[a] %}";
    let nested = |levels: usize| format!("{}\n{{{{ a }}}}", nest.repeat(levels));
    let spoken = conversation(vec![]);
    assert!(render(&nested(128), &spoken).is_ok());
    for filter in ["", "|string", "|pprint"] {
        let source = nested(5_000).replace(" }}", &format!("{filter} }}}}"));
        let text = message(&source);
        assert!(text.contains("at most 128 nested levels are printed (line 2)"), "{text}");
    }
}

#[test]
fn methods_pay_for_what_they_read_and_make() {
    let long = conversation(vec![Message::text("user", " ".repeat(1 << 20))]);
    for call in ["split(' ')", "splitlines()", "count('a')", "isspace()", "find('b')"] {
        let source = format!(
            "{{% for i in range(10000) %}}{{% set x = messages[0].content.{call} %}}{{% endfor %}}"
        );
        let refused = render(&source, &long).expect_err("endless work").to_string();
        assert!(refused.contains("too much work"), "{refused}");
    }
    // Enough for every message once more than some times.
    let source = "{% for m in messages %}{% set x = m.content.split('</think>')[-1].strip() %}\
                  {% set y = m.content.startswith('a') and m.content.endswith('b') %}{% endfor %}";
    assert_eq!(render(source, &long).as_deref(), Ok(""));
}

#[test]
fn raised_words_reach_the_user_as_they_are() {
    for (source, words) in [
        ("{{ raise_exception('') }}", ""),
        ("{{ raise_exception('a\nb \"ü\" {x} (line 7)') }}", "a\nb \"ü\" {x} (line 7)"),
        ("{{ raise_exception('not ' ~ messages[0].role ~ [1, 'a']) }}", "not user[1, 'a']"),
        ("{{ raise_exception(['a', 1.0]) }}", "['a', 1.0]"),
        (
            "{% macro m() %}{% if true %}{{ raise_exception('x') }}{% endif %}{% endmacro %}\
          {% for a in [1] %}{{ [m()]|join }}{% endfor %}",
            "x",
        ),
        (
            "{% macro m() %}{{ caller() }}{% endmacro %}\
          {% call m() %}{{ raise_exception('y') }}{% endcall %}",
            "y",
        ),
        ("{% set x %}{{ raise_exception('z') }}{% endset %}{{ x }}", "z"),
        ("{% filter upper %}{{ raise_exception('w') }}{% endfilter %}", "w"),
    ] {
        assert_eq!(message(source), words, "{source}");
    }
}

/// A message of tool calls alone.
fn call() -> Conversation {
    let call = ToolCall { id: "1".into(), name: "f".into(), arguments: r#"{"a": [1]}"#.into() };
    let parts = vec![MessagePart::ToolCall(call)];
    conversation(vec![Message { role: "assistant".into(), parts, variables: None }])
}

#[test]
fn templates_get_the_form_of_tool_calls_that_they_were_written_for() {
    for (source, expected) in [
        ("{{ messages[0].content }}", ""),
        ("{{ 'content' in messages[0] }}", "False"),
        // DeepSeek's ask for OpenAI's form.
        ("{% if messages[0].content is not none %}{{ messages[0].content.x.y }}{% endif %}c", "c"),
        ("{{ 'a' + messages[0].content }}", "a"),
        ("{{ messages[0].tool_calls[0].function.arguments.a[0] }}", "1"),
        ("{{ 'a: ' + messages[0].tool_calls[0].function.arguments }}", r#"a: {"a": [1]}"#),
        (
            "{{ messages[0].content + messages[0].tool_calls[0].function.arguments }}",
            r#"{"a": [1]}"#,
        ),
    ] {
        assert_eq!(render(source, &call()).as_deref(), Ok(expected), "{source}");
    }
    // Of several failures the first is told: that of the form that most templates expect.
    let source = "{{ raise_exception('content' in messages[0]) }}";
    assert_eq!(render(source, &call()), Err(Error::Template("False".into())));
}

#[test]
fn reasoning_has_both_its_names() {
    let parts = vec![MessagePart::Reasoning("hm".into()), MessagePart::Text("so".into())];
    let thought = conversation(vec![Message { role: "assistant".into(), parts, variables: None }]);
    let source =
        "{% set m = messages[0] %}{{ m.reasoning_content }}{{ m.thinking }}{{ m.content }}";
    assert_eq!(render(source, &thought).as_deref(), Ok("hmhmso"));
}

#[test]
fn line_breaks_of_other_systems_are_line_breaks() {
    let source = "a\r\n{% if true %}\r\n  b\r\n{% endif %}\r\nc\rd{{ '\\r\\n' }}e\r\n";
    assert_eq!(render(source, &conversation(vec![])).as_deref(), Ok("a\n  b\nc\nd\r\ne"));
    let text = message("a\r\nb\r\n{{ x.y.z }}");
    assert!(text.ends_with("(line 3)"), "{text}");
}
