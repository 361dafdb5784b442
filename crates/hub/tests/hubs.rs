//! Hubs and registries, as they speak.

mod support;

use serde_json::json;
use support::{Place, Told, WebServer, content, failed};
use trefoil_fixtures::{Asked, Reply};
use trefoil_hub::{Digest, ModelsError, PullError, entry};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SIZE: usize = 100_000;

/// What the hub says of a repository with these files.
fn info(files: &[(&str, &[u8])]) -> Reply {
    let sibling = |(name, content): &(&str, &[u8])| {
        let lfs = json!({"sha256": Digest::of(content).as_str(), "size": content.len(), "pointerSize": 1});
        json!({"rfilename": name, "size": content.len(), "blobId": "x", "lfs": lfs})
    };
    let siblings: Vec<_> = files.iter().map(sibling).collect();
    let tags = ["gguf", "license:apache-2.0"];
    Reply::ok(json!({"id": "o/r", "sha": COMMIT, "siblings": siblings, "tags": tags}).to_string())
}

/// A hub whose files come from another host, as they do.
fn hub(asked: &Asked, files: &[(&str, Vec<u8>)]) -> Reply {
    let target = asked.target.as_str();
    if target.starts_with("/api/models/") {
        let files: Vec<_> = files.iter().map(|(name, content)| (*name, &content[..])).collect();
        return info(&files);
    }
    if let Some(path) = target.strip_prefix("/cdn/") {
        assert_eq!(asked.header("authorization"), None, "tokens stay with the hub");
        let name = path.replace("%20", " ");
        let found = files.iter().find(|(file, _)| *file == name);
        return found.map_or(Reply::new(404, ""), |(_, content)| asked.file(content, "cdn"));
    }
    match target.split_once(&format!("/resolve/{COMMIT}/")) {
        Some((_, path)) => {
            let port =
                asked.header("host").and_then(|host| host.rsplit_once(':')).expect("has one").1;
            Reply::redirect(&format!("http://localhost:{port}/cdn/{path}"))
        }
        None => Reply::new(404, ""),
    }
}

#[test]
fn a_file_of_a_repository() {
    let files = [("a b/m.gguf", content(SIZE))];
    let server = WebServer::new(move |asked| hub(asked, &files));
    let mut place = Place::new(&server);
    place.hub = place.hub.with_token("secret");
    let pulled = place.pull("hf:o/r/a b/m.gguf").expect("works");
    assert_eq!(pulled.source, "hf:o/r/a b/m.gguf");
    assert_eq!(pulled.revision.as_deref(), Some(COMMIT));
    assert_eq!(pulled.license.as_deref(), Some("apache-2.0"));
    assert_eq!(pulled.files[0].sha256, Digest::of(&content(SIZE)));
    let path = "hf/o/r/a b/m.gguf";
    assert_eq!(place.files(), [path, "hf/o/r/a b/m.gguf.json"]);
    let log = server.log();
    let targets: Vec<_> = log.iter().map(|asked| asked.target.as_str()).collect();
    let resolve = format!("/o/r/resolve/{COMMIT}/a%20b/m.gguf");
    assert_eq!(targets, ["/api/models/o/r?blobs=true", &resolve, "/cdn/a%20b/m.gguf"]);
    for asked in &log[..2] {
        assert_eq!(asked.header("authorization"), Some("Bearer secret"));
    }
}

#[test]
fn a_quantisation_of_a_revision() {
    let files = [
        ("m-Q8_0.gguf", content(10)),
        ("m-Q4_K_M.gguf", content(SIZE)),
        ("README.md", b"x".to_vec()),
    ];
    let server = WebServer::new(move |asked| hub(asked, &files));
    let place = Place::new(&server);
    for name in ["hf:o/r@v1:q4_k_m", "hf:o/r@v1"] {
        let pulled = place.pull(name).expect("works");
        assert_eq!(pulled.source, "hf:o/r@v1/m-Q4_K_M.gguf");
        let found = place.models().find(name).expect("works").expect("is there");
        assert_eq!(found.source.as_deref(), Some("hf:o/r@v1/m-Q4_K_M.gguf"));
    }
    assert_eq!(server.targets()[0], "/api/models/o/r/revision/v1?blobs=true");
    assert!(place.models().find("hf:o/r").expect("works").is_none(), "another revision");
    failed(place.pull("hf:o/r:Q6_K"), &["`o/r` has no file", "`m-Q8_0.gguf`"]);
    failed(place.pull("hf:o/r/x.gguf"), &["no file `x.gguf`", "`m-Q8_0.gguf`"]);
    // Both are in the cache now: the usual one is still found, as it is on the hub.
    place.pull("hf:o/r@v1:Q8_0").expect("works");
    let found = place.models().find("hf:o/r@v1").expect("works").expect("is there");
    assert_eq!(found.source.as_deref(), Some("hf:o/r@v1/m-Q4_K_M.gguf"));
}

#[test]
fn all_files_of_a_split_model_are_pulled_and_continued() {
    let names = ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"];
    let files: Vec<_> = names.iter().zip(1..).map(|(name, i)| (*name, content(SIZE * i))).collect();
    let served = files.clone();
    let server = WebServer::new(move |asked| match asked.target.contains("cdn/m-00002") {
        true if asked.before < 4 => hub(asked, &served).cut_after(1000),
        _ => hub(asked, &served),
    });
    let place = Place::new(&server);
    // Any of its names stands for the whole.
    let name = "hf:o/r/m-00002-of-00003.gguf";
    failed(place.pull(name), &["broke"]);
    let cached = place.models().find(name).expect("works").expect("is known");
    assert!(!cached.complete);
    assert!(matches!(place.models().open(name), Err(ModelsError::Absent { .. })));

    let pulled = place.pull(name).expect("works");
    assert_eq!(pulled.source, "hf:o/r/m-00001-of-00003.gguf");
    assert_eq!(pulled.received, 5 * SIZE as u64 - 4000, "what was there did not come again");
    let digests: Vec<_> = pulled.files.iter().map(|file| file.sha256.clone()).collect();
    let expected: Vec<_> = files.iter().map(|(_, content)| Digest::of(content)).collect();
    assert_eq!(digests, expected);
    let first = place.models().open(name).expect("is there");
    assert!(first.ends_with("m-00001-of-00003.gguf"));
    assert_eq!(place.files().len(), 4);
}

#[test]
fn what_changed_on_the_hub_is_pulled_again_and_what_did_not_is_not() {
    let version = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(SIZE));
    let served = version.clone();
    let server = WebServer::new(move |asked| {
        let size = served.load(std::sync::atomic::Ordering::SeqCst);
        hub(asked, &[("m.gguf", content(size))])
    });
    let place = Place::new(&server);
    let pulled = place.pull("hf:o/r").expect("works");
    assert_eq!(place.pull("hf:o/r").expect("works").received, 0);
    // What is there is read: a pull repairs what was damaged since.
    std::fs::write(&pulled.files[0].path, [0; SIZE]).expect("writes");
    assert_eq!(place.pull("hf:o/r").expect("works").received, SIZE as u64);
    version.store(SIZE + 1, std::sync::atomic::Ordering::SeqCst);
    let pulled = place.pull("hf:o/r").expect("works");
    assert_eq!(pulled.files[0].sha256, Digest::of(&content(SIZE + 1)));
    assert_eq!(place.models().list().expect("works").len(), 1);
}

#[test]
fn bytes_that_are_not_what_the_hub_says_are_refused() {
    let files = [("m.gguf", content(SIZE))];
    let server = WebServer::new(move |asked| match asked.target.starts_with("/cdn") {
        true => {
            let mut wrong = content(SIZE);
            wrong[SIZE / 2] ^= 1;
            asked.file(&wrong, "cdn")
        }
        false => hub(asked, &files),
    });
    let place = Place::new(&server);
    failed(place.pull("hf:o/r"), &["is not what it should be: its SHA-256 is"]);
    assert!(place.files().is_empty());

    let files = [("m.gguf", content(SIZE))];
    let server = WebServer::new(move |asked| match asked.target.starts_with("/cdn") {
        true => asked.file(&content(SIZE + 1), "cdn"),
        false => hub(asked, &files),
    });
    let place = Place::new(&server);
    failed(place.pull("hf:o/r"), &["has 100001 bytes, expected 100000"]);
}

#[test]
fn without_digests_in_the_list_the_download_brings_one() {
    let server = WebServer::new(|asked| match asked.target.starts_with("/api/") {
        true => Reply::ok(json!({"siblings": [{"rfilename": "m.gguf"}]}).to_string()),
        false => match asked.target.as_str() {
            "/o/r/resolve/main/m.gguf" => Reply::redirect("/cdn")
                .with("X-Linked-Etag", format!("\"{}\"", Digest::of(&content(SIZE - 1)))),
            _ => asked.file(&content(SIZE), "cdn"),
        },
    });
    let place = Place::new(&server);
    failed(place.pull("hf:o/r"), &["is not what it should be"]);
}

#[test]
fn hubs_that_talk_nonsense_are_refused() {
    let place_files = |names: &[&str]| {
        let siblings: Vec<_> = names.iter().map(|name| json!({"rfilename": name})).collect();
        json!({"sha": "../../x", "siblings": siblings}).to_string()
    };
    let huge = "[".to_owned() + &" ".repeat(17 << 20);
    for (document, piece) in [
        ("no JSON".to_owned(), "gave no usable answer"),
        ("[]".to_owned(), "gave no usable answer"),
        ("[".repeat(100_000), "gave no usable answer"),
        (huge, "longer than"),
        (place_files(&[]), "no GGUF files"),
        (
            place_files(&["../m.gguf", "a/../../m.gguf", "/m.gguf", "a\\m.gguf", "m\u{1b}.gguf"]),
            "no GGUF files",
        ),
    ] {
        let server = WebServer::new(move |_| Reply::ok(document.clone()));
        let place = Place::new(&server);
        failed(place.pull("hf:o/r"), &[piece]);
        assert!(place.files().is_empty());
    }
}

#[test]
fn gated_and_missing_repositories_say_what_to_do() {
    let server = WebServer::new(|asked| match asked.header("authorization") {
        None => Reply::new(401, "Invalid username or password.")
            .with("X-Error-Message", "Access to model o/r is restricted."),
        Some(_) => Reply::new(404, "Repository not found"),
    });
    let mut place = Place::new(&server);
    failed(
        place.pull("hf:o/r"),
        &["/api/models/o/r", "HTTP status 401: Access to model o/r", "`HF_TOKEN`"],
    );
    place.hub = place.hub.with_token("t");
    failed(place.pull("hf:o/r"), &["does not exist (HTTP status 404: Repository not found)"]);
}

#[test]
fn a_name_of_the_catalogue_must_be_the_file_that_was_tried() {
    let file = entry("smollm2").expect("is there").file;
    let files = [(file, content(SIZE))];
    let server = WebServer::new(move |asked| hub(asked, &files));
    let place = Place::new(&server);
    let pinned = entry("smollm2").and_then(|it| it.sha256).expect("is pinned");
    let pieces = ["is another file now", pinned, "trefoil pull hf:QuantFactory/"];
    failed(place.pull("smollm2"), &pieces);
    assert_eq!(server.log().len(), 1, "nothing is downloaded");
    // As what it is, it may be had; under its name, it is not taken for the other.
    let untried = entry("qwen3").expect("is there");
    let files = [(untried.file, content(SIZE))];
    let server = WebServer::new(move |asked| hub(asked, &files));
    let place = Place::new(&server);
    place.pull("qwen3").expect("works");
    let model = place.models().find("qwen3:0.6b").expect("works").expect("is there");
    assert_eq!(model.name, "qwen3:0.6b");
}

fn manifest(layers: &[(&str, &[u8], Option<&str>)]) -> String {
    let layer = |(kind, content, title): &(&str, &[u8], Option<&str>)| {
        let annotations = title.map(|it| json!({"org.opencontainers.image.title": it}));
        json!({"mediaType": kind, "digest": format!("sha256:{}", Digest::of(content)),
               "size": content.len(), "annotations": annotations.unwrap_or(json!({}))})
    };
    let layers: Vec<_> = layers.iter().map(layer).collect();
    json!({"schemaVersion": 2, "layers": layers}).to_string()
}

/// A registry that wants a token, and gives it to anybody for one repository.
fn registry(asked: &Asked, manifest: &str, blob: &[u8]) -> Reply {
    let host = asked.header("host").unwrap_or_default();
    if asked.target.starts_with("/token?") {
        assert_eq!(asked.target, "/token?service=r&scope=repository%3Aa/m%3Apull");
        return Reply::ok(json!({"token": format!("t{}", asked.before)}).to_string());
    }
    if asked.target.starts_with("/cdn") {
        assert_eq!(asked.header("authorization"), None);
        return asked.file(blob, "x");
    }
    let Some(token) = asked.header("authorization") else {
        let wanted = format!(
            "Bearer realm=\"http://{host}/token\",service=\"r\",scope=\"repository:a/m:pull\""
        );
        return Reply::new(401, "{}").with("WWW-Authenticate", wanted);
    };
    assert!(token.starts_with("Bearer t"), "{token}");
    let digest = Digest::of(manifest.as_bytes());
    match asked.target.as_str() {
        "/v2/a/m/manifests/v1" => Reply::ok(manifest),
        it if it == format!("/v2/a/m/manifests/sha256:{digest}") => Reply::ok(manifest),
        it if it == format!("/v2/a/m/blobs/sha256:{}", Digest::of(blob)) => {
            Reply::redirect(&format!("http://{}/cdn", host.replace("127.0.0.1", "localhost")))
        }
        _ => Reply::new(404, r#"{"errors": []}"#),
    }
}

#[test]
fn an_artifact_of_a_registry() {
    let blob = content(SIZE);
    let document = manifest(&[
        ("application/vnd.ollama.image.template", &[b'x'; 200_000], None),
        ("application/vnd.ollama.image.model", &blob, None),
    ]);
    let digest = Digest::of(document.as_bytes());
    let served = blob.clone();
    let server = WebServer::new(move |asked| registry(asked, &document, &served));
    let place = Place::new(&server);
    let name = format!("oci:{}/a/m:v1", server.registry());
    let pulled = place.pull(&name).expect("works");
    assert_eq!(pulled.files[0].sha256, Digest::of(&blob));
    assert_eq!(pulled.revision.as_deref(), Some(&*format!("sha256:{digest}")));
    assert_eq!(pulled.source, name);
    assert!(place.models().find(&name).expect("works").is_some());
    let accept = server.log()[0].header("accept").expect("is sent").to_owned();
    assert!(accept.contains("application/vnd.oci.image.manifest.v1+json"), "{accept}");

    let by_digest = format!("oci:{}/a/m@sha256:{digest}", server.registry());
    place.pull(&by_digest).expect("works");
    failed(place.pull(&format!("oci:{}/a/m:v2", server.registry())), &["does not exist"]);
}

#[test]
fn an_index_leads_to_a_manifest_and_digests_are_checked() {
    let blob = content(SIZE);
    let document = manifest(&[("x", &blob, Some("../../evil.gguf"))]);
    let index = json!({"manifests": [{"digest": format!("sha256:{}", Digest::of(document.as_bytes())), "size": 1}]});
    let server = WebServer::new(move |asked| match asked.target.as_str() {
        "/v2/m/manifests/latest" => Reply::ok(index.to_string()),
        it if it.starts_with("/v2/m/manifests/sha256:") => Reply::ok(document.clone()),
        _ => asked.file(&content(SIZE), "x"),
    });
    let place = Place::new(&server);
    place.pull(&format!("oci:{}/m", server.registry())).expect("works");
    assert!(place.files()[0].ends_with("/m/@latest/model.gguf"), "{:?}", place.files());
    let other = format!("oci:{}/m@sha256:{}", server.registry(), "0".repeat(64));
    failed(place.pull(&other), &["the manifest has the SHA-256"]);
}

#[test]
fn registries_that_want_too_much_are_refused() {
    for (header, piece) in [
        ("Basic realm=\"x\"", "HTTP status 401"),
        ("Bearer realm=\"ftp://x\"", "wants a token from `ftp://x`"),
        ("Bearer realm=\"http://192.0.2.1/token\"", "not encrypted"),
    ] {
        let server = WebServer::new(move |_| Reply::new(401, "").with("WWW-Authenticate", header));
        let place = Place::new(&server);
        failed(place.pull(&format!("oci:{}/m", server.registry())), &[piece]);
    }
    let server = WebServer::new(|asked| match asked.target.starts_with("/token") {
        true => Reply::ok(json!({"token": "a\r\nX: y"}).to_string()),
        false => {
            let realm =
                format!("Bearer realm=\"http://{}/token\"", asked.header("host").expect("is sent"));
            Reply::new(401, "").with("WWW-Authenticate", realm)
        }
    });
    let place = Place::new(&server);
    failed(place.pull(&format!("oci:{}/m", server.registry())), &["gives no token"]);
}

#[test]
fn a_token_that_expires_during_a_download_is_renewed() {
    let blob = content(SIZE);
    let document = manifest(&[("application/vnd.docker.ai.gguf.v3", &blob, None)]);
    let server = WebServer::new(move |asked| {
        let is_blob = asked.target.starts_with("/v2/a/m/blobs/");
        match asked.header("authorization") {
            Some("Bearer t0") if is_blob && asked.before == 0 => {
                asked.file(&blob, "x").cut_after(1000)
            }
            Some("Bearer t0") if is_blob => Reply::new(401, "expired"),
            Some(_) if is_blob => asked.file(&blob, "x"),
            _ => registry(asked, &document, &blob),
        }
    });
    let place = Place::new(&server);
    let mut told = Told::default();
    let name = format!("oci:{}/a/m:v1", server.registry());
    let pulled = place.pull_told(&name, &mut told).expect("works");
    assert_eq!(pulled.received, SIZE as u64);
}

#[test]
fn several_files_have_no_one_digest() {
    let names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
    let server = WebServer::new(move |asked| hub(asked, &names.map(|name| (name, content(SIZE)))));
    let place = Place::new(&server);
    let result = place.pull_as("hf:o/r/m-00001-of-00002.gguf", &content(SIZE));
    assert!(matches!(result, Err(PullError::OneDigest { count: 2 })));
}
