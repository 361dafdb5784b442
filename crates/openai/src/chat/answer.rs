use serde::Serialize;
use trefoil_contract::{Delta, Event, ToolCallDelta};
use utoipa::ToSchema;

use super::message::{ChatFunction, ChatToolCall};
use crate::answer::{Answer, Frame, finish_reason};
use crate::usage::{ChosenToken, UsageBody};

/// The answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChatResponse {
    id: String,
    /// `chat.completion`
    object: &'static str,
    /// Seconds since 1970.
    created: u64,
    model: String,
    choices: Vec<ChatChoice>,
    usage: UsageBody,
}

/// One answer.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ChatChoice {
    index: u32,
    message: AssistantMessage,
    /// `stop`, `length` or `tool_calls`.
    finish_reason: &'static str,
    logprobs: Option<ChatLogProbabilities>,
}

/// What the model says.
#[derive(Debug, Default, Serialize, ToSchema)]
struct AssistantMessage {
    /// `assistant`
    role: &'static str,
    content: Option<String>,
    /// What it thought before.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ChatToolCall>,
}

/// The tokens of an answer.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ChatLogProbabilities {
    content: Vec<ChosenToken>,
}

/// A piece of the answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChatChunk {
    id: String,
    /// `chat.completion.chunk`
    object: &'static str,
    created: u64,
    model: String,
    choices: Vec<ChunkChoice>,
    /// In the last chunk, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageBody>,
}

/// A piece of one answer.
#[derive(Debug, Serialize, ToSchema)]
struct ChunkChoice {
    index: u32,
    delta: ChunkDelta,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<ChatLogProbabilities>,
}

/// What is new.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ChunkDelta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ChunkToolCall; 1]>,
}

/// More of a call.
#[derive(Debug, Serialize, ToSchema)]
struct ChunkToolCall {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: ChunkFunction,
}

/// More of a function's call.
#[derive(Debug, Serialize, ToSchema)]
struct ChunkFunction {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    arguments: String,
}

/// Makes OpenAI's messages of events.
#[derive(Debug)]
pub struct ChatAnswer {
    frame: Frame,
    wants_log_probabilities: bool,
    /// What has been added; of a stream nothing is.
    choices: Vec<ChatChoice>,
}

impl ChatAnswer {
    pub(super) fn new(frame: Frame, choices: u32, wants_log_probabilities: bool) -> Self {
        let choice = |index| ChatChoice {
            index,
            message: AssistantMessage { role: "assistant", ..AssistantMessage::default() },
            logprobs: wants_log_probabilities.then(ChatLogProbabilities::default),
            ..ChatChoice::default()
        };
        let choices = (0..choices).map(choice).collect();
        ChatAnswer { frame, wants_log_probabilities, choices }
    }

    fn chunk(&self, choices: Vec<ChunkChoice>) -> ChatChunk {
        ChatChunk {
            id: self.frame.id.clone(),
            object: "chat.completion.chunk",
            created: self.frame.created,
            model: self.frame.model.clone(),
            choices,
            usage: None,
        }
    }

    fn delta(&self, index: u32, delta: ChunkDelta) -> ChatChunk {
        let choice = ChunkChoice { index, delta, finish_reason: None, logprobs: None };
        self.chunk(vec![choice])
    }

    fn begin(&self, choice: &ChatChoice) -> ChatChunk {
        let delta = ChunkDelta {
            role: Some("assistant"),
            content: Some(choice.message.content.clone().unwrap_or_default()),
            ..ChunkDelta::default()
        };
        self.delta(choice.index, delta)
    }

    fn text(&self, delta: Delta) -> Option<ChatChunk> {
        let wants = self.wants_log_probabilities && !delta.log_probabilities.is_empty();
        if delta.text.is_empty() && !wants {
            return None;
        }
        let content = Some(delta.text);
        let mut chunk = self.delta(delta.choice, ChunkDelta { content, ..ChunkDelta::default() });
        if wants {
            let content = delta.log_probabilities.into_iter().map(ChosenToken::from).collect();
            chunk.choices[0].logprobs = Some(ChatLogProbabilities { content });
        }
        Some(chunk)
    }
}

impl Answer for ChatAnswer {
    type Chunk = ChatChunk;
    type Whole = ChatResponse;

    fn begin_with(&mut self, text: &[u8]) {
        for choice in &mut self.choices {
            choice.message.content = Some(String::from_utf8_lossy(text).into_owned());
        }
    }

    fn first(&mut self) -> Vec<ChatChunk> {
        self.choices.iter().map(|choice| self.begin(choice)).collect()
    }

    fn chunks(&mut self, event: Event) -> Vec<ChatChunk> {
        match event {
            Event::PromptProgress(_) | Event::Idle(_) => Vec::new(),
            Event::Delta(delta) => self.text(delta).into_iter().collect(),
            Event::Reasoning(delta) => {
                let reasoning_content = Some(delta.text);
                let chunk = ChunkDelta { reasoning_content, ..ChunkDelta::default() };
                vec![self.delta(delta.choice, chunk)]
            }
            Event::ToolCallDelta(call) => {
                let ToolCallDelta { choice, index, id, name, arguments } = call;
                let kind = id.is_some().then_some("function");
                let function = ChunkFunction { name, arguments };
                let tool_calls = Some([ChunkToolCall { index, id, kind, function }]);
                vec![self.delta(choice, ChunkDelta { tool_calls, ..ChunkDelta::default() })]
            }
            Event::Done(done) => {
                let mut last = self.delta(done.choice, ChunkDelta::default());
                last.choices[0].finish_reason = Some(finish_reason(done.reason));
                let mut chunks = vec![last];
                if let Some(usage) = self.frame.ended(&done) {
                    chunks.push(ChatChunk { usage: Some(usage), ..self.chunk(Vec::new()) });
                }
                chunks
            }
        }
    }

    fn add(&mut self, event: Event) {
        let number = match &event {
            Event::PromptProgress(progress) => progress.choice,
            Event::Delta(delta) | Event::Reasoning(delta) => delta.choice,
            Event::ToolCallDelta(call) => call.choice,
            Event::Done(done) => done.choice,
            Event::Idle(choice) => *choice,
        };
        let Some(choice) = self.choices.get_mut(number as usize) else { return };
        match event {
            Event::PromptProgress(_) | Event::Idle(_) => {}
            Event::Delta(delta) => {
                choice.message.content.get_or_insert_default().push_str(&delta.text);
                if let Some(logprobs) = &mut choice.logprobs {
                    let tokens = delta.log_probabilities.into_iter().map(ChosenToken::from);
                    logprobs.content.extend(tokens);
                }
            }
            Event::Reasoning(delta) => {
                choice.message.reasoning_content.get_or_insert_default().push_str(&delta.text);
            }
            Event::ToolCallDelta(call) => choice.message.add(call),
            Event::Done(done) => {
                self.frame.ended(&done);
                choice.finish_reason = finish_reason(done.reason);
            }
        }
    }

    fn whole(mut self) -> ChatResponse {
        for choice in &mut self.choices {
            choice.message.settle();
        }
        let ChatAnswer { frame, choices, .. } = self;
        let Frame { id, created, model, usage, .. } = frame;
        ChatResponse { id, object: "chat.completion", created, model, choices, usage }
    }

    fn is_complete(&self) -> bool {
        self.frame.is_complete()
    }
}

impl AssistantMessage {
    fn add(&mut self, delta: ToolCallDelta) {
        let index = delta.index as usize;
        while self.tool_calls.len() <= index {
            self.tool_calls.push(ChatToolCall {
                id: String::new(),
                kind: "function".into(),
                function: ChatFunction { name: String::new(), arguments: String::new() },
            });
        }
        let call = &mut self.tool_calls[index];
        call.id.extend(delta.id);
        call.function.name.extend(delta.name);
        call.function.arguments.push_str(&delta.arguments);
    }

    /// Calls alone have no text; an answer without calls has one, perhaps empty.
    fn settle(&mut self) {
        let is_empty = self.content.as_ref().is_none_or(String::is_empty);
        if is_empty {
            self.content = self.tool_calls.is_empty().then(String::new);
        }
    }
}
