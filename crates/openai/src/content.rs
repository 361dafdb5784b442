//! What messages of all APIs consist of.

use serde::Deserialize;
use serde_json::Value;
use trefoil_contract::ToolCall;
use utoipa::ToSchema;

use crate::Failure;

/// A text, or parts of one.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Content {
    /// A text.
    Text(String),
    /// Parts.
    Parts(Vec<ContentPart>),
}

/// A part of a message.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct ContentPart {
    /// `text`; others (`image_url`, `input_audio`, ...) are refused by name.
    #[serde(rename = "type")]
    kind: String,
    /// The text.
    text: Option<String>,
}

impl Content {
    /// The texts; `place` names the message in errors.
    pub(crate) fn texts(self, place: &str) -> Result<Vec<String>, Failure> {
        match self {
            Content::Text(text) => Ok(vec![text]),
            Content::Parts(parts) => parts
                .into_iter()
                .enumerate()
                .map(|(part, content)| content.text(&format!("{place}.content[{part}]")))
                .collect(),
        }
    }
}

impl ContentPart {
    fn text(self, place: &str) -> Result<String, Failure> {
        match (self.kind.as_str(), self.text) {
            ("text" | "input_text" | "output_text" | "reasoning_text", Some(text)) => Ok(text),
            ("text" | "input_text" | "output_text" | "reasoning_text", None) => {
                Err(Failure::parameter(place, format!("`{place}` has no `text`")))
            }
            (kind, _) => Err(Failure::unsupported(
                place,
                format!("`{place}` is of type `{kind}`; this model reads `text` only"),
            )),
        }
    }
}

/// A role as templates know it: `developer` is OpenAI's newer name for `system`.
pub(crate) fn role(role: String) -> String {
    if role == "developer" { "system".into() } else { role }
}

/// A call that the model made; `place` names its arguments in errors.
pub(crate) fn call(
    id: String,
    name: String,
    arguments: String,
    place: &str,
) -> Result<ToolCall, Failure> {
    if !matches!(serde_json::from_str(&arguments), Ok(Value::Object(_))) {
        let message = format!("`{place}` is no JSON object: {arguments}");
        return Err(Failure::parameter(place, message));
    }
    Ok(ToolCall { id, name, arguments })
}
