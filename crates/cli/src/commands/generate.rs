use std::convert::Infallible;

use anyhow::Result;
use serde_json::{Value, json};
use trefoil_contract::{
    Conversation, Done, Error, Event, FinishReason, Message, Prompt, Request, Setting, TokenChoice,
    TokenProbability, Usage,
};
use trefoil_host::{CallError, Inference};

use crate::exit::UsageError;
use crate::fields::{Fields, invalid, json_text};
use crate::flags::RequestSettings;
use crate::messages;
use crate::response_format::{ResponseFormatFlags, response_format};
use crate::session::print;
use crate::window::{Window, WindowFlags, input};

/// Generate text and show its tokens
///
/// JSON: `ids`, `text`, `finish_reason`, `usage`, and, where they are asked for, `log_probabilities`;
/// of several answers a list `choices` of these. JSON lines: `prompt` (with `raw`, `system`), `tokens`,
/// or `messages` (with `tools`, `variables`), `log_probabilities`, `choices`, the settings, and
/// `json_schema` (an object), `regex` or `grammar` (texts).
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) window: WindowFlags,
    /// The prompt: a user's message, unless `--raw`; `-` is standard input
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Continue the prompt as it is, without the chat template
    #[arg(long, conflicts_with = "system")]
    raw: bool,
    /// System message
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,
    /// Also print each token's log probability, and those of so many likeliest tokens at its place;
    /// with --json or --jsonl
    #[arg(long, value_name = "NUMBER")]
    log_probabilities: Option<u32>,
    /// So many independent answers; with --json or --jsonl
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    choices: u32,
    #[command(flatten)]
    response_format: ResponseFormatFlags,
    #[command(flatten)]
    settings: RequestSettings,
}

/// What has come of one answer.
#[derive(Default)]
struct Answer {
    ids: Vec<u32>,
    text: String,
    log_probabilities: Vec<Value>,
    done: Option<Done>,
}

impl Answer {
    fn json(self, reports: bool) -> Value {
        let mut answer = json!({
            "ids": self.ids,
            "text": self.text,
            "finish_reason": self.done.map(|done| reason(done.reason)),
            "usage": self.done.map(|done| usage(done.usage)),
        });
        if reports {
            answer["log_probabilities"] = Value::Array(self.log_probabilities);
        }
        answer
    }
}

const KNOWN: &str = "`prompt`, `raw`, `system`, `tokens`, `messages`, `tools`, `variables`, \
                     `log_probabilities`, `choices`, the settings of a request, `json_schema`, \
                     `regex`, and `grammar`";

impl Window for Arguments {
    fn request(&self) -> Result<Value> {
        if self.log_probabilities.is_some() && !self.window.is_json() {
            let text = "log probabilities are for programs: add `--json`";
            return Err(UsageError(text.into()).into());
        }
        if self.choices != 1 && !self.window.is_json() {
            let text = "several answers are for programs: add `--json`";
            return Err(UsageError(text.into()).into());
        }
        let prompt = match self.prompt.as_deref() {
            Some("-") => input(None)?,
            Some(prompt) => prompt.as_bytes().to_vec(),
            None => {
                let text = "there is no prompt: add `-p PROMPT`";
                return Err(UsageError(text.into()).into());
            }
        };
        Ok(json!({ "prompt": json_text(prompt) }))
    }

    fn answer(&self, inference: &mut Inference, request: Fields) -> Result<Value, CallError> {
        let answer = self.generate(inference, request, &mut |_| Ok::<_, Infallible>(()))?;
        answer.map_err(|never| match never {})
    }

    fn show(&self, answer: &Value) -> Vec<u8> {
        format!("{}\n", answer["text"].as_str().unwrap_or_default()).into_bytes()
    }

    fn stream(&self, inference: &mut Inference, request: Value) -> Result<bool> {
        let answer =
            self.generate(inference, Fields::new(request)?, &mut |text| print(text.as_bytes()))??;
        if !answer["text"].as_str().unwrap_or_default().ends_with('\n') {
            print(b"\n")?;
        }
        Ok(true)
    }
}

impl Arguments {
    /// Generates to the end; `show` gets the text piece by piece, and its error ends everything.
    fn generate<E>(
        &self,
        inference: &mut Inference,
        mut request: Fields,
        show: &mut dyn FnMut(&str) -> Result<(), E>,
    ) -> Result<Result<Value, E>, CallError> {
        let prompt = self.prompt_of(&mut request)?;
        let mut settings = self.settings.0.clone();
        override_by(&mut settings, request.settings()?);
        let log_probabilities = request.number("log_probabilities")?.or(self.log_probabilities);
        let choices = request.number("choices")?.unwrap_or(self.choices);
        let response_format =
            response_format(&mut request)?.unwrap_or_else(|| self.response_format.get());
        request.finish(KNOWN)?;
        let request = Request {
            settings,
            log_probabilities,
            choices,
            response_format,
            ..Request::new(prompt)
        };
        let generation = inference.start(request)?;
        let mut answers: Vec<Answer> = (0..choices).map(|_| Answer::default()).collect();
        while answers.iter().any(|answer| answer.done.is_none()) {
            match inference.next(&generation)? {
                Event::Delta(delta) | Event::Reasoning(delta) => {
                    if let Err(error) = show(&delta.text) {
                        inference.cancel(generation)?;
                        return Ok(Err(error));
                    }
                    if let Some(answer) = answers.get_mut(delta.choice as usize) {
                        answer.text += &delta.text;
                        answer.ids.extend(delta.tokens);
                        let choices = delta.log_probabilities.iter().map(token_choice);
                        answer.log_probabilities.extend(choices);
                    }
                }
                Event::Done(done) => {
                    if let Some(answer) = answers.get_mut(done.choice as usize) {
                        answer.done = Some(done);
                    }
                }
                Event::PromptProgress(_) | Event::ToolCallDelta(_) | Event::Idle(_) => {}
            }
        }
        inference.cancel(generation)?;
        let reports = log_probabilities.is_some();
        let mut answers: Vec<_> = answers.into_iter().map(|answer| answer.json(reports)).collect();
        Ok(Ok(match choices {
            1 => answers.remove(0),
            _ => json!({ "choices": answers }),
        }))
    }

    fn prompt_of(&self, request: &mut Fields) -> Result<Prompt, Error> {
        let text = request.bytes("prompt")?;
        let tokens = request.tokens("tokens")?;
        let conversation = messages::conversation(request)?;
        let raw = request.flag("raw")?.unwrap_or(self.raw);
        let system = request.string("system")?.or_else(|| self.system.clone());
        match (text, tokens, conversation) {
            (Some(text), None, None) if raw => Ok(Prompt::Text(text)),
            (Some(text), None, None) => {
                let text = String::from_utf8(text)
                    .map_err(|_| invalid("a prompt that is not UTF-8 needs `raw`"))?;
                let system = system.into_iter().map(|text| Message::text("system", text));
                Ok(Prompt::Chat(Conversation {
                    messages: system.chain([Message::text("user", text)]).collect(),
                    tools: None,
                    variables: None,
                    add_generation_prompt: true,
                }))
            }
            (None, Some(tokens), None) => Ok(Prompt::Tokens(tokens)),
            (None, None, Some(conversation)) => Ok(Prompt::Chat(conversation)),
            _ => Err(invalid("give one of `prompt`, `tokens` and `messages`")),
        }
    }
}

/// What a line says replaces what the flags say; a list as a whole.
fn override_by(settings: &mut Vec<Setting>, layer: Vec<Setting>) {
    settings.retain(|setting| !layer.iter().any(|other| other.key == setting.key));
    settings.extend(layer);
}

fn reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::StopText => "stop-text",
        FinishReason::Length => "length",
        FinishReason::ContextFull => "context-full",
        FinishReason::ToolCalls => "tool-calls",
    }
}

fn token_choice(choice: &TokenChoice) -> Value {
    let mut value = token_probability(&choice.chosen);
    value["top"] = choice.top.iter().map(token_probability).collect();
    value
}

/// JSON knows no infinity: a token that the model excludes has null.
fn token_probability(probability: &TokenProbability) -> Value {
    json!({
        "id": probability.token,
        "text": json_text(probability.bytes.clone()),
        "log_probability": probability.log_probability,
    })
}

fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "generated_tokens": usage.generated_tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use trefoil_contract::Value as Plain;

    #[test]
    fn a_line_replaces_a_list_of_the_flags_as_a_whole() {
        let stop = |text: &str| Setting::new("stop", Plain::Text(text.into()));
        let mut settings = vec![stop("a"), stop("b"), Setting::new("seed", Plain::Integer(1))];
        override_by(&mut settings, vec![stop("c")]);
        assert_eq!(settings, [Setting::new("seed", Plain::Integer(1)), stop("c")]);
    }
}
