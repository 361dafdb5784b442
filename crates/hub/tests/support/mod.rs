//! A server that does what a test says, and what a pull tells.

#![allow(dead_code, unreachable_pub)] // Each test file uses a part.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use trefoil_hub::{Digest, Event, Hub, Models, Progress, PullError, Pulled, Retry};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// With the query.
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// How many requests for this target came before.
    pub before: usize,
}

/// What to answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// In place of the body's length.
    pub length: Option<u64>,
    /// Without a length, the end of the connection ends the body.
    pub no_length: bool,
    /// Bytes of the body after which the connection breaks.
    pub cut: Option<usize>,
    /// Bytes of the body after which the server stands still, until the test ends.
    pub stall: Option<usize>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Reply { status, body: body.into(), ..Reply::default() }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Reply::new(200, body)
    }

    pub fn redirect(location: &str) -> Self {
        Reply::new(302, "").with("Location", location)
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte that a range asks for.
    pub fn range(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }

    /// What a good server answers for a file with an entity tag.
    pub fn file(&self, content: &[u8], etag: &str) -> Reply {
        let etag = format!("\"{etag}\"");
        let is_valid = self.header("if-range").is_none_or(|tag| tag == etag);
        match self.range().filter(|_| is_valid) {
            Some(first) if first >= content.len() => {
                Reply::new(416, "").with("Content-Range", format!("bytes */{}", content.len()))
            }
            Some(first) => {
                let range = format!("bytes {first}-{}/{}", content.len() - 1, content.len());
                Reply::new(206, &content[first..]).with("Content-Range", range).with("ETag", etag)
            }
            None => Reply::ok(content).with("ETag", etag),
        }
    }
}

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A server on this machine.
pub struct Server {
    port: u16,
    log: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
}

impl Server {
    pub fn new(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("has one").port();
        let log = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let handler: Arc<Handler> = Arc::new(handler);
        let (thread_log, thread_ended) = (log.clone(), ended.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if thread_ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (handler, log) = (handler.clone(), thread_log.clone());
                let ended = thread_ended.clone();
                std::thread::spawn(move || serve(stream, &*handler, &log, &ended));
            }
        });
        Server { port, log, ended }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The same server by another name: another origin.
    pub fn other_url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port)
    }

    pub fn registry(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn log(&self) -> Vec<Asked> {
        self.log.lock().expect("nobody panicked").clone()
    }

    pub fn targets(&self) -> Vec<String> {
        self.log().into_iter().map(|asked| asked.target).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(mut stream: TcpStream, handler: &Handler, log: &Mutex<Vec<Asked>>, ended: &AtomicBool) {
    let mut lines = BufReader::new(stream.try_clone().expect("clones")).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    for line in lines.by_ref() {
        let Ok(line) = line else { return };
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let asked = {
        let mut log = log.lock().expect("nobody panicked");
        let before = log.iter().filter(|asked| asked.target == target).count();
        log.push(Asked { target, headers, before });
        log[log.len() - 1].clone()
    };
    let reply = handler(&asked);
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !reply.no_length {
        let length = reply.length.unwrap_or(reply.body.len() as u64);
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    let end = reply.cut.or(reply.stall).unwrap_or(reply.body.len()).min(reply.body.len());
    // Whoever asked may have left.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&reply.body[..end]));
    while reply.stall.is_some() && !ended.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    // Reading to the end keeps what was written from being reset.
    let _ = stream.take(1 << 16).read_to_end(&mut Vec::new());
}

/// Bytes that begin as a GGUF file does.
pub fn content(length: usize) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    let mut state = 1u32;
    bytes.resize_with(length, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    bytes
}

/// A cache and a hub for one test.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub hub: Hub,
    pub cancelled: Arc<AtomicBool>,
}

/// What was told, in words.
#[derive(Default)]
pub struct Told {
    pub words: Vec<String>,
    /// Bytes from which on the pull is cancelled.
    pub cancel_at: Option<(u64, Arc<AtomicBool>)>,
}

impl Progress for Told {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Advance { done, .. } => {
                if let Some((at, cancelled)) = &self.cancel_at
                    && done >= *at
                {
                    cancelled.store(true, Ordering::SeqCst);
                }
            }
            Event::Checking { .. } => {}
            Event::Begin { file, resumed, .. } => {
                self.words.push(format!("begin {file} at {resumed}"));
            }
            Event::Retry { reason, wait } => {
                self.words.push(format!("retry after {} ms: {reason}", wait.as_millis()));
            }
            Event::Restart { reason } => self.words.push(format!("restart: {reason}")),
            Event::Waiting => self.words.push("waiting".into()),
            other => self.words.push(format!("{other:?}")),
        }
    }
}

impl Place {
    pub fn new(server: &Server) -> Self {
        let cancelled = Arc::new(AtomicBool::new(false));
        let flag = cancelled.clone();
        let mut hub = Hub::new(&server.url(""), Arc::new(move || flag.load(Ordering::SeqCst)))
            .expect("an address");
        hub.retry = Retry {
            attempts_max: 4,
            first_wait: Duration::from_millis(1),
            wait_max: Duration::from_millis(4),
            asked_wait_max: Duration::from_secs(2),
        };
        Place { folder: tempfile::tempdir().expect("a folder"), hub, cancelled }
    }

    pub fn models(&self) -> Models {
        Models::new(self.folder.path())
    }

    pub fn pull(&self, name: &str) -> Result<Pulled, PullError> {
        self.pull_told(name, &mut Told::default())
    }

    pub fn pull_told(&self, name: &str, told: &mut Told) -> Result<Pulled, PullError> {
        self.hub.pull(&self.models(), name, None, told)
    }

    pub fn pull_as(&self, name: &str, content: &[u8]) -> Result<Pulled, PullError> {
        self.hub.pull(&self.models(), name, Some(&Digest::of(content)), &mut Told::default())
    }

    /// All files, from the cache's folder on.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("is there") {
                let path = entry.expect("readable").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push(path),
                }
            }
        }
        let name = |path: &PathBuf| {
            let path = path.strip_prefix(self.folder.path()).expect("inside");
            path.to_str().expect("is text").to_owned()
        };
        let mut names: Vec<_> = found.iter().map(name).collect();
        names.sort();
        names
    }
}

/// The error with its causes.
pub fn words(error: &PullError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// That it failed, and that its words have all these pieces.
pub fn failed(result: Result<Pulled, PullError>, pieces: &[&str]) {
    let text = words(&result.expect_err("fails"));
    for piece in pieces {
        assert!(text.contains(piece), "`{piece}` is not in: {text}");
    }
}
