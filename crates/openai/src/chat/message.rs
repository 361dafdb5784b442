use serde::{Deserialize, Serialize};
use trefoil_contract::{Message, MessagePart, ToolResult};
use utoipa::ToSchema;

use crate::Failure;
use crate::content::{self, Content};

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
        let texts = self.content.map(|content| content.texts(&place)).transpose()?;
        let texts = texts.unwrap_or_default();
        let variables = self.name.map(|name| serde_json::json!({ "name": name }).to_string());
        let role = content::role(self.role);
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
            let place = format!("{place}.tool_calls[{number}].function.arguments");
            let call = content::call(call.id, name, arguments, &place)?;
            parts.push(MessagePart::ToolCall(call));
        }
        if parts.is_empty() {
            let message = format!("`{place}` has neither `content` nor `tool_calls`");
            return Err(Failure::parameter(&place, message));
        }
        Ok(Message { role, parts, variables })
    }
}
