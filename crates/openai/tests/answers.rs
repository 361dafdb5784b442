//! Events become answers, whole and in chunks, without a server.

use serde_json::{Value, json};
use trefoil_contract::{
    Delta, Done, Error, Event, FinishReason, TokenChoice, TokenProbability, ToolCallDelta, Usage,
};
use trefoil_openai::{
    Answer, Asked, ChatRequest, CompletionRequest, Failure, GenerationRequest, Stamp, read,
};

const STAMP: Stamp = Stamp { random: 0xabc << 32, created_s: 7 };

fn ask<R: GenerationRequest>(body: &Value) -> Asked<R::Answer> {
    let request: R = read(body.to_string().as_bytes()).expect("a request");
    request.ask("m", u32::MAX, STAMP).expect("is possible")
}

fn chat(more: Value) -> Asked<<ChatRequest as GenerationRequest>::Answer> {
    let mut body = json!({ "messages": [{ "role": "user", "content": "Hello" }] });
    let fields = body.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    ask::<ChatRequest>(&body)
}

fn delta(choice: u32, text: &str) -> Delta {
    let likely = TokenProbability { token: 3, bytes: text.into(), log_probability: -0.5 };
    let log_probabilities = vec![TokenChoice { chosen: likely.clone(), top: vec![likely] }];
    Delta { choice, text: text.into(), tokens: vec![3], log_probabilities }
}

fn done(choice: u32, reason: FinishReason) -> Event {
    let usage =
        Usage { prompt_tokens: 5, cached_tokens: 2, generated_tokens: 3, ..Usage::default() };
    Event::Done(Done { choice, reason, usage })
}

fn call(id: Option<&str>, name: Option<&str>, arguments: &str) -> Event {
    let (id, name) = (id.map(str::to_owned), name.map(str::to_owned));
    Event::ToolCallDelta(ToolCallDelta {
        choice: 0,
        index: 0,
        id,
        name,
        arguments: arguments.into(),
    })
}

fn whole<A: Answer>(mut answer: A, events: Vec<Event>) -> Value {
    for event in events {
        assert!(!answer.is_complete());
        answer.add(event);
    }
    assert!(answer.is_complete());
    serde_json::to_value(answer.whole()).expect("is JSON")
}

fn stream<A: Answer>(mut answer: A, events: Vec<Event>) -> Vec<Value> {
    let mut chunks = answer.first();
    for event in events {
        assert!(!answer.is_complete());
        chunks.extend(answer.chunks(event));
    }
    assert!(answer.is_complete());
    chunks.iter().map(|chunk| serde_json::to_value(chunk).expect("is JSON")).collect()
}

#[test]
fn a_conversation_is_answered_with_reasoning_and_calls() {
    let events = || {
        vec![
            Event::Reasoning(delta(0, "Hm.")),
            call(Some("c1"), Some("weather"), ""),
            call(None, None, "{\"in\""),
            call(None, None, ":1}"),
            done(0, FinishReason::ToolCalls),
        ]
    };
    let asked = chat(json!({}));
    let message = json!({
        "role": "assistant", "content": null, "reasoning_content": "Hm.", "tool_calls": [
            { "id": "c1", "type": "function",
              "function": { "name": "weather", "arguments": "{\"in\":1}" } }],
    });
    let expected = json!({
        "id": "chatcmpl-000000000000000000000abc", "object": "chat.completion", "created": 7,
        "model": "m",
        "choices": [{
            "index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": null,
        }],
        "usage": { "prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8,
            "prompt_tokens_details": { "cached_tokens": 2 } },
    });
    assert_eq!(whole(asked.answer, events()), expected);

    let chunks = stream(chat(json!({ "stream": true })).answer, events());
    let deltas: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    let expected = json!([
        { "role": "assistant", "content": "" },
        { "reasoning_content": "Hm." },
        { "tool_calls": [{ "index": 0, "id": "c1", "type": "function",
            "function": { "name": "weather", "arguments": "" } }] },
        { "tool_calls": [{ "index": 0, "function": { "arguments": "{\"in\"" } }] },
        { "tool_calls": [{ "index": 0, "function": { "arguments": ":1}" } }] },
        {},
    ]);
    assert_eq!(json!(deltas), expected);
    assert_eq!(chunks[5]["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn several_answers_end_one_after_the_other_and_count_their_prompt_once() {
    let events = || {
        vec![
            Event::Delta(delta(1, "b")),
            Event::Delta(delta(0, "a")),
            done(1, FinishReason::Length),
            done(0, FinishReason::StopText),
        ]
    };
    let wishes = json!({ "n": 2, "logprobs": true, "stream": true,
        "stream_options": { "include_usage": true } });
    let asked = chat(wishes.clone());
    assert!(asked.stream);
    assert_eq!((asked.request.choices, asked.request.log_probabilities), (2, Some(0)));
    let answer = whole(asked.answer, events());
    for (index, text, reason) in [(0, "a", "stop"), (1, "b", "length")] {
        let choice = &answer["choices"][index];
        assert_eq!(choice["message"], json!({ "role": "assistant", "content": text }));
        assert_eq!(choice["finish_reason"], reason);
        assert_eq!(choice["logprobs"]["content"][0]["token"], text);
    }
    assert_eq!(answer["usage"]["total_tokens"], 11);

    let chunks = stream(chat(wishes).answer, events());
    assert_eq!(chunks.len(), 7, "two beginnings, four events, the usage");
    assert_eq!(chunks[2]["choices"][0]["logprobs"]["content"][0]["bytes"], json!([98]));
    assert_eq!(chunks[6]["choices"], json!([]));
    assert_eq!(chunks[6]["usage"]["completion_tokens"], 6);
}

#[test]
fn a_text_is_continued_behind_its_echo() {
    let events = || vec![Event::Delta(delta(0, "c")), done(0, FinishReason::ContextFull)];
    let asked = ask::<CompletionRequest>(&json!({ "prompt": "ab", "echo": true }));
    let answer = whole(asked.answer, events());
    let choice = json!({ "index": 0, "text": "abc", "finish_reason": "length" });
    assert_eq!(answer["choices"], json!([choice]));

    // The text of tokens is not known here.
    let mut asked = ask::<CompletionRequest>(&json!({ "prompt": [1, 2], "echo": true }));
    assert_eq!(asked.echo, Some(vec![1, 2]));
    asked.answer.begin_with(b"ab");
    let chunks = stream(asked.answer, events());
    let texts: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]["text"]).collect();
    assert_eq!(json!(texts), json!(["ab", "c", ""]));
}

#[test]
fn tokens_of_a_continued_text_have_probabilities_and_places() {
    let events = || {
        let (mut first, second) = (delta(0, "öh"), delta(0, " x"));
        // Held back until the next token.
        first.text.clear();
        vec![Event::Delta(first), Event::Delta(second), done(0, FinishReason::Stop)]
    };
    let body = |stream| json!({ "prompt": "a", "logprobs": 1, "stream": stream });
    let answer = ask::<CompletionRequest>(&body(false)).answer;
    let expected = json!({
        "tokens": ["öh", " x"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{ "öh": -0.5 }, { " x": -0.5 }],
        "text_offset": [0, 2],
    });
    assert_eq!(whole(answer, events())["choices"][0]["logprobs"], expected);

    let chunks = stream(ask::<CompletionRequest>(&body(true)).answer, events());
    let offsets: Vec<_> =
        chunks.iter().map(|chunk| &chunk["choices"][0]["logprobs"]["text_offset"]).collect();
    assert_eq!(json!(offsets), json!([[0], [2], null]));

    let echoed = json!({ "prompt": "a", "logprobs": 1, "echo": true });
    let request: CompletionRequest = read(echoed.to_string().as_bytes()).expect("a request");
    assert!(request.ask("m", u32::MAX, STAMP).is_err());
}

#[test]
fn no_answer_is_longer_than_the_limit_of_the_server() {
    for (wanted, limit, expected) in [
        (Some(5), 3, Some("3")),
        (Some(2), 3, Some("2")),
        (None, 3, Some("3")),
        (None, u32::MAX, None),
    ] {
        let body = json!({ "prompt": "x", "max_tokens": wanted });
        let request: CompletionRequest = read(body.to_string().as_bytes()).expect("a request");
        let asked = request.ask("m", limit, STAMP).expect("is possible");
        let setting = asked.request.settings.iter().find(|setting| setting.key == "max-tokens");
        let found = setting.map(|setting| setting.value.to_string());
        assert_eq!(found.as_deref(), expected, "{wanted:?} of {limit}");
    }
}

#[test]
fn errors_of_the_engine_have_the_status_and_the_code_of_their_kind() {
    let overflow = Error::ContextOverflow { needed_tokens: 9, available_tokens: 5 };
    for (error, status, code) in [
        (Error::InvalidArgument("x".into()), 400, "invalid_value"),
        (overflow, 400, "context_length_exceeded"),
        (Error::NotFound("x".into()), 404, "not_found"),
        (Error::Busy("x".into()), 503, "overloaded"),
        (Error::Io("x".into()), 500, "engine_error"),
    ] {
        let failure = Failure::from(error);
        assert_eq!(failure.status(), status);
        let body = serde_json::to_value(failure.into_body()).expect("is JSON");
        assert_eq!(body["error"]["code"], code);
    }
    assert_eq!(Failure::queue_full(3).header(), Some(("retry-after", "1")));
    assert_eq!(Failure::unauthorised().header(), Some(("www-authenticate", "Bearer")));
    assert_eq!(Failure::invalid("x").header(), None);
}
