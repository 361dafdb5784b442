//! A reader against a server that does what it should, and against many that do not.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use trefoil_remote::{
    Body, Digester, Error, Failure, Head, Manifest, Reader, Transport, Url, chunk_bytes,
};

const URL: &str = "https://h/m.gguf?token=secret";
const MIB: u64 = 1 << 20;

fn file(bytes: u64) -> Vec<u8> {
    (0..bytes).map(|index| (index * 7 % 253 + index / MIB) as u8).collect()
}

fn manifest(url: &str, file: &[u8]) -> Manifest {
    let mut digester = Digester::new(file.len() as u64);
    digester.update(file);
    let digests = digester.finish().expect("all bytes came");
    let url = Url::parse(url).expect("is an address");
    Manifest { url, name: "m".into(), license: String::new(), digests }
}

/// One answer of the script.
enum Answer {
    /// The range that was asked for.
    Range,
    /// So many bytes of it, then the connection breaks.
    Cut(usize),
    /// Fewer bytes than announced, then the end.
    Short(usize),
    Status(u16),
    Redirect(&'static str),
    Fails(Failure),
    /// The range, with a changed head.
    Head(fn(&mut Head)),
    /// The range of another file.
    Other(Vec<u8>),
}

/// What the server was asked for and what pauses were made.
#[derive(Default)]
struct Log {
    requests: Vec<(String, Range<u64>)>,
    pauses: Vec<Duration>,
}

struct Server {
    file: Vec<u8>,
    /// Used up first; then all goes well.
    script: VecDeque<Answer>,
    log: Rc<RefCell<Log>>,
}

struct Bytes {
    bytes: VecDeque<u8>,
    breaks: bool,
}

impl Body for Bytes {
    fn read(&mut self, length_max: usize) -> Result<Vec<u8>, String> {
        if self.bytes.is_empty() && self.breaks {
            return Err("the connection was cut".into());
        }
        // As sockets do: less than could be had.
        let count = self.bytes.len().min(length_max).min(100_003);
        Ok(self.bytes.drain(..count).collect())
    }
}

impl Transport for Server {
    type Body = Bytes;

    fn get(&mut self, url: &Url, range: Range<u64>) -> Result<(Head, Bytes), Failure> {
        self.log.borrow_mut().requests.push((url.to_string(), range.clone()));
        let answer = self.script.pop_front().unwrap_or(Answer::Range);
        let mut head = Head {
            status: 206,
            content_range: Some(format!(
                "bytes {}-{}/{}",
                range.start,
                range.end - 1,
                self.file.len()
            )),
            etag: Some("\"one\"".into()),
            ..Head::default()
        };
        let of =
            |file: &[u8]| VecDeque::from(file[range.start as usize..range.end as usize].to_vec());
        let (mut bytes, mut breaks) = (of(&self.file), false);
        match answer {
            Answer::Range => {}
            Answer::Cut(count) => {
                bytes.truncate(count);
                breaks = true;
            }
            Answer::Short(count) => bytes.truncate(count),
            Answer::Status(status) => head = Head { status, ..Head::default() },
            Answer::Redirect(to) => {
                head = Head { status: 302, location: Some(to.into()), ..Head::default() }
            }
            Answer::Fails(failure) => return Err(failure),
            Answer::Head(change) => change(&mut head),
            Answer::Other(file) => {
                head.etag = Some("\"two\"\x1b".into());
                bytes = of(&file);
            }
        }
        Ok((head, Bytes { bytes, breaks }))
    }

    fn pause(&mut self, time: Duration) {
        self.log.borrow_mut().pauses.push(time);
    }
}

fn reader(
    file: &[u8],
    script: impl IntoIterator<Item = Answer>,
) -> (Reader<Server>, Rc<RefCell<Log>>) {
    let log = Rc::default();
    let script = script.into_iter().collect();
    let server = Server { file: file.to_vec(), script, log: Rc::clone(&log) };
    (Reader::new(manifest(URL, file), server), log)
}

/// Reads all, a MiB at a time.
fn read_all(reader: &mut Reader<Server>, size: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < size {
        bytes.extend(reader.read(bytes.len() as u64, MIB as u32)?);
    }
    Ok(bytes)
}

/// How reading the first byte ends with this script.
fn error(script: impl IntoIterator<Item = Answer>) -> (String, Rc<RefCell<Log>>) {
    let (mut reader, log) = reader(&file(3 * MIB), script);
    let error = reader.read(0, 1).expect_err("is refused").to_string();
    assert!(!error.contains("secret"), "the query stays out of messages: {error}");
    (error, log)
}

fn assert_has(text: &str, pieces: &[&str]) {
    for piece in pieces {
        assert!(text.contains(piece), "`{piece}` is not in: {text}");
    }
}

#[test]
fn any_range_is_read_as_it_is_in_the_file() {
    let file = file(3 * MIB + 1000);
    let size = file.len() as u64;
    let (mut reader, _) = reader(&file, []);
    for offset in [0, 1, MIB - 1, MIB, 2 * MIB + 5, size - 1, size, size + 1, u64::MAX] {
        for length in [0, 1, 1000, MIB as u32] {
            let start = offset.min(size) as usize;
            let end = offset.saturating_add(length.into()).min(size) as usize;
            let bytes = reader.read(offset, length).expect("reads");
            assert!(bytes == file[start..end], "{length} bytes at {offset}");
        }
    }
}

#[test]
fn reading_in_order_takes_one_request_for_64_mib() {
    let file = file(66 * MIB);
    let (mut reader, log) = reader(&file, []);
    assert!(read_all(&mut reader, 66 * MIB).expect("reads") == file);
    let ranges: Vec<_> = log.borrow().requests.iter().map(|(_, range)| range.clone()).collect();
    assert_eq!(ranges, [0..64 * MIB, 64 * MIB..66 * MIB]);
}

#[test]
fn small_gaps_are_read_over_and_large_ones_asked_anew() {
    let file = file(10 * MIB);
    let (mut reader, log) = reader(&file, []);
    for (offset, requests) in [(0, 1), (2 * MIB, 1), (2 * MIB + 5, 1), (8 * MIB, 2), (MIB, 3)] {
        let bytes = reader.read(offset, 10).expect("reads");
        assert!(bytes == file[offset as usize..offset as usize + 10], "{offset}");
        assert_eq!(log.borrow().requests.len(), requests, "{offset}");
    }
    assert_eq!(log.borrow().requests[1].1, 8 * MIB..10 * MIB);
}

#[test]
fn an_empty_file_is_never_asked_for() {
    let (mut reader, log) = reader(&[], []);
    assert_eq!(reader.read(0, 10), Ok(Vec::new()));
    assert!(log.borrow().requests.is_empty());
}

#[test]
fn a_cut_connection_goes_on_where_it_was() {
    let file = file(3 * MIB);
    let cuts = [0, 1, 70_000, 200_000, 200_000, 70_000, 70_000, 70_000, 70_000, 70_000];
    let (mut reader, log) = reader(&file, cuts.map(Answer::Cut));
    assert!(read_all(&mut reader, 3 * MIB).expect("reads") == file);
    let starts: Vec<_> = log.borrow().requests.iter().map(|(_, range)| range.start).collect();
    assert_eq!(starts[..5], [0, 0, 1, 70_001, 270_001]);
    assert_eq!(starts.len(), 11);
    // Two attempts in vain, then progress.
    let pauses: Vec<_> = log.borrow().pauses.iter().map(Duration::as_millis).collect();
    assert_eq!(pauses[..4], [250, 500, 250, 250]);
}

#[test]
fn a_short_answer_goes_on_where_it_ended() {
    let file = file(2 * MIB);
    let (mut reader, log) = reader(&file, [Answer::Short(100_000)]);
    assert!(read_all(&mut reader, 2 * MIB).expect("reads") == file);
    assert_eq!(log.borrow().requests[1].1, 100_000..2 * MIB);
}

#[test]
fn a_range_may_be_answered_in_parts() {
    let file = file(2 * MIB);
    let half = |head: &mut Head| head.content_range = Some("bytes 0-999999/*".into());
    let (mut reader, log) = reader(&file, [Answer::Head(half)]);
    assert!(read_all(&mut reader, 2 * MIB).expect("reads") == file);
    assert_eq!(log.borrow().requests[1].1, 1_000_000..2 * MIB);
    assert!(log.borrow().pauses.is_empty(), "nothing went wrong");
}

#[test]
fn failures_that_last_end_after_five_attempts() {
    let down = || Answer::Fails(Failure::Passing("connection refused".into()));
    let (text, log) = error((0..5).map(|_| down()));
    assert_has(
        &text,
        &["`https://h/m.gguf` at byte 0", "connection refused (5 attempts)", "try again"],
    );
    let pauses: Vec<_> = log.borrow().pauses.iter().map(Duration::as_millis).collect();
    assert_eq!(pauses, [250, 500, 1000, 2000]);
    // One fewer is survived.
    let (mut reader, _) = reader(&file(10), (0..4).map(|_| down()));
    assert_eq!(reader.read(0, 10), Ok(file(10)));
}

#[test]
fn overload_is_waited_for_as_the_server_says() {
    fn busy(head: &mut Head) {
        *head = Head { status: 503, retry_after: Some("7".into()), ..Head::default() };
    }
    fn forever(head: &mut Head) {
        *head = Head { status: 429, retry_after: Some("999999".into()), ..Head::default() };
    }
    let (mut reader, log) = reader(&file(10), [Answer::Head(busy), Answer::Head(forever)]);
    assert_eq!(reader.read(0, 10), Ok(file(10)));
    assert_eq!(log.borrow().pauses, [Duration::from_secs(7), Duration::from_secs(30)]);
    let (text, _) = error((0..5).map(|_| Answer::Status(500)));
    assert_has(&text, &["answered 500", "5 attempts"]);
}

#[test]
fn answers_that_no_attempt_changes_are_told_at_once() {
    let head = Answer::Head;
    let cases: Vec<(Answer, &[&str])> = vec![
        (Answer::Status(200), &["ignores ranges", "bytes 0 to 3145727", "206"]),
        (Answer::Status(404), &["answered 404", "not found"]),
        (Answer::Status(403), &["answered 403", "access denied"]),
        (Answer::Status(204), &["answered 204"]),
        (Answer::Status(304), &["answered 304"]),
        (Answer::Fails(Failure::Denied), &["access to `h` is not granted", "`--http h`"]),
        (Answer::Fails(Failure::Lasting("bad certificate".into())), &["bad certificate"]),
        (
            head(|head| head.content_range = None),
            &["`Content-Range` ``", "bytes 0-3145727/3145728"],
        ),
        (head(|head| head.content_range = Some("bytes 1-3/3145728".into())), &["bytes 1 to 3"]),
        (head(|head| head.content_range = Some("bytes 0-9999999/*".into())), &["9999999"]),
        (head(|head| head.content_range = Some("bytes 0-x/\x1b*".into())), &["`bytes 0-x/*`"]),
        (
            head(|head| head.content_range = Some("bytes 0-9/5000".into())),
            &["has 5000 bytes, but had 3145728", "compose again"],
        ),
        (head(|head| head.content_encoding = Some("gzip".into())), &["compresses", "gzip"]),
        (
            head(|head| {
                *head =
                    Head { status: 416, content_range: Some("bytes */7".into()), ..Head::default() }
            }),
            &["has 7 bytes, but had 3145728"],
        ),
    ];
    for (answer, pieces) in cases {
        let (text, log) = error([answer]);
        assert_has(&text, pieces);
        assert_has(&text, &["`https://h/m.gguf`"]);
        assert_eq!(log.borrow().requests.len(), 1, "{text}");
    }
}

#[test]
fn redirects_are_followed_and_remembered() {
    let file = file(70 * MIB);
    let script =
        [Answer::Redirect("/elsewhere"), Answer::Redirect("https://cdn:8443/x?signature=1")];
    let (mut reader, log) = reader(&file, script);
    assert!(read_all(&mut reader, 70 * MIB).expect("reads") == file);
    let asked: Vec<_> = log.borrow().requests.iter().map(|(url, _)| url.clone()).collect();
    let cdn = "https://cdn:8443/x?signature=1";
    assert_eq!(asked, [URL, "https://h/elsewhere", cdn, cdn]);
}

#[test]
fn an_expired_redirect_is_asked_for_again() {
    let file = file(70 * MIB);
    let redirect = || Answer::Redirect("https://cdn/x");
    let script = [redirect(), Answer::Range, Answer::Status(403), redirect()];
    let (mut reader, log) = reader(&file, script);
    assert!(read_all(&mut reader, 70 * MIB).expect("reads") == file);
    let asked: Vec<_> = log.borrow().requests.iter().map(|(url, _)| url.clone()).collect();
    assert_eq!(asked, [URL, "https://cdn/x", "https://cdn/x", URL, "https://cdn/x"]);
}

#[test]
fn redirects_that_lead_astray_are_not_followed() {
    let cases = [
        ("http://h/m.gguf", "not encrypted"),
        ("ftp://h/m.gguf", "does not begin with"),
        ("https://h/\r\nx", "control characters"),
        ("https://u:p@h/", "password"),
    ];
    for (to, piece) in cases {
        let (text, log) = error([Answer::Redirect(to)]);
        assert_has(&text, &["`https://h/m.gguf` leads nowhere", piece]);
        assert_eq!(log.borrow().requests.len(), 1);
    }
    let (text, _) = error([Answer::Head(|head| head.status = 302)]);
    assert_has(&text, &["without a `Location`"]);
    let (text, log) = error((0..20).map(|_| Answer::Redirect("/again")));
    assert_has(&text, &["more than 8 times"]);
    assert_eq!(log.borrow().requests.len(), 9);
}

#[test]
fn a_denied_redirect_names_the_host_to_grant() {
    let redirect = Answer::Redirect("https://cdn:8443/x");
    let (text, _) = error([redirect, Answer::Fails(Failure::Denied)]);
    assert_has(&text, &["`cdn:8443` is not granted", "`--http cdn:8443`"]);
}

#[test]
fn no_byte_leaves_a_chunk_that_was_changed() {
    let file = file(3 * MIB);
    let mut other = file.clone();
    other[MIB as usize + 5] ^= 1;
    let script = [Answer::Other(other.clone()), Answer::Other(other)];
    let (mut reader, log) = reader(&file, script);
    // The chunks around it are the same.
    assert_eq!(reader.read(0, 10), Ok(file[..10].to_vec()));
    let text = reader.read(MIB - 1, 2).expect_err("is refused").to_string();
    assert_has(
        &text,
        &["`https://h/m.gguf`: chunk 1 (bytes 1048576 to 2097151)", "SHA-256", "compose again"],
    );
    // Once more from the start, in case that the network was at fault.
    assert_eq!(log.borrow().requests.len(), 2);
    // The third answer is the right file: what was wrong was not kept.
    assert_eq!(reader.read(MIB, 10), Ok(file[MIB as usize..MIB as usize + 10].to_vec()));
}

#[test]
fn bytes_that_a_network_has_damaged_are_fetched_again() {
    let file = file(3 * MIB);
    let mut other = file.clone();
    other[2 * MIB as usize] ^= 1;
    let (mut reader, _) = reader(&file, [Answer::Other(other)]);
    assert!(read_all(&mut reader, 3 * MIB).expect("reads") == file);
}

#[test]
fn a_file_that_is_replaced_while_it_is_read_is_told_by_its_tag() {
    let file = file(80 * MIB);
    let other: Vec<u8> = file.iter().map(|byte| byte ^ 1).collect();
    let script = [Answer::Range, Answer::Other(other.clone()), Answer::Other(other)];
    let (mut reader, _) = reader(&file, script);
    let text = read_all(&mut reader, 80 * MIB).expect_err("is refused").to_string();
    assert_has(
        &text,
        &["chunk 64 (bytes 67108864 to 68157439)", "ETag went from \"one\" to \"two\""],
    );
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn from_http_a_redirect_may_lead_to_https() {
    let file = file(10);
    let log = Rc::default();
    let script = [Answer::Redirect("https://h/m.gguf")].into();
    let server = Server { file: file.clone(), script, log };
    let mut reader = Reader::new(manifest("http://127.0.0.1/m", &file), server);
    assert_eq!(reader.read(0, 10), Ok(file));
    assert_eq!(chunk_bytes(10), MIB);
}
