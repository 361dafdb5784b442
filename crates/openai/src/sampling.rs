use std::collections::BTreeMap;

use serde::Deserialize;
use trefoil_contract::{Request, Setting, Value};
use utoipa::ToSchema;

use crate::Failure;

/// Longest list of stop texts.
const STOP_MAX: usize = 64;

/// The most that the setting `max-tokens` takes; no context is as long.
const TOKENS_MAX: u32 = 1 << 24;

/// Answers to one request at most.
const CHOICES_MAX: u32 = 128;

/// How tokens are chosen, and when the answer ends. What is not given is the model's own.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct Sampling {
    /// Tokens of the answer at most.
    #[schema(minimum = 0)]
    max_tokens: Option<u32>,
    /// The same; takes precedence.
    #[schema(minimum = 0)]
    max_completion_tokens: Option<u32>,
    /// Randomness; 0 always takes the likeliest token.
    temperature: Option<f64>,
    /// Chooses among the likeliest tokens that reach this probability together.
    top_p: Option<f64>,
    /// Chooses among so many likeliest tokens; 0 among all.
    top_k: Option<u32>,
    /// Drops tokens less likely than this share of the likeliest.
    min_p: Option<f64>,
    /// Lowers the logits of tokens by how often they occurred.
    frequency_penalty: Option<f64>,
    /// Lowers the logits of tokens that occurred.
    presence_penalty: Option<f64>,
    /// Divides the logits of tokens that occurred.
    repetition_penalty: Option<f64>,
    /// The same seed gives the same answer.
    seed: Option<i64>,
    /// Texts before which the answer ends.
    stop: Option<Texts>,
    /// Added to the logits of tokens, which are given by number.
    logit_bias: Option<BTreeMap<String, f32>>,
    /// Number of independent answers.
    #[schema(minimum = 1)]
    n: Option<u32>,
}

/// One text or several.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
enum Texts {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Texts {
    fn into_vec(self) -> Vec<String> {
        match self {
            Texts::One(text) => vec![text],
            Texts::Many(texts) => texts,
        }
    }
}

impl Sampling {
    /// Number of answers.
    pub(crate) fn choices(&self) -> u32 {
        self.n.unwrap_or(1)
    }

    /// The same with another length of the answer at most.
    pub(crate) fn with_max_tokens(self, tokens: u32) -> Self {
        Sampling { max_completion_tokens: Some(tokens), ..self }
    }

    /// Puts it into a request, whose answers get `tokens_max` tokens at most.
    pub(crate) fn apply(self, request: &mut Request, tokens_max: u32) -> Result<(), Failure> {
        let tokens = self.max_completion_tokens.or(self.max_tokens);
        if tokens == Some(0) {
            return Err(Failure::parameter("max_tokens", "`max_tokens` must be at least 1"));
        }
        let mut set = |key: &str, value: Value| request.settings.push(Setting::new(key, value));
        // Without either the model's own setting holds.
        if tokens.is_some() || tokens_max < u32::MAX {
            let tokens = tokens.unwrap_or(u32::MAX).min(tokens_max).min(TOKENS_MAX);
            set("max-tokens", Value::Integer(tokens.into()));
        }
        for (key, value) in [
            ("temperature", self.temperature),
            ("top-p", self.top_p),
            ("min-p", self.min_p),
            ("frequency-penalty", self.frequency_penalty),
            ("presence-penalty", self.presence_penalty),
            ("repetition-penalty", self.repetition_penalty),
        ] {
            if let Some(value) = value {
                set(key, Value::Number(value));
            }
        }
        if let Some(top_k) = self.top_k {
            set("top-k", Value::Integer(top_k.into()));
        }
        if let Some(seed) = self.seed {
            // OpenAI's seeds may be negative; ours are not.
            set("seed", Value::Integer(seed & i64::MAX));
        }
        let stop = self.stop.map(Texts::into_vec).unwrap_or_default();
        if stop.len() > STOP_MAX {
            let message = format!("`stop` has {} texts; at most {STOP_MAX}", stop.len());
            return Err(Failure::parameter("stop", message));
        }
        for text in stop {
            set("stop", Value::Text(text));
        }
        for (token, bias) in self.logit_bias.unwrap_or_default() {
            let token = token.parse().map_err(|_| {
                let message = format!("`logit_bias` has the key `{token}`, which is no token");
                Failure::parameter("logit_bias", message)
            })?;
            request.logit_bias.push((token, bias));
        }
        request.choices = self.n.unwrap_or(1);
        if request.choices == 0 || request.choices > CHOICES_MAX {
            let message = format!("`n` must be from 1 to {CHOICES_MAX}");
            return Err(Failure::parameter("n", message));
        }
        Ok(())
    }
}
