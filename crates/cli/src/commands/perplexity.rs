use anyhow::Result;
use serde_json::{Value, json};
use trefoil_contract::{Error, TokenizeOptions};
use trefoil_host::{CallError, Inference};

use crate::fields::{Fields, invalid, json_text};
use crate::window::{Window, WindowFlags, input};

/// Measure how well the model predicts a text
///
/// The text's tokens are cut into windows that do not overlap; what does not fill the last one is
/// left out. A window's first token is not scored, and replaced by the token that begins a text
/// where the model adds one. JSON: `mean_nll` (natural logarithm), `perplexity`, `tokens_scored`,
/// `windows`, and `per_token_nll` if asked for. JSON lines: `text`, `window`, `per_token_nll`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) window: WindowFlags,
    /// The text; `-` is standard input
    #[arg(conflicts_with = "jsonl", default_value = "-")]
    file: String,
    /// Tokens of a window
    #[arg(long = "window", id = "window-tokens", value_name = "NUMBER", default_value_t = 512)]
    window_tokens: u64,
    /// With JSON: the negative log likelihood of each scored token
    #[arg(long)]
    per_token_nll: bool,
}

impl Window for Arguments {
    fn request(&self) -> Result<Value> {
        Ok(json!({ "text": json_text(input(Some(&self.file))?) }))
    }

    fn answer(&self, inference: &mut Inference, mut request: Fields) -> Result<Value, CallError> {
        let text = request.bytes("text")?.ok_or_else(|| invalid("`text` is missing"))?;
        let window = request.count("window")?.unwrap_or(self.window_tokens);
        let per_token = request.flag("per_token_nll")?.unwrap_or(self.per_token_nll);
        request.finish("`text`, `window`, `per_token_nll`")?;
        let window = usize::try_from(window).ok().filter(|window| *window >= 2);
        let window = window.ok_or_else(|| invalid("`window` must be 2 tokens at least"))?;
        // With what the model wants around a text, as llama.cpp does: else windows begin elsewhere.
        let options = TokenizeOptions { add_special: true, parse_special: false };
        let ids = inference.tokenize(&text, options)?;
        let first = added_first(inference)?;
        let mut nll = Vec::new();
        for tokens in ids.chunks_exact(window) {
            let mut tokens = tokens.to_vec();
            if let Some(first) = first {
                tokens[0] = first;
            }
            nll.extend(inference.score(&tokens)?.iter().map(|score| -f64::from(*score)));
        }
        if nll.is_empty() {
            return Err(too_short(ids.len(), window).into());
        }
        let mean = nll.iter().sum::<f64>() / nll.len() as f64;
        let mut answer = json!({
            "mean_nll": mean,
            "perplexity": mean.exp(),
            "tokens_scored": nll.len(),
            "windows": ids.len() / window,
        });
        if per_token {
            answer["per_token_nll"] = nll.into();
        }
        Ok(answer)
    }

    fn show(&self, answer: &Value) -> Vec<u8> {
        let number = |key: &str| answer[key].as_f64().unwrap_or_default();
        format!(
            "perplexity {:.4} (mean negative log likelihood {:.6} over {} tokens)\n",
            number("perplexity"),
            number("mean_nll"),
            answer["tokens_scored"]
        )
        .into_bytes()
    }
}

/// The token that the model wants in front of a text, if it wants one.
fn added_first(inference: &mut Inference) -> Result<Option<u32>, CallError> {
    let with = TokenizeOptions { add_special: true, parse_special: false };
    let with = inference.tokenize(b"a", with)?;
    let without = inference.tokenize(b"a", TokenizeOptions::default())?;
    let bos = inference.info()?.bos;
    Ok(with.first().copied().filter(|first| Some(*first) == bos && Some(first) != without.first()))
}

fn too_short(tokens: usize, window: usize) -> Error {
    invalid(format!(
        "the text has {tokens} tokens, less than one window of {window}; give a longer text or a \
         smaller `--window`"
    ))
}
