//! `POST /v1/chat/completions`.

mod answer;
mod message;

use serde::Deserialize;
use serde_json::Value;
use trefoil_contract::{Conversation, Prompt, Request, ResponseFormat};
use utoipa::ToSchema;

use crate::Failure;
use crate::answer::{Asked, Frame, GenerationRequest, Stamp};
use crate::sampling::Sampling;
use crate::tool_choice::ToolChoiceBody;
pub use answer::{ChatAnswer, ChatChunk, ChatResponse};
use message::{ChatMessage, messages};

/// A request for the next message of a conversation.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ChatRequest {
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
pub(crate) struct StreamOptions {
    /// A last chunk with the usage.
    #[serde(default)]
    pub(crate) include_usage: bool,
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

impl GenerationRequest for ChatRequest {
    type Answer = ChatAnswer;

    fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    fn ask(self, model: &str, tokens_max: u32, stamp: Stamp) -> Result<Asked<ChatAnswer>, Failure> {
        let (stream, wants_log_probabilities) = (self.stream, self.logprobs);
        let usage_wanted = self.stream_options.is_some_and(|options| options.include_usage);
        let request = self.request(tokens_max)?;
        let frame = Frame::new("chatcmpl", stamp, model, request.choices, usage_wanted);
        let answer = ChatAnswer::new(frame, request.choices, wants_log_probabilities);
        Ok(Asked { request, stream, echo: None, answer })
    }
}

impl ChatRequest {
    fn request(self, tokens_max: u32) -> Result<Request, Failure> {
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
        let tools = self.tools.unwrap_or_default();
        let tool_choice = ToolChoiceBody::read(self.tool_choice, &tools)?;
        let conversation = Conversation {
            messages: messages(self.messages)?,
            tools: (!tools.is_empty()).then_some(tools).map(Value::from).map(json),
            variables: self.chat_template_kwargs.map(Value::from).map(json),
            add_generation_prompt: true,
        };
        let mut request = Request::new(Prompt::Chat(conversation));
        self.sampling.apply(&mut request, tokens_max)?;
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
        request.tool_choice = tool_choice;
        Ok(request)
    }
}
