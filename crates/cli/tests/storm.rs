//! Many clients at once, of which some misbehave.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::Place;
use support::served::Served;

const CLIENTS: usize = 64;
/// Ways in which clients behave: as many of them in each.
const BEHAVIOURS: usize = 8;
/// Requests that may wait; with the places of the model fewer than there are clients.
const QUEUE: usize = 40;
const CONTEXT_TOKENS: &str = "256";
const ANSWER_TOKENS: u32 = 24;

const QUESTIONS: [&str; 8] = [
    "What is the capital of France?",
    "Tell me a story about a fox and a goose, and let nobody be eaten in it.",
    "Hello",
    "Write a poem.",
    "Why is the sky blue? Explain it to a child of five who has never heard of molecules.",
    "1 + 1 =",
    "List three colours.",
    "What do whales eat, and how much of it on a day?",
];

/// What happened.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    refused: AtomicUsize,
    vanished: AtomicUsize,
    faulty: AtomicUsize,
}

fn one_more(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// The server's answer without its framing: HTTP/1.0 has none.
struct Answer {
    status: u16,
    head: String,
    body: BufReader<TcpStream>,
}

impl Answer {
    fn read(stream: TcpStream) -> Answer {
        stream.set_read_timeout(Some(Duration::from_secs(300))).expect("a timeout");
        let mut body = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(body.read_line(&mut head).expect("a head"), 0, "cut: {head}");
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.expect("a status"), head: head.to_ascii_lowercase(), body }
    }

    fn rest(mut self) -> String {
        let mut text = String::new();
        self.body.read_to_string(&mut text).expect("a body");
        text
    }
}

fn head_of(length: usize) -> String {
    format!("POST /v1/chat/completions HTTP/1.0\r\nhost: storm\r\ncontent-length: {length}\r\n\r\n")
}

fn connect(served: &Served) -> TcpStream {
    TcpStream::connect(served.url.strip_prefix("http://").expect("plain HTTP")).expect("listens")
}

fn post(served: &Served, body: &str) -> Answer {
    let mut stream = connect(served);
    // A server that refuses at once does not read it all.
    let _ = stream.write_all((head_of(body.len()) + body).as_bytes());
    Answer::read(stream)
}

fn question(text: &str) -> Value {
    json!({
        "messages": [{ "role": "user", "content": text }],
        "stream": true,
        "temperature": 0,
        "max_tokens": ANSWER_TOKENS,
    })
}

/// The text of a stream that ends as it should.
fn text_of(stream: &str) -> String {
    let data: Vec<_> = stream.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.last(), Some(&"[DONE]"), "{stream}");
    let chunks = data.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let text = |chunk: Value| {
        assert!(chunk.get("error").is_none(), "{chunk}");
        chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)
    };
    chunks.filter_map(text).collect()
}

/// Asks until there is a place.
fn ask(served: &Served, text: &str, tally: &Tally) -> String {
    loop {
        let answer = post(served, &question(text).to_string());
        match answer.status {
            200 => return text_of(&answer.rest()),
            429 => {
                assert!(answer.head.contains("retry-after: "), "{}", answer.head);
                one_more(&tally.refused);
                std::thread::sleep(Duration::from_millis(200));
            }
            _ => panic!("{}{}", answer.head.clone(), answer.rest()),
        }
    }
}

/// A request that is wrong: it gets this code, or no place.
fn is_refused(served: &Served, body: &str, code: Option<&str>, tally: &Tally) {
    let answer = post(served, body);
    if answer.status == 429 {
        return one_more(&tally.refused);
    }
    let (status, text) = (answer.status, answer.rest());
    let error: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    assert_eq!((status, &error["error"]["code"]), (400, &json!(code)), "{text}");
    one_more(&tally.faulty);
}

/// Sends 10 MB for a context of hundreds of tokens.
fn send_too_large(served: &Served, tally: &Tally) {
    let large = question(&"many words ".repeat(950_000)).to_string();
    is_refused(served, &large, Some("context_length_exceeded"), tally);
}

/// What client number `client` does the `turn`th time.
fn behave(served: &Served, client: usize, turn: usize, expected: &[String], tally: &Tally) {
    let number = (client + turn) % QUESTIONS.len();
    match client % BEHAVIOURS {
        0 => {
            // Reads a little and goes.
            let mut answer = post(served, &question(QUESTIONS[number]).to_string());
            let mut line = String::new();
            let _ = answer.body.read_line(&mut line);
            let _ = answer.body.get_ref().shutdown(Shutdown::Both);
            one_more(&tally.vanished);
        }
        1 => {
            // Sends slowly.
            let body = question(QUESTIONS[number]).to_string();
            let mut stream = connect(served);
            stream.write_all(head_of(body.len()).as_bytes()).expect("is read");
            for piece in body.as_bytes().chunks(16) {
                stream.write_all(piece).expect("is read");
                std::thread::sleep(Duration::from_millis(20));
            }
            let answer = Answer::read(stream);
            match answer.status {
                429 => one_more(&tally.refused),
                _ => {
                    assert_eq!(text_of(&answer.rest()), expected[number]);
                    one_more(&tally.answered);
                }
            }
        }
        2 => match turn % 3 {
            0 => send_too_large(served, tally),
            1 => is_refused(served, "{\"messages\": [", None, tally),
            _ => {
                let long = question(&"word ".repeat(600)).to_string();
                is_refused(served, &long, Some("context_length_exceeded"), tally);
            }
        },
        _ => {
            assert_eq!(ask(served, QUESTIONS[number], tally), expected[number], "{number}");
            one_more(&tally.answered);
        }
    }
}

/// Bytes that the process holds in memory.
#[cfg(target_os = "linux")]
fn resident_bytes(served: &Served) -> u64 {
    let path = format!("/proc/{}/status", served.child.id());
    let status = std::fs::read_to_string(path).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// Lets all clients loose for a while.
fn storm(model: &str, time: Duration) {
    let place = Place::with_model();
    let queue = QUEUE.to_string();
    let named = format!("m={model}");
    let flags = ["--engine", "cpu", "--instances", "1", "--context-tokens", CONTEXT_TOKENS];
    let served = Served::start(&place, &[&[&named, "--queue", &queue], &flags[..]].concat());
    let tally = Tally::default();
    let expected: Vec<_> = QUESTIONS.iter().map(|text| ask(&served, text, &tally)).collect();

    let all = |turns: usize, time: Duration| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (served, expected, tally) = (&served, &expected, &tally);
                scope.spawn(move || {
                    let mut turn = 0;
                    while turn < turns || start.elapsed() < time {
                        behave(served, client, turn, expected, tally);
                        turn += 1;
                    }
                });
            }
        });
        served.until_idle("m");
    };
    // Each client has done each of its things, at once with others, and all large bodies have come
    // together, none of them refused: what the server holds then, it may keep for the next time.
    let together = Tally::default();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS / BEHAVIOURS {
            scope.spawn(|| send_too_large(&served, &together));
        }
    });
    assert_eq!(together.faulty.load(Ordering::Relaxed), CLIENTS / BEHAVIOURS);
    all(3, time / 3);
    #[cfg(target_os = "linux")]
    let before = resident_bytes(&served);
    all(1, time);
    #[cfg(target_os = "linux")]
    {
        let after = resident_bytes(&served);
        let bound = before + before / 4 + (64 << 20);
        assert!(after <= bound, "{before} bytes became {after}");
    }

    let metrics = served.get("/metrics");
    for gauge in ["trefoil_requests_active", "trefoil_requests_waiting"] {
        assert!(metrics.contains(&format!("{gauge}{{model=\"m\"}} 0\n")), "{metrics}");
    }
    assert!(metrics.contains("trefoil_instance_failures_total{model=\"m\"} 0\n"), "{metrics}");
    let [answered, refused, vanished, faulty] =
        [&tally.answered, &tally.refused, &tally.vanished, &tally.faulty]
            .map(|count| count.load(Ordering::Relaxed));
    println!("{answered} answered, {refused} refused, {vanished} vanished, {faulty} faulty");
    assert!(answered > CLIENTS && refused > 0 && vanished > 0 && faulty > 0);
    // As before: nothing of the storm is left in the cache's way.
    assert_eq!(ask(&served, QUESTIONS[0], &tally), expected[0]);
}

#[test]
fn a_request_that_takes_all_memory_ends_alone() {
    let (place, model) = (Place::new(), format!("m={}", support::smollm2()));
    let flags = ["--engine", "cpu", "--instances", "1", "--memory-max", "120MiB"];
    let served = Served::start(&place, &[&[model.as_str()], &flags[..]].concat());
    let tally = Tally::default();
    let alone = ask(&served, QUESTIONS[1], &tally);
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| ask(&served, QUESTIONS[1], &tally));
        let answer = post(&served, &question(&"word ".repeat(3000)).to_string());
        assert_eq!(answer.status, 503, "{}", answer.head);
        let error: Value = serde_json::from_str(&answer.rest()).expect("is JSON");
        assert_eq!(error["error"]["code"], "overloaded", "{error}");
        assert!(error["error"]["message"].to_string().contains("for the KV cache"), "{error}");
        assert_eq!(beside.join().expect("is answered"), alone);
    });
    assert_eq!(ask(&served, QUESTIONS[1], &tally), alone);
}

#[test]
fn a_storm_of_clients_changes_no_answer_and_leaves_nothing_behind() {
    storm("tiny.gguf", Duration::from_secs(2));
}

#[cfg(feature = "exhaustive")]
#[test]
fn a_minute_of_storm_against_smollm2() {
    storm(&support::smollm2(), Duration::from_secs(60));
}
