//! The server through its command, with the official clients.

mod support;

use std::io::Read;
use std::process::Command;

use serde_json::{Value, json};
use support::served::Served;
use support::{Place, needed, run_with_input, smollm2};
use trefoil_fixtures::{TinyLlama, golden, tiny_llama};

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

#[test]
fn the_official_clients_get_what_the_command_generates() {
    let (place, model) = (Place::new(), smollm2());
    let named = format!("small={model}");
    let flags = ["--api-key", "secret", "--pooling", "mean", "--context-tokens", "2048"];
    let served = Served::start(&place, &[&[named.as_str()], &flags[..]].concat());
    assert_eq!(served.models, json!(["small"]));

    let generate = |more: &[&str]| {
        let flags = ["--engine", "cpu-relaxed", "--temperature", "0", "-n", "8", "--json"];
        let answer = place.run(&[&["generate", &model], &flags[..], more].concat()).json();
        answer["text"].clone()
    };
    let chat = generate(&["-p", "What is the capital of France?"]);
    let text = generate(&["--raw", "-p", "Once upon a time"]);

    let answers = python(&served, "openai_client.py");
    let expected = json!({
        "models": ["small"],
        "whole": chat,
        "usage": 8,
        "finish_reason": "length",
        "stream": chat,
        "stream_usage": 8,
        "text": text,
        "no_model": ["NotFoundError", "model_not_found"],
        "too_long": ["BadRequestError", "context_length_exceeded"],
        "unauthorised": "invalid_api_key",
        "vector": 576,
    });
    assert_eq!(answers, expected);

    let answers = node(&served, "openai_client.mjs");
    let no_model = json!(["NotFoundError", "model_not_found"]);
    assert_eq!(answers, json!({ "whole": chat, "stream": chat, "no_model": no_model }));

    // Nothing is left of the answer that nobody wanted to the end.
    served.until_idle("small");
}

#[test]
fn applications_get_calls_schemas_and_probabilities_through_the_official_clients() {
    let (place, model) = (Place::new(), smollm2());
    let flags = ["--api-key", "secret", "--pooling", "mean", "--context-tokens", "2048"];
    let named = format!("small={model}");
    let served = Served::start(&place, &[&[named.as_str()], &flags[..]].concat());

    let answers = python(&served, "round_trips.py");
    let expected = json!({
        "tools": {
            "finish_reasons": ["tool_calls", "tool_calls", "tool_calls"],
            "name": true,
            "arguments": answers["tools"]["arguments"],
            "stream_is_the_same": true,
            "named": ["get_time", ["zone"]],
            "without": true,
            "prompts_grow": true,
        },
        "schema": true,
        "log_probabilities": { "tokens": 8, "text": true, "greedy": true, "ordered": true },
        "choices": [2, true],
        "embeddings": [3, true],
        "refusals": ["messages[0].content[0]", "tool_choice", "temperature", "tool_choice"],
    });
    assert_eq!(answers, expected);
    let arguments = &answers["tools"]["arguments"];
    assert!([json!(["city"]), json!(["zone"])].contains(arguments), "{arguments}");

    let expected = json!({ "city": true, "doors": true, "tokens": 4, "vectors": 2 });
    assert_eq!(node(&served, "round_trips.mjs"), expected);

    let generate = ["generate", &model, "--engine", "cpu-relaxed", "--temperature", "0", "-n", "8"];
    let question = ["--context-tokens", "2048", "--json", "-p", "What is the capital of France?"];
    let said = place.run(&[&generate[..], &question].concat()).json()["text"].clone();
    let expected = json!({
        "whole": said,
        "stream": said,
        "call": ["add", ["first", "second"]],
        "answer": true,
        "doors": true,
        "vectors": 2,
    });
    assert_eq!(python(&served, "langchain_client.py"), expected);
    served.until_idle("small");
}

fn python(served: &Served, client: &str) -> Value {
    let mut python = Command::new(needed("TREFOIL_PYTHON"));
    python.arg(format!("{CLIENTS}/{client}")).args([&served.url, "small"]);
    run_with_input(python, b"").json()
}

fn node(served: &Served, client: &str) -> Value {
    let packages = needed("TREFOIL_NODE_PACKAGES");
    let mut node = Command::new(format!("{packages}/node_modules/.bin/node"));
    node.arg(format!("{CLIENTS}/{client}")).args([&packages, &served.url, "small"]);
    run_with_input(node, b"").json()
}

/// Cases that are generated for each path.
const CASES: &str = if cfg!(feature = "exhaustive") { "200" } else { "10" };

#[test]
fn requests_made_from_the_description_get_what_it_says_and_break_nothing() {
    let place = Place::with_model();
    let flags = ["m=tiny.gguf", "--tokens-max", "8", "--pooling", "mean"];
    let served = Served::start(&place, &flags);
    let mut python = Command::new(needed("TREFOIL_PYTHON"));
    let url = format!("{}/openapi.json", served.url);
    python.current_dir(place.folder.path()).args(["-m", "schemathesis.cli", "run", &url]);
    python.args(["--phases", "coverage,fuzzing", "--max-examples", CASES, "--seed", "1"]);
    // An answer that takes longer counts as a hang.
    python.args(["--request-timeout", "60", "--suppress-health-check", "all"]);
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,\
                  response_schema_conformance";
    python.args(["--checks", checks]);
    let ended = run_with_input(python, b"");
    let report = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.code, Some(0), "{report}");
    assert!(report.contains("Tested: 11"), "{report}");
    served.until_idle("m");
    assert!(served.get("/metrics").contains("trefoil_instance_failures_total{model=\"m\"} 0"));
}

#[test]
fn the_example_of_the_documentation_is_answered() {
    let (place, model) = (Place::new(), smollm2());
    let defaults = ["--temperature", "0", "-n", "8"];
    let named = format!("smollm2={model}");
    let served = Served::start(&place, &[&[named.as_str()], &defaults[..]].concat());
    let page = include_str!("../../../docs/serve.md");
    let (_, example) = page.split_once("```python\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let example = example.replace("http://127.0.0.1:8080", &served.url);
    let mut python = Command::new(needed("TREFOIL_PYTHON"));
    python.args(["-c", &format!("{example}\nprint(answer.choices[0].message.content, end='')")]);
    let said = run_with_input(python, b"").text();

    let flags = ["--engine", "cpu-relaxed", "--json", "-p", "Hello"];
    let expected = place.run(&[&["generate", &model], &flags[..], &defaults].concat()).json();
    assert_eq!(json!(said), expected["text"]);
    assert!(served.get("/openapi.json").contains("/v1/chat/completions"));
}

#[test]
fn models_have_the_names_of_their_files_and_the_server_stops_cleanly() {
    let place = Place::with_model();
    let compose = ["compose", "--engine", "cpu", "--model", "tiny.gguf", "-o", "second.wasm"];
    place.run(&compose).succeeded();
    let mut served = Served::start(&place, &["tiny.gguf", "second.wasm"]);
    assert_eq!(served.models, json!(["tiny", "second"]));
    assert!(served.get("/").contains("<title>Trefoil</title>"));
    #[cfg(unix)]
    {
        served.interrupt();
        assert_eq!(served.child.wait().expect("ends").code(), Some(0));
    }
}

#[test]
fn a_certificate_makes_it_speak_tls() {
    let place = Place::with_model();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("makes one");
    place.write("cert.pem", made.cert.pem().as_bytes());
    place.write("key.pem", made.signing_key.serialize_pem().as_bytes());
    let flags = ["--tls-certificate", "cert.pem", "--tls-key", "key.pem"];
    let served = Served::start(&place, &[&["tiny.gguf"], &flags[..]].concat());
    let port = served.url.strip_prefix("https://127.0.0.1:").expect("TLS");
    // A client that trusts this certificate and nothing else, and looks at the name in it.
    let ask = "import ssl, sys, urllib.request; \
               trust = ssl.create_default_context(cafile='cert.pem'); \
               print(urllib.request.urlopen(sys.argv[1], context=trust).read().decode())";
    let mut python = Command::new(needed("TREFOIL_PYTHON"));
    python.current_dir(place.folder.path()).args(["-c", ask]);
    python.arg(format!("https://localhost:{port}/health"));
    assert_eq!(run_with_input(python, b"").json(), json!({ "status": "ok" }));
}

#[cfg(unix)]
#[test]
fn answers_under_way_end_before_the_server_does() {
    let (place, model) = (Place::new(), smollm2());
    let stopped = |drain: &str| {
        let flags = ["--drain", drain, "--context-tokens", "1024"];
        let mut served = Served::start(&place, &[&[model.as_str()], &flags[..]].concat());
        let body = json!({ "prompt": "Once upon a time", "max_tokens": 200, "temperature": 0,
            "stream": true, "stream_options": { "include_usage": true } });
        let mut stream = served.open("/v1/completions", &body);
        let mut text = vec![0; 1024];
        stream.read_exact(&mut text).expect("the answer begins");
        served.interrupt();
        stream.read_to_end(&mut text).expect("the answer ends");
        assert_eq!(served.child.wait().expect("ends").code(), Some(0));
        String::from_utf8(text).expect("is text")
    };
    let whole = stopped("60s");
    assert!(whole.contains("\"completion_tokens\":200") && whole.contains("[DONE]"), "{whole}");
    let cut = stopped("1ms");
    assert!(cut.contains("\"code\":\"stopping\""), "{cut}");
}

#[test]
fn all_models_of_a_composition_are_offered() {
    let place = Place::with_model();
    let other = TinyLlama { seed: 9, ..TinyLlama::default() };
    place.write("other.gguf", &tiny_llama(&other));
    let compose = ["compose", "--engine", "cpu", "--model", "tiny=tiny.gguf", "--model"];
    place.run(&[&compose[..], &["big=other.gguf", "-o", "two.wasm"]].concat()).succeeded();
    let served = Served::start(&place, &["two.wasm", "tiny.gguf", "--engine", "cpu"]);
    assert_eq!(served.models, json!(["two/tiny", "two/big", "tiny"]));
    let text = |model: &str| {
        let body = json!({ "model": model, "prompt": "a", "temperature": 0, "max_tokens": 12 });
        let answer = served.post("/v1/completions", &body);
        answer["choices"][0]["text"].clone()
    };
    assert_eq!(text("two/tiny"), text("tiny"));
    assert_ne!(text("two/big"), text("tiny"));
}

#[test]
fn documents_are_sorted_as_the_command_sorts_them() {
    let place = Place::new();
    let model = golden::ranking().swap_remove(0);
    place.write("rank.gguf", &model.file);
    let served = Served::start(&place, &["rank.gguf", "--engine", "cpu"]);
    let documents = ["one", "two words", "3"];
    let body = json!({ "query": "what?", "documents": documents, "return_documents": true });
    let answer = served.post("/v1/rerank", &body);
    let mut run = vec!["rerank", "rank.gguf", "--engine", "cpu", "--json", "-Q", "what?"];
    documents.iter().for_each(|document| run.extend(["-d", document]));
    let expected = place.run(&run).json();
    let ranked = |result: &Value| {
        let document = result["document"].get("text").unwrap_or(&result["document"]);
        (result["index"].clone(), document.clone())
    };
    let of = |answer: &Value| -> Vec<_> {
        answer["results"].as_array().expect("a list").iter().map(ranked).collect()
    };
    assert_eq!(of(&answer), of(&expected));
    // The command writes it in double precision.
    let single = |score: &Value| score.as_f64().expect("a number") as f32;
    let (found, expected) = (&answer["results"][0], &expected["results"][0]);
    assert_eq!(single(&found["relevance_score"]), single(&expected["score"]));
}

#[test]
fn what_cannot_be_served_is_refused_before_the_server_listens() {
    let place = Place::with_model();
    place.run(&["serve"]).failed(2, &["MODEL"]);
    place.run(&["serve", "none.gguf"]).failed(1, &["none.gguf"]);
    place.run(&["serve", "tiny.gguf", "tiny.gguf"]).failed(2, &["two models are named `tiny`"]);
    let cors = ["serve", "tiny.gguf", "--port", "0", "--cors", "example.org"];
    place.run(&cors).failed(1, &["cannot serve", "`example.org` is no origin"]);
    place.write("cert.pem", b"no certificate");
    let tls = ["serve", "tiny.gguf", "--port", "0", "--tls-certificate", "cert.pem"];
    place.run(&[&tls[..], &["--tls-key", "cert.pem"]].concat()).failed(1, &["cannot serve"]);
}
