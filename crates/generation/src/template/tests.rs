use serde_json::json;
use trefoil_contract::{Conversation, Error, Message, MessagePart, ToolCall, ToolResult};

use super::ChatTemplate;

fn conversation(messages: Vec<Message>) -> Conversation {
    Conversation { messages, tools: None, variables: None, add_generation_prompt: true }
}

fn render_with(source: &str, conversation: &Conversation) -> Result<String, Error> {
    ChatTemplate::new(source)?.render(conversation, "<s>", "</s>")
}

fn render(source: &str) -> Result<String, Error> {
    render_with(source, &conversation(vec![Message::text("user", "hi")]))
}

fn with_variables(variables: serde_json::Value) -> Conversation {
    Conversation { variables: Some(variables.to_string()), ..conversation(vec![]) }
}

fn template_error(result: Result<String, Error>) -> String {
    match result {
        Err(Error::Template(text)) => text,
        other => panic!("expected a template error, found {other:?}"),
    }
}

#[test]
fn syntax_errors_name_the_line() {
    let error = ChatTemplate::new("line one\n{% if %}").map(|_| String::new());
    let text = template_error(error);
    assert!(text.contains("(line 2)"), "{text}");
}

#[test]
fn failures_while_rendering_name_the_line() {
    let text = template_error(render("\n\n{{ messages + nothing.at_all }}"));
    assert!(text.contains("(line 3)"), "{text}");
}

#[test]
fn raised_messages_reach_the_user_as_they_are() {
    let direct = "{{ raise_exception('Roles must alternate: user/assistant!') }}";
    let nested = "{% macro m() %}{{ raise_exception('Roles must alternate: user/assistant!') }}\
                  {% endmacro %}{{ m() }}";
    for source in [direct, nested] {
        assert_eq!(template_error(render(source)), "Roles must alternate: user/assistant!");
    }
}

#[test]
fn looping_templates_end_with_an_error() {
    let loops = [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}\
         {% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'x' * 1000000000 }}",
        "{% for a in range(10000) %}{% set text = messages|tojson(indent=16) %}{% endfor %}",
    ];
    let long = conversation(vec![Message::text("user", "x".repeat(1 << 16))]);
    for source in loops {
        template_error(render_with(source, &long));
    }
}

#[test]
fn chains_that_would_exhaust_the_stack_are_refused_with_their_line() {
    let refused = |source: String| {
        let message = template_error(ChatTemplate::new(&source).map(|_| String::new()));
        assert!(message.contains("at most 1000 are accepted"), "{message}");
        message
    };
    for link in ["|abs", "+1", ".x", " if 1 else 1", " and 1", "[0]"] {
        let message = refused(format!("a\n{{{{ x{} }}}}", link.repeat(5_000)));
        assert!(message.contains("line 2"), "{message}");
    }
    refused(format!("{{{{ {}1 }}}}", "-".repeat(5_000)));
    refused(format!("{{{{ {}1 }}}}", "not ".repeat(5_000)));
    refused(format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(5_000)));
}

#[test]
fn long_templates_without_long_chains_are_accepted() {
    let text = "Sums: 1 + 2 + 3. (It's so.) ".repeat(1_000);
    for source in [
        text.clone(),
        format!("{{# don't {{{{ #}}{text}"),
        format!("{{{{ \"{text}\" }}}}"),
        format!("{{{{ 'a' }}}}{}", "{{ 1 + 2 }}".repeat(2_000)),
    ] {
        ChatTemplate::new(&source).expect("is accepted");
    }
}

#[test]
fn endless_output_ends_with_an_error() {
    let source =
        "{% set text = messages[0].content %}{% for a in range(100) %}{{ text }}{% endfor %}";
    let long = conversation(vec![Message::text("user", "x".repeat(1 << 20))]);
    let text = template_error(render_with(source, &long));
    assert!(text.contains("16777216 bytes"), "{text}");
}

#[test]
fn long_conversations_have_fuel_enough() {
    let source = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] \
                  + '<|im_end|>' + '\n' }}{% endfor %}";
    let messages: Vec<_> = (0..2000).map(|_| Message::text("user", "x".repeat(2000))).collect();
    let text = render_with(source, &conversation(messages)).expect("rendered");
    assert_eq!(text.len(), 2000 * (2000 + "<|im_start|>user\n<|im_end|>\n".len()));
}

#[test]
fn blocks_take_their_line_break_and_indentation_with_them() {
    let source = "a\n    {% if true %}\nb\n    {% endif %}\nc\n";
    assert_eq!(render(source).expect("rendered"), "a\nb\nc");
}

#[test]
fn templates_of_the_wild_find_their_python() {
    let cases = [
        ("{{ 'abc'.removeprefix('a').removesuffix('c') }}", "b"),
        ("{{ '</t>b'.split('</t>')[-1].lstrip('\n') }}{{ 'x' ~ 1 ~ true ~ none }}", "bx1TrueNone"),
        ("{{ messages[::-1]|map(attribute='role')|list|join(', ') }}", "user"),
        ("{{ 'a,b'.split(',')[-1] }}", "b"),
        ("{{ ' x '.strip() + 'ab'.replace('a', 'c').upper() }}", "xCB"),
        ("{% if messages[0].content.startswith('h') %}yes{% endif %}", "yes"),
        ("{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}{{ v }} {% endfor %}", "b1 a2 "),
        ("{{ messages[0].get('tool_calls', 'none') }}", "none"),
        ("{{ none }} {{ true }} {{ 1.0 }}", "None True 1.0"),
        (
            "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}\
          {% endif %}{{ i }}{% endfor %}",
            "02",
        ),
        (
            "{% for i in [1, 2] %}{{ loop.previtem|default('-') }}{{ loop.nextitem|default('-') }}\
          {% endfor %}",
            "-21-",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}\
          {{ ns.n }}",
            "3",
        ),
        ("{% macro m(x, y='!') -%} {{ x }}{{ y }} {%- endmacro %}{{ m('a') }}", "a!"),
        (
            "{{ messages[0] is mapping }} {{ messages is iterable }} {{ messages is string }}",
            "True True False",
        ),
        ("{{ [1, 2, 3, 4][1:][::-1] }}", "[4, 3, 2]"),
        ("{{ (messages|selectattr('role', 'equalto', 'user')|list)|length }}", "1"),
        ("{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}", "<s></s>True"),
        ("{{ tools is none }} {{ nothing is defined }}", "True False"),
        ("{%- if nothing %}a{% else %}b{% endif %}", "b"),
        ("{%- generation -%} a {% endgeneration %}", "a "),
    ];
    for (source, expected) in cases {
        let found = render(source);
        assert_eq!(found.as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn tojson_is_pythons() {
    let mut variables = conversation(vec![]);
    variables.variables = Some(
        r#"{"v": {"z": [1, -2.5, 1e20, 1e-7, 0.0001, 3.0, true, null, [], {}],
            "a": "ü<b>&'\"\\\n\u0001\u007f"}}"#
            .into(),
    );
    let render = |source| render_with(source, &variables).expect("rendered");
    // Each made with `json.dumps(v, ensure_ascii=..., ...)` of Python 3.11.
    assert_eq!(
        render("{{ v|tojson }}"),
        r#"{"z": [1, -2.5, 1e+20, 1e-07, 0.0001, 3.0, true, null, [], {}], "a": "ü<b>&'\"\\\n\u0001"#
            .to_owned()
            + "\u{7f}\"}"
    );
    assert_eq!(
        render("{{ {'a': [1, {'b': 'ü'}], 'c': {}}|tojson(indent=2, ensure_ascii=true) }}"),
        "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"\\u00fc\"\n    }\n  ],\n  \"c\": {}\n}"
    );
    assert_eq!(
        render(
            "{{ {'b': 1, 'a': '😀'}|tojson(sort_keys=true, separators=(',', ':'), \
                ensure_ascii=true) }}"
        ),
        r#"{"a":"\ud83d\ude00","b":1}"#
    );
}

#[test]
fn dates_come_from_the_variable_now() {
    let at = |now: i64, format: &str| {
        let source = format!("{{{{ strftime_now('{format}') }}}}");
        render_with(&source, &with_variables(json!({ "now": now })))
    };
    // Each made with `time.strftime(format, time.gmtime(now))` of Python 3.11.
    let cases = [
        (0, "%Y-%m-%d %H:%M:%S %a %j", "1970-01-01 00:00:00 Thu 001"),
        (1_709_210_096, "%d %B %Y, %A", "29 February 2024, Thursday"),
        (1_735_689_599, "%d %b %y %I:%M %p %j", "31 Dec 24 11:59 PM 366"),
        (-86_400, "%e %-d/%-m %x", "31 31/12 12/31/69"),
        (951_782_400, "%F %T%%", "2000-02-29 00:00:00%"),
        (-62_135_596_800, "%-d.%-m. %A", "1.1. Monday"),
    ];
    for (now, format, expected) in cases {
        assert_eq!(at(now, format).as_deref(), Ok(expected), "{now} {format}");
    }
    template_error(at(i64::MAX, "%Y"));
    template_error(at(0, "%Q"));
    template_error(at(0, "%"));
}

#[test]
fn without_now_templates_take_their_own_default_or_say_what_is_missing() {
    let asks = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}2024{% endif %}";
    assert_eq!(render(asks).as_deref(), Ok("2024"));
    let text = template_error(render("{{ strftime_now('%Y') }}"));
    assert!(text.contains("variable `now`"), "{text}");
}

#[test]
fn media_are_refused_by_their_type() {
    let part = MessagePart::Media { mime: "image/png".into(), data: vec![0] };
    let message = Message { role: "user".into(), parts: vec![part], variables: None };
    let error = render_with("x", &conversation(vec![message])).expect_err("media");
    let Error::Unsupported(text) = error else { panic!("{error:?}") };
    assert!(text.starts_with("unsupported: media of type image/png"), "{text}");
}

fn tool_dialogue() -> Conversation {
    let call = |id: &str, arguments: &str| {
        MessagePart::ToolCall(ToolCall {
            id: id.into(),
            name: "weather".into(),
            arguments: arguments.into(),
        })
    };
    let result = |id: &str, texts: &[&str]| {
        MessagePart::ToolResult(ToolResult {
            id: id.into(),
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        })
    };
    conversation(vec![
        Message {
            role: "assistant".into(),
            parts: vec![
                MessagePart::Reasoning("hm".into()),
                call("1", r#"{"z": 1, "a": [2]}"#),
                call("2", "{}"),
            ],
            variables: Some(r#"{"weight": 0}"#.into()),
        },
        Message {
            role: "tool".into(),
            parts: vec![result("1", &["sun", "ny"]), result("2", &[])],
            variables: None,
        },
    ])
}

#[test]
fn tool_calls_have_openais_form() {
    let expected = json!([
        {
            "role": "assistant",
            "thinking": "hm",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "1", "type": "function", "function":
                    {"name": "weather", "arguments": {"z": 1, "a": [2]}}},
                {"id": "2", "type": "function", "function": {"name": "weather", "arguments": {}}},
            ],
            "weight": 0,
        },
        {"role": "tool", "tool_call_id": "1", "content": "sunny", "name": "weather"},
        {"role": "tool", "tool_call_id": "2", "content": "", "name": "weather"},
    ]);
    let found = render_with("{{ messages|tojson }}", &tool_dialogue()).expect("rendered");
    let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(found, expected);
}

#[test]
fn arguments_are_text_for_templates_that_need_text() {
    let source = "{% for m in messages if m.tool_calls %}{% for c in m.tool_calls %}\
                  {{ '[' + c.function.arguments + ']' }}{% endfor %}{% endfor %}";
    let found = render_with(source, &tool_dialogue());
    assert_eq!(found.as_deref(), Ok(r#"[{"z": 1, "a": [2]}][{}]"#));
}

#[test]
fn tools_keep_the_order_of_their_fields() {
    let mut with_tools = conversation(vec![]);
    with_tools.tools = Some(r#"[{"type":"function","function":{"name":"z","a":1}}]"#.into());
    assert_eq!(
        render_with("{{ tools[0]|tojson }}", &with_tools).as_deref(),
        Ok(r#"{"type": "function", "function": {"name": "z", "a": 1}}"#)
    );
}

#[test]
fn unusable_json_is_refused_with_its_place() {
    let refused = |change: fn(&mut Conversation), place: &str| {
        let mut conversation = tool_dialogue();
        change(&mut conversation);
        match render_with("x", &conversation) {
            Err(Error::InvalidArgument(text)) => assert!(text.contains(place), "{text}"),
            other => panic!("{place}: {other:?}"),
        }
    };
    refused(|c| c.tools = Some("{}".into()), "`tools`");
    refused(|c| c.variables = Some("[".into()), "`variables`");
    refused(|c| c.variables = Some(r#"{"messages": 1}"#.into()), "`messages`");
    refused(|c| c.variables = Some(r#"{"now": "noon"}"#.into()), "`now`");
    refused(|c| c.messages[1].variables = Some("1".into()), "message 1: `variables`");
    refused(|c| c.messages[1].variables = Some(r#"{"role": "x"}"#.into()), "`role`");
    refused(
        |c| {
            let MessagePart::ToolCall(call) = &mut c.messages[0].parts[1] else { return };
            call.arguments = "not json".into();
        },
        "tool call `1`",
    );
    refused(|c| c.tools = Some("[".repeat(100_000)), "`tools`");
}

#[test]
fn namespaces_cannot_nest_until_the_stack_overflows() {
    let loops = [
        "{% set ns.x = [ns.x] %}",
        "{%- set ns . x=[ns.x]-%}",
        "{% set (ns.x, y) = [ns.x], '%}' %}",
        "{% set ns.x = {'a': ns.x} %}",
        "{%+ set ns.x | default([ns.x], true) %}{% endset %}",
        "{% if \"{% 'set\" %}{% set ns.x = [ns.x] %}{% endif %}",
    ];
    for body in loops {
        let source = format!(
            "{{% set ns = namespace(x=[]) %}}{{% for i in range(50000) %}}{body}{{% endfor %}}"
        );
        let text = template_error(render(&source));
        assert!(text.contains("at most 32 nested levels"), "{body}: {text}");
    }
    for body in ["{% set ns.x = ns %}", "{% set ns.x = [namespace()] %}"] {
        let source = format!("{{% set ns = namespace(x=1) %}}{body}{{{{ ns }}}}");
        let text = template_error(render(&source));
        assert!(text.contains("a namespace cannot hold a namespace"), "{body}: {text}");
    }
    // Lazy views of a sequence nest too; a copy has none.
    let views = "{% set ns = namespace(x=[1, 2]) %}{% for i in range(50000) %}\
                 {% set ns.x = ns.x|reverse %}{% endfor %}{{ ns.x }}";
    assert_eq!(render(views).as_deref(), Ok("[1, 2]"));
    // The longest chain without a loop.
    let chain = "{% set a=[a] %}".repeat(super::SOURCE_BYTES_MAX / 15);
    assert_eq!(render(&chain).as_deref(), Ok(""));
}

#[test]
fn namespaces_hold_what_templates_assign() {
    let cases = [
        ("{% set ns = namespace(a=1) %}{% set ns.a = ns.a + 1 if true else 0 %}{{ ns.a }}", "2"),
        ("{% set ns = namespace() %}{% set ns.a = 'x %} y' ~ \"=|\" -%} {{ ns.a }}", "x %} y=|"),
        (
            "{% set ns = namespace() %}{% set ns.a = {'b': [1, {'c': none}]} %}{{ ns.a }}",
            "{'b': [1, {'c': None}]}",
        ),
        ("{% set ns = namespace() %}{% set ns.a %}block{% endset %}{{ ns.a }}", "block"),
        ("{% set ns = namespace() %}{% set ns.a = messages[0] %}{{ ns.a.content }}", "hi"),
        ("{% set a = 'b.c' %}{% set settings = a %}{{ settings }}", "b.c"),
    ];
    for (source, expected) in cases {
        assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
    }
}
