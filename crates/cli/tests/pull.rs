//! Models by name: `pull`, `models`, and the commands that take a model.

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{Ended, Place};
use trefoil_fixtures::{Asked, Reply, TinyLlama, WebServer, tiny_llama};

/// A hub with one repository, whose file is the tiny model.
fn hub(asked: &Asked) -> Reply {
    let model = tiny_llama(&TinyLlama::default());
    if asked.target.starts_with("/api/models/o/r") {
        let lfs = json!({"sha256": sha256(&model), "size": model.len()});
        let siblings = [json!({"rfilename": "tiny-Q4_K_M.gguf", "lfs": lfs})];
        return Reply::ok(json!({"siblings": siblings, "tags": ["license:mit"]}).to_string());
    }
    match asked.target.as_str() {
        "/o/r/resolve/main/tiny-Q4_K_M.gguf" | "/direct.gguf" => asked.file(&model, "a"),
        _ => Reply::new(404, ""),
    }
}

fn sha256(bytes: &[u8]) -> String {
    trefoil_host::sha256_of_bytes(bytes)
}

/// A place with a cache of its own, in the environment of a test.
struct Desk {
    place: Place,
    server: WebServer,
}

impl Desk {
    fn new(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Desk { place: Place::new(), server: WebServer::new(handler) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        for name in [
            "HF_TOKEN",
            "HTTPS_PROXY",
            "HTTP_PROXY",
            "ALL_PROXY",
            "https_proxy",
            "http_proxy",
            "all_proxy",
            "SSL_CERT_FILE",
        ] {
            command.env_remove(name);
        }
        command
            .env("TREFOIL_CACHE", self.place.path("cache"))
            .env("HF_ENDPOINT", self.server.url(""));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.command(arguments).output().expect("starts").into()
    }
}

#[test]
fn a_pulled_model_is_used_by_name() {
    let desk = Desk::new(hub);
    desk.place.write("text", b"some words");
    desk.run(&["tokenize", "hf:o/r", "text"]).failed(1, &["`trefoil pull hf:o/r` brings it"]);
    let path = desk.run(&["pull", "hf:o/r"]).text();
    assert!(path.ends_with("hf/o/r/tiny-Q4_K_M.gguf\n"), "{path}");
    let by_path = desk.run(&["tokenize", path.trim(), "text", "--json"]).json();
    for name in ["hf:o/r", "hf:o/r:Q4_K_M", "tiny-Q4_K_M", "tiny-q4_k_m.gguf"] {
        assert_eq!(desk.run(&["tokenize", name, "text", "--json"]).json(), by_path, "{name}");
    }
    desk.run(&["pack", "hf:o/r", "-o", "m.wasm"]).succeeded();
    let compose = ["compose", "--model", "tiny-q4_k_m", "--app", "chat", "-o", "c.wasm"];
    desk.run(&compose).succeeded();
    let inspected = desk.run(&["inspect", "hf:o/r", "--json"]).json();
    assert_eq!(inspected["kind"], "gguf", "{inspected}");
    desk.run(&["chat", "hf:o/r", "-p", "a", "-n", "2"]).succeeded();
}

#[test]
fn a_pull_answers_in_json_and_does_not_download_twice() {
    let desk = Desk::new(hub);
    let size = tiny_llama(&TinyLlama::default()).len();
    let first = desk.run(&["pull", "hf:o/r:q4_k_m", "--json"]).json();
    assert_eq!(first["source"], "hf:o/r/tiny-Q4_K_M.gguf");
    assert_eq!(first["license"], "mit");
    assert_eq!(first["received_bytes"], size);
    assert_eq!(first["files"][0]["size"], size);
    assert_eq!(first["files"][0]["sha256"], sha256(&tiny_llama(&TinyLlama::default())));
    let second = desk.run(&["pull", "hf:o/r:q4_k_m", "--json"]);
    assert!(second.stderr.contains("is in the cache"), "{}", second.stderr);
    assert_eq!(second.json()["received_bytes"], 0);
}

#[test]
fn models_are_listed_checked_and_removed() {
    let desk = Desk::new(hub);
    let text = desk.run(&["models"]).text();
    assert!(
        text.contains("`trefoil pull smollm2`") || text.contains("trefoil pull smollm2"),
        "{text}"
    );
    desk.run(&["pull", "hf:o/r", &desk.server.url("/direct.gguf")]).succeeded();
    let listed = desk.run(&["models", "--json"]).json();
    let listed = listed["models"].as_array().expect("a list");
    assert_eq!(listed.len(), 2);
    let hf = listed.iter().find(|it| it["name"] == "hf:o/r/tiny-Q4_K_M.gguf").expect("is listed");
    assert!(hf["pulled"].is_u64() && hf["used"].is_u64() && hf["complete"] == true, "{hf}");
    let text = desk.run(&["models", "list"]).text();
    assert!(text.starts_with("NAME ") && text.lines().count() == 3, "{text}");

    let verified = desk.run(&["models", "verify", "--json"]).json();
    let intact = |it: &Value| it["verdict"] == "intact";
    assert!(verified["files"].as_array().expect("a list").iter().all(intact), "{verified}");
    let path = hf["files"][0]["path"].as_str().expect("a path").to_owned();
    let mut bytes = std::fs::read(&path).expect("readable");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(&path, bytes).expect("writable");
    let verified = desk.run(&["models", "verify", "hf:o/r"]);
    assert_eq!(verified.code, Some(1));
    assert!(String::from_utf8_lossy(&verified.stdout).contains("DAMAGED"));
    // A pull repairs it.
    desk.run(&["pull", "hf:o/r"]).succeeded();
    desk.run(&["models", "verify", "hf:o/r"]).succeeded();

    desk.run(&["models", "remove", "hf:o/r", "nothing"]).failed(1, &["`nothing` is not in"]);
    assert!(std::path::Path::new(&path).exists(), "all or none");
    let removed = desk.run(&["models", "remove", "hf:o/r", "direct", "--json"]).json();
    assert_eq!(removed["files"], 2);
    assert_eq!(desk.run(&["models", "--json"]).json(), json!({ "models": [] }));
}

#[test]
fn the_catalogue_says_what_was_tried() {
    let desk = Desk::new(hub);
    let answer = desk.run(&["models", "catalogue", "--json"]).json();
    let entries = answer["catalogue"].as_array().expect("a list");
    let tried: Vec<_> = entries.iter().filter(|it| it["tried"] == true).collect();
    assert!(tried.len() >= 2 && tried.len() < entries.len());
    for it in entries {
        assert_eq!(it["sha256"].is_string(), it["tried"] == true, "{it}");
    }
    let text = desk.run(&["models", "catalogue"]).text();
    assert!(text.contains("qwen2.5:0.5b") && text.contains("TRIED"), "{text}");
}

#[test]
fn wrong_names_are_wrong_usage_and_unknown_ones_say_what_there_is() {
    let desk = Desk::new(hub);
    desk.run(&["pull"]).failed(2, &["NAME"]);
    desk.run(&["pull", "hf:o"]).failed(2, &["`hf:o` does not name a model"]);
    desk.run(&["pull", "oci:m"]).failed(2, &["oci:REGISTRY/REPOSITORY:TAG"]);
    desk.run(&["pull", "hf:o/r", "--sha256", "12"]).failed(2, &["64 hexadecimal digits"]);
    let digest = "0".repeat(64);
    desk.run(&["pull", "a", "b", "--sha256", &digest]).failed(2, &["for one model"]);
    desk.run(&["pull", "hf:o/r", "--sha256", &digest]).failed(1, &["is another file now", &digest]);
    desk.run(&["pull", "qwen3:99b"]).failed(1, &["no model `qwen3:99b`", "`qwen3:0.6b`"]);
    desk.run(&["pull", "http://192.0.2.1/m.gguf"]).failed(1, &["not encrypted", "`--allow-http`"]);
    desk.run(&["chat", "qwen3"]).failed(1, &["`trefoil pull qwen3` brings it"]);
    desk.run(&["chat", "nothing"]).failed(1, &["`nothing` is neither a file nor a model"]);
    desk.run(&["chat", "nothing.gguf"]).failed(1, &["cannot read `nothing.gguf`"]);
    desk.run(&["models", "remove", "x"]).failed(1, &["`x` is not in the cache"]);
}

#[test]
fn errors_of_servers_reach_the_user() {
    let desk = Desk::new(|asked| match asked.target.starts_with("/api/models/gated") {
        true => Reply::new(401, "").with("X-Error-Message", "Access is restricted."),
        false => Reply::new(404, ""),
    });
    desk.run(&["pull", "hf:gated/r"]).failed(1, &["cannot pull `hf:gated/r`", "`HF_TOKEN`"]);
    desk.run(&["pull", "hf:o/r"]).failed(1, &["cannot pull `hf:o/r`", "does not exist"]);
    // With no network.
    let mut offline = desk.command(&["pull", "qwen3:0.6b"]);
    offline.env("HF_ENDPOINT", "https://hub.invalid");
    let offline = Ended::from(offline.output().expect("starts"));
    offline.failed(1, &["cannot reach `hub.invalid`", "/api/models/Qwen/Qwen3-0.6B-GGUF"]);
    let mut wrong = desk.command(&["pull", "hf:o/r"]);
    wrong.env("HF_ENDPOINT", "nonsense");
    Ended::from(wrong.output().expect("starts")).failed(1, &["`nonsense` is not an address"]);
    let mut wrong = desk.command(&["pull", "hf:o/r"]);
    wrong.env("SSL_CERT_FILE", "nowhere.pem");
    Ended::from(wrong.output().expect("starts")).failed(1, &["`SSL_CERT_FILE`", "nowhere.pem"]);
}

#[test]
fn a_token_goes_to_the_hub_alone() {
    let desk = Desk::new(|asked| match asked.target.as_str() {
        "/o/r/resolve/main/tiny-Q4_K_M.gguf" => {
            let port = asked.header("host").and_then(|it| it.rsplit_once(':')).expect("a port").1;
            Reply::redirect(&format!("http://localhost:{port}/direct.gguf"))
        }
        _ => hub(asked),
    });
    let mut command = desk.command(&["pull", "hf:o/r"]);
    command.env("HF_TOKEN", "secret");
    Ended::from(command.output().expect("starts")).succeeded();
    let with_token: Vec<_> = desk
        .server
        .log()
        .into_iter()
        .filter(|asked| asked.header("authorization") == Some("Bearer secret"))
        .map(|asked| asked.target)
        .collect();
    assert_eq!(with_token.len(), 2, "{with_token:?}");
    assert!(!with_token.contains(&"/direct.gguf".to_owned()));
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_told_and_continued() {
    let size = tiny_llama(&TinyLlama::default()).len();
    assert!(size > 40_000);
    let desk = Desk::new(hub);
    // Files are limited to 16 KiB, in units of 512 bytes; writing more fails without a signal.
    let trefoil = env!("CARGO_BIN_EXE_trefoil");
    let script = format!("trap '' XFSZ; ulimit -f 32; exec {trefoil} pull hf:o/r");
    let limited = desk.command(&[]);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).current_dir(desk.place.folder.path());
    for (name, value) in limited.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    Ended::from(shell.output().expect("starts"))
        .failed(1, &["no room on the disk", "TREFOIL_CACHE"]);
    let pulled = desk.run(&["pull", "hf:o/r", "--json"]).json();
    let received = pulled["received_bytes"].as_u64().expect("a number");
    assert_eq!(received, size as u64 - (16 << 10), "what fitted is not downloaded again");
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_what_can_be_continued_and_says_so() {
    let size = tiny_llama(&TinyLlama::default()).len();
    let desk = Desk::new(move |asked| match asked.before {
        0 if asked.target.contains("resolve") => Reply { stall: Some(20_000), ..hub(asked) },
        _ => hub(asked),
    });
    let mut child = desk.command(&["pull", "hf:o/r"]).spawn().expect("starts");
    let partial = desk.place.path("cache/models/hf/o/r/tiny-Q4_K_M.gguf.partial");
    let begin = std::time::Instant::now();
    while partial.metadata().map_or(0, |it| it.len()) < 20_000 {
        assert!(begin.elapsed().as_secs() < 60 && child.try_wait().expect("is ours").is_none());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("starts").success());
    let ended = Ended::from(child.wait_with_output().expect("ends"));
    ended.failed(130, &["interrupted", "`trefoil pull hf:o/r` goes on from there"]);
    let listed = desk.run(&["models", "--json"]).json();
    assert_eq!(listed["models"][0]["complete"], false, "{listed}");
    let pulled = desk.run(&["pull", "hf:o/r", "--json"]).json();
    assert_eq!(pulled["received_bytes"], size - 20_000);
}

#[test]
fn cleaning_removes_what_did_not_end() {
    let desk = Desk::new(|asked| match asked.target.contains("resolve") {
        true => hub(asked).cut_after(1000),
        false => hub(asked),
    });
    let folder = desk.place.path("cache/models");
    std::fs::create_dir_all(&folder).expect("makes");
    std::fs::write(folder.join("own.gguf"), tiny_llama(&TinyLlama::default())).expect("writes");
    std::fs::write(folder.join("stray.gguf.partial"), [0; 100]).expect("writes");
    let cleaned = desk.run(&["models", "clean", "--json"]).json();
    assert_eq!(cleaned, json!({"files": 1, "bytes": 100}));
    desk.run(&["models", "clean", "--unused", "0"]).succeeded();
    assert!(folder.join("own.gguf").exists(), "what was put there stays");
    desk.place.write("text", b"some words");
    desk.run(&["tokenize", "own", "text"]).succeeded();
}
