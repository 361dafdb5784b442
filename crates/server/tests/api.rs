//! Requests and answers, as OpenAI's clients send and expect them.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Reply, Setup};
use trefoil_contract::{MessagePart, Prompt, ResponseFormat, ToolChoice};
use trefoil_server::Access;

fn hello(more: Value) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": "Hello" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn a_conversation_is_answered_as_a_whole() {
    let server = Setup::default().start();
    let reply = server.post("/v1/chat/completions", &hello(json!({ "max_tokens": 3 })));
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = reply.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "counting");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let choice = &body["choices"][0];
    assert_eq!(choice["message"], json!({ "role": "assistant", "content": "0 1 2 " }));
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(body["usage"]["completion_tokens"], 3);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 1);
    let total = body["usage"]["prompt_tokens"].as_u64().unwrap() + 3;
    assert_eq!(body["usage"]["total_tokens"], total);
}

#[test]
fn a_conversation_is_answered_as_a_stream() {
    let server = Setup::default().start();
    let options = json!({ "max_tokens": 2, "stream": true, "logprobs": true, "top_logprobs": 2,
        "stream_options": { "include_usage": true } });
    let reply = server.post("/v1/chat/completions", &hello(options));
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains("content-type: text/event-stream"), "{}", reply.head);
    let events = reply.events();
    assert_eq!(events.last().unwrap(), "[DONE]");
    let chunks: Vec<Value> =
        events[..events.len() - 1].iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let [role, first, second, last, usage] = chunks.as_slice() else { panic!("{chunks:?}") };
    assert_eq!(role["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(first["choices"][0]["delta"], json!({ "content": "0 " }));
    assert_eq!(first["choices"][0]["finish_reason"], Value::Null);
    let token = &first["choices"][0]["logprobs"]["content"][0];
    assert_eq!((&token["token"], &token["logprob"]), (&json!("0 "), &json!(-0.5)));
    assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 2);
    assert_eq!(second["choices"][0]["delta"], json!({ "content": "1 " }));
    assert_eq!(last["choices"][0]["delta"], json!({}));
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 2);
    assert!(chunks.iter().all(|chunk| chunk["id"] == role["id"]));
}

#[test]
fn everything_that_a_request_says_reaches_the_model() {
    let server = Setup::default().start();
    let body = json!({
        "model": "counting",
        "messages": [
            { "role": "developer", "content": [{ "type": "text", "text": "Be brief." }] },
            { "role": "user", "name": "ada", "content": "Weather?" },
            { "role": "assistant", "content": null, "reasoning_content": "Hm.", "tool_calls": [
                { "id": "call_1", "type": "function",
                  "function": { "name": "weather", "arguments": "{\"in\": \"Rome\"}" } }] },
            { "role": "tool", "tool_call_id": "call_1", "content": "sunny" },
        ],
        "max_tokens": 9, "max_completion_tokens": 1, "temperature": 0.5, "top_p": 0.9, "top_k": 7,
        "min_p": 0.1, "frequency_penalty": 0.2, "presence_penalty": 0.3, "repetition_penalty": 1.1,
        "seed": -1, "stop": ["x", "y"], "logit_bias": { "5": -100 }, "logprobs": true,
        "response_format": { "type": "json_schema",
            "json_schema": { "name": "n", "schema": { "type": "object" } } },
        "tools": [{ "type": "function", "function": { "name": "weather" } }],
        "tool_choice": { "type": "function", "function": { "name": "weather" } },
        "chat_template_kwargs": { "enable_thinking": false },
        "user": "somebody", "metadata": {},
    });
    let reply = server.post("/v1/chat/completions", &body);
    assert_eq!(reply.status, 200, "{reply:?}");
    let requests = server.counters.requests.lock().unwrap();
    let request = &requests[0];
    let settings: Vec<_> = request
        .settings
        .iter()
        .map(|setting| format!("{}={}", setting.key, setting.value))
        .collect();
    let expected = [
        "max-tokens=1",
        "temperature=0.5",
        "top-p=0.9",
        "min-p=0.1",
        "frequency-penalty=0.2",
        "presence-penalty=0.3",
        "repetition-penalty=1.1",
        "top-k=7",
        "seed=9223372036854775807",
        "stop=x",
        "stop=y",
    ];
    assert_eq!(settings, expected);
    assert_eq!(request.logit_bias, [(5, -100.0)]);
    assert_eq!(request.log_probabilities, Some(0));
    assert_eq!(request.response_format, ResponseFormat::JsonSchema(r#"{"type":"object"}"#.into()));
    assert_eq!(request.tool_choice, ToolChoice::Named("weather".into()));
    let Prompt::Chat(conversation) = &request.prompt else { panic!("{request:?}") };
    assert_eq!(conversation.variables.as_deref(), Some(r#"{"enable_thinking":false}"#));
    assert!(conversation.tools.as_ref().unwrap().contains("weather"));
    assert!(conversation.add_generation_prompt);
    let [system, user, assistant, tool] = conversation.messages.as_slice() else { panic!() };
    assert_eq!(system.role, "system");
    assert_eq!(user.variables.as_deref(), Some(r#"{"name":"ada"}"#));
    let [MessagePart::Reasoning(thought), MessagePart::ToolCall(call)] = assistant.parts.as_slice()
    else {
        panic!("{assistant:?}")
    };
    assert_eq!((thought.as_str(), call.id.as_str()), ("Hm.", "call_1"));
    let [MessagePart::ToolResult(result)] = tool.parts.as_slice() else { panic!("{tool:?}") };
    assert_eq!((result.id.as_str(), result.texts.as_slice()), ("call_1", &["sunny".into()][..]));
}

#[test]
fn a_response_is_streamed_in_events_with_names() {
    let server = Setup::default().start();
    let body = json!({ "input": "Hello", "max_output_tokens": 2, "stream": true });
    let reply = server.post("/v1/responses", &body);
    assert_eq!(reply.status, 200);
    let names: Vec<_> =
        reply.body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names.first(), Some(&"response.created"));
    assert_eq!(names.last(), Some(&"response.incomplete"));
    let events = reply.events();
    assert_eq!(events.len(), names.len());
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], "0 1 ");
    let whole = json!({ "input": "Hello", "max_output_tokens": 2 });
    let whole = server.post("/v1/responses", &whole).json();
    assert_eq!(whole["output"][0]["content"], last["response"]["output"][0]["content"]);
}

#[test]
fn a_text_is_continued() {
    let server = Setup::default().start();
    let body = json!({ "prompt": "Hi", "max_tokens": 2, "echo": true });
    let reply = server.post("/v1/completions", &body).json();
    assert_eq!(reply["object"], "text_completion");
    assert_eq!(reply["choices"][0]["text"], "Hi0 1 ");
    assert_eq!(reply["choices"][0]["finish_reason"], "length");
    assert_eq!(reply["usage"]["prompt_tokens"], 2);
    let body = json!({ "prompt": [72, 105], "max_tokens": 1, "echo": true, "stream": true });
    let events = server.post("/v1/completions", &body).events();
    let texts: Vec<String> = events[..events.len() - 1]
        .iter()
        .map(|text| serde_json::from_str::<Value>(text).unwrap()["choices"][0]["text"].to_string())
        .collect();
    assert_eq!(texts, ["\"Hi\"", "\"0 \"", "\"\""]);
}

#[test]
fn texts_become_vectors_and_tokens() {
    let server = Setup::default().start();
    let reply = server.post("/v1/embeddings", &json!({ "input": ["abc", "de"] })).json();
    assert_eq!(reply["data"][0]["embedding"], json!([3.0, 0.5]));
    assert_eq!(reply["data"][1]["index"], 1);
    assert_eq!(reply["usage"]["total_tokens"], 5);
    let body = json!({ "input": [1, 2], "encoding_format": "base64" });
    let reply = server.post("/v1/embeddings", &body).json();
    // 2.0 and 0.5, little-endian.
    assert_eq!(reply["data"][0]["embedding"], "AAAAQAAAAD8=");
    let reply = server.post("/tokenize", &json!({ "content": "ab" })).json();
    assert_eq!(reply, json!({ "tokens": [97, 98] }));
    let reply = server.post("/detokenize", &json!({ "tokens": [97, 98] })).json();
    assert_eq!(reply, json!({ "content": "ab" }));
}

#[test]
fn documents_are_sorted_by_their_scores() {
    let server = Setup::default().start();
    let documents = json!(["a", { "text": "abcd" }, "ab"]);
    let mut body = json!({ "query": "qq", "documents": documents });
    let reply = server.post("/v1/rerank", &body).json();
    let results: Vec<_> = reply["results"].as_array().unwrap().iter().collect();
    let found: Vec<_> = results.iter().map(|it| (&it["index"], &it["relevance_score"])).collect();
    let expected =
        [(1, 2.0), (2, 0.0), (0, -1.0)].map(|(index, score)| (json!(index), json!(score)));
    assert_eq!(found, expected.each_ref().map(|(index, score)| (index, score)));
    assert!(results.iter().all(|it| it.get("document").is_none()), "{reply}");
    assert_eq!(
        (&reply["model"], &reply["usage"]["total_tokens"]),
        (&json!("counting"), &json!(13))
    );
    body["top_n"] = json!(1);
    body["return_documents"] = json!(true);
    let reply = server.post("/v1/rerank", &body).json();
    let best = json!([{ "index": 1, "relevance_score": 2.0, "document": { "text": "abcd" } }]);
    assert_eq!(reply["results"], best);
    for (name, value) in [("documents", json!([])), ("documents", json!("a")), ("top_n", json!(0))]
    {
        let mut body = body.clone();
        body[name] = value;
        let (status, error) = server.post("/v1/rerank", &body).error();
        assert_eq!((status, &error["param"]), (400, &json!(name)), "{error}");
    }
}

#[test]
fn models_are_listed_and_chosen_by_name() {
    let server = Setup { names: vec!["one", "org/two"], ..Setup::default() }.start();
    let list = server.get("/v1/models").json();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["one", "org/two"]);
    assert_eq!(server.get("/v1/models/org/two").json()["id"], "org/two");
    let body = hello(json!({ "model": "org/two", "max_tokens": 1 }));
    assert_eq!(server.post("/v1/chat/completions", &body).json()["model"], "org/two");
    let (status, error) = server.post("/v1/chat/completions", &hello(json!({}))).error();
    assert_eq!((status, &error["param"]), (400, &json!("model")));
    let body = hello(json!({ "model": "three" }));
    let (status, error) = server.post("/v1/chat/completions", &body).error();
    assert_eq!((status, &error["code"]), (404, &json!("model_not_found")));
    assert_eq!(error["message"], "there is no model `three`; there are: one, org/two");
}

#[test]
fn what_is_wrong_is_named() {
    let server = Setup::default().start();
    let chat = |more: Value| server.post("/v1/chat/completions", &hello(more)).error();
    let image = json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url",
        "image_url": { "url": "data:," } }] }] });
    let long = json!({ "messages": [{ "role": "user", "content": "x".repeat(2000) }] });
    for (more, status, param, code, message) in [
        (json!({ "temperature": "hot" }), 400, "temperature", "invalid_value", "expected f64"),
        (json!({ "max_tokens": 0 }), 400, "max_tokens", "invalid_value", "at least 1"),
        (json!({ "messages": [] }), 400, "messages", "invalid_value", "empty"),
        (
            json!({ "messages": [{ "role": "user" }] }),
            400,
            "messages[0]",
            "invalid_value",
            "neither",
        ),
        (json!({ "messages": 5 }), 400, "messages", "invalid_value", "sequence"),
        (image, 400, "messages[0].content[0]", "unsupported_parameter", "`image_url`"),
        (json!({ "top_logprobs": 2 }), 400, "top_logprobs", "invalid_value", "needs `logprobs`"),
        (json!({ "functions": [] }), 400, "functions", "unsupported_parameter", "`tools`"),
        (json!({ "tool_choice": "maybe" }), 400, "tool_choice", "invalid_value", "`required`"),
        (json!({ "logit_bias": { "a": 1 } }), 400, "logit_bias", "invalid_value", "no token"),
        (json!({ "n": 0 }), 400, "n", "invalid_value", "from 1"),
        (json!({ "stop": vec!["x"; 65] }), 400, "stop", "invalid_value", "65 texts"),
        (long, 400, "", "context_length_exceeded", "context of 1000"),
        (json!({ "n": 2 }), 400, "", "unsupported", "several choices"),
    ] {
        let (found, error) = chat(more.clone());
        let more = more.to_string();
        assert_eq!(found, status, "{more:.80}: {error}");
        assert_eq!(error["type"], "invalid_request_error", "{more:.80}: {error}");
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{more:.80}: {error}");
        assert_eq!(error["code"], code, "{more:.80}: {error}");
        assert!(error["message"].as_str().unwrap().contains(message), "{more:.80}: {error}");
    }
    for (name, value) in
        [("best_of", json!(3)), ("suffix", json!("x")), ("prompt", json!(["a", "b"]))]
    {
        let mut body = json!({ "prompt": "x" });
        body[name] = value;
        let (status, error) = server.post("/v1/completions", &body).error();
        let found = (status, &error["param"], &error["code"]);
        assert_eq!(found, (400, &json!(name), &json!("unsupported_parameter")), "{error}");
    }
    let (status, error) = server.send("POST", "/v1/completions", "", "{ not json").error();
    assert_eq!(status, 400);
    assert!(error["message"].as_str().unwrap().starts_with("the body is not JSON"), "{error}");
    let (status, error) = server.get("/v1/nothing").error();
    assert_eq!((status, &error["code"]), (404, &json!("not_found")));
    let (status, error) = server.get("/v1/chat/completions").error();
    assert_eq!((status, &error["code"]), (405, &json!("method_not_allowed")));
    // The server does not wait for what it will not take.
    let (status, error) = Reply::read(server.announce("/v1/completions", 40 << 20)).error();
    assert_eq!((status, &error["code"]), (413, &json!("invalid_body")));
}

#[test]
fn a_key_opens_all_but_what_everybody_may_see() {
    let access = Access { keys: vec!["secret".into(), "other".into()], ..Access::default() };
    let server = Setup { access, ..Setup::default() }.start();
    let (status, error) = server.get("/v1/models").error();
    assert_eq!((status, &error["type"]), (401, &json!("authentication_error")));
    let wrong = server.send("GET", "/v1/models", "authorization: Bearer wrong\r\n", "");
    assert_eq!(wrong.status, 401);
    assert!(wrong.head.contains("www-authenticate: bearer"), "{}", wrong.head);
    for key in ["secret", "other"] {
        let header = format!("authorization: Bearer {key}\r\n");
        assert_eq!(server.send("GET", "/v1/models", &header, "").status, 200);
    }
    for path in ["/health", "/", "/openapi.json"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}

#[test]
fn pages_of_allowed_origins_may_ask() {
    let origins = vec!["https://a.example".into()];
    let access = Access { origins, ..Access::default() };
    let server = Setup { access, ..Setup::default() }.start();
    let from = |origin: &str| {
        let header = format!("origin: {origin}\r\naccess-control-request-method: POST\r\n");
        server.send("OPTIONS", "/v1/chat/completions", &header, "").head
    };
    let allowed = "access-control-allow-origin: https://a.example";
    assert!(from("https://a.example").contains(allowed));
    assert!(!from("https://b.example").contains("access-control-allow-origin: https://b"));
    // Without `--cors` no page may.
    let header = "origin: https://a.example\r\n";
    let head = Setup::default().start().send("GET", "/v1/models", header, "").head;
    assert!(!head.contains("access-control"), "{head}");
}

#[test]
fn the_description_names_what_is_served() {
    let server = Setup::default().start();
    let document = server.get("/openapi.json").json();
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let expected = [
        "/detokenize",
        "/health",
        "/metrics",
        "/tokenize",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/models",
        "/v1/models/{name}",
        "/v1/rerank",
        "/v1/responses",
    ];
    let mut sorted = paths.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
    // OpenAPI 3.1, section 4.8.10: unique among all operations.
    let operations = document["paths"].as_object().unwrap().values();
    let operations = operations.flat_map(|methods| methods.as_object().unwrap().values());
    let mut ids: Vec<_> = operations.map(|it| it["operationId"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), paths.len());
    let schemas = &document["components"]["schemas"];
    assert!(schemas["ChatRequest"].is_object() && schemas["ErrorBody"].is_object());
}
