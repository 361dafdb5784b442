use std::convert::Infallible;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use trefoil_contract::{Conversation, Error, Event, Message, Prompt, Request, Setting, ToolChoice};
use trefoil_host::{CallError, Inference};

use crate::answer::Answer;
use crate::exit::UsageError;
use crate::fields::{Fields, invalid, json_text};
use crate::flags::RequestSettings;
use crate::messages;
use crate::reasoning::Reasoning;
use crate::response_format::{ResponseFormatFlags, response_format};
use crate::session::print;
use crate::window::{Window, WindowFlags, input};

/// Generate text and show its tokens
///
/// JSON: `ids`, `text`, `finish_reason`, `usage`, where there are any `reasoning` and `tool_calls`,
/// and where they are asked for `log_probabilities`; of several answers a list `choices` of these.
/// JSON lines: `prompt` (with `raw`, `system`), `tokens`, or `messages`; beside a prompt or messages
/// `tools`, `tool_choice` and `variables`, all in OpenAI's form; `log_probabilities`, `choices`, the
/// settings, and
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
    /// Tools that the model may call: a JSON list in OpenAI's form; with --json or --jsonl
    #[arg(long, value_name = "FILE", conflicts_with = "raw")]
    tools: Option<String>,
    #[command(flatten)]
    response_format: ResponseFormatFlags,
    #[command(flatten)]
    settings: RequestSettings,
}

const KNOWN: &str = "`prompt`, `raw`, `system`, `tokens`, `messages`, `tools`, `tool_choice`, \
                     `variables`, `log_probabilities`, `choices`, the settings of a request, \
                     `json_schema`, `regex`, and `grammar`";

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
        let mut request = json!({ "prompt": json_text(prompt) });
        if let Some(path) = &self.tools {
            if !self.window.is_json() {
                let text = "tool calls are for programs: add `--json`";
                return Err(UsageError(text.into()).into());
            }
            request["tools"] = serde_json::from_slice(&input(Some(path))?)
                .with_context(|| format!("`{path}` is no JSON"))?;
        }
        Ok(request)
    }

    fn answer(&self, inference: &mut Inference, request: Fields) -> Result<Value, CallError> {
        let answer = self.generate(inference, request, &mut |_, _| Ok::<_, Infallible>(()))?;
        answer.map_err(|never| match never {})
    }

    fn show(&self, answer: &Value) -> Vec<u8> {
        format!("{}\n", answer["text"].as_str().unwrap_or_default()).into_bytes()
    }

    fn stream(&self, inference: &mut Inference, request: Value) -> Result<bool> {
        let mut reasoning = Reasoning::new();
        let mut show = |kind, text: &str| match kind {
            Kind::Text => {
                reasoning.end();
                print(text.as_bytes())
            }
            Kind::Reasoning => {
                reasoning.show(text);
                Ok(())
            }
        };
        let answer = self.generate(inference, Fields::new(request)?, &mut show)??;
        reasoning.end();
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
        show: &mut dyn FnMut(Kind, &str) -> Result<(), E>,
    ) -> Result<Result<Value, E>, CallError> {
        let prompt = self.prompt_of(&mut request)?;
        let mut settings = self.settings.0.clone();
        override_by(&mut settings, request.settings()?);
        let log_probabilities = request.number("log_probabilities")?.or(self.log_probabilities);
        let choices = request.number("choices")?.unwrap_or(self.choices);
        let response_format =
            response_format(&mut request)?.unwrap_or_else(|| self.response_format.get());
        let tool_choice = messages::tool_choice(&mut request)?.unwrap_or(ToolChoice::Auto);
        request.finish(KNOWN)?;
        let request = Request {
            settings,
            log_probabilities,
            choices,
            response_format,
            tool_choice,
            ..Request::new(prompt)
        };
        let generation = inference.start(request)?;
        let reports = log_probabilities.is_some();
        let mut answers: Vec<_> = (0..choices).map(|_| Answer::new(reports)).collect();
        while answers.iter().any(|answer| answer.done.is_none()) {
            let event = inference.next(&generation)?;
            let shown = match &event {
                Event::Delta(delta) => show(Kind::Text, &delta.text),
                Event::Reasoning(delta) => show(Kind::Reasoning, &delta.text),
                _ => Ok(()),
            };
            if let Err(error) = shown {
                inference.cancel(generation)?;
                return Ok(Err(error));
            }
            let choice = match &event {
                Event::Delta(delta) | Event::Reasoning(delta) => delta.choice,
                Event::ToolCallDelta(delta) => delta.choice,
                Event::Done(done) => done.choice,
                Event::PromptProgress(_) | Event::Idle(_) => continue,
            };
            if let Some(answer) = answers.get_mut(choice as usize) {
                answer.take(event);
            }
        }
        inference.cancel(generation)?;
        let mut answers: Vec<_> = answers.iter().map(Answer::json).collect();
        Ok(Ok(match choices {
            1 => answers.remove(0),
            _ => json!({ "choices": answers }),
        }))
    }

    fn prompt_of(&self, request: &mut Fields) -> Result<Prompt, Error> {
        let text = request.bytes("prompt")?;
        let tokens = request.tokens("tokens")?;
        let messages = messages::messages(request)?;
        // They go with a conversation; elsewhere they are unknown keys.
        let is_raw = request.flag("raw")?.unwrap_or(self.raw);
        let has_conversation = messages.is_some() || (text.is_some() && !is_raw);
        let (tools, variables) = match has_conversation {
            true => (messages::tools(request)?, messages::variables(request)?),
            false => (None, None),
        };
        let chat = |messages| {
            Prompt::Chat(Conversation { messages, tools, variables, add_generation_prompt: true })
        };
        let system = request.string("system")?.or_else(|| self.system.clone());
        match (text, tokens, messages) {
            (Some(text), None, None) if is_raw => Ok(Prompt::Text(text)),
            (Some(text), None, None) => {
                let text = String::from_utf8(text)
                    .map_err(|_| invalid("a prompt that is not UTF-8 needs `raw`"))?;
                let system = system.into_iter().map(|text| Message::text("system", text));
                Ok(chat(system.chain([Message::text("user", text)]).collect()))
            }
            (None, Some(tokens), None) => Ok(Prompt::Tokens(tokens)),
            (None, None, Some(messages)) => Ok(chat(messages)),
            _ => Err(invalid("give one of `prompt`, `tokens` and `messages`")),
        }
    }
}

/// What a piece of an answer is.
enum Kind {
    Text,
    Reasoning,
}

/// What a line says replaces what the flags say; a list as a whole.
fn override_by(settings: &mut Vec<Setting>, layer: Vec<Setting>) {
    settings.retain(|setting| !layer.iter().any(|other| other.key == setting.key));
    settings.extend(layer);
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
