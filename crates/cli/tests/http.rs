//! Models that are read over HTTP at run time, from a server here that behaves or does not.

#[path = "support/server.rs"]
mod server;
mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use server::{Behaviour, Server};
use support::{Place, needed};
use trefoil_fixtures::{TinyLlama, tiny_llama};

const PROMPT: [&str; 6] = ["-p", "hello", "--temperature", "0", "-n", "5"];

/// A tiny model that takes up three chunks of 1 MiB.
fn model() -> Vec<u8> {
    let mut bytes = tiny_llama(&TinyLlama::default());
    // What follows the tensors belongs to the file, but not to the model.
    bytes.resize((5 << 19) + 7, 0);
    bytes
}

struct Remote {
    place: Place,
    server: Server,
}

/// The model on a server, composed as `http.wasm`, and embedded as `whole.wasm`.
fn composed() -> Remote {
    let place = Place::new();
    place.write("copy.gguf", &model());
    let server = Server::new(model());
    let url = server.url();
    let compose = |more: &[&str], out| {
        place.run(&[&["compose", "--app", "chat", "-o", out], more].concat()).succeeded()
    };
    compose(&["--model", &url, "--model-copy", "copy.gguf"], "http.wasm");
    compose(&["--model", "copy.gguf"], "whole.wasm");
    assert!(server.requests().is_empty(), "composing asks nothing");
    Remote { place, server }
}

impl Remote {
    fn run(&self, flags: &[&str]) -> support::Ended {
        self.place.run(&[&["run"], flags, &["http.wasm"], &PROMPT].concat())
    }

    /// Runs it with its host granted.
    fn granted(&self) -> support::Ended {
        self.run(&["--http", &self.server.host()])
    }

    fn expected(&self) -> String {
        self.place.run(&[&["run", "whole.wasm"], &PROMPT[..]].concat()).text()
    }
}

#[test]
fn the_answer_is_that_of_the_embedded_model() {
    let remote = composed();
    let expected = remote.expected();
    assert!(!expected.is_empty());
    assert_eq!(remote.run(&["--http", &remote.server.host(), "--instances", "1"]).text(), expected);
    let requests = remote.server.requests();
    assert_eq!(requests.len(), 1, "one request for all: {requests:?}");
    assert!(requests[0].starts_with("GET /model.gguf HTTP/1.1\n"), "{requests:?}");
    assert!(requests[0].to_lowercase().contains("range: bytes=0-2621446\n"), "{requests:?}");
    // The other instances read their shares, with the same grant.
    let two = remote.run(&["--http", &remote.server.host(), "--instances", "2"]);
    assert_eq!(two.text(), expected);
    // A composition without an app, and another engine, are made of it.
    let host = ["--http", &remote.server.host()];
    let chat = ["chat", "http.wasm", "--engine", "cpu"];
    assert_eq!(remote.place.run(&[&chat[..], &host, &PROMPT].concat()).text(), expected);
    let logits = |file, flags: &[&str]| {
        remote.place.run(&[&["logits", file, "-p", "hello", "--json"], flags].concat()).json()
    };
    assert_eq!(logits("http.wasm", &host), logits("whole.wasm", &[]));
}

#[test]
fn without_a_grant_nothing_is_asked() {
    let remote = composed();
    let host = remote.server.host();
    let flag = format!("--http {host}");
    for instances in ["1", "2"] {
        let pieces = [host.as_str(), &flag, "not granted"];
        remote.run(&["--instances", instances]).failed(1, &pieces);
    }
    let other_port = ["--http", "127.0.0.1", "--http", "localhost:1"];
    remote.run(&other_port).failed(1, &[&flag]);
    assert!(remote.server.requests().is_empty());
    remote.run(&["--http", "https://127.0.0.1/x"]).failed(2, &["--http", "HOST:PORT"]);
}

#[test]
fn a_server_that_cuts_connections_is_read_to_the_end() {
    let remote = composed();
    remote.server.behave(Behaviour::Cuts(300_000));
    assert_eq!(remote.granted().text(), remote.expected());
    assert!(remote.server.requests().len() > 5);
    remote.server.behave(Behaviour::Cuts(0));
    let begin = Instant::now();
    remote.granted().failed(1, &[&remote.server.url(), "at byte 0", "5 attempts"]);
    assert!(begin.elapsed() < Duration::from_secs(60));
}

#[test]
fn another_file_is_told_by_chunk_and_size() {
    let remote = composed();
    let mut other = model();
    other[(1 << 20) + 3] ^= 1;
    remote.server.replace(other);
    // All tensors lie in the first chunk: the others are neither read nor checked.
    assert_eq!(remote.granted().text(), remote.expected());
    let mut other = model();
    other[40] ^= 1;
    remote.server.replace(other);
    let pieces = [&remote.server.url(), "chunk 0 (bytes 0 to 1048575)", "SHA-256"];
    remote.granted().failed(1, &pieces);
    remote.server.replace(model()[..2_000_000].to_vec());
    remote.granted().failed(1, &["has 2000000 bytes, but had 2621447", "compose again"]);
}

#[test]
fn servers_that_cannot_help_are_told() {
    let remote = composed();
    remote.server.behave(Behaviour::IgnoresRanges);
    remote.granted().failed(1, &[&remote.server.url(), "ignores ranges", "206"]);
    remote.server.behave(Behaviour::Status(404));
    remote.granted().failed(1, &[&remote.server.url(), "404", "check the address"]);
    remote.server.behave(Behaviour::Redirects("/model.gguf".into()));
    remote.granted().failed(1, &[&remote.server.url(), "redirected more than 8 times"]);
}

#[test]
fn redirects_need_the_grant_of_where_they_lead() {
    let remote = composed();
    let elsewhere = Server::new(model());
    remote.server.behave(Behaviour::Redirects(elsewhere.url()));
    let missing = format!("--http {}", elsewhere.host());
    remote.granted().failed(1, &[&missing]);
    assert!(elsewhere.requests().is_empty());
    let both = ["--http", &remote.server.host(), "--http", &elsewhere.host()];
    assert_eq!(remote.run(&both).text(), remote.expected());
}

#[test]
fn time_limit_and_ctrl_c_end_a_guest_that_waits_for_a_server() {
    let remote = composed();
    remote.server.behave(Behaviour::Hangs);
    let host = remote.server.host();
    // `run` has the guest on a thread of its own, `logits` has not.
    let commands: [&[&str]; 2] = [
        &["run", "--http", &host, "http.wasm", "-p", "a"],
        &["logits", "--http", &host, "http.wasm", "-p", "a"],
    ];
    for arguments in commands {
        // So that the limit does not meet the compiler.
        remote.server.behave(Behaviour::Ranges);
        remote.place.run(arguments).succeeded();
        remote.server.behave(Behaviour::Hangs);
        let flags = [&arguments[..1], &["--timeout", "1"], &arguments[1..]].concat();
        remote.place.run(&flags).failed(124, &["--timeout"]);

        let mut command = remote.place.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("starts");
        remote.server.requests();
        let begin = Instant::now();
        while remote.server.requests().is_empty() && begin.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let id = child.id().to_string();
        let kill = std::process::Command::new("kill").args(["-INT", &id]).status();
        assert!(kill.expect("there is `kill`").success());
        let begin = Instant::now();
        assert_eq!(child.wait().expect("ends").code(), Some(130));
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    }
}

#[test]
fn inspect_tells_address_and_digest() {
    let remote = composed();
    let json = remote.place.run(&["inspect", "--json", "http.wasm"]).json();
    let parts = json["parts"].as_array().expect("parts");
    let model = parts.iter().find(|part| part["role"] == "model").expect("a model");
    let file = &model["files"][0];
    assert_eq!(file["url"], remote.server.url());
    assert_eq!(file["size"], model_bytes());
    let digest = file["sha256"].as_str().expect("a digest").to_owned();
    let text = remote.place.run(&["inspect", "http.wasm"]).text();
    for piece in [&remote.server.url(), &digest] {
        assert!(text.contains(piece), "`{piece}` is not in: {text}");
    }
    // The digest may be demanded.
    let compose = |sha256: &str| {
        let url = format!("{}#sha256={sha256}", remote.server.url());
        let flags = ["compose", "--model", &url, "--model-copy", "copy.gguf", "-o", "again.wasm"];
        remote.place.run(&flags)
    };
    compose(&digest).succeeded();
    compose(&"0".repeat(64)).failed(1, &["`copy.gguf`", &digest, "another file"]);
}

fn model_bytes() -> u64 {
    model().len() as u64
}

#[test]
fn what_cannot_be_composed_is_told() {
    let place = Place::with_model();
    place.write("text", b"hello");
    let cases: [(&[&str], i32, &[&str]); 6] = [
        (&["--model", "https://h/m.gguf"], 1, &["`https://h/m.gguf`", "--model-copy FILE"]),
        (&["--model", "https://h/m.gguf", "--model-copy", "no"], 1, &["`no`", "No such file"]),
        (&["--model", "https://h/m.gguf", "--model-copy", "text"], 1, &["`text`", "GGUF"]),
        (&["--model", "http://h/m.gguf"], 1, &["not encrypted", "--model-sha256"]),
        (&["--model", "https:///m.gguf"], 1, &["`--model https:///m.gguf`", "host"]),
        (&["--model", "tiny.gguf", "--model-copy", "tiny.gguf"], 2, &["belong to"]),
    ];
    let before = place.files();
    for (arguments, code, pieces) in cases {
        place.run(&[&["compose", "-o", "o"], arguments].concat()).failed(code, pieces);
        assert_eq!(place.files(), before, "{arguments:?}");
    }
}

#[test]
fn the_stock_command_line_runs_it_too() {
    let remote = composed();
    let expected = remote.expected();
    let mut stock = std::process::Command::new(needed("TREFOIL_WASMTIME"));
    stock.args(["run", "-S", "http"]).arg(remote.place.path("http.wasm")).args(PROMPT);
    assert_eq!(support::run_with_input(stock, b"").text(), expected);
}
