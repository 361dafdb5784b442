//! The cache of models.

mod support;

use std::fs;
use std::time::{Duration, SystemTime};

use support::{Place, WebServer, content};
use trefoil_hub::{Digest, ModelsError, Verdict, can_be_pulled};

const SIZE: usize = 10_000;

fn server() -> WebServer {
    WebServer::new(|asked| asked.file(&content(SIZE), "a"))
}

#[test]
fn models_are_found_by_every_name() {
    let server = server();
    let place = Place::new(&server);
    let models = place.models();
    assert!(models.list().expect("an empty cache").is_empty());
    let url = server.url("/Some-Model.Q4_0.gguf");
    place.pull(&url).expect("works");
    for name in [&url[..], "Some-Model.Q4_0.gguf", "some-model.q4_0"] {
        assert!(models.find(name).expect("works").is_some(), "{name}");
    }
    assert!(models.find("Some-Model").expect("works").is_none());
    // The same file name from elsewhere.
    place.pull(&server.url("/other/Some-Model.Q4_0.gguf")).expect("works");
    let error = models.find("some-model.q4_0").expect_err("ambiguous").to_string();
    assert!(error.contains(&url) && error.contains("/other/"), "{error}");
    assert!(models.find(&url).expect("works").is_some());
}

#[test]
fn models_that_were_put_there_are_models() {
    let server = server();
    let place = Place::new(&server);
    let models = place.models();
    fs::write(place.folder.path().join("SmolLM2-135M-Instruct.Q4_1.gguf"), b"GGUF")
        .expect("writes");
    fs::write(place.folder.path().join("own-00001-of-00002.gguf"), b"GGUF").expect("writes");
    fs::write(place.folder.path().join("notes.txt"), b"x").expect("writes");
    let listed = models.list().expect("works");
    let names: Vec<_> = listed.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["own-00001-of-00002.gguf", "smollm2:135m"]);
    assert!(!listed[0].complete, "its second file is missing");
    assert!(models.open("smollm2").expect("is there").ends_with("SmolLM2-135M-Instruct.Q4_1.gguf"));
    // Its name is no proof: what is pinned is compared.
    let verdict = models.verify(&listed[1].files[0], &mut |_| true).expect("works");
    assert!(matches!(verdict, Verdict::Damaged { .. }), "{verdict:?}");
}

#[test]
fn names_that_are_not_there_say_what_brings_them() {
    let server = server();
    let place = Place::new(&server);
    let models = place.models();
    let error = models.open("qwen3:0.6b").expect_err("is not there").to_string();
    assert!(error.contains("`trefoil pull qwen3:0.6b` brings it"), "{error}");
    let error = models.open("hf:o/r").expect_err("is not there").to_string();
    assert!(error.contains("`trefoil pull hf:o/r` brings it"), "{error}");
    let error = models.open("qwen3:99b").expect_err("does not exist").to_string();
    assert!(error.contains("qwen3:0.6b") && error.contains("trefoil models"), "{error}");
    assert!(matches!(models.open("hf:x"), Err(ModelsError::Reference(_))));
    assert!(can_be_pulled("smollm2") && can_be_pulled("oci:r.io/m") && !can_be_pulled("nothing"));
}

#[test]
fn damage_is_found() {
    let server = server();
    let place = Place::new(&server);
    let pulled = place.pull(&server.url("/m.gguf")).expect("works");
    let model = &place.models().list().expect("works")[0];
    let verify = || place.models().verify(&model.files[0], &mut |_| true).expect("works");
    assert_eq!(verify(), Verdict::Intact);
    let mut bytes = content(SIZE);
    bytes[99] ^= 1;
    fs::write(&pulled.files[0].path, &bytes).expect("writes");
    let damaged =
        Verdict::Damaged { expected: Digest::of(&content(SIZE)), found: Digest::of(&bytes) };
    assert_eq!(verify(), damaged);
    fs::remove_file(&pulled.files[0].path).expect("removes");
    assert_eq!(verify(), Verdict::Missing);
    fs::write(&pulled.files[0].path, &bytes).expect("writes");
    let cancelled = place.models().verify(&model.files[0], &mut |_| false);
    assert!(matches!(cancelled, Err(ModelsError::Cancelled)));
}

#[test]
fn a_removed_model_leaves_nothing() {
    let server = server();
    let place = Place::new(&server);
    place.pull(&server.url("/m.gguf")).expect("works");
    let model = place.models().list().expect("works").remove(0);
    let removed = place.models().remove(&model).expect("works");
    assert_eq!((removed.files, removed.bytes), (1, SIZE as u64));
    assert!(place.files().is_empty());
    assert_eq!(fs::read_dir(place.folder.path()).expect("stays").count(), 0, "no empty folders");
}

#[test]
fn cleaning_takes_what_did_not_end_and_with_a_limit_what_nobody_uses() {
    let server = WebServer::new(|asked| {
        let reply = asked.file(&content(SIZE), "a");
        if asked.target == "/cut.gguf" { reply.cut_after(10) } else { reply }
    });
    let place = Place::new(&server);
    let models = place.models();
    fs::write(place.folder.path().join("own.gguf"), b"GGUF").expect("writes");
    fs::write(place.folder.path().join("stray.gguf.partial"), b"GG").expect("writes");
    fs::write(place.folder.path().join("stray.gguf.lock"), b"").expect("writes");
    place.pull(&server.url("/old.gguf")).expect("works");
    place.pull(&server.url("/new.gguf")).expect("works");
    place.pull(&server.url("/cut.gguf")).expect_err("is cut");
    let old = models.find("old").expect("works").expect("is there");
    let record = old.files[0].path.with_extension("gguf.json");
    let long_ago = SystemTime::now() - Duration::from_secs(10 * 86_400);
    let file = fs::File::options().write(true).open(&record).expect("opens");
    file.set_modified(long_ago).expect("sets the time");

    let names = || {
        let listed = models.list().expect("works");
        listed
            .into_iter()
            .map(|it| it.files[0].path.file_name().expect("has one").to_owned())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let removed = models.clean(None).expect("works");
    assert_eq!(removed.bytes, 40 + 2, "four attempts of 10 bytes, and the stray");
    assert_eq!(names(), ["new.gguf", "old.gguf", "own.gguf"].map(Into::into).into());
    assert!(!place.files().iter().any(|it| it.ends_with(".partial") || it.ends_with(".lock")));
    models.clean(Some(Duration::from_secs(9 * 86_400))).expect("works");
    assert_eq!(names(), ["new.gguf", "own.gguf"].map(Into::into).into());
    // Using a model is remembered.
    let new = models.find("new").expect("works").expect("is there");
    let record = new.files[0].path.with_extension("gguf.json");
    let file = fs::File::options().write(true).open(&record).expect("opens");
    file.set_modified(long_ago).expect("sets the time");
    models.open("new").expect("is there");
    models.clean(Some(Duration::from_secs(9 * 86_400))).expect("works");
    assert_eq!(names(), ["new.gguf", "own.gguf"].map(Into::into).into());
}

#[test]
fn records_that_are_damaged_or_point_elsewhere_are_not_followed() {
    let server = server();
    let place = Place::new(&server);
    let outside = tempfile::tempdir().expect("a folder");
    fs::write(outside.path().join("x.gguf"), b"GGUF").expect("writes");
    for record in [
        "",
        "{}",
        "[",
        "null",
        r#"{"version": 2, "source": "s", "files": [{"name": "m.gguf"}]}"#,
        r#"{"version": 1, "source": "s", "files": []}"#,
        r#"{"version": 1, "source": "s", "files": [{"name": "../../x.gguf"}]}"#,
        r#"{"version": 1, "source": "s", "files": [{"name": "/x.gguf"}]}"#,
        r#"{"version": 1, "source": "s", "files": [{"name": "a/b/c/d/e/x.gguf"}]}"#,
    ] {
        fs::write(place.folder.path().join("m.gguf"), b"GGUF").expect("writes");
        fs::write(place.folder.path().join("m.gguf.json"), record).expect("writes");
        let listed = place.models().list().expect("works");
        assert_eq!(listed.len(), 1, "{record}");
        assert_eq!(listed[0].source, None, "{record}");
    }
}
