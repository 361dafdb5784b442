//! One request after the other, from a client to a model and back, where nothing runs beside it: a
//! component's way to serve. What the server does with threads and queues, this does in a loop.

use std::io::Read;

use serde::Serialize;
use serde::de::DeserializeOwned;
use trefoil_contract::{Error, Event, Relevance, Request, TokenizeOptions};

use crate::endpoint::Endpoint;
use crate::{
    Answer, Asked, BODY_BYTES_MAX, ChatRequest, CompletionRequest, DetokenizeRequest,
    DetokenizeResponse, EmbeddingRequest, Failure, GenerationRequest, Health, ModelBody, ModelList,
    RerankRequest, ResponsesRequest, Stamp, Text, TokenizeRequest, TokenizeResponse, choose,
    document, read,
};

/// A request as it arrives.
pub struct Incoming<'a> {
    /// `GET`, `POST`, ...
    pub method: &'a str,
    /// The path, perhaps with a query.
    pub path: &'a str,
    /// Bytes of the body, where they are announced.
    pub content_length: Option<u64>,
    /// The body. It is read only where there should be one, and not beyond [`BODY_BYTES_MAX`].
    pub body: &'a mut dyn Read,
}

/// Who asked. Headers go first, once.
pub trait Client {
    /// Sends status and headers.
    ///
    /// # Errors
    /// The client has left.
    fn head(&mut self, status: u16, headers: &[(&str, &str)]) -> Result<(), Gone>;

    /// Sends more of the body, now.
    ///
    /// # Errors
    /// The client has left.
    fn send(&mut self, bytes: &[u8]) -> Result<(), Gone>;
}

/// The client has left: nobody wants the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// The models that are served.
pub trait Models {
    /// One of them.
    type Model: Model;

    /// Their names; requests that name none mean the only one.
    ///
    /// # Errors
    /// As the contract's `models`.
    fn names(&mut self) -> Result<Vec<String>, Error>;

    /// When serving began, in seconds since 1970.
    fn created_s(&self) -> u64;

    /// The model of one of these names, which is loaded where it is not.
    ///
    /// # Errors
    /// As the contract's `open`.
    fn open(&mut self, name: &str) -> Result<&Self::Model, Error>;
}

/// A model that is loaded.
pub trait Model {
    /// An answer under way; dropping it cancels it.
    type Generation: Generation;

    /// Turns text into tokens.
    ///
    /// # Errors
    /// As the contract's `tokenize`.
    fn tokenize(&self, text: &[u8], options: TokenizeOptions) -> Result<Vec<u32>, Error>;

    /// Turns tokens into text.
    ///
    /// # Errors
    /// As the contract's `detokenize`.
    fn detokenize(&self, tokens: &[u32], special: bool) -> Result<Vec<u8>, Error>;

    /// The vector of a text.
    ///
    /// # Errors
    /// As the contract's `embed`.
    fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, Error>;

    /// How well a document goes with a query.
    ///
    /// # Errors
    /// As the contract's `relevance`.
    fn relevance(&self, query: &[u8], document: &[u8]) -> Result<Relevance, Error>;

    /// Starts a generation.
    ///
    /// # Errors
    /// As the contract's `start`.
    fn start(&self, request: Request) -> Result<Self::Generation, Error>;
}

/// An answer under way.
pub trait Generation {
    /// One step.
    ///
    /// # Errors
    /// As the contract's `next`.
    fn next(&mut self) -> Result<Event, Error>;
}

/// Answers a request, whatever it is.
///
/// # Errors
/// The client has left before it had the answer.
pub fn answer(
    incoming: Incoming<'_>,
    models: &mut impl Models,
    stamp: Stamp,
    client: &mut impl Client,
) -> Result<(), Gone> {
    match respond(incoming, models, stamp, client) {
        Ok(()) => Ok(()),
        Err(End::Gone) => Err(Gone),
        Err(End::Failed(failure)) => {
            let (status, header) = (failure.status(), failure.header());
            json(client, status, header, &failure.into_body())
        }
    }
}

/// Why a request has no answer.
enum End {
    /// The client shall know; nothing was sent yet.
    Failed(Failure),
    Gone,
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        End::Gone
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        End::Failed(failure)
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        End::Failed(error.into())
    }
}

fn respond<M: Models>(
    mut incoming: Incoming<'_>,
    models: &mut M,
    stamp: Stamp,
    client: &mut impl Client,
) -> Result<(), End> {
    let incoming = &mut incoming;
    match Endpoint::find(incoming.method, incoming.path)? {
        Endpoint::Health => sent(client, &Health::ok()),
        Endpoint::Document => sent(client, &document()),
        Endpoint::Models => {
            let names = models.names()?;
            sent(client, &ModelList::new(names.iter().map(String::as_str), models.created_s()))
        }
        Endpoint::Model(name) => {
            let names = models.names()?;
            let index = choose(&names, Some(&name))?;
            sent(client, &ModelBody::new(&names[index], models.created_s()))
        }
        Endpoint::Chat => generate::<ChatRequest, M>(incoming, models, stamp, client),
        Endpoint::Completions => generate::<CompletionRequest, M>(incoming, models, stamp, client),
        Endpoint::Responses => generate::<ResponsesRequest, M>(incoming, models, stamp, client),
        Endpoint::Embeddings => {
            let request: EmbeddingRequest = incoming.read()?;
            let (name, model) = opened(models, request.model())?;
            let (texts, mut embeddings) = request.texts(&name)?;
            for text in texts {
                let options = TokenizeOptions { add_special: true, parse_special: false };
                let tokens = match text {
                    Text::Text(text) => model.tokenize(text.as_bytes(), options)?,
                    Text::Tokens(tokens) => tokens,
                };
                embeddings.add(model.embed(&tokens)?, tokens.len());
            }
            sent(client, &embeddings.whole())
        }
        Endpoint::Rerank => {
            let request: RerankRequest = incoming.read()?;
            let (name, model) = opened(models, request.model())?;
            let (query, documents, mut reranking) = request.texts(&name)?;
            for document in documents {
                reranking.add(model.relevance(query.as_bytes(), document.as_bytes())?);
            }
            sent(client, &reranking.whole())
        }
        Endpoint::Tokenize => {
            let request: TokenizeRequest = incoming.read()?;
            let (_, model) = opened(models, request.model())?;
            let (text, options) = request.into_parts();
            sent(client, &TokenizeResponse::new(model.tokenize(text.as_bytes(), options)?))
        }
        Endpoint::Detokenize => {
            let request: DetokenizeRequest = incoming.read()?;
            let (_, model) = opened(models, request.model())?;
            let (tokens, special) = request.into_parts();
            sent(client, &DetokenizeResponse::new(&model.detokenize(&tokens, special)?))
        }
    }
}

impl Incoming<'_> {
    fn read<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let limit = BODY_BYTES_MAX as u64;
        if let Some(bytes) = self.content_length.filter(|bytes| *bytes > limit) {
            return Err(Failure::too_large(bytes));
        }
        let mut bytes = Vec::new();
        // One byte more shows that there are more.
        (&mut self.body)
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::body(400, format!("the body broke off: {error}")))?;
        if bytes.len() > BODY_BYTES_MAX {
            return Err(Failure::body(413, format!("the body has more than {limit} bytes")));
        }
        read(&bytes)
    }
}

/// The model that a request means, and its name.
fn opened<'a, M: Models>(
    models: &'a mut M,
    wanted: Option<&str>,
) -> Result<(String, &'a M::Model), Failure> {
    let mut names = models.names()?;
    let name = names.swap_remove(choose(&names, wanted)?);
    let model = models.open(&name);
    let model = model.map_err(|error| {
        Failure::not_opened(format!("the model `{name}` cannot be loaded: {error}"))
    })?;
    Ok((name, model))
}

fn generate<R: GenerationRequest, M: Models>(
    incoming: &mut Incoming<'_>,
    models: &mut M,
    stamp: Stamp,
    client: &mut impl Client,
) -> Result<(), End> {
    let body: R = incoming.read()?;
    let names = models.names()?;
    // What is wrong with the request shows before a model is loaded.
    let name = &names[choose(&names, body.model())?];
    let Asked { request, stream, echo, mut answer } = body.ask(name, u32::MAX, stamp)?;
    let (_, model) = opened(models, Some(name))?;
    if let Some(tokens) = echo {
        answer.begin_with(&model.detokenize(&tokens, false)?);
    }
    let mut generation = model.start(request)?;
    if stream {
        return chunks(generation, answer, client);
    }
    while !answer.is_complete() {
        answer.add(generation.next()?);
    }
    sent(client, &answer.whole())
}

/// Sends an answer as server-sent events.
fn chunks<A: Answer>(
    mut generation: impl Generation,
    mut answer: A,
    client: &mut impl Client,
) -> Result<(), End> {
    // An error before the first token still has a status.
    let mut event = loop {
        match generation.next()? {
            Event::PromptProgress(_) | Event::Idle(_) => {}
            event => break Ok(event),
        }
    };
    client.head(200, &[("content-type", "text/event-stream"), ("cache-control", "no-cache")])?;
    let mut text: String = answer.first().iter().map(piece::<A>).collect();
    loop {
        match event {
            Ok(event) => text.extend(answer.chunks(event).iter().map(piece::<A>)),
            Err(error) => {
                text += &data(&Failure::from(error).into_body());
                break;
            }
        }
        if answer.is_complete() {
            break;
        }
        if !text.is_empty() {
            client.send(text.as_bytes())?;
            text.clear();
        }
        event = generation.next();
    }
    if let Some(last) = A::LAST {
        text += &format!("data: {last}\n\n");
    }
    Ok(client.send(text.as_bytes())?)
}

fn piece<A: Answer>(chunk: &A::Chunk) -> String {
    match A::name(chunk) {
        Some(name) => format!("event: {name}\n{}", data(chunk)),
        None => data(chunk),
    }
}

fn data(value: &impl Serialize) -> String {
    format!("data: {}\n\n", text(value))
}

fn sent(client: &mut impl Client, value: &impl Serialize) -> Result<(), End> {
    Ok(json(client, 200, None, value)?)
}

fn json(
    client: &mut impl Client,
    status: u16,
    header: Option<(&str, &str)>,
    value: &impl Serialize,
) -> Result<(), Gone> {
    let text = text(value);
    let length = text.len().to_string();
    let mut headers = vec![("content-type", "application/json"), ("content-length", &length)];
    headers.extend(header);
    client.head(status, &headers)?;
    client.send(text.as_bytes())
}

fn text(value: &impl Serialize) -> String {
    // Our own types have text as keys and no NaN: they always become JSON.
    serde_json::to_string(value).unwrap_or_else(|error| error.to_string())
}
