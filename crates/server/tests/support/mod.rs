//! A backend that counts instead of computing, and a server over it.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use trefoil_contract::{
    Conversation, Delta, Done, Error, Event, FinishReason, ModelInfo, Prompt, Relevance, Request,
    TokenChoice, TokenProbability, TokenizeOptions, Usage, Value as SettingValue,
};
use trefoil_server::{
    Access, Backend, BackendError, GenerationId, Limits, ModelSource, Models, Options, Server,
    Stopper,
};

/// What tests steer and look at.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) opened: AtomicUsize,
    pub(crate) started: AtomicUsize,
    pub(crate) cancelled: AtomicUsize,
    /// The most generations that were stepped together.
    pub(crate) batch_max: AtomicUsize,
    /// The next step fails as a trap does.
    pub(crate) fails: AtomicBool,
    /// All answers end with the next step, and to free a place fails once.
    pub(crate) ends_badly: AtomicBool,
    /// Opening fails.
    pub(crate) does_not_open: AtomicBool,
    /// Requests, as they arrived.
    pub(crate) requests: Mutex<Vec<Request>>,
}

/// Says `max-tokens` numbers: "0 1 2 ...". A step takes `step`.
pub(crate) struct Counting {
    counters: Arc<Counters>,
    step: Duration,
    running: BTreeMap<GenerationId, Running>,
    next: u64,
}

struct Running {
    said: u32,
    max: u32,
    prompt_tokens: u32,
    log_probabilities: Option<u32>,
}

pub(crate) const PLACES: u32 = 4;

impl Counting {
    fn text(prompt: Prompt) -> Result<String, Error> {
        match prompt {
            Prompt::Text(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Prompt::Tokens(tokens) => Ok(format!("{tokens:?}")),
            Prompt::Chat(conversation) => {
                Ok(conversation.messages.iter().map(|message| format!("{message:?}")).collect())
            }
        }
    }
}

impl Backend for Counting {
    fn info(&mut self) -> Result<ModelInfo, BackendError> {
        Ok(ModelInfo {
            name: "counting".into(),
            architecture: "none".into(),
            engine: "fake 0".into(),
            parameters: 0,
            size: 0,
            vocabulary_tokens: 256,
            embedding_length: 2,
            context_tokens_trained: 1000,
            context_tokens: 1000,
            sequences_max: PLACES,
            bos: None,
            end_of_generation: Vec::new(),
            has_chat_template: true,
        })
    }

    fn tokenize(&mut self, text: &[u8], _: TokenizeOptions) -> Result<Vec<u32>, BackendError> {
        Ok(text.iter().map(|byte| u32::from(*byte)).collect())
    }

    fn detokenize(&mut self, tokens: &[u32], _: bool) -> Result<Vec<u8>, BackendError> {
        let byte = |token: &u32| {
            u8::try_from(*token).map_err(|_| Error::InvalidArgument(format!("token {token}")))
        };
        Ok(tokens.iter().map(byte).collect::<Result<_, _>>()?)
    }

    fn render_chat(&mut self, conversation: Conversation) -> Result<String, BackendError> {
        Ok(Self::text(Prompt::Chat(conversation))?)
    }

    fn embed(&mut self, tokens: &[u32]) -> Result<Vec<f32>, BackendError> {
        Ok(vec![tokens.len() as f32, 0.5])
    }

    fn relevance(&mut self, query: &[u8], document: &[u8]) -> Result<Relevance, BackendError> {
        let score = document.len() as f32 - query.len() as f32;
        Ok(Relevance { score, tokens: (query.len() + document.len()) as u32 })
    }

    fn score(&mut self, tokens: &[u32]) -> Result<Vec<f32>, BackendError> {
        Ok(vec![-1.0; tokens.len() - 1])
    }

    fn start(&mut self, request: Request) -> Result<GenerationId, BackendError> {
        self.counters.requests.lock().unwrap().push(request.clone());
        let max = request.settings.iter().find(|setting| setting.key == "max-tokens");
        let max = match max.map(|setting| &setting.value) {
            Some(SettingValue::Integer(max)) => u32::try_from(*max).unwrap(),
            _ => u32::MAX,
        };
        let text = Self::text(request.prompt)?;
        if text.len() > 1000 {
            let needed_tokens = text.len() as u64;
            return Err(Error::ContextOverflow { needed_tokens, available_tokens: 1000 }.into());
        }
        if request.choices != 1 {
            return Err(Error::unsupported("several choices").into());
        }
        self.counters.started.fetch_add(1, Ordering::Relaxed);
        let id = GenerationId(self.next);
        self.next += 1;
        let prompt_tokens = text.len() as u32;
        let log_probabilities = request.log_probabilities;
        self.running.insert(id, Running { said: 0, max, prompt_tokens, log_probabilities });
        Ok(id)
    }

    fn advance(&mut self, ids: &[GenerationId]) -> Result<Vec<Result<Event, Error>>, BackendError> {
        std::thread::sleep(self.step);
        self.counters.batch_max.fetch_max(ids.len(), Ordering::Relaxed);
        if self.counters.fails.swap(false, Ordering::Relaxed) {
            return Err(BackendError::Failed("the instance has trapped".into()));
        }
        Ok(ids
            .iter()
            .map(|id| {
                let running = self.running.get_mut(id).ok_or(Error::Finished)?;
                let ends = self.counters.ends_badly.load(Ordering::Relaxed);
                if running.said == running.max || ends {
                    let usage = Usage {
                        prompt_tokens: running.prompt_tokens,
                        cached_tokens: 1,
                        generated_tokens: running.said,
                        drafted_tokens: 3,
                        accepted_tokens: 2,
                    };
                    return Ok(Event::Done(Done {
                        choice: 0,
                        reason: FinishReason::Length,
                        usage,
                    }));
                }
                let text = format!("{} ", running.said);
                let likely = |token: u32| TokenProbability {
                    token,
                    bytes: text.clone().into_bytes(),
                    log_probability: -0.5,
                };
                let log_probabilities = running.log_probabilities.map(|top| TokenChoice {
                    chosen: likely(running.said),
                    top: (0..top).map(likely).collect(),
                });
                let tokens = vec![running.said];
                running.said += 1;
                let log_probabilities = log_probabilities.into_iter().collect();
                Ok(Event::Delta(Delta { choice: 0, text, tokens, log_probabilities }))
            })
            .collect())
    }

    fn cancel(&mut self, id: GenerationId) -> Result<(), BackendError> {
        if self.counters.ends_badly.swap(false, Ordering::Relaxed) {
            return Err(BackendError::Failed("the instance has trapped".into()));
        }
        if self.running.remove(&id).is_some_and(|running| running.said < running.max) {
            self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// How a test's server differs.
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) access: Access,
    pub(crate) step: Duration,
    pub(crate) drain: Duration,
    pub(crate) names: Vec<&'static str>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            limits: Limits {
                waiting_max: 8,
                tokens_max: u32::MAX,
                time_max: Duration::from_secs(60),
                idle: None,
            },
            access: Access::default(),
            step: Duration::from_millis(1),
            drain: Duration::from_secs(5),
            names: vec!["counting"],
        }
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stopper: Stopper,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Setup {
    pub(crate) fn start(self) -> Served {
        let counters = Arc::new(Counters::default());
        let sources = self.names.iter().map(|name| {
            let (counters, step) = (counters.clone(), self.step);
            let open = move || {
                if counters.does_not_open.load(Ordering::Relaxed) {
                    return Err("the file is damaged".to_owned());
                }
                counters.opened.fetch_add(1, Ordering::Relaxed);
                let running = BTreeMap::new();
                let backend = Counting { counters: counters.clone(), step, running, next: 0 };
                Ok(Box::new(backend) as Box<dyn Backend>)
            };
            ModelSource { name: (*name).into(), open: Box::new(open) }
        });
        let models = Models::new(sources.collect(), self.limits);
        let options = Options {
            address: "127.0.0.1:0".parse().unwrap(),
            tls: None,
            access: self.access,
            drain: self.drain,
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let server = Server::bind(models, &options).await.unwrap();
                sender.send((server.address().unwrap(), server.stopper())).unwrap();
                server.run().await.unwrap();
            });
        });
        let (address, stopper) = receiver.recv().unwrap();
        Served { address, counters, stopper, thread: Some(thread) }
    }
}

impl Served {
    /// Waits until the server has ended by itself.
    pub(crate) fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }

    /// Sends a request and reads the answer to the end of the connection.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        Reply::read(self.open(method, path, headers, body))
    }

    /// Says that a body of so many bytes will follow, and sends none.
    pub(crate) fn announce(&self, path: &str, bytes: usize) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: \
             {bytes}\r\n\r\n"
        )
        .unwrap();
        stream
    }

    /// Sends a request and leaves the answer to the caller.
    pub(crate) fn open(&self, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        stream
    }

    /// Sends a body without saying how long it is.
    pub(crate) fn send_chunked(&self, path: &str, body: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = "host: test\r\nconnection: close\r\ntransfer-encoding: chunked";
        write!(stream, "POST {path} HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
        for chunk in body.as_bytes().chunks(100_000) {
            let chunk = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
            // The server may have answered and gone.
            if stream.write_all(&chunk).is_err() {
                break;
            }
        }
        let _ = stream.write_all(b"0\r\n\r\n");
        Reply::read(stream)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, "", &body.to_string())
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "", "")
    }

    /// A metric's value by its whole name, labels included.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {text}")).trim().parse().unwrap()
    }

    /// Waits until something holds.
    pub(crate) fn until(&self, what: &str, holds: impl Fn() -> bool) {
        for _ in 0..1000 {
            if holds() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{what} did not happen");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stopper.abort();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn read(mut stream: TcpStream) -> Reply {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Reply::parse(&String::from_utf8(bytes).unwrap())
    }

    fn parse(text: &str) -> Reply {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let head = head.to_ascii_lowercase();
        let body = match head.contains("transfer-encoding: chunked") {
            true => unchunk(body),
            false => body.to_owned(),
        };
        Reply { status, head, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The data of server-sent events.
    pub(crate) fn events(&self) -> Vec<String> {
        let data = |line: &str| line.strip_prefix("data: ").map(str::to_owned);
        self.body.lines().filter_map(data).collect()
    }

    pub(crate) fn error(&self) -> (u16, Value) {
        (self.status, self.json()["error"].clone())
    }
}

fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        text += &rest[..size];
        body = &rest[size + 2..];
    }
    text
}
