use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use trefoil_host::{CallError, Inference};

use crate::fields::{Fields, invalid, json_text};
use crate::window::{Window, WindowFlags, input};

/// Turn tokens into text
///
/// JSON: `text` (or {"hex": ...}). JSON lines: `ids`, `special`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) window: WindowFlags,
    /// The tokens; without any, a JSON list (or an object with `ids`) on standard input
    ids: Vec<u32>,
    /// Write the texts of special tokens too
    #[arg(long)]
    special: bool,
}

impl Window for Arguments {
    fn request(&self) -> Result<Value> {
        if !self.ids.is_empty() {
            return Ok(json!({ "ids": self.ids, "special": self.special }));
        }
        let given = serde_json::from_slice(&input(None)?)
            .context("standard input is not JSON; give a list of token ids")?;
        match given {
            Value::Array(ids) => Ok(json!({ "ids": ids, "special": self.special })),
            // What `tokenize --json` prints has more than is needed here.
            Value::Object(object) => Ok(json!({
                "ids": object.get("ids"),
                "special": object.get("special").unwrap_or(&json!(self.special)),
            })),
            _ => bail!("standard input must be a JSON list of token ids"),
        }
    }

    fn answer(&self, inference: &mut Inference, mut request: Fields) -> Result<Value, CallError> {
        let ids = request.tokens("ids")?.ok_or_else(|| invalid("`ids` is missing"))?;
        let special = request.flag("special")?.unwrap_or(self.special);
        request.finish("`ids`, `special`")?;
        Ok(json!({ "text": json_text(inference.detokenize(&ids, special)?) }))
    }

    fn show(&self, answer: &Value) -> Vec<u8> {
        let bytes = Fields::new(answer.clone()).and_then(|mut fields| fields.bytes("text"));
        bytes.ok().flatten().unwrap_or_default()
    }
}
