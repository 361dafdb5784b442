//! What requests for an answer have in common, and what makes JSON of the events that answer them.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use trefoil_contract::{Done, Event, FinishReason, Request};

use crate::Failure;
use crate::usage::UsageBody;

/// A body that asks a model to generate.
pub trait GenerationRequest: DeserializeOwned {
    /// What makes JSON of the events.
    type Answer: Answer;

    /// The model that it names.
    fn model(&self) -> Option<&str>;

    /// What the engine is to be asked. `model` is the name that answers bear; no answer gets more
    /// than `tokens_max` tokens (`u32::MAX`: no limit beside the model's own).
    ///
    /// # Errors
    /// A parameter that is wrong, or that is known and not supported.
    fn ask(
        self,
        model: &str,
        tokens_max: u32,
        stamp: Stamp,
    ) -> Result<Asked<Self::Answer>, Failure>;
}

/// A request for answers, in the contract's words.
#[derive(Debug)]
pub struct Asked<A> {
    /// What the engine is asked.
    pub request: Request,
    /// Whether the client wants chunks as they come.
    pub stream: bool,
    /// Tokens whose text goes to [`Answer::begin_with`] before anything else: the client wants to
    /// see its prompt again.
    pub echo: Option<Vec<u32>>,
    /// What makes JSON of the events.
    pub answer: A,
}

/// Makes JSON of the events of a generation. Either a stream: [`first`](Answer::first), then
/// [`chunks`](Answer::chunks) of every event; or a whole: every event to [`add`](Answer::add), then
/// [`whole`](Answer::whole). The answers to a request have ended when
/// [`is_complete`](Answer::is_complete) says so.
pub trait Answer {
    /// A piece of a stream.
    type Chunk: Serialize + Send + 'static;
    /// All of it.
    type Whole: Serialize + Send + 'static;

    /// What a stream says behind the last chunk.
    const LAST: Option<&'static str> = Some("[DONE]");

    /// The kind of a chunk, where the stream's events have names.
    fn name(_chunk: &Self::Chunk) -> Option<&str> {
        None
    }

    /// Lets every answer begin with a text; of bytes that are not UTF-8 U+FFFD is left.
    fn begin_with(&mut self, text: &[u8]);

    /// What a stream says before any event.
    fn first(&mut self) -> Vec<Self::Chunk>;

    /// What a stream says about an event.
    fn chunks(&mut self, event: Event) -> Vec<Self::Chunk>;

    /// Adds an event to the whole.
    fn add(&mut self, event: Event);

    /// All that was added.
    fn whole(self) -> Self::Whole;

    /// Whether all answers have ended.
    fn is_complete(&self) -> bool;
}

/// What makes an answer one of its own.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// What no other answer has.
    pub random: u128,
    /// Seconds since 1970.
    pub created_s: u64,
}

impl Stamp {
    /// One of this moment, with random numbers of the standard library's hash keys.
    pub fn now() -> Self {
        let [high, low] = [0; 2].map(|_: i32| RandomState::new().build_hasher().finish());
        let created_s =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Stamp { random: u128::from(high) << 64 | u128::from(low), created_s }
    }
}

/// What surrounds every piece of the answers to a request.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) usage: UsageBody,
    /// Answers that have not ended.
    left: u32,
    /// Whether a stream ends with the usage.
    usage_wanted: bool,
}

impl Frame {
    pub(crate) fn new(
        prefix: &str,
        stamp: Stamp,
        model: &str,
        choices: u32,
        usage_wanted: bool,
    ) -> Self {
        Frame {
            // 24 digits, as many as OpenAI's.
            id: format!("{prefix}-{:024x}", stamp.random >> 32),
            created: stamp.created_s,
            model: model.into(),
            usage: UsageBody::default(),
            left: choices,
            usage_wanted,
        }
    }

    /// Counts an answer that has ended. Answers the usage of all, where this was the last one and
    /// a stream is to report it.
    pub(crate) fn ended(&mut self, done: &Done) -> Option<UsageBody> {
        self.usage.add(&done.usage, done.choice == 0);
        self.left = self.left.saturating_sub(1);
        (self.left == 0 && self.usage_wanted).then_some(self.usage)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.left == 0
    }
}

/// Why an answer ended, in OpenAI's words.
pub(crate) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::StopText => "stop",
        FinishReason::Length | FinishReason::ContextFull => "length",
        FinishReason::ToolCalls => "tool_calls",
    }
}
