use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trefoil_contract::{
    Conversation, Delta, Event, Prompt, Request, ResponseFormat, ToolCallDelta, ToolChoice,
};
use utoipa::ToSchema;

use super::answer::{self, Answer, ChosenToken, Frame, UsageBody, finish_reason};
use super::message::{ChatFunction, ChatMessage, ChatToolCall, messages};
use super::sampling::Sampling;
use super::{App, Body};
use crate::failure::{ErrorBody, Failure};

/// A request for the next message of a conversation.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ChatRequest {
    /// The model's name; may be missing where there is only one.
    model: Option<String>,
    /// The conversation so far.
    messages: Vec<ChatMessage>,
    #[serde(flatten)]
    sampling: Sampling,
    /// Send the answer as it is computed, as server-sent events.
    #[serde(default)]
    stream: bool,
    /// What a stream reports besides.
    stream_options: Option<StreamOptions>,
    /// Report the logarithm of each token's probability.
    #[serde(default)]
    logprobs: bool,
    /// And so many likeliest tokens at its place.
    top_logprobs: Option<u32>,
    /// Form that the answer must have.
    response_format: Option<ResponseFormatBody>,
    /// Functions that the model may call.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<Value>>,
    /// `auto`, `none`, `required`, or a function by name.
    tool_choice: Option<ToolChoiceBody>,
    /// Not supported: the older form of `tools`.
    #[schema(value_type = Option<Object>)]
    functions: Option<Value>,
    /// Not supported: the older form of `tool_choice`.
    #[schema(value_type = Option<Object>)]
    function_call: Option<Value>,
    /// Not supported: spoken answers.
    #[schema(value_type = Option<Object>)]
    audio: Option<Value>,
    /// Further variables for the model's template, such as `enable_thinking`.
    #[schema(value_type = Option<Object>)]
    chat_template_kwargs: Option<serde_json::Map<String, Value>>,
}

/// What a stream reports besides.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
pub(super) struct StreamOptions {
    /// A last chunk with the usage.
    #[serde(default)]
    pub(super) include_usage: bool,
}

/// Form that an answer must have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormatBody {
    /// Any text.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that satisfies a schema.
    JsonSchema {
        /// The schema and its name.
        json_schema: NamedSchema,
    },
    /// Text that a regular expression matches.
    Regex {
        /// The expression.
        regex: String,
    },
    /// Text of a grammar, Lark or GBNF.
    Grammar {
        /// The grammar.
        grammar: String,
    },
}

/// A JSON Schema.
#[derive(Debug, Deserialize, ToSchema)]
struct NamedSchema {
    /// The schema.
    #[schema(value_type = Object)]
    schema: Value,
}

/// Whether tools are called.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum ToolChoiceBody {
    /// `auto`, `none` or `required`.
    Mode(String),
    /// A function by name.
    Function {
        /// The function.
        function: FunctionName,
    },
}

/// The name of a function.
#[derive(Debug, Deserialize, ToSchema)]
struct FunctionName {
    /// The name.
    name: String,
}

/// The answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChatResponse {
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
pub(super) struct ChatChunk {
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

/// Answers a conversation.
#[utoipa::path(
    post, path = "/v1/chat/completions", request_body = ChatRequest,
    responses(
        (status = 200, description = "The answers; with `stream` as server-sent events, each a \
            `ChatChunk`, and at the end `[DONE]`", body = ChatResponse),
        (status = "default", description = "Why there is none", body = ErrorBody),
    )
)]
pub(super) async fn create(
    State(app): State<App>,
    Body(body): Body<ChatRequest>,
) -> Result<Response, Failure> {
    let model = app.models.get(body.model.as_deref())?;
    let (stream, usage_wanted) =
        (body.stream, body.stream_options.is_some_and(|options| options.include_usage));
    let choices = body.sampling.choices();
    let wants_log_probabilities = body.logprobs;
    let request = body.request(&app)?;
    let answer = Answer::begin(model.generate(request)?, choices, &model.metrics).await?;
    let frame = Frame::new("chatcmpl", &model.name, choices, usage_wanted);
    let mut dialogue = Dialogue { frame, wants_log_probabilities };
    if stream {
        let first = (0..choices).map(|index| dialogue.role(index)).collect();
        return Ok(answer::stream(answer, first, move |event| dialogue.chunks(event)));
    }
    dialogue.whole(answer, choices).await.map(|response| Json(response).into_response())
}

impl ChatRequest {
    fn request(self, app: &App) -> Result<Request, Failure> {
        for (name, given, instead) in [
            ("functions", &self.functions, "`tools`"),
            ("function_call", &self.function_call, "`tool_choice`"),
            ("audio", &self.audio, "text"),
        ] {
            if given.is_some() {
                let message = format!("`{name}` is not supported; use {instead}");
                return Err(Failure::unsupported(name, message));
            }
        }
        let json = |value: Value| value.to_string();
        let tools = self.tools.filter(|tools| !tools.is_empty());
        let conversation = Conversation {
            messages: messages(self.messages)?,
            tools: tools.map(Value::from).map(json),
            variables: self.chat_template_kwargs.map(Value::from).map(json),
            add_generation_prompt: true,
        };
        let mut request = Request::new(Prompt::Chat(conversation));
        self.sampling.apply(&mut request, &app.models.limits)?;
        if self.top_logprobs.is_some() && !self.logprobs {
            let message = "`top_logprobs` needs `logprobs`: true";
            return Err(Failure::parameter("top_logprobs", message));
        }
        request.log_probabilities = self.logprobs.then(|| self.top_logprobs.unwrap_or(0));
        request.response_format = match self.response_format {
            None | Some(ResponseFormatBody::Text) => ResponseFormat::Text,
            Some(ResponseFormatBody::JsonObject) => {
                ResponseFormat::JsonSchema(r#"{"type":"object"}"#.into())
            }
            Some(ResponseFormatBody::JsonSchema { json_schema }) => {
                ResponseFormat::JsonSchema(json_schema.schema.to_string())
            }
            Some(ResponseFormatBody::Regex { regex }) => ResponseFormat::Regex(regex),
            Some(ResponseFormatBody::Grammar { grammar }) => ResponseFormat::Grammar(grammar),
        };
        request.tool_choice = match self.tool_choice {
            None => ToolChoice::Auto,
            Some(ToolChoiceBody::Function { function }) => ToolChoice::Named(function.name),
            Some(ToolChoiceBody::Mode(mode)) => match mode.as_str() {
                "auto" => ToolChoice::Auto,
                "none" => ToolChoice::None,
                "required" => ToolChoice::Required,
                _ => {
                    let message = format!(
                        "`tool_choice` is `{mode}`; expected `auto`, `none`, `required` or a \
                         function"
                    );
                    return Err(Failure::parameter("tool_choice", message));
                }
            },
        };
        Ok(request)
    }
}

/// The answers to a conversation.
struct Dialogue {
    frame: Frame,
    wants_log_probabilities: bool,
}

impl Dialogue {
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

    fn role(&self, index: u32) -> ChatChunk {
        let delta = ChunkDelta {
            role: Some("assistant"),
            content: Some(String::new()),
            ..ChunkDelta::default()
        };
        self.delta(index, delta)
    }

    /// What a stream says about an event.
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

    /// The answers as a whole.
    async fn whole(mut self, mut answer: Answer, choices: u32) -> Result<ChatResponse, Failure> {
        let wants = self.wants_log_probabilities;
        let mut choices: Vec<_> = (0..choices)
            .map(|index| ChatChoice {
                index,
                message: AssistantMessage { role: "assistant", ..AssistantMessage::default() },
                logprobs: wants.then(ChatLogProbabilities::default),
                ..ChatChoice::default()
            })
            .collect();
        while let Some(event) = answer.next().await {
            let event = event?;
            let number = match &event {
                Event::PromptProgress(progress) => progress.choice,
                Event::Delta(delta) | Event::Reasoning(delta) => delta.choice,
                Event::ToolCallDelta(call) => call.choice,
                Event::Done(done) => done.choice,
                Event::Idle(choice) => *choice,
            };
            let Some(choice) = choices.get_mut(number as usize) else { continue };
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
        for choice in &mut choices {
            choice.message.settle();
        }
        let Frame { id, created, model, usage, .. } = self.frame;
        Ok(ChatResponse { id, object: "chat.completion", created, model, choices, usage })
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
