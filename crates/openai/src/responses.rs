//! `POST /v1/responses`, of which the server keeps nothing: what stateless clients use.

mod answer;
mod input;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use trefoil_contract::{Conversation, Message, MessagePart, Prompt, Request, ResponseFormat};
use utoipa::ToSchema;

use crate::Failure;
use crate::answer::{Asked, GenerationRequest, Stamp};
use crate::sampling::Sampling;
use crate::tool_choice::ToolChoiceBody;
pub use answer::{ResponseBody, ResponsesAnswer};
use input::Input;

/// A request for a response.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ResponsesRequest {
    /// The model's name; may be missing where there is only one.
    model: Option<String>,
    /// What the user says, or all that was said and done so far.
    input: Input,
    /// What the system says.
    instructions: Option<String>,
    /// Tokens of the response at most, reasoning included.
    #[schema(minimum = 0)]
    max_output_tokens: Option<u32>,
    #[serde(flatten)]
    sampling: Sampling,
    /// Send the response as it is computed, as server-sent events.
    #[serde(default)]
    stream: bool,
    /// Functions that the model may call: `{"type": "function", "name": ..., "parameters": ...}`.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<Value>>,
    /// `auto`, `none`, `required`, or a function by name.
    tool_choice: Option<ToolChoiceBody>,
    /// Form of the text.
    text: Option<TextBody>,
    /// Comes back with the response.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// Further variables for the model's template, such as `enable_thinking`.
    #[schema(value_type = Option<Object>)]
    chat_template_kwargs: Option<Map<String, Value>>,
    /// `disabled`; others are not supported.
    truncation: Option<String>,
    /// Not supported: nothing is kept.
    previous_response_id: Option<String>,
    /// Not supported: nothing is kept.
    #[schema(value_type = Option<Object>)]
    conversation: Option<Value>,
    /// Not supported: nothing is kept.
    #[schema(value_type = Option<Object>)]
    prompt: Option<Value>,
    /// Not supported, but for false: nothing is kept.
    background: Option<bool>,
    /// Not supported; `/v1/chat/completions` reports log probabilities.
    top_logprobs: Option<u32>,
}

/// Form of the text.
#[derive(Debug, Deserialize, ToSchema)]
struct TextBody {
    /// Any text, unless it is given.
    format: Option<FormatBody>,
}

/// Form of the text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum FormatBody {
    /// Any text.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that satisfies a schema.
    JsonSchema {
        /// The schema.
        #[schema(value_type = Object)]
        schema: Value,
    },
}

impl GenerationRequest for ResponsesRequest {
    type Answer = ResponsesAnswer;

    fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    fn ask(
        mut self,
        model: &str,
        tokens_max: u32,
        stamp: Stamp,
    ) -> Result<Asked<ResponsesAnswer>, Failure> {
        self.refuse()?;
        let stream = self.stream;
        let answer = ResponsesAnswer::new(stamp, self.echo(model));
        let request = self.request(tokens_max)?;
        Ok(Asked { request, stream, echo: None, answer })
    }
}

impl ResponsesRequest {
    /// Refuses what is known and not supported.
    fn refuse(&self) -> Result<(), Failure> {
        let kept = "nothing is kept between requests; send all that was said so far as `input`";
        let truncation = self.truncation.as_deref().is_some_and(|it| it != "disabled");
        let log_probabilities = "log probabilities come with `/v1/chat/completions`";
        for (name, is_given, instead) in [
            ("previous_response_id", self.previous_response_id.is_some(), kept),
            ("conversation", self.conversation.is_some(), kept),
            ("prompt", self.prompt.is_some(), kept),
            ("background", self.background == Some(true), kept),
            ("truncation", truncation, "shorten `input`"),
            ("top_logprobs", self.top_logprobs.is_some(), log_probabilities),
            ("n", self.sampling.choices() != 1, "a response is one answer"),
        ] {
            if is_given {
                let message = format!("`{name}` is not supported: {instead}");
                return Err(Failure::unsupported(name, message));
            }
        }
        Ok(())
    }

    /// What a response repeats of its request.
    fn echo(&mut self, model: &str) -> ResponseBody {
        let choice = self.tool_choice.as_ref().map_or(json!("auto"), ToolChoiceBody::to_json);
        ResponseBody {
            model: model.to_owned(),
            instructions: self.instructions.clone(),
            max_output_tokens: self.max_output_tokens,
            metadata: self.metadata.take().unwrap_or_default(),
            tool_choice: choice,
            tools: self.tools.clone().unwrap_or_default(),
            ..ResponseBody::default()
        }
    }

    fn request(self, tokens_max: u32) -> Result<Request, Failure> {
        let mut messages = Vec::new();
        messages.extend(self.instructions.map(|text| Message {
            role: "system".into(),
            parts: vec![MessagePart::Text(text)],
            variables: None,
        }));
        messages.extend(self.input.messages()?);
        let json = |value: Value| value.to_string();
        let tools = self.tools.unwrap_or_default().into_iter().enumerate();
        let tools: Vec<_> = tools.map(|(at, tool)| function(at, tool)).collect::<Result<_, _>>()?;
        let tool_choice = ToolChoiceBody::read(self.tool_choice, &tools)?;
        let conversation = Conversation {
            messages,
            tools: (!tools.is_empty()).then_some(tools).map(Value::from).map(json),
            variables: self.chat_template_kwargs.map(Value::from).map(json),
            add_generation_prompt: true,
        };
        let mut request = Request::new(Prompt::Chat(conversation));
        let sampling = match self.max_output_tokens {
            Some(tokens) => self.sampling.with_max_tokens(tokens),
            None => self.sampling,
        };
        sampling.apply(&mut request, tokens_max)?;
        request.response_format = match self.text.and_then(|text| text.format) {
            None | Some(FormatBody::Text) => ResponseFormat::Text,
            Some(FormatBody::JsonObject) => {
                ResponseFormat::JsonSchema(r#"{"type":"object"}"#.into())
            }
            Some(FormatBody::JsonSchema { schema }) => {
                ResponseFormat::JsonSchema(schema.to_string())
            }
        };
        request.tool_choice = tool_choice;
        Ok(request)
    }
}

/// A tool in the form that templates know.
fn function(index: usize, mut tool: Value) -> Result<Value, Failure> {
    let place = format!("tools[{index}]");
    match tool["type"].as_str() {
        Some("function") => {}
        Some(other) => {
            let message = format!("`{place}` is of type `{other}`; only `function` is supported");
            return Err(Failure::unsupported(&place, message));
        }
        None => {
            let message = format!("`{place}` has no `type`; expected `function`");
            return Err(Failure::parameter(&place, message));
        }
    }
    if let Some(function) = tool.as_object_mut() {
        function.remove("type");
    }
    Ok(json!({ "type": "function", "function": tool }))
}
