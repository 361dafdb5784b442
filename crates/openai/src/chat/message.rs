use serde::{Deserialize, Serialize};
use serde_json::Value;
use trefoil_contract::{Message, MessagePart, ToolCall, ToolResult};
use utoipa::ToSchema;

use crate::Failure;

/// A message of a conversation.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct ChatMessage {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    role: String,
    /// The text.
    content: Option<Content>,
    /// Who speaks, where there are several; for the template.
    name: Option<String>,
    /// Of the assistant: what it called.
    tool_calls: Option<Vec<ChatToolCall>>,
    /// Of a tool: the call that this is the result of.
    tool_call_id: Option<String>,
    /// Of the assistant: what it thought before.
    reasoning_content: Option<String>,
}

/// A text, or parts of one.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
enum Content {
    /// A text.
    Text(String),
    /// Parts.
    Parts(Vec<ContentPart>),
}

/// A part of a message.
#[derive(Debug, Clone, Deserialize, ToSchema)]
struct ContentPart {
    /// `text`; others (`image_url`, `input_audio`, ...) are refused by name.
    #[serde(rename = "type")]
    kind: String,
    /// The text.
    text: Option<String>,
}

/// A call that the model made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct ChatToolCall {
    /// Names the call.
    pub(super) id: String,
    /// `function`.
    #[serde(rename = "type", default = "function")]
    pub(super) kind: String,
    /// What is called.
    pub(super) function: ChatFunction,
}

/// A function and its arguments.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct ChatFunction {
    /// The name.
    pub(super) name: String,
    /// The arguments, a JSON object as text.
    pub(super) arguments: String,
}

fn function() -> String {
    "function".into()
}

/// Messages as the contract has them.
pub(super) fn messages(messages: Vec<ChatMessage>) -> Result<Vec<Message>, Failure> {
    if messages.is_empty() {
        return Err(Failure::parameter("messages", "`messages` is empty"));
    }
    messages.into_iter().enumerate().map(|(index, message)| message.convert(index)).collect()
}

impl ChatMessage {
    fn convert(self, index: usize) -> Result<Message, Failure> {
        let place = format!("messages[{index}]");
        let texts = match self.content {
            None => Vec::new(),
            Some(Content::Text(text)) => vec![text],
            Some(Content::Parts(parts)) => parts
                .into_iter()
                .enumerate()
                .map(|(part, content)| content.text(&format!("{place}.content[{part}]")))
                .collect::<Result<_, _>>()?,
        };
        let variables = self.name.map(|name| serde_json::json!({ "name": name }).to_string());
        let role = match self.role.as_str() {
            // OpenAI's newer name for the same; templates know the older one.
            "developer" => "system".into(),
            _ => self.role,
        };
        if role == "tool" {
            let Some(id) = self.tool_call_id else {
                let message = format!("`{place}` of a tool has no `tool_call_id`");
                return Err(Failure::parameter(&place, message));
            };
            let parts = vec![MessagePart::ToolResult(ToolResult { id, texts })];
            return Ok(Message { role, parts, variables });
        }
        let mut parts = Vec::new();
        parts.extend(self.reasoning_content.map(MessagePart::Reasoning));
        parts.extend(texts.into_iter().map(MessagePart::Text));
        for (number, call) in self.tool_calls.unwrap_or_default().into_iter().enumerate() {
            let ChatFunction { name, arguments } = call.function;
            if !matches!(serde_json::from_str(&arguments), Ok(Value::Object(_))) {
                let place = format!("{place}.tool_calls[{number}].function.arguments");
                let message = format!("`{place}` is no JSON object: {arguments}");
                return Err(Failure::parameter(&place, message));
            }
            parts.push(MessagePart::ToolCall(ToolCall { id: call.id, name, arguments }));
        }
        if parts.is_empty() {
            let message = format!("`{place}` has neither `content` nor `tool_calls`");
            return Err(Failure::parameter(&place, message));
        }
        Ok(Message { role, parts, variables })
    }
}

impl ContentPart {
    fn text(self, place: &str) -> Result<String, Failure> {
        match (self.kind.as_str(), self.text) {
            ("text" | "input_text" | "output_text", Some(text)) => Ok(text),
            ("text" | "input_text" | "output_text", None) => {
                Err(Failure::parameter(place, format!("`{place}` has no `text`")))
            }
            (kind, _) => Err(Failure::unsupported(
                place,
                format!("`{place}` is of type `{kind}`; this model reads `text` only"),
            )),
        }
    }
}
