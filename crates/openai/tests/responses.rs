//! `/v1/responses`: requests become the contract's, events become responses.

use serde_json::{Value, json};
use trefoil_contract::{
    Delta, Done, Event, FinishReason, Message, MessagePart, Prompt, Request, ResponseFormat,
    ToolCall, ToolCallDelta, ToolChoice, ToolResult, Usage,
};
use trefoil_openai::{
    Answer, Asked, Failure, GenerationRequest, ResponsesAnswer, ResponsesRequest, Stamp, read,
};

const STAMP: Stamp = Stamp { random: 0xabc << 64, created_s: 7 };

fn ask(body: &Value) -> Result<Asked<ResponsesAnswer>, Failure> {
    read::<ResponsesRequest>(body.to_string().as_bytes())?.ask("m", u32::MAX, STAMP)
}

fn asked(body: Value) -> Request {
    ask(&body).expect("is possible").request
}

fn conversation(request: Request) -> (Vec<Message>, Option<String>) {
    match request.prompt {
        Prompt::Chat(conversation) => (conversation.messages, conversation.tools),
        other => panic!("{other:?}"),
    }
}

fn delta(text: &str) -> Delta {
    Delta { choice: 0, text: text.into(), tokens: vec![3], log_probabilities: Vec::new() }
}

fn call(id: Option<&str>, arguments: &str) -> Event {
    Event::ToolCallDelta(ToolCallDelta {
        choice: 0,
        index: 0,
        id: id.map(str::to_owned),
        name: id.map(|_| "weather".to_owned()),
        arguments: arguments.into(),
    })
}

fn done(reason: FinishReason) -> Event {
    let usage =
        Usage { prompt_tokens: 5, cached_tokens: 2, generated_tokens: 4, ..Usage::default() };
    Event::Done(Done { choice: 0, reason, usage })
}

/// The events of a stream, and the response that they end with.
fn stream(events: Vec<Event>) -> Vec<Value> {
    let mut answer = ask(&json!({ "input": "Hi", "stream": true })).expect("is possible").answer;
    let mut chunks = answer.first();
    for event in events {
        assert!(!answer.is_complete());
        chunks.extend(answer.chunks(event));
    }
    assert!(answer.is_complete());
    for (number, chunk) in chunks.iter().enumerate() {
        assert_eq!(chunk["sequence_number"], number);
        assert_eq!(ResponsesAnswer::name(chunk), chunk["type"].as_str());
    }
    chunks
}

fn whole(body: &Value, events: Vec<Event>) -> Value {
    let mut answer = ask(body).expect("is possible").answer;
    events.into_iter().for_each(|event| answer.add(event));
    serde_json::to_value(answer.whole()).expect("is JSON")
}

#[test]
fn all_that_was_said_and_done_becomes_messages() {
    let request = asked(json!({
        "instructions": "Be brief.",
        "input": [
            { "role": "user", "content": "What is the weather?" },
            { "type": "reasoning", "summary": [],
              "content": [{ "type": "reasoning_text", "text": "Hm." }] },
            { "type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "c1", "output": "sunny" },
            { "type": "message", "role": "assistant", "id": "msg_1",
              "content": [{ "type": "output_text", "text": "Sunny.", "annotations": [] }] },
            { "role": "developer", "content": [{ "type": "input_text", "text": "Go on." }] },
        ],
        "tools": [{ "type": "function", "name": "weather", "parameters": { "type": "object" } }],
        "tool_choice": { "type": "function", "name": "weather" },
        "max_output_tokens": 9,
        "temperature": 0,
    }));
    assert_eq!(request.tool_choice, ToolChoice::Named("weather".into()));
    let settings: Vec<_> = request.settings.iter().map(|setting| setting.key.as_str()).collect();
    assert_eq!(settings, ["max-tokens", "temperature"]);
    let (messages, tools) = conversation(request);
    let message = |role: &str, parts| Message { role: role.into(), parts, variables: None };
    let text = |text: &str| MessagePart::Text(text.into());
    let call = ToolCall { id: "c1".into(), name: "weather".into(), arguments: "{}".into() };
    let result = ToolResult { id: "c1".into(), texts: vec!["sunny".into()] };
    let expected = [
        message("system", vec![text("Be brief.")]),
        message("user", vec![text("What is the weather?")]),
        message(
            "assistant",
            vec![MessagePart::Reasoning("Hm.".into()), MessagePart::ToolCall(call)],
        ),
        message("tool", vec![MessagePart::ToolResult(result)]),
        message("assistant", vec![text("Sunny.")]),
        message("system", vec![text("Go on.")]),
    ];
    assert_eq!(messages, expected);
    let tools: Value = serde_json::from_str(&tools.expect("tools")).expect("is JSON");
    let function = json!({ "name": "weather", "parameters": { "type": "object" } });
    assert_eq!(tools, json!([{ "type": "function", "function": function }]));
}

#[test]
fn a_format_of_the_text_is_the_models() {
    let schema = json!({ "type": "integer" });
    let format = json!({ "type": "json_schema", "name": "n", "schema": schema, "strict": true });
    let request = asked(json!({ "input": "x", "text": { "format": format } }));
    assert_eq!(request.response_format, ResponseFormat::JsonSchema(schema.to_string()));
    let request = asked(json!({ "input": "x", "text": { "verbosity": "low" } }));
    assert_eq!(request.response_format, ResponseFormat::Text);
}

#[test]
fn a_response_has_what_was_thought_said_and_called() {
    let events = || {
        vec![
            Event::Reasoning(delta("Hm")),
            Event::Reasoning(delta(".")),
            Event::Delta(delta("Let me see.")),
            call(Some("c1"), ""),
            call(None, "{}"),
            done(FinishReason::ToolCalls),
        ]
    };
    let body = json!({ "input": "Hi", "metadata": { "a": "b" } });
    let expected = json!({
        "id": "resp_0000000000000abc0000000000000000", "object": "response", "created_at": 7,
        "status": "completed", "incomplete_details": null, "error": null, "model": "m",
        "output": [
            { "type": "reasoning", "id": "rs_0000000000000abc0000", "summary": [],
              "content": [{ "type": "reasoning_text", "text": "Hm.", "annotations": [] }],
              "status": "completed" },
            { "type": "message", "id": "msg_0000000000000abc0001", "role": "assistant",
              "content": [{ "type": "output_text", "text": "Let me see.", "annotations": [] }],
              "status": "completed" },
            { "type": "function_call", "id": "fc_0000000000000abc0002", "call_id": "c1",
              "name": "weather", "arguments": "{}", "status": "completed" },
        ],
        "usage": {
            "input_tokens": 5, "input_tokens_details": { "cached_tokens": 2 },
            "output_tokens": 4, "output_tokens_details": { "reasoning_tokens": 2 },
            "total_tokens": 9,
        },
        "instructions": null, "max_output_tokens": null, "metadata": { "a": "b" },
        "tool_choice": "auto", "tools": [], "parallel_tool_calls": true, "store": false,
    });
    assert_eq!(whole(&body, events()), expected);

    let chunks = stream(events());
    let kinds: Vec<_> = chunks.iter().filter_map(|chunk| chunk["type"].as_str()).collect();
    let expected_kinds = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(kinds, expected_kinds);
    let delta = &chunks[11];
    let place = (&delta["output_index"], &delta["content_index"], &delta["item_id"]);
    assert_eq!(place, (&json!(1), &json!(0), &json!("msg_0000000000000abc0001")));
    assert_eq!(chunks[18]["item"], expected["output"][2]);
    assert_eq!(chunks[19]["response"]["output"], expected["output"]);
}

#[test]
fn a_response_that_is_cut_is_incomplete_and_one_without_text_has_an_empty_one() {
    let response = whole(&json!({ "input": "x" }), vec![done(FinishReason::Length)]);
    assert_eq!(response["status"], "incomplete");
    assert_eq!(response["incomplete_details"], json!({ "reason": "max_output_tokens" }));
    assert_eq!(response["output"][0]["content"][0]["text"], "");
    let last = stream(vec![done(FinishReason::ContextFull)]).pop().expect("events");
    assert_eq!(last["type"], "response.incomplete");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let image = json!([{ "role": "user", "content": [{ "type": "input_image" }] }]);
    for (name, body) in [
        ("previous_response_id", json!({ "input": "x", "previous_response_id": "resp_1" })),
        ("background", json!({ "input": "x", "background": true })),
        ("truncation", json!({ "input": "x", "truncation": "auto" })),
        ("n", json!({ "input": "x", "n": 2 })),
        ("tools[0]", json!({ "input": "x", "tools": [{ "type": "web_search" }] })),
        ("input", json!({ "input": [] })),
        ("input[0].content[0]", json!({ "input": image })),
        ("input[0]", json!({ "input": [{ "type": "item_reference", "id": "msg_1" }] })),
        ("input[0]", json!({ "input": [{ "type": "function_call_output", "output": "x" }] })),
        (
            "input[0].arguments",
            json!({ "input": [{ "type": "function_call", "call_id": "c", "name": "f",
                "arguments": "[" }] }),
        ),
        ("tool_choice", json!({ "input": "x", "tool_choice": "sometimes" })),
        (
            "tool_choice",
            json!({ "input": "x", "tool_choice": { "type": "function", "name": "none" } }),
        ),
    ] {
        let failure = ask(&body).map(|_| ()).expect_err(name);
        assert_eq!(failure.status(), 400, "{name}");
        let body = serde_json::to_value(failure.into_body()).expect("is JSON");
        assert_eq!(body["error"]["param"], name, "{body}");
    }
    assert_eq!(ask(&json!({})).map(|_| ()).expect_err("no input").status(), 400);
}
