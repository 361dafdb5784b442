use serde::Serialize;
use trefoil_contract::{TokenChoice, TokenProbability, Usage};
use utoipa::ToSchema;

/// What a request used.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub(crate) struct UsageBody {
    /// Tokens of the prompt.
    prompt_tokens: u64,
    /// Tokens generated, for all answers.
    completion_tokens: u64,
    /// Both.
    total_tokens: u64,
    /// More about the prompt.
    prompt_tokens_details: PromptDetails,
}

/// More about the prompt's tokens.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
struct PromptDetails {
    /// Those that were in the cache already.
    cached_tokens: u64,
}

impl UsageBody {
    /// Adds the usage of an answer; the prompt counts once for all answers to it.
    pub(crate) fn add(&mut self, usage: &Usage, counts_prompt: bool) {
        if counts_prompt {
            self.prompt_tokens += u64::from(usage.prompt_tokens);
            self.prompt_tokens_details.cached_tokens += u64::from(usage.cached_tokens);
        }
        self.completion_tokens += u64::from(usage.generated_tokens);
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
    }

    /// That of a prompt alone.
    pub(crate) fn of_prompt(tokens: u64) -> Self {
        UsageBody { prompt_tokens: tokens, total_tokens: tokens, ..UsageBody::default() }
    }
}

/// A token and its probability.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct LogProbability {
    /// The token's text, U+FFFD for what is no character by itself.
    token: String,
    /// Natural logarithm of its probability.
    logprob: f32,
    /// The token's bytes.
    bytes: Vec<u8>,
}

/// A token that was chosen, and the likeliest ones at its place.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ChosenToken {
    #[serde(flatten)]
    chosen: LogProbability,
    /// Most likely first.
    top_logprobs: Vec<LogProbability>,
}

impl From<TokenProbability> for LogProbability {
    fn from(token: TokenProbability) -> Self {
        LogProbability {
            token: String::from_utf8_lossy(&token.bytes).into_owned(),
            logprob: token.log_probability,
            bytes: token.bytes,
        }
    }
}

impl From<TokenChoice> for ChosenToken {
    fn from(choice: TokenChoice) -> Self {
        let top_logprobs = choice.top.into_iter().map(LogProbability::from).collect();
        ChosenToken { chosen: choice.chosen.into(), top_logprobs }
    }
}
