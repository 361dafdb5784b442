//! Many requests at once, slow and vanishing clients, failing instances, and the end.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Value, json};
use support::{PLACES, Served, Setup};
use trefoil_contract::{Request, Value as SettingValue};
use trefoil_server::Access;

fn count(tokens: u32) -> Value {
    json!({ "prompt": "x", "max_tokens": tokens })
}

const ACTIVE: &str = "trefoil_requests_active{model=\"counting\"}";
const WAITING: &str = "trefoil_requests_waiting{model=\"counting\"}";

#[test]
fn requests_that_come_together_are_computed_together() {
    let step = Duration::from_millis(5);
    let server = Setup { step, ..Setup::default() }.start();
    std::thread::scope(|scope| {
        let ask = |tokens| {
            let server = &server;
            scope.spawn(move || server.post("/v1/completions", &count(tokens)).json())
        };
        let answers: Vec<_> = (20..28).map(ask).collect();
        for (tokens, answer) in (20..28).zip(answers) {
            let expected: String = (0..tokens).map(|number| format!("{number} ")).collect();
            assert_eq!(answer.join().unwrap()["choices"][0]["text"], expected);
        }
    });
    assert_eq!(server.counters.batch_max.load(Relaxed), PLACES as usize);
    assert_eq!(server.counters.opened.load(Relaxed), 1);
    // Counted just behind the last event.
    server.until("the end of all", || server.metric(ACTIVE) + server.metric(WAITING) == 0.0);
    let total = |name| server.metric(&format!("trefoil_{name}_tokens_total{{model=\"counting\"}}"));
    assert_eq!((total("generated"), total("drafted"), total("accepted")), (188.0, 24.0, 16.0));
}

#[test]
fn places_are_shared_among_clients_not_among_requests() {
    let keys = vec!["busy".into(), "rare".into()];
    let access = Access { keys, ..Access::default() };
    let step = Duration::from_millis(5);
    let server = Setup { step, access, ..Setup::default() }.start();
    let ask = |key: &str, tokens: u32| {
        let header = format!("authorization: Bearer {key}\r\n");
        server.open("POST", "/v1/completions", &header, &count(tokens).to_string())
    };
    let lengths = || {
        let of = |request: &Request| match request.settings.first().map(|setting| &setting.value) {
            Some(SettingValue::Integer(tokens)) => *tokens,
            other => panic!("{other:?}"),
        };
        server.counters.requests.lock().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let waiting = |count: usize| {
        let metrics = server.send("GET", "/metrics", "authorization: Bearer rare\r\n", "").body;
        metrics.contains(&format!("{WAITING} {count}\n"))
    };
    let mut busy: Vec<_> = (0..PLACES + 2).map(|_| ask("busy", 200)).collect();
    server.until("two wait", || lengths().len() == PLACES as usize && waiting(2));
    busy.push(ask("rare", 2));
    server.until("three wait", || waiting(3));
    for mut stream in busy {
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    // The one of the other client began before those that had waited longer.
    assert_eq!(lengths(), [200, 200, 200, 200, 2, 200, 200]);
}

#[test]
fn a_full_queue_says_so() {
    let mut setup = Setup { step: Duration::from_millis(5), ..Setup::default() };
    setup.limits.waiting_max = 2;
    let server = setup.start();
    // How many answers a model gives at once is known when it is loaded.
    server.post("/v1/completions", &count(1));
    let endless: Vec<_> = (0..PLACES)
        .map(|_| server.open("POST", "/v1/completions", "", &count(1_000_000).to_string()))
        .collect();
    server.until("the places are taken", || server.metric(ACTIVE) == f64::from(PLACES));
    let waiting: Vec<_> =
        (0..2).map(|_| server.open("POST", "/v1/completions", "", &count(2).to_string())).collect();
    server.until("two wait", || server.metric(WAITING) == 2.0);
    let reply = server.post("/v1/completions", &count(1));
    assert_eq!(reply.status, 429, "{reply:?}");
    assert!(reply.head.contains("retry-after: 1"), "{}", reply.head);
    assert_eq!(reply.error().1["type"], "rate_limit_error");
    // Clients that go away make room for those that wait.
    drop(endless);
    for mut stream in waiting {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.contains("0 1 "), "{text}");
    }
    server.until("nothing is left", || server.metric(ACTIVE) == 0.0);
    assert_eq!(server.counters.cancelled.load(Relaxed), PLACES as usize);
}

#[test]
fn large_bodies_have_bounded_memory_together() {
    let server = Setup::default().start();
    let large = json!({ "prompt": "x", "max_tokens": 1, "user": "x".repeat(2 << 20) });
    assert_eq!(server.post("/v1/completions", &large).status, 200);
    let taken = || server.metric("trefoil_large_body_bytes");
    server.until("what it took is given back", || taken() == 0.0);
    // They announce all that may be had and send none of it.
    let sizes = [[32 << 20; 8].as_slice(), &[9 << 20]].concat();
    let announce = |bytes| server.announce("/v1/completions", bytes);
    let silent: Vec<_> = sizes.into_iter().map(announce).collect();
    server.until("nothing is left for a large one", || taken() == f64::from(256 << 20));
    let reply = server.post("/v1/completions", &large);
    assert!(reply.head.contains("retry-after: 1"), "{}", reply.head);
    assert_eq!(reply.error().1["code"], "bodies_full");
    assert_eq!(server.post("/v1/completions", &count(1)).status, 200);
    // One without an announced length, in chunks, is counted as it comes.
    let chunked = |bytes: usize| {
        let body =
            format!("{{\"prompt\":\"x\",\"max_tokens\":1,\"user\":\"{}\"}}", "x".repeat(bytes));
        server.send_chunked("/v1/completions", &body).status
    };
    assert_eq!((chunked(1000), chunked(2 << 20)), (200, 429));
    drop(silent);
    server.until("there is memory again", || taken() == 0.0);
    assert_eq!(server.post("/v1/completions", &large).status, 200);
}

#[test]
fn a_client_that_does_not_read_delays_nobody() {
    let server = Setup::default().start();
    let body = json!({ "prompt": "x", "max_tokens": 10_000_000, "stream": true });
    // Never read: its buffers fill, and then its answer waits.
    let lazy = server.open("POST", "/v1/completions", "", &body.to_string());
    server.until("it runs", || server.metric(ACTIVE) == 1.0);
    for _ in 0..5 {
        assert_eq!(server.post("/v1/completions", &count(20)).status, 200);
    }
    drop(lazy);
    server.until("it is given up", || server.metric(ACTIVE) == 0.0);
}

#[test]
fn a_failing_instance_ends_its_requests_only() {
    let server = Setup::default().start();
    let body = json!({ "prompt": "x", "max_tokens": 1_000_000, "stream": true });
    let mut stream = server.open("POST", "/v1/completions", "", &body.to_string());
    let mut text = String::new();
    let mut piece = [0; 64];
    while !text.contains("data: ") {
        let count = stream.read(&mut piece).unwrap();
        text += std::str::from_utf8(&piece[..count]).unwrap();
    }
    server.counters.fails.store(true, Relaxed);
    stream.read_to_string(&mut text).unwrap();
    let last: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let [.., error, "[DONE]"] = last.as_slice() else { panic!("{last:?}") };
    let error: Value = serde_json::from_str(error).unwrap();
    assert_eq!(error["error"]["message"], "the instance has trapped");
    assert_eq!(error["error"]["code"], "instance_failed");
    // The next one gets a fresh instance.
    assert_eq!(server.post("/v1/completions", &count(2)).status, 200);
    assert_eq!(server.counters.opened.load(Relaxed), 2);
    // Before an answer has begun, the failure is its status.
    server.counters.fails.store(true, Relaxed);
    let (status, error) = server.post("/v1/completions", &count(2)).error();
    assert_eq!((status, &error["type"]), (500, &json!("server_error")));
    assert_eq!(server.metric("trefoil_instance_failures_total{model=\"counting\"}"), 2.0);
}

#[test]
fn an_instance_that_fails_while_answers_end_together_is_replaced() {
    let server = Setup::default().start();
    let body = json!({ "prompt": "x", "max_tokens": 1_000_000 }).to_string();
    let streams = [(); 3].map(|()| server.open("POST", "/v1/completions", "", &body));
    server.until("they run", || server.metric(ACTIVE) == 3.0);
    server.counters.ends_badly.store(true, Relaxed);
    for mut stream in streams {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
    assert_eq!(server.post("/v1/completions", &count(2)).status, 200);
    assert_eq!(server.counters.opened.load(Relaxed), 2);
}

#[test]
fn a_model_that_cannot_be_opened_is_tried_again() {
    let server = Setup::default().start();
    server.counters.does_not_open.store(true, Relaxed);
    for (path, body) in [("/v1/completions", count(2)), ("/tokenize", json!({ "content": "x" }))] {
        let (status, error) = server.post(path, &body).error();
        assert_eq!((status, &error["message"]), (503, &json!("the file is damaged")), "{path}");
    }
    server.counters.does_not_open.store(false, Relaxed);
    assert_eq!(server.post("/v1/completions", &count(2)).status, 200);
}

#[test]
fn a_request_has_its_time() {
    let mut setup = Setup { step: Duration::from_millis(20), ..Setup::default() };
    setup.limits.time_max = Duration::from_millis(400);
    let server = setup.start();
    let (status, error) = server.post("/v1/completions", &count(1_000_000)).error();
    assert_eq!((status, &error["code"]), (504, &json!("timeout")));
    assert_eq!(server.post("/v1/completions", &count(2)).status, 200);
}

#[test]
fn an_answer_has_its_tokens() {
    let mut setup = Setup::default();
    setup.limits.tokens_max = 3;
    let server = setup.start();
    for body in [count(50), json!({ "prompt": "x" })] {
        let reply = server.post("/v1/completions", &body).json();
        assert_eq!(reply["usage"]["completion_tokens"], 3);
    }
}

#[test]
fn a_model_that_nobody_asks_for_is_unloaded() {
    let mut setup = Setup::default();
    setup.limits.idle = Some(Duration::from_millis(100));
    let server = setup.start();
    assert_eq!(server.metric("trefoil_model_loaded{model=\"counting\"}"), 0.0);
    let loaded = |server: &Served| server.metric("trefoil_model_loaded{model=\"counting\"}");
    server.post("/v1/completions", &count(2));
    assert_eq!(server.counters.opened.load(Relaxed), 1);
    server.until("it is unloaded", || loaded(&server) == 0.0);
    server.post("/v1/completions", &count(2));
    assert_eq!(server.counters.opened.load(Relaxed), 2);
}

#[test]
fn stopping_lets_answers_end() {
    let server = Setup { step: Duration::from_millis(10), ..Setup::default() }.start();
    let body = json!({ "prompt": "x", "max_tokens": 50, "stream": true });
    let mut stream = server.open("POST", "/v1/completions", "", &body.to_string());
    server.until("it runs", || server.metric(ACTIVE) == 1.0);
    server.stopper.stop();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("\"49 \"") && text.contains("[DONE]"), "{text}");
    server.join();
}

#[test]
fn answers_that_take_too_long_to_end_are_told() {
    let drain = Duration::from_millis(200);
    let server = Setup { step: Duration::from_millis(10), drain, ..Setup::default() }.start();
    let body = json!({ "prompt": "x", "max_tokens": 1_000_000, "stream": true });
    let mut stream = server.open("POST", "/v1/completions", "", &body.to_string());
    server.until("it runs", || server.metric(ACTIVE) == 1.0);
    server.stopper.stop();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("the server is being stopped") && text.contains("[DONE]"), "{text:.300}");
    server.join();
}
