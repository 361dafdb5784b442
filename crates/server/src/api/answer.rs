//! Events of an answer, as a whole or as a stream of server-sent events.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::sync::mpsc::Receiver;
use trefoil_contract::{Done, Event, FinishReason, TokenChoice, TokenProbability, Usage};
use utoipa::ToSchema;

use crate::failure::Failure;
use crate::metrics::ModelMetrics;

/// How often a stream says that it is alive while a long prompt is processed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The events of an answer, the first of which has arrived: what is wrong with a request shows
/// before the status is sent.
pub(super) struct Answer {
    first: Option<Event>,
    rest: Receiver<Result<Event, Failure>>,
    choices: u32,
}

impl Answer {
    /// Waits for the first event.
    pub(super) async fn begin(
        mut events: Receiver<Result<Event, Failure>>,
        choices: u32,
        metrics: &ModelMetrics,
    ) -> Result<Self, Failure> {
        let start = Instant::now();
        let first = loop {
            match events.recv().await {
                Some(Ok(Event::PromptProgress(_) | Event::Idle(_))) => {}
                Some(first) => break first?,
                None => return Err(Failure::stopping()),
            }
        };
        metrics.first_token_seconds.observe(start.elapsed().as_secs_f64());
        Ok(Answer { first: Some(first), rest: events, choices })
    }

    /// The next event; `None` behind the last choice's end.
    pub(super) async fn next(&mut self) -> Option<Result<Event, Failure>> {
        if self.choices == 0 {
            return None;
        }
        let event = match self.first.take() {
            Some(event) => Some(Ok(event)),
            None => self.rest.recv().await,
        };
        // The other side ends behind the last event, or when the server stops.
        let event = event.unwrap_or_else(|| Err(Failure::stopping()));
        match &event {
            Ok(Event::Done(_)) => self.choices -= 1,
            Ok(_) => {}
            Err(_) => self.choices = 0,
        }
        Some(event)
    }
}

/// Server-sent events: what `chunks` makes of each event, an error as OpenAI's body, and `[DONE]`.
pub(super) fn stream<T: Serialize + Send + 'static>(
    answer: Answer,
    before: Vec<T>,
    chunks: impl FnMut(Event) -> Vec<T> + Send + 'static,
) -> Response {
    let before = stream::iter(before.into_iter().map(data));
    let events = stream::unfold((answer, chunks), |(mut answer, mut chunks)| async {
        let data: Vec<_> = match answer.next().await? {
            Ok(event) => chunks(event).into_iter().map(data).collect(),
            Err(failure) => vec![data(failure.into_body())],
        };
        Some((stream::iter(data), (answer, chunks)))
    });
    let done = stream::once(async { sse::Event::default().data("[DONE]") });
    respond(before.chain(events.flatten()).chain(done))
}

fn data(value: impl Serialize) -> sse::Event {
    // Our own types have text as keys and no NaN: they always become JSON.
    let text = serde_json::to_string(&value).unwrap_or_else(|error| error.to_string());
    sse::Event::default().data(text)
}

fn respond(events: impl Stream<Item = sse::Event> + Send + 'static) -> Response {
    Sse::new(events.map(Ok::<_, Infallible>))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

/// What surrounds every piece of the answers to a request.
pub(super) struct Frame {
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) usage: UsageBody,
    /// Answers that have not ended.
    left: u32,
    /// Whether a stream ends with the usage.
    usage_wanted: bool,
}

impl Frame {
    pub(super) fn new(prefix: &str, model: &str, choices: u32, usage_wanted: bool) -> Self {
        Frame {
            id: id(prefix),
            created: now_s(),
            model: model.into(),
            usage: UsageBody::default(),
            left: choices,
            usage_wanted,
        }
    }

    /// Counts an answer that has ended. Answers the usage of all, where this was the last one and
    /// a stream is to report it.
    pub(super) fn ended(&mut self, done: &Done) -> Option<UsageBody> {
        self.usage.add(&done.usage, done.choice == 0);
        self.left = self.left.saturating_sub(1);
        (self.left == 0 && self.usage_wanted).then_some(self.usage)
    }
}

/// A name that no other answer has.
fn id(prefix: &str) -> String {
    let [first, second] = [0; 2].map(|_: i32| RandomState::new().build_hasher().finish());
    format!("{prefix}-{first:016x}{:08x}", second >> 32)
}

/// Seconds since 1970.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Why an answer ended, in OpenAI's words.
pub(super) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::StopText => "stop",
        FinishReason::Length | FinishReason::ContextFull => "length",
        FinishReason::ToolCalls => "tool_calls",
    }
}

/// What a request used.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub(super) struct UsageBody {
    /// Tokens of the prompt.
    prompt_tokens: u64,
    /// Tokens generated, for all answers.
    completion_tokens: u64,
    /// Both.
    total_tokens: u64,
    /// More about the prompt.
    prompt_tokens_details: PromptDetails,
}

/// More about the prompt's tokens.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
struct PromptDetails {
    /// Those that were in the cache already.
    cached_tokens: u64,
}

impl UsageBody {
    /// Adds the usage of an answer; the prompt counts once for all answers to it.
    fn add(&mut self, usage: &Usage, counts_prompt: bool) {
        if counts_prompt {
            self.prompt_tokens += u64::from(usage.prompt_tokens);
            self.prompt_tokens_details.cached_tokens += u64::from(usage.cached_tokens);
        }
        self.completion_tokens += u64::from(usage.generated_tokens);
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
    }

    /// That of a prompt alone.
    pub(super) fn of_prompt(tokens: u64) -> Self {
        UsageBody { prompt_tokens: tokens, total_tokens: tokens, ..UsageBody::default() }
    }
}

/// A token and its probability.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct LogProbability {
    /// The token's text, U+FFFD for what is no character by itself.
    token: String,
    /// Natural logarithm of its probability.
    logprob: f32,
    /// The token's bytes.
    bytes: Vec<u8>,
}

/// A token that was chosen, and the likeliest ones at its place.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ChosenToken {
    #[serde(flatten)]
    chosen: LogProbability,
    /// Most likely first.
    top_logprobs: Vec<LogProbability>,
}

impl From<TokenProbability> for LogProbability {
    fn from(token: TokenProbability) -> Self {
        LogProbability {
            token: String::from_utf8_lossy(&token.bytes).into_owned(),
            logprob: token.log_probability,
            bytes: token.bytes,
        }
    }
}

impl From<TokenChoice> for ChosenToken {
    fn from(choice: TokenChoice) -> Self {
        let top_logprobs = choice.top.into_iter().map(LogProbability::from).collect();
        ChosenToken { chosen: choice.chosen.into(), top_logprobs }
    }
}
