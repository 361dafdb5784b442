use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use trefoil_host::{CallError, Inference};

use crate::fields::{Fields, invalid};
use crate::messages;
use crate::window::{Window, WindowFlags, input};

/// Render a conversation with the model's chat template
///
/// The file and JSON lines hold `messages` in OpenAI's form, and may hold `tools`, `variables` and
/// `add_generation_prompt`. JSON: `text`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) window: WindowFlags,
    /// The conversation; `-` is standard input
    #[arg(conflicts_with = "jsonl", value_name = "FILE.json", default_value = "-")]
    file: String,
    /// Leave out where the assistant begins to speak
    #[arg(long)]
    no_generation_prompt: bool,
}

impl Window for Arguments {
    fn request(&self) -> Result<Value> {
        serde_json::from_slice(&input(Some(&self.file))?).with_context(|| {
            format!("`{}` is not JSON; expected {{\"messages\": [...]}}", self.file)
        })
    }

    fn answer(&self, inference: &mut Inference, mut request: Fields) -> Result<Value, CallError> {
        let mut conversation = messages::conversation(&mut request)?
            .ok_or_else(|| invalid("`messages` is missing"))?;
        conversation.add_generation_prompt =
            request.flag("add_generation_prompt")?.unwrap_or(!self.no_generation_prompt);
        request.finish("`messages`, `tools`, `variables`, `add_generation_prompt`")?;
        Ok(json!({ "text": inference.render_chat(conversation)? }))
    }

    fn show(&self, answer: &Value) -> Vec<u8> {
        answer["text"].as_str().unwrap_or_default().as_bytes().to_vec()
    }
}
