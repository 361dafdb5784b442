//! `POST /v1/completions`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trefoil_contract::{Event, Prompt, Request, TokenChoice, TokenProbability};
use utoipa::ToSchema;

use crate::Failure;
use crate::answer::{Answer, Asked, Frame, GenerationRequest, Stamp, finish_reason};
use crate::chat::StreamOptions;
use crate::sampling::Sampling;
use crate::usage::UsageBody;

/// A request to go on with a text.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CompletionRequest {
    /// The model's name; may be missing where there is only one.
    model: Option<String>,
    /// The text, or its tokens. Several texts are several requests.
    prompt: PromptBody,
    #[serde(flatten)]
    sampling: Sampling,
    /// Send the answer as it is computed, as server-sent events.
    #[serde(default)]
    stream: bool,
    /// What a stream reports besides.
    stream_options: Option<StreamOptions>,
    /// Begin the answer with the prompt.
    #[serde(default)]
    echo: bool,
    /// Not supported: text behind the answer.
    suffix: Option<String>,
    /// Report the logarithm of each token's probability, and so many likeliest tokens at its place.
    logprobs: Option<u32>,
    /// Not supported, but for 1: the best of several answers.
    best_of: Option<u32>,
}

/// A text or tokens.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum PromptBody {
    /// A text.
    Text(String),
    /// Its tokens.
    Tokens(Vec<u32>),
    /// A list with one text.
    Texts(Vec<String>),
}

/// The answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompletionResponse {
    id: String,
    /// `text_completion`
    object: &'static str,
    /// Seconds since 1970.
    created: u64,
    model: String,
    choices: Vec<CompletionChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageBody>,
}

/// One answer, or a piece of it.
#[derive(Debug, Default, Serialize, ToSchema)]
struct CompletionChoice {
    index: u32,
    text: String,
    /// `stop` or `length`.
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<CompletionLogProbabilities>,
}

/// The tokens of an answer, or of a piece of it: as many entries in each list.
#[derive(Debug, Default, Serialize, ToSchema)]
struct CompletionLogProbabilities {
    /// Texts, U+FFFD for what is no character by itself.
    tokens: Vec<String>,
    /// Natural logarithms of their probabilities.
    token_logprobs: Vec<f32>,
    /// Those of the likeliest tokens at their places.
    top_logprobs: Vec<BTreeMap<String, f32>>,
    /// Where they begin in the answer, in characters.
    text_offset: Vec<usize>,
}

impl CompletionLogProbabilities {
    /// Appends tokens, the first of which begins at `offset`; moves that to their end.
    fn extend(&mut self, choices: Vec<TokenChoice>, offset: &mut usize) {
        let text = |token: &TokenProbability| String::from_utf8_lossy(&token.bytes).into_owned();
        for TokenChoice { chosen, top } in choices {
            let token = text(&chosen);
            let likeliest = top.iter().map(|token| (text(token), token.log_probability));
            self.text_offset.push(*offset);
            *offset += token.chars().count();
            self.tokens.push(token);
            self.token_logprobs.push(chosen.log_probability);
            self.top_logprobs.push(likeliest.collect());
        }
    }
}

impl PromptBody {
    fn convert(self) -> Result<Prompt, Failure> {
        match self {
            PromptBody::Text(text) => Ok(Prompt::Text(text.into_bytes())),
            PromptBody::Tokens(tokens) => Ok(Prompt::Tokens(tokens)),
            PromptBody::Texts(texts) => match <[String; 1]>::try_from(texts) {
                Ok([text]) => Ok(Prompt::Text(text.into_bytes())),
                Err(texts) => {
                    let message = format!(
                        "`prompt` has {} texts; give one, and send several requests for several",
                        texts.len()
                    );
                    Err(Failure::unsupported("prompt", message))
                }
            },
        }
    }
}

impl GenerationRequest for CompletionRequest {
    type Answer = CompletionAnswer;

    fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    fn ask(
        self,
        model: &str,
        tokens_max: u32,
        stamp: Stamp,
    ) -> Result<Asked<CompletionAnswer>, Failure> {
        if self.suffix.is_some_and(|suffix| !suffix.is_empty()) {
            return Err(Failure::unsupported("suffix", "`suffix` is not supported"));
        }
        if self.logprobs.is_some() && self.echo {
            let message = "`logprobs` of a prompt that is echoed are not supported; leave out one";
            return Err(Failure::unsupported("logprobs", message));
        }
        if self.best_of.is_some_and(|count| count != 1) {
            let message = "`best_of` is not supported; ask for `n` answers and choose among them";
            return Err(Failure::unsupported("best_of", message));
        }
        let mut request = Request::new(self.prompt.convert()?);
        self.sampling.apply(&mut request, tokens_max)?;
        request.log_probabilities = self.logprobs;
        let usage_wanted = self.stream_options.is_some_and(|options| options.include_usage);
        let frame = Frame::new("cmpl", stamp, model, request.choices, usage_wanted);
        let mut answer = CompletionAnswer::new(frame, request.choices, self.logprobs.is_some());
        let mut echo = None;
        match &request.prompt {
            Prompt::Text(text) if self.echo => answer.begin_with(text),
            Prompt::Tokens(tokens) if self.echo => echo = Some(tokens.clone()),
            _ => {}
        }
        Ok(Asked { request, stream: self.stream, echo, answer })
    }
}

/// Makes OpenAI's continuations of events.
#[derive(Debug)]
pub struct CompletionAnswer {
    frame: Frame,
    /// What has been added; of a stream only what it begins with.
    choices: Vec<CompletionChoice>,
    /// Where the next token of each begins, in characters.
    offsets: Vec<usize>,
}

impl CompletionAnswer {
    fn new(frame: Frame, choices: u32, wants_log_probabilities: bool) -> Self {
        let choice = |index| CompletionChoice {
            index,
            logprobs: wants_log_probabilities.then(Default::default),
            ..CompletionChoice::default()
        };
        let offsets = vec![0; choices as usize];
        CompletionAnswer { frame, choices: (0..choices).map(choice).collect(), offsets }
    }

    fn piece(&self, choices: Vec<CompletionChoice>) -> CompletionResponse {
        CompletionResponse {
            id: self.frame.id.clone(),
            object: "text_completion",
            created: self.frame.created,
            model: self.frame.model.clone(),
            choices,
            usage: None,
        }
    }

    fn text(&self, index: u32, text: String) -> CompletionResponse {
        self.piece(vec![CompletionChoice { index, text, ..CompletionChoice::default() }])
    }
}

impl Answer for CompletionAnswer {
    type Chunk = CompletionResponse;
    type Whole = CompletionResponse;

    fn begin_with(&mut self, text: &[u8]) {
        for choice in &mut self.choices {
            choice.text = String::from_utf8_lossy(text).into_owned();
        }
    }

    fn first(&mut self) -> Vec<CompletionResponse> {
        let echoed = self.choices.iter().filter(|choice| !choice.text.is_empty());
        echoed.map(|choice| self.text(choice.index, choice.text.clone())).collect()
    }

    fn chunks(&mut self, event: Event) -> Vec<CompletionResponse> {
        match event {
            Event::Delta(delta) | Event::Reasoning(delta) => {
                let mut choice = CompletionChoice {
                    index: delta.choice,
                    text: delta.text,
                    ..CompletionChoice::default()
                };
                let number = delta.choice as usize;
                let wants = self.choices.get(number).is_some_and(|it| it.logprobs.is_some());
                if let (true, Some(offset)) = (wants, self.offsets.get_mut(number)) {
                    let logprobs = choice.logprobs.get_or_insert_default();
                    logprobs.extend(delta.log_probabilities, offset);
                }
                match choice.text.is_empty() && choice.logprobs.is_none() {
                    true => Vec::new(),
                    false => vec![self.piece(vec![choice])],
                }
            }
            Event::Done(done) => {
                let finish_reason = Some(finish_reason(done.reason));
                let choice =
                    CompletionChoice { index: done.choice, finish_reason, ..Default::default() };
                let mut pieces = vec![self.piece(vec![choice])];
                if let Some(usage) = self.frame.ended(&done) {
                    let usage = Some(usage);
                    pieces.push(CompletionResponse { usage, ..self.piece(Vec::new()) });
                }
                pieces
            }
            _ => Vec::new(),
        }
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::Delta(delta) | Event::Reasoning(delta) => {
                let number = delta.choice as usize;
                let choice = self.choices.get_mut(number).zip(self.offsets.get_mut(number));
                if let Some((choice, offset)) = choice {
                    choice.text.push_str(&delta.text);
                    if let Some(logprobs) = &mut choice.logprobs {
                        logprobs.extend(delta.log_probabilities, offset);
                    }
                }
            }
            Event::Done(done) => {
                self.frame.ended(&done);
                if let Some(choice) = self.choices.get_mut(done.choice as usize) {
                    choice.finish_reason = Some(finish_reason(done.reason));
                }
            }
            _ => {}
        }
    }

    fn whole(mut self) -> CompletionResponse {
        let choices = std::mem::take(&mut self.choices);
        CompletionResponse { usage: Some(self.frame.usage), ..self.piece(choices) }
    }

    fn is_complete(&self) -> bool {
        self.frame.is_complete()
    }
}
