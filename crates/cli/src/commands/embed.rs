use anyhow::Result;
use serde_json::{Value, json};
use trefoil_contract::TokenizeOptions;
use trefoil_host::{CallError, Inference};

use crate::fields::{Fields, invalid, json_text};
use crate::window::{Window, WindowFlags, input};

/// Turn texts into vectors
///
/// Prints a line of numbers for each text, a vector of length 1. JSON: `vectors`, and the tokens of
/// each text (`ids`), those included that the model wants around it. JSON lines: `texts` or
/// `tokens`, a list of either for each vector.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) window: WindowFlags,
    /// A text; may be given several times
    #[arg(short, long = "text", value_name = "TEXT", allow_hyphen_values = true)]
    texts: Vec<String>,
    /// A file with one text; `-` is standard input
    #[arg(conflicts_with_all = ["texts", "jsonl"], default_value = "-")]
    file: String,
}

impl Window for Arguments {
    fn request(&self) -> Result<Value> {
        let texts = match self.texts.as_slice() {
            [] => vec![json_text(input(Some(&self.file))?)],
            texts => texts.iter().map(|text| json!(text)).collect(),
        };
        Ok(json!({ "texts": texts }))
    }

    fn answer(&self, inference: &mut Inference, mut request: Fields) -> Result<Value, CallError> {
        let lists = (request.texts("texts")?, request.token_lists("tokens")?);
        request.finish("`texts`, `tokens`")?;
        let ids = match lists {
            (Some(texts), None) => {
                let options = TokenizeOptions { add_special: true, parse_special: false };
                let ids = texts.iter().map(|text| inference.tokenize(text, options));
                ids.collect::<Result<Vec<_>, _>>()?
            }
            (None, Some(tokens)) => tokens,
            _ => return Err(invalid("give `texts` or `tokens`").into()),
        };
        let vectors = ids.iter().map(|ids| inference.embed(ids));
        let vectors = vectors.collect::<Result<Vec<_>, _>>()?;
        Ok(json!({ "ids": ids, "vectors": vectors }))
    }

    fn show(&self, answer: &Value) -> Vec<u8> {
        let mut lines = String::new();
        for vector in answer["vectors"].as_array().into_iter().flatten() {
            let numbers = vector.as_array().into_iter().flatten().filter_map(Value::as_f64);
            // The shortest that reads as the same number in single precision.
            let numbers: Vec<_> = numbers.map(|number| (number as f32).to_string()).collect();
            lines += &numbers.join(" ");
            lines.push('\n');
        }
        lines.into_bytes()
    }
}
