//! An HTTP server for one file, which serves ranges or misbehaves as a test wants.

#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// What the server does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Serves ranges.
    Ranges,
    /// Closes every connection after so many bytes of the body.
    Cuts(usize),
    /// Sends all of the file, whatever is asked for.
    IgnoresRanges,
    /// Redirects `/model.gguf` to this address.
    Redirects(String),
    /// Accepts and never answers.
    Hangs,
    /// Answers with this status.
    Status(u16),
}

struct State {
    file: Vec<u8>,
    behaviour: Behaviour,
    requests: Vec<String>,
}

/// Serves until the test ends.
pub struct Server {
    state: Arc<Mutex<State>>,
    port: u16,
}

impl Server {
    pub fn new(file: Vec<u8>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let behaviour = Behaviour::Ranges;
        let state = Arc::new(Mutex::new(State { file, behaviour, requests: Vec::new() }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                // A client that leaves early is what some tests want.
                std::thread::spawn(move || drop(answer(stream, &shared)));
            }
        });
        Server { state, port }
    }

    /// Host and port, as `--http` takes them.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("http://{}/model.gguf", self.host())
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.with(|state| state.behaviour = behaviour);
    }

    pub fn replace(&self, file: Vec<u8>) {
        self.with(|state| state.file = file);
    }

    /// The heads of the requests since the last call.
    pub fn requests(&self) -> Vec<String> {
        self.with(|state| std::mem::take(&mut state.requests))
    }

    fn with<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        action(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut request = String::new();
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        request.push_str(&line);
        request.push('\n');
    }
    let (file, behaviour) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.requests.push(request.clone());
        (state.file.clone(), state.behaviour.clone())
    };
    let plain =
        |status: &str, more: &str| format!("HTTP/1.1 {status}\r\nConnection: close\r\n{more}");
    let range = request
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned))
        .and_then(|range| {
            let (first, last) = range.trim().split_once('-')?;
            Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
        });
    let (first, last) = range.unwrap_or((0, file.len().saturating_sub(1)));
    match behaviour {
        Behaviour::Hangs => std::thread::sleep(std::time::Duration::from_secs(600)),
        Behaviour::Status(status) => {
            stream.write_all(plain(&status.to_string(), "Content-Length: 0\r\n\r\n").as_bytes())?;
        }
        Behaviour::Redirects(to) if request.starts_with("GET /model.gguf ") => {
            let more = format!("Location: {to}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(plain("302 Found", &more).as_bytes())?;
        }
        Behaviour::IgnoresRanges => {
            let more = format!("Content-Length: {}\r\n\r\n", file.len());
            stream.write_all(plain("200 OK", &more).as_bytes())?;
            stream.write_all(&file)?;
        }
        _ if first >= file.len() => {
            let more =
                format!("Content-Range: bytes */{}\r\nContent-Length: 0\r\n\r\n", file.len());
            stream.write_all(plain("416 Range Not Satisfiable", &more).as_bytes())?;
        }
        behaviour => {
            let bytes = &file[first..=last.min(file.len() - 1)];
            let more = format!(
                "Content-Range: bytes {first}-{}/{}\r\nContent-Length: {}\r\nETag: \"{}\"\r\n\r\n",
                first + bytes.len() - 1,
                file.len(),
                bytes.len(),
                file.len()
            );
            stream.write_all(plain("206 Partial Content", &more).as_bytes())?;
            let cut = match behaviour {
                Behaviour::Cuts(cut) => cut.min(bytes.len()),
                _ => bytes.len(),
            };
            stream.write_all(&bytes[..cut])?;
        }
    }
    Ok(())
}
