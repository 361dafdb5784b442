//! A model as one file that serves itself: the app `server` under hosts that we did not write.

#[path = "support/hosted.rs"]
mod hosted;
mod support;

use std::io::Read;
use std::process::Command;

use hosted::{Hosted, free_address};
use serde_json::json;
use support::{Place, needed, run_with_input, smollm2};
use trefoil_fixtures::Vocabulary;

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/openai_client.py");

/// The flags of wasmtime that let one instance serve everything, from `docs/serve.md`.
fn keep() -> Vec<&'static str> {
    let page = include_str!("../../../docs/serve.md");
    let (_, command) =
        page.split_once("\n$ wasmtime serve --addr 127.0.0.1:8080 ").expect("is there");
    let (flags, _) = command.split_once(" server.wasm\n").expect("ends with the file");
    flags.split_whitespace().filter(|word| *word != "\\").collect()
}

/// Composes `server.wasm` of a model.
fn compose(place: &Place, model: &str, flags: &[&str]) {
    let compose = ["compose", "--engine", "cpu", "--app", "server", "--model", model];
    place.run(&[&compose[..], flags, &["-o", "server.wasm"]].concat()).succeeded();
}

/// Serves it with the stock command line of wasmtime, which grants nothing but requests.
fn serve(place: &Place, flags: &[&str]) -> Hosted {
    let address = free_address();
    let mut wasmtime = Command::new(needed("TREFOIL_WASMTIME"));
    wasmtime.args(["serve", "--addr", &address]).args(flags).arg(place.path("server.wasm"));
    Hosted::start(wasmtime, address)
}

#[test]
fn the_official_client_gets_what_the_command_generates() {
    let (place, model) = (Place::new(), smollm2());
    place.write("server.toml", b"context-tokens = 2048\npooling = \"mean\"\n");
    compose(&place, &format!("small={model}"), &["--config", "server.toml"]);
    let served = serve(&place, &keep());

    let generate = |more: &[&str]| {
        let flags = ["--engine", "cpu", "--temperature", "0", "-n", "8", "--json"];
        let answer = place.run(&[&["generate", &model], &flags[..], more].concat()).json();
        answer["text"].clone()
    };
    let chat = generate(&["-p", "What is the capital of France?"]);
    let mut python = Command::new(needed("TREFOIL_PYTHON"));
    python.arg(CLIENT).args([&served.url(), "small"]);
    let answers = run_with_input(python, b"").json();
    let expected = json!({
        "models": ["small"],
        "whole": chat,
        "usage": 8,
        "finish_reason": "stop",
        "stream": chat,
        "stream_usage": 8,
        "text": generate(&["--raw", "-p", "Once upon a time"]),
        "no_model": ["NotFoundError", "model_not_found"],
        "too_long": ["BadRequestError", "context_length_exceeded"],
        // The file knows no keys.
        "unauthorised": null,
        "vector": 576,
    });
    assert_eq!(answers, expected);
}

#[test]
fn an_instance_that_is_kept_keeps_its_model() {
    let place = Place::with_model();
    compose(&place, "tiny.gguf", &[]);
    let ask = |served: &Hosted| {
        let body = json!({ "prompt": "Once upon a time", "max_tokens": 2 });
        let answer = served.post("/v1/completions", &body).json();
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().expect("a number")
    };
    let kept = serve(&place, &keep());
    assert_eq!(ask(&kept), 0);
    assert_ne!(ask(&kept), 0, "the prompt is in the cache of the same instance");
    // By default each request has an instance of its own.
    let fresh = serve(&place, &[]);
    assert_eq!((ask(&fresh), ask(&fresh)), (0, 0));
}

#[test]
fn an_answer_that_its_client_leaves_is_given_up() {
    let place = Place::with_model();
    place.write("server.toml", b"context-full = \"shift\"\n");
    compose(&place, "tiny.gguf", &["--config", "server.toml"]);
    let served = serve(&place, &keep());
    // It would go on for days, and the next request would wait for it.
    let end = Vocabulary::MESSAGE_END.to_string();
    let endless = json!({ "prompt": "x", "stream": true, "max_tokens": 16_000_000,
        "logit_bias": { end: -1e9 } });
    let mut stream = served.open("POST", "/v1/completions", &endless.to_string()).expect("listens");
    let mut seen = Vec::new();
    while seen.windows(6).filter(|bytes| *bytes == b"data: ").count() < 20 {
        let mut bytes = [0; 512];
        let length = stream.read(&mut bytes).expect("goes on");
        assert_ne!(length, 0, "it ended: {}", String::from_utf8_lossy(&seen));
        seen.extend(&bytes[..length]);
    }
    drop(stream);
    let reply = served.post("/v1/completions", &json!({ "prompt": "x", "max_tokens": 1 }));
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[test]
fn what_is_wrong_is_named() {
    let place = Place::with_model();
    compose(&place, "small=tiny.gguf", &[]);
    let served = serve(&place, &keep());
    let invalid = |code: &str, param: &str| (400, json!(code), json!(param));
    let cold = json!({ "prompt": "x", "temperature": "cold" });
    let reply = served.post("/v1/completions", &cold);
    assert_eq!(reply.error(), invalid("invalid_value", "temperature"));
    let reply = served.post("/v1/completions", &json!({ "prompt": "x", "best_of": 2 }));
    assert_eq!(reply.error(), invalid("unsupported_parameter", "best_of"));
    let reply = served.post("/v1/completions", &json!({ "prompt": "x", "top_p": 7.0 }));
    assert_eq!(reply.error(), invalid("invalid_value", "top_p"));
    let reply = served.send("POST", "/v1/chat/completions", "{ not json");
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("the body is not JSON"), "{reply:?}");
    assert_eq!(served.get("/v1/models/other").error().1, "model_not_found");
    assert_eq!(served.get("/v1/models/sm%61ll").json()["id"], "small");
    assert_eq!(served.get("/nothing").error().0, 404);
    assert_eq!(served.get("/v1/embeddings").error().0, 405);
    // The server does not wait for what it will not take.
    assert_eq!(served.announce("/v1/completions", 40 << 20).error().0, 413);
    // None of this has harmed it.
    let tokens = served.post("/tokenize", &json!({ "content": "hello" })).json();
    let text = served.post("/detokenize", &tokens).json();
    assert_eq!(text, json!({ "content": "hello" }));
    assert!(served.get("/openapi.json").json()["paths"]["/v1/models"].is_object());
}

#[test]
fn it_is_no_command_and_says_how_it_is_run() {
    let place = Place::with_model();
    compose(&place, "tiny.gguf", &[]);
    place.run(&["run", "server.wasm"]).failed(1, &["is not a command", "`wasmtime serve`"]);
    // Its model is a model like any other.
    let flags = ["--temperature", "0", "-n", "2", "--raw", "-p", "x"];
    let of =
        |file| place.run(&[&["generate", file, "--engine", "cpu"], &flags[..]].concat()).text();
    assert_eq!(of("server.wasm"), of("tiny.gguf"));
}

#[test]
fn the_example_for_kubernetes_has_the_documented_flags() {
    let manifest = include_str!("../../../examples/server/wasmtime.yaml");
    let words: Vec<_> = manifest.split_whitespace().map(|word| word.trim_matches('"')).collect();
    let list: Vec<_> = keep().into_iter().flat_map(|flag| ["-", flag]).collect();
    assert!(words.windows(list.len()).any(|window| window == list), "{list:?}");
}

/// A registry that is killed when it is dropped.
#[cfg(feature = "exhaustive")]
struct Registry(std::process::Child);

#[cfg(feature = "exhaustive")]
impl Registry {
    fn start(mut program: Command, address: &str) -> Self {
        let quiet = program.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let registry = Registry(quiet.spawn().expect("starts"));
        let listens = (0..300).any(|_| {
            let listens = std::net::TcpStream::connect(address).is_ok();
            if !listens {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            listens
        });
        assert!(listens, "nobody listens at {address}");
        registry
    }
}

#[cfg(feature = "exhaustive")]
impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In `cargo xtask test --all`.
#[cfg(feature = "exhaustive")]
#[test]
fn wasmcloud_serves_the_same_file_from_a_registry() {
    let place = Place::with_model();
    compose(&place, "tiny.gguf", &[]);
    // What wash keeps about its user goes away with the test.
    let wash = |arguments: &[&str]| {
        let mut wash = Command::new(needed("TREFOIL_WASH"));
        wash.arg("--non-interactive").args(arguments).env("HOME", place.path("home"));
        wash.current_dir(place.folder.path());
        wash
    };
    let registry = free_address();
    let settings = "version: 0.1\nstorage: { filesystem: { rootdirectory: FOLDER } }\n\
                    http: { addr: ADDRESS }\n";
    let folder = place.path("registry").display().to_string();
    let settings = settings.replace("FOLDER", &folder).replace("ADDRESS", &registry);
    place.write("registry.yml", settings.as_bytes());
    let mut program = Command::new(needed("TREFOIL_REGISTRY"));
    program.arg("serve").arg(place.path("registry.yml"));
    let hub = Registry::start(program, &registry);
    let image = format!("{registry}/llm/tiny:1");
    run_with_input(wash(&["oci", "push", "--insecure", &image, "server.wasm"]), b"").succeeded();
    let pushed = place.path("pushed.wasm");
    std::fs::rename(place.path("server.wasm"), &pushed).expect("is there");
    run_with_input(wash(&["oci", "pull", "--insecure", &image, "server.wasm"]), b"").succeeded();
    drop(hub);
    let read = |path| std::fs::read(path).expect("is there");
    assert!(read(place.path("server.wasm")) == read(pushed), "a registry brings what it got");

    let address = free_address();
    let config = include_str!("../../../examples/server/.wash/config.yaml");
    assert!(config.contains("127.0.0.1:8000"));
    std::fs::create_dir(place.path(".wash")).expect("a folder");
    place.write(".wash/config.yaml", config.replace("127.0.0.1:8000", &address).as_bytes());
    let cloud = Hosted::start(wash(&["dev"]), address);
    let stock = serve(&place, &keep());
    for body in [
        json!({ "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0 }),
        json!({ "prompt": "Once upon a time", "max_tokens": 8, "temperature": 2, "seed": 5 }),
    ] {
        let of = |hosted: &Hosted| hosted.post("/v1/completions", &body).json()["choices"].clone();
        assert_eq!(of(&cloud), of(&stock));
    }
    let reply = cloud.post("/v1/completions", &json!({ "prompt": "x", "stream": true }));
    assert!(reply.body.contains("data: [DONE]"), "{reply:?}");
}
