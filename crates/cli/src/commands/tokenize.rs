use anyhow::Result;
use serde_json::{Value, json};
use trefoil_contract::TokenizeOptions;
use trefoil_host::{CallError, Inference};

use crate::fields::{Fields, invalid, json_text};
use crate::window::{Window, WindowFlags, input};

/// Turn text into tokens
///
/// JSON: `ids`, `pieces` (the bytes of each token; {"hex": ...} where they are not UTF-8).
/// JSON lines: `text` (or {"hex": ...}), `parse_special`, `add_special`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) window: WindowFlags,
    /// The text; `-` is standard input
    #[arg(conflicts_with = "jsonl", default_value = "-")]
    file: String,
    /// Read the texts of special tokens as these tokens
    #[arg(long)]
    parse_special: bool,
    /// Add the tokens that the model wants around a text
    #[arg(long)]
    add_special: bool,
}

impl Window for Arguments {
    fn request(&self) -> Result<Value> {
        Ok(json!({
            "text": json_text(input(Some(&self.file))?),
            "parse_special": self.parse_special,
            "add_special": self.add_special,
        }))
    }

    fn answer(&self, inference: &mut Inference, mut request: Fields) -> Result<Value, CallError> {
        let text = request.bytes("text")?.ok_or_else(|| invalid("`text` is missing"))?;
        let options = TokenizeOptions {
            add_special: request.flag("add_special")?.unwrap_or(self.add_special),
            parse_special: request.flag("parse_special")?.unwrap_or(self.parse_special),
        };
        request.finish("`text`, `parse_special`, `add_special`")?;
        let ids = inference.tokenize(&text, options)?;
        let pieces = ids
            .iter()
            .map(|id| inference.detokenize(&[*id], true).map(json_text))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(json!({ "ids": ids, "pieces": pieces }))
    }

    fn show(&self, answer: &Value) -> Vec<u8> {
        let ids = answer["ids"].as_array().into_iter().flatten();
        let ids: Vec<_> = ids.map(Value::to_string).collect();
        format!("{}\n", ids.join(" ")).into_bytes()
    }
}
