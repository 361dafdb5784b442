use anyhow::Result;
use serde_json::{Value, json};
use trefoil_contract::TokenizeOptions;
use trefoil_host::{CallError, Inference};

use crate::fields::{Fields, invalid, json_text};
use crate::window::{Window, WindowFlags, input};

/// Show the likeliest tokens behind a prompt
///
/// JSON: `prompt_ids`, and behind the last of them the likeliest `ids` with their logits (`values`)
/// and `logsumexp` over all tokens. JSON lines: `prompt` or `tokens`, `top`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) window: WindowFlags,
    /// The prompt
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// A file with the prompt; `-` is standard input
    #[arg(conflicts_with_all = ["prompt", "jsonl"], default_value = "-")]
    file: String,
    /// Number of tokens
    #[arg(long, value_name = "NUMBER", default_value_t = 64)]
    top: u64,
}

impl Window for Arguments {
    fn request(&self) -> Result<Value> {
        let prompt = match &self.prompt {
            Some(prompt) => prompt.clone().into_bytes(),
            None => input(Some(&self.file))?,
        };
        Ok(json!({ "prompt": json_text(prompt), "top": self.top }))
    }

    fn answer(&self, inference: &mut Inference, mut request: Fields) -> Result<Value, CallError> {
        let prompt_ids = match (request.bytes("prompt")?, request.tokens("tokens")?) {
            (Some(prompt), None) => inference
                .tokenize(&prompt, TokenizeOptions { add_special: true, parse_special: false })?,
            (None, Some(tokens)) => tokens,
            _ => return Err(invalid("give `prompt` or `tokens`").into()),
        };
        let top = request.count("top")?.unwrap_or(self.top);
        request.finish("`prompt`, `tokens`, `top`")?;
        let logits = inference.logits(&prompt_ids)?;
        let mut ids: Vec<usize> = (0..logits.len()).collect();
        // By value, equal ones by id, so that the order is the same everywhere.
        ids.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
        ids.truncate(usize::try_from(top).unwrap_or(usize::MAX));
        let values: Vec<f32> = ids.iter().map(|id| logits[*id]).collect();
        let mut answer = json!({
            "prompt_ids": prompt_ids,
            "ids": ids,
            "values": values,
            "logsumexp": logsumexp(&logits),
        });
        if !self.window.is_json() {
            let pieces = ids
                .iter()
                .map(|id| inference.detokenize(&[*id as u32], true).map(json_text))
                .collect::<Result<Vec<_>, _>>()?;
            answer["pieces"] = pieces.into();
        }
        Ok(answer)
    }

    fn show(&self, answer: &Value) -> Vec<u8> {
        let list = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
        let total = answer["logsumexp"].as_f64().unwrap_or_default();
        let mut text = format!("{:>8}  {:>9}  {:>9}  piece\n", "id", "logit", "share");
        for ((id, value), piece) in list("ids").iter().zip(list("values")).zip(list("pieces")) {
            let logit = value.as_f64().unwrap_or_default();
            let share = 100.0 * (logit - total).exp();
            text += &format!("{id:>8}  {logit:>9.3}  {share:>8.3}%  {piece}\n");
        }
        text.into_bytes()
    }
}

/// The logarithm of the sum of exponentials, without overflow, in double precision.
fn logsumexp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
    f64::from(max) + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logsumexp_does_not_overflow() {
        assert!((logsumexp(&[1000.0, 1000.0]) - (1000.0 + 2f64.ln())).abs() < 1e-9);
        assert_eq!(logsumexp(&[]), f64::NEG_INFINITY);
    }
}
