use serde::Deserialize;
use trefoil_contract::{Message, MessagePart, ToolResult};
use utoipa::ToSchema;

use crate::Failure;
use crate::content::{self, Content};

/// What was said.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Input {
    /// By the user.
    Text(String),
    /// By all, in order.
    Items(Vec<InputItem>),
}

/// Something that was said or done.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct InputItem {
    /// `message` (also where it is missing), `function_call`, `function_call_output` or `reasoning`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Of a message: `system`, `developer`, `user` or `assistant`.
    role: Option<String>,
    /// Of a message or reasoning.
    content: Option<Content>,
    /// Of a call and of its output: what names the call.
    call_id: Option<String>,
    /// Of a call: the function.
    name: Option<String>,
    /// Of a call: a JSON object as text.
    arguments: Option<String>,
    /// Of a call's output.
    output: Option<Content>,
}

impl Input {
    /// As the contract has them.
    pub(super) fn messages(self) -> Result<Vec<Message>, Failure> {
        let items = match self {
            Input::Text(text) => {
                let parts = vec![MessagePart::Text(text)];
                return Ok(vec![Message { role: "user".into(), parts, variables: None }]);
            }
            Input::Items(items) => items,
        };
        if items.is_empty() {
            return Err(Failure::parameter("input", "`input` is empty"));
        }
        let mut messages = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            item.add(&mut messages, &format!("input[{index}]"))?;
        }
        Ok(messages)
    }
}

impl InputItem {
    /// Appends what it says. What the assistant thinks, says and calls in a row is one message.
    fn add(self, messages: &mut Vec<Message>, place: &str) -> Result<(), Failure> {
        let missing = |name: &str| {
            let message = format!("`{place}` has no `{name}`");
            Failure::parameter(place, message)
        };
        let (role, parts) = match self.kind.as_deref().unwrap_or("message") {
            "message" => {
                let role = self.role.ok_or_else(|| missing("role"))?;
                let content = self.content.ok_or_else(|| missing("content"))?;
                let parts = content.texts(place)?.into_iter().map(MessagePart::Text).collect();
                (content::role(role), parts)
            }
            "reasoning" => {
                // Its text may be missing: only a summary of it, or nothing, was kept.
                let texts = self.content.map(|content| content.texts(place)).transpose()?;
                let texts = texts.unwrap_or_default();
                if texts.is_empty() {
                    return Ok(());
                }
                ("assistant".into(), texts.into_iter().map(MessagePart::Reasoning).collect())
            }
            "function_call" => {
                let id = self.call_id.ok_or_else(|| missing("call_id"))?;
                let name = self.name.ok_or_else(|| missing("name"))?;
                let arguments = self.arguments.ok_or_else(|| missing("arguments"))?;
                let call = content::call(id, name, arguments, &format!("{place}.arguments"))?;
                let call = MessagePart::ToolCall(call);
                ("assistant".into(), vec![call])
            }
            "function_call_output" => {
                let id = self.call_id.ok_or_else(|| missing("call_id"))?;
                let texts = self.output.ok_or_else(|| missing("output"))?.texts(place)?;
                ("tool".into(), vec![MessagePart::ToolResult(ToolResult { id, texts })])
            }
            other => {
                let message = format!(
                    "`{place}` is of type `{other}`; `message`, `function_call`, \
                     `function_call_output` and `reasoning` are supported"
                );
                return Err(Failure::unsupported(place, message));
            }
        };
        match messages.last_mut() {
            Some(last) if last.role == "assistant" && role == "assistant" => {
                last.parts.extend(parts);
            }
            _ => messages.push(Message { role, parts, variables: None }),
        }
        Ok(())
    }
}
