//! The server through its command, with the official clients.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Place, needed, run_with_input, smollm2};

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// A server that is killed when it is dropped.
struct Served {
    child: Child,
    url: String,
    models: Value,
}

impl Served {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let arguments = [&["serve", "--port", "0", "--json"], arguments].concat();
        let mut child = place.command(&arguments).stderr(Stdio::null()).spawn().expect("starts");
        let mut line = String::new();
        let out = child.stdout.as_mut().expect("is piped");
        BufReader::new(out).read_line(&mut line).expect("says where it listens");
        let said: Value = serde_json::from_str(&line).expect("is JSON");
        let url = said["url"].as_str().expect("an address").to_owned();
        Served { child, url, models: said["models"].clone() }
    }

    /// The body of a page.
    fn get(&self, path: &str) -> String {
        let host = self.url.strip_prefix("http://").expect("plain HTTP");
        let mut stream = TcpStream::connect(host).expect("listens");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer secret\r\n\
             connection: close\r\n\r\n"
        )
        .expect("takes a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answers");
        text
    }

    #[cfg(unix)]
    fn interrupt(&self) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-INT", &pid]).status().expect("kill is there");
        assert!(killed.success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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

    let mut python = Command::new(needed("TREFOIL_PYTHON"));
    python.arg(format!("{CLIENTS}/openai_client.py")).args([&served.url, "small"]);
    let answers = run_with_input(python, b"").json();
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

    let packages = needed("TREFOIL_NODE_PACKAGES");
    let mut node = Command::new(format!("{packages}/node_modules/.bin/node"));
    node.arg(format!("{CLIENTS}/openai_client.mjs")).args([&packages, &served.url, "small"]);
    let answers = run_with_input(node, b"").json();
    let no_model = json!(["NotFoundError", "model_not_found"]);
    assert_eq!(answers, json!({ "whole": chat, "stream": chat, "no_model": no_model }));

    // Nothing is left of the answer that nobody wanted to the end.
    let active = "trefoil_requests_active{model=\"small\"} 0\n";
    let idle = || served.get("/metrics").contains(active);
    assert!((0..100).any(|_| idle() || {
        std::thread::sleep(Duration::from_millis(100));
        false
    }));
}

#[test]
fn the_example_of_the_documentation_is_answered() {
    let (place, model) = (Place::new(), smollm2());
    let defaults = ["--temperature", "0", "-n", "8"];
    let served = Served::start(&place, &[&[&format!("smollm2={model}")], &defaults[..]].concat());
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
