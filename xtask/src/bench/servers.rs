//! Throughput of servers, through OpenAI's API: one client, then eight at once.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::Measured;
use super::peers::Peers;

/// Clients at once, and answers that both servers compute together.
const CLIENTS: usize = 8;

/// Length of each answer, in tokens.
const TOKENS: u32 = 128;

/// Answers for each client.
const ANSWERS: usize = 2;

/// Context of each answer, in tokens.
const CONTEXT_TOKENS: usize = 1024;

/// The token that ends SmolLM2's answers: biased away, so that all answers are equally long.
const END_TOKEN: &str = "2";

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(60);

pub(crate) const TREFOIL: &str = "trefoil serve";
pub(crate) const LLAMA: &str = "llama-server, 2 threads";
pub(crate) const ONE_CLIENT: &str = "1 client";
pub(crate) const EIGHT_CLIENTS: &str = "8 clients";

/// Both servers, one after the other, with all processors.
pub(crate) fn measure(
    trefoil: &Path,
    peers: &Peers,
    model: &Path,
    measured: &mut Measured,
) -> Result<()> {
    let port = free_port()?.to_string();
    let mut ours = Command::new(trefoil);
    ours.args(["serve", "--quiet", "--port", &port]).arg(model);
    ours.args(["--sequences-max", &CLIENTS.to_string()]);
    ours.args(["--context-tokens", &CONTEXT_TOKENS.to_string()]);
    let mut theirs = Command::new(&peers.llama_server);
    theirs.arg("--model").arg(model).args(["--port", &port, "--host", "127.0.0.1"]);
    theirs.args(["--threads", "2", "--parallel", &CLIENTS.to_string()]);
    theirs.args(["--ctx-size", &(CLIENTS * CONTEXT_TOKENS).to_string()]);
    for (name, mut command) in [(TREFOIL, ours), (LLAMA, theirs)] {
        let server = Server::start(&mut command, &port).with_context(|| name.to_owned())?;
        // Loads the model.
        server.answer("Hello")?;
        for (test, clients) in [(ONE_CLIENT, 1), (EIGHT_CLIENTS, CLIENTS)] {
            let speed = server.tokens_per_s(clients)?;
            measured.entry((name.to_owned(), test.to_owned())).or_default().push(speed);
        }
    }
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A server that is killed when it is dropped.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(command: &mut Command, port: &str) -> Result<Self> {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Server { child, address: format!("127.0.0.1:{port}") };
        let start = Instant::now();
        while server.send("GET", "/health", "").is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("it ended with {status}");
            }
            ensure!(start.elapsed() < START, "it does not answer at port {port}");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    /// Tokens of all answers by the time that they took together.
    fn tokens_per_s(&self, clients: usize) -> Result<f64> {
        let start = Instant::now();
        let tokens: u64 = std::thread::scope(|scope| {
            let client = |client: usize| {
                scope.spawn(move || {
                    (0..ANSWERS)
                        .map(|turn| self.answer(&format!("Tell story number {turn}{client}.")))
                        .sum::<Result<u64>>()
                })
            };
            let threads: Vec<_> = (0..clients).map(client).collect();
            let end = |thread: std::thread::ScopedJoinHandle<'_, Result<u64>>| {
                thread.join().unwrap_or_else(|_| bail!("a client has panicked"))
            };
            threads.into_iter().map(end).sum::<Result<u64>>()
        })?;
        Ok(tokens as f64 / start.elapsed().as_secs_f64())
    }

    /// Length of the answer to a question, in tokens.
    fn answer(&self, question: &str) -> Result<u64> {
        let body = json!({
            "messages": [{ "role": "user", "content": question }],
            "temperature": 0,
            "max_tokens": TOKENS,
            "logit_bias": { END_TOKEN: -100 },
        });
        let text = self.send("POST", "/v1/chat/completions", &body.to_string())?;
        let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let tokens = answer["usage"]["completion_tokens"].as_u64();
        let tokens = tokens.with_context(|| format!("an answer without usage: {text}"))?;
        ensure!(tokens == u64::from(TOKENS), "an answer of {tokens} tokens: {text}");
        Ok(tokens)
    }

    /// The body of an answer with the status 200.
    fn send(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        let length = body.len();
        let host = &self.address;
        // HTTP/1.0: the answer ends with the connection.
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
        ensure!(head.split(' ').nth(1) == Some("200"), "{answer}");
        Ok(body.to_owned())
    }
}
