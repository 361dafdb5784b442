//! Servers and networks that misbehave: what is downloaded is right in the end, or an error says
//! what is wrong, and the cache holds nothing that is not.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::{Place, Told, WebServer, content, failed};
use trefoil_fixtures::Reply;
use trefoil_hub::{Digest, PullError};

const SIZE: usize = 300_000;

#[test]
fn a_file_is_downloaded_and_recorded() {
    let body = content(SIZE);
    let server = WebServer::new(move |asked| asked.file(&content(SIZE), "a"));
    let place = Place::new(&server);
    let pulled = place.pull(&server.url("/x/m.gguf")).expect("works");
    assert_eq!(pulled.received, SIZE as u64);
    assert_eq!(pulled.files[0].sha256, Digest::of(&body));
    assert_eq!(std::fs::read(&pulled.files[0].path).expect("is there"), body);
    let files = place.files();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files[0].ends_with("/m.gguf") && files[1].ends_with("/m.gguf.json"));
    assert!(server.log()[0].header("user-agent").expect("has one").starts_with("trefoil/"));
    // Again, nothing is asked for.
    let again = place.pull(&server.url("/x/m.gguf")).expect("works");
    assert_eq!((again.received, again.files), (0, pulled.files));
    assert_eq!(server.log().len(), 1);
}

#[test]
fn cut_connections_are_continued_where_they_were_cut() {
    let server = WebServer::new(|asked| {
        let reply = asked.file(&content(SIZE), "a");
        if asked.before < 3 { reply.cut_after(70_000) } else { reply }
    });
    let place = Place::new(&server);
    let mut told = Told::default();
    let pulled = place.pull_told(&server.url("/m.gguf"), &mut told).expect("works");
    assert_eq!(pulled.files[0].sha256, Digest::of(&content(SIZE)));
    assert_eq!(pulled.received, SIZE as u64, "no byte came twice");
    let log = server.log();
    let ranges: Vec<_> = log.iter().map(|asked| asked.range()).collect();
    assert_eq!(ranges, [None, Some(70_000), Some(140_000), Some(210_000)]);
    assert_eq!(log[1].header("if-range"), Some("\"a\""));
    assert_eq!(told.words.iter().filter(|word| word.contains("broke")).count(), 3);
}

#[test]
fn a_server_that_only_cuts_is_given_up_and_continued_later() {
    let server = WebServer::new(|asked| {
        let reply = asked.file(&content(SIZE), "a");
        if asked.before < 4 { reply.cut_after(10) } else { reply }
    });
    let place = Place::new(&server);
    failed(place.pull(&server.url("/m.gguf")), &["the connection to `127.0.0.1` broke"]);
    assert_eq!(server.log().len(), 4, "as often as allowed");
    let mut told = Told::default();
    let pulled = place.pull_told(&server.url("/m.gguf"), &mut told).expect("works");
    assert_eq!(told.words, ["begin m.gguf at 40"]);
    assert_eq!(pulled.received, SIZE as u64 - 40);
    assert_eq!(pulled.files[0].sha256, Digest::of(&content(SIZE)));
}

#[test]
fn attempts_that_bring_much_are_not_counted() {
    const LARGE: usize = 12 << 20;
    let body = content(LARGE);
    let digest = Digest::of(&body);
    let server = WebServer::new(move |asked| asked.file(&body, "a").cut_after(1 << 20));
    let place = Place::new(&server);
    let pulled = place.pull(&server.url("/m.gguf")).expect("works");
    assert_eq!(pulled.files[0].sha256, digest);
    assert_eq!(server.log().len(), 12);
}

#[test]
fn a_server_without_ranges_is_asked_for_all_of_it() {
    let server = WebServer::new(|asked| {
        let reply = Reply::ok(content(SIZE)).with("ETag", "\"a\"");
        if asked.before == 0 { reply.cut_after(100_000) } else { reply }
    });
    let place = Place::new(&server);
    let pulled = place.pull(&server.url("/m.gguf")).expect("works");
    assert_eq!(server.log()[1].range(), Some(100_000));
    assert_eq!(pulled.files[0].sha256, Digest::of(&content(SIZE)));
    assert_eq!(pulled.received, SIZE as u64 + 100_000);
}

#[test]
fn without_a_promise_that_nothing_changed_all_of_it_is_asked_for() {
    for (header, continued) in
        [("", None), ("W/\"a\"", None), ("\"a\"", Some(100_000)), ("Last-Modified", Some(100_000))]
    {
        let server = WebServer::new(move |asked| {
            let mut reply = asked.file(&content(SIZE), "a");
            reply.headers.retain(|(name, _)| name != "ETag");
            reply = match header {
                "" => reply,
                "Last-Modified" => reply.with(header, "Wed, 21 Oct 2015 07:28:00 GMT"),
                etag => reply.with("ETag", etag),
            };
            if asked.before == 0 { reply.cut_after(100_000) } else { reply }
        });
        let place = Place::new(&server);
        let pulled = place.pull(&server.url("/m.gguf"));
        let log = server.log();
        assert_eq!(log[1].range(), continued, "{header}");
        if continued.is_some() {
            assert!(log[1].header("if-range").is_some(), "{header}");
        }
        // This server knows no dates, so that it sends all of it.
        assert_eq!(pulled.expect("works").files[0].sha256, Digest::of(&content(SIZE)));
    }
}

#[test]
fn another_version_on_the_server_is_not_mixed_with_the_first() {
    // With `If-Range`, and on a server that ignores it.
    for ignores in [false, true] {
        let other = || {
            let mut other = content(SIZE);
            other[4..].reverse();
            other
        };
        let server = WebServer::new(move |asked| match asked.before {
            0 => asked.file(&content(SIZE), "a").cut_after(100_000),
            _ => {
                let mut asked = asked.clone();
                if ignores {
                    asked.headers.remove("if-range");
                }
                asked.file(&other(), "b")
            }
        });
        let place = Place::new(&server);
        let mut told = Told::default();
        let pulled = place.pull_told(&server.url("/m.gguf"), &mut told).expect("works");
        assert_eq!(pulled.files[0].sha256, Digest::of(&other()));
        assert!(told.words.iter().any(|it| it.contains("another version")), "{:?}", told.words);
    }
}

#[test]
fn wrong_continuations_begin_anew() {
    for range in [
        "bytes 0-299999/300000",
        "bytes 99999-299999/300000",
        "bytes 100000-299998/299999",
        "bytes 100000-199999/300000",
        "items",
        "",
    ] {
        let server = WebServer::new(move |asked| match asked.before {
            0 => asked.file(&content(SIZE), "a").cut_after(100_000),
            1 => Reply::new(206, &content(SIZE)[100_000..]).with("Content-Range", range),
            _ => asked.file(&content(SIZE), "a"),
        });
        let place = Place::new(&server);
        let pulled = place.pull(&server.url("/m.gguf")).expect(range);
        assert_eq!(pulled.files[0].sha256, Digest::of(&content(SIZE)), "{range}");
        assert_eq!(server.log()[2].range(), None, "{range}");
    }
}

#[test]
fn a_server_that_never_continues_right_is_given_up() {
    let server = WebServer::new(|asked| match asked.range() {
        None => asked.file(&content(SIZE), "a").cut_after(100_000),
        Some(_) => Reply::new(206, "x").with("Content-Range", "bytes 0-0/300000"),
    });
    let place = Place::new(&server);
    assert!(place.pull(&server.url("/m.gguf")).is_err());
    assert!(server.log().len() < 20, "{}", server.log().len());
}

#[test]
fn wrong_bytes_are_refused_and_removed() {
    let server = WebServer::new(|asked| asked.file(&content(SIZE), "a"));
    let place = Place::new(&server);
    let expected = content(SIZE - 1);
    let result = place.pull_as(&server.url("/m.gguf"), &expected);
    let (found, expected) = (Digest::of(&content(SIZE)), Digest::of(&expected));
    failed(result, &["/m.gguf` is not what it should be", found.as_str(), expected.as_str()]);
    assert_eq!(server.log().len(), 1);
    assert!(place.files().is_empty(), "{:?}", place.files());
}

#[test]
fn what_lies_there_damaged_is_downloaded_anew() {
    let server = WebServer::new(|asked| {
        let reply = asked.file(&content(SIZE), "a");
        if asked.before < 4 { reply.cut_after(20_000) } else { reply }
    });
    let place = Place::new(&server);
    let url = server.url("/m.gguf");
    assert!(place.pull_as(&url, &content(SIZE)).is_err());
    let partial =
        place.files().into_iter().find(|file| file.ends_with(".partial")).expect("is there");
    let partial = place.folder.path().join(partial);
    let mut bytes = std::fs::read(&partial).expect("readable");
    bytes[1000] ^= 1;
    std::fs::write(&partial, bytes).expect("writable");
    let pulled = place.pull_as(&url, &content(SIZE)).expect("works");
    assert_eq!(pulled.files[0].sha256, Digest::of(&content(SIZE)));
}

#[test]
fn pages_that_are_no_model_are_known_by_their_first_bytes() {
    let server = WebServer::new(|_| Reply::ok("<!DOCTYPE html>\r\n<p>Sign in".repeat(1000)));
    let place = Place::new(&server);
    let result = place.pull(&server.url("/m.gguf"));
    failed(result, &["is not a GGUF file: it begins with `<!DOCTYPE html>"]);
    for short in ["", "G", "GGU"] {
        let server = WebServer::new(move |_| Reply::ok(short));
        let place = Place::new(&server);
        assert!(place.pull(&server.url("/m.gguf")).is_err(), "{short}");
        assert!(place.files().is_empty(), "{short}");
    }
}

#[test]
fn lengths_that_are_wrong_or_missing_are_refused() {
    let longer =
        WebServer::new(|_| Reply { length: Some(SIZE as u64 + 9), ..Reply::ok(content(SIZE)) });
    let place = Place::new(&longer);
    failed(place.pull(&longer.url("/m.gguf")), &["broke"]);

    let shorter =
        WebServer::new(|_| Reply { length: Some(SIZE as u64 - 9), ..Reply::ok(content(SIZE)) });
    let place = Place::new(&shorter);
    let result = place.pull_as(&shorter.url("/m.gguf"), &content(SIZE));
    failed(result, &["is not what it should be"]);

    let none = WebServer::new(|_| Reply { no_length: true, ..Reply::ok(content(SIZE)) });
    let place = Place::new(&none);
    failed(place.pull(&none.url("/m.gguf")), &["does not say how long it is"]);

    let absurd = WebServer::new(|_| Reply { length: Some(1 << 60), ..Reply::ok(content(SIZE)) });
    let place = Place::new(&absurd);
    failed(place.pull(&absurd.url("/m.gguf")), &["has 1152921504606846976 bytes, more than"]);
}

#[test]
fn redirects_are_followed_but_not_without_end_or_to_anywhere() {
    let server = WebServer::new(|asked| match asked.target.as_str() {
        "/loop.gguf" => Reply::redirect("/loop.gguf"),
        "/nowhere.gguf" => Reply::new(302, ""),
        "/file.gguf" => Reply::redirect("file:///etc/passwd"),
        "/plain.gguf" => Reply::redirect("http://192.0.2.1/m.gguf"),
        "/a.gguf" => Reply::redirect("b"),
        "/b" => Reply::new(307, "").with("Location", "//localhost:9/x").with("Location", "x"),
        "/m.gguf" => Reply::redirect("/real?signature=s"),
        _ => asked.file(&content(SIZE), "a"),
    });
    let place = Place::new(&server);
    failed(place.pull(&server.url("/loop.gguf")), &["redirects more than 10 times"]);
    failed(place.pull(&server.url("/nowhere.gguf")), &["without saying where to"]);
    failed(place.pull(&server.url("/file.gguf")), &["does not begin with `https://`"]);
    failed(place.pull(&server.url("/plain.gguf")), &["192.0.2.1", "not encrypted", "--allow-http"]);
    let pulled = place.pull(&server.url("/m.gguf")).expect("works");
    assert!(pulled.files[0].path.ends_with("m.gguf"), "the name is the user's");
}

#[test]
fn statuses_are_told_and_some_are_tried_again() {
    for (status, pieces, requests) in [
        (404, &["/m.gguf` does not exist (HTTP status 404)"][..], 1),
        (401, &["is not given to us (HTTP status 401)", "`HF_TOKEN`"], 1),
        (403, &["HTTP status 403", "`HF_TOKEN`"], 1),
        (400, &["was refused (HTTP status 400)"], 1),
        (500, &["cannot be given at the moment (HTTP status 500)"], 4),
        (503, &["HTTP status 503"], 4),
        (429, &["was asked for too often"], 4),
        (206, &["no usable answer", "does not say what it continues"], 4),
        (304, &["HTTP status 304"], 1),
    ] {
        let server = WebServer::new(move |_| Reply::new(status, ""));
        let place = Place::new(&server);
        failed(place.pull(&server.url("/m.gguf")), pieces);
        assert_eq!(server.log().len(), requests, "{status}");
    }
    let server = WebServer::new(|asked| match asked.before {
        0 => Reply::new(500, ""),
        1 => Reply::new(429, "").with("Retry-After", "0"),
        _ => asked.file(&content(SIZE), "a"),
    });
    let place = Place::new(&server);
    let mut told = Told::default();
    place.pull_told(&server.url("/m.gguf"), &mut told).expect("works");
    assert!(told.words[2].starts_with("retry after 0 ms"), "{:?}", told.words);
}

#[test]
fn a_server_that_asks_for_time_gets_it_within_reason() {
    let server = WebServer::new(|asked| match asked.before {
        0 => Reply::new(429, "").with("Retry-After", "1"),
        _ => asked.file(&content(SIZE), "a"),
    });
    let place = Place::new(&server);
    let begin = Instant::now();
    place.pull(&server.url("/m.gguf")).expect("works");
    assert!(begin.elapsed() >= Duration::from_secs(1));

    let server = WebServer::new(|_| Reply::new(429, "").with("Retry-After", "99999"));
    let place = Place::new(&server);
    failed(place.pull(&server.url("/m.gguf")), &["asks to come back in 99999 s"]);
    assert_eq!(server.log().len(), 1);
}

#[test]
fn what_a_server_says_is_printed_without_control_characters() {
    let said = "no\u{1b}[2J".to_owned() + &"x".repeat(1000);
    let server = WebServer::new(move |asked| match asked.target.starts_with("/api/") {
        true => Reply::new(403, said.clone()),
        false => Reply::new(500, ""),
    });
    let place = Place::new(&server);
    let text = support::words(&place.pull("hf:o/r").expect_err("fails"));
    assert!(text.contains("no[2J") && !text.contains('\u{1b}') && text.len() < 600, "{text}");
}

#[test]
fn headers_without_end_are_refused() {
    let server = WebServer::new(|_| Reply::ok("GGUF").with("X", "x".repeat(1 << 20)));
    let place = Place::new(&server);
    failed(place.pull(&server.url("/m.gguf")), &["cannot talk to `127.0.0.1`"]);
}

#[test]
fn without_a_server_the_error_says_what_was_wanted_from_where() {
    let server = WebServer::new(|_| Reply::ok(""));
    let url = server.url("/m.gguf");
    let place = Place::new(&server);
    drop(server);
    // The listener's thread ends with the connection that the drop made.
    std::thread::sleep(Duration::from_millis(50));
    failed(place.pull(&url), &["cannot reach `127.0.0.1`", &url, "check the network"]);
    failed(place.pull("hf:o/r"), &["cannot reach `127.0.0.1`", "/api/models/o/r"]);
}

#[test]
fn a_cancelled_pull_is_continued_later() {
    let server = WebServer::new(|asked| match asked.before {
        0 => Reply { stall: Some(100_000), ..asked.file(&content(SIZE), "a") },
        _ => asked.file(&content(SIZE), "a"),
    });
    let place = Place::new(&server);
    let url = server.url("/m.gguf");
    let mut told = Told { cancel_at: Some((100_000, place.cancelled.clone())), ..Told::default() };
    let begin = Instant::now();
    let error = place.pull_told(&url, &mut told).expect_err("is cancelled");
    assert!(error.is_cancelled(), "{}", support::words(&error));
    assert!(begin.elapsed() < Duration::from_secs(5), "a read that waits ends, too");

    place.cancelled.store(false, Ordering::SeqCst);
    let mut told = Told::default();
    let pulled = place.pull_told(&url, &mut told).expect("works");
    assert_eq!(told.words, ["begin m.gguf at 100000"]);
    assert_eq!(pulled.received, SIZE as u64 - 100_000);
    assert_eq!(pulled.files[0].sha256, Digest::of(&content(SIZE)));
}

#[test]
fn a_cancellation_during_a_wait_is_heard() {
    let server = WebServer::new(|_| Reply::new(429, "").with("Retry-After", "2"));
    let mut place = Place::new(&server);
    place.hub.retry.asked_wait_max = Duration::from_secs(9);
    let cancelled = place.cancelled.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        cancelled.store(true, Ordering::SeqCst);
    });
    let begin = Instant::now();
    assert!(place.pull(&server.url("/m.gguf")).expect_err("is cancelled").is_cancelled());
    assert!(begin.elapsed() < Duration::from_millis(1500));
    thread.join().expect("ends");
}

#[test]
fn two_pulls_of_one_model_download_it_once() {
    let server = WebServer::new(|asked| {
        std::thread::sleep(Duration::from_millis(200));
        asked.file(&content(SIZE), "a")
    });
    let place = Arc::new(Place::new(&server));
    let url = server.url("/m.gguf");
    let sha256 = Digest::of(&content(SIZE));
    let pull = |_| {
        let (place, url, sha256) = (place.clone(), url.clone(), sha256.clone());
        std::thread::spawn(move || {
            let pulled = place.hub.pull(&place.models(), &url, Some(&sha256), &mut Told::default());
            pulled.map(|it| it.received).map_err(|error| support::words(&error))
        })
    };
    let threads: Vec<_> = (0..3).map(pull).collect();
    let received: Vec<u64> =
        threads.into_iter().map(|it| it.join().expect("ends").expect("works")).collect();
    assert_eq!(received.iter().sum::<u64>(), SIZE as u64, "{received:?}");
    assert_eq!(place.files().len(), 2, "no lock is left: {:?}", place.files());
}

#[test]
fn unknown_names_are_told_with_similar_ones() {
    let server = WebServer::new(|_| Reply::new(404, ""));
    let place = Place::new(&server);
    failed(place.pull("gemma3:27b"), &["there is no model `gemma3:27b`", "`gemma3:270m`"]);
    assert!(matches!(place.pull("hf:x"), Err(PullError::Reference(_))));
    assert!(server.log().is_empty());
}
