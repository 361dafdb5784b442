use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use trefoil_contract::{Event, Prompt, Request};
use utoipa::ToSchema;

use super::answer::{self, Answer, Frame, UsageBody, finish_reason};
use super::chat::StreamOptions;
use super::sampling::Sampling;
use super::{App, Body};
use crate::failure::{ErrorBody, Failure};

/// A request to go on with a text.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct CompletionRequest {
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
    /// Not supported: log probabilities, which `/v1/chat/completions` reports.
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
pub(super) struct CompletionResponse {
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
}

/// Goes on with a text.
#[utoipa::path(
    post, path = "/v1/completions", request_body = CompletionRequest,
    responses(
        (status = 200, description = "The answers; with `stream` as server-sent events of the \
            same form, and at the end `[DONE]`", body = CompletionResponse),
        (status = "default", description = "Why there is none", body = ErrorBody),
    )
)]
pub(super) async fn create(
    State(app): State<App>,
    Body(body): Body<CompletionRequest>,
) -> Result<Response, Failure> {
    let model = app.models.get(body.model.as_deref())?;
    if body.suffix.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(Failure::unsupported("suffix", "`suffix` is not supported"));
    }
    if body.logprobs.is_some() {
        let message = "`logprobs` is not supported here; `/v1/chat/completions` reports them";
        return Err(Failure::unsupported("logprobs", message));
    }
    if body.best_of.is_some_and(|count| count != 1) {
        let message = "`best_of` is not supported; ask for `n` answers and choose among them";
        return Err(Failure::unsupported("best_of", message));
    }
    let prompt = match body.prompt {
        PromptBody::Text(text) => Prompt::Text(text.into_bytes()),
        PromptBody::Tokens(tokens) => Prompt::Tokens(tokens),
        PromptBody::Texts(texts) => match <[String; 1]>::try_from(texts) {
            Ok([text]) => Prompt::Text(text.into_bytes()),
            Err(texts) => {
                let message = format!(
                    "`prompt` has {} texts; give one, and send several requests for several",
                    texts.len()
                );
                return Err(Failure::unsupported("prompt", message));
            }
        },
    };
    let echo = match (&prompt, body.echo) {
        (_, false) => String::new(),
        (Prompt::Tokens(tokens), true) => {
            let tokens = tokens.clone();
            let bytes = model.call(move |backend| backend.detokenize(&tokens, false)).await?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
        (Prompt::Text(text), true) => String::from_utf8_lossy(text).into_owned(),
        (Prompt::Chat(_), true) => String::new(),
    };
    let choices = body.sampling.choices();
    let mut request = Request::new(prompt);
    body.sampling.apply(&mut request, &app.models.limits)?;
    let answer = Answer::begin(model.generate(request)?, choices, &model.metrics).await?;
    let usage_wanted = body.stream_options.is_some_and(|options| options.include_usage);
    let mut text = Continuation(Frame::new("cmpl", &model.name, choices, usage_wanted));
    if body.stream {
        let first = (0..choices).filter(|_| !echo.is_empty());
        let first = first.map(|index| text.text(index, echo.clone())).collect();
        return Ok(answer::stream(answer, first, move |event| text.pieces(event)));
    }
    text.whole(answer, choices, &echo).await.map(|response| Json(response).into_response())
}

/// The answers to a text.
struct Continuation(Frame);

impl Continuation {
    fn piece(&self, choices: Vec<CompletionChoice>) -> CompletionResponse {
        CompletionResponse {
            id: self.0.id.clone(),
            object: "text_completion",
            created: self.0.created,
            model: self.0.model.clone(),
            choices,
            usage: None,
        }
    }

    fn text(&self, index: u32, text: String) -> CompletionResponse {
        self.piece(vec![CompletionChoice { index, text, finish_reason: None }])
    }

    fn pieces(&mut self, event: Event) -> Vec<CompletionResponse> {
        match event {
            Event::Delta(delta) | Event::Reasoning(delta) if !delta.text.is_empty() => {
                vec![self.text(delta.choice, delta.text)]
            }
            Event::Done(done) => {
                let finish_reason = Some(finish_reason(done.reason));
                let choice =
                    CompletionChoice { index: done.choice, finish_reason, ..Default::default() };
                let mut pieces = vec![self.piece(vec![choice])];
                if let Some(usage) = self.0.ended(&done) {
                    let usage = Some(usage);
                    pieces.push(CompletionResponse { usage, ..self.piece(Vec::new()) });
                }
                pieces
            }
            _ => Vec::new(),
        }
    }

    async fn whole(
        mut self,
        mut answer: Answer,
        choices: u32,
        echo: &str,
    ) -> Result<CompletionResponse, Failure> {
        let begin = |index| CompletionChoice { index, text: echo.into(), finish_reason: None };
        let mut choices: Vec<_> = (0..choices).map(begin).collect();
        while let Some(event) = answer.next().await {
            match event? {
                Event::Delta(delta) | Event::Reasoning(delta) => {
                    if let Some(choice) = choices.get_mut(delta.choice as usize) {
                        choice.text.push_str(&delta.text);
                    }
                }
                Event::Done(done) => {
                    self.0.ended(&done);
                    if let Some(choice) = choices.get_mut(done.choice as usize) {
                        choice.finish_reason = Some(finish_reason(done.reason));
                    }
                }
                _ => {}
            }
        }
        let usage = Some(self.0.usage);
        Ok(CompletionResponse { usage, ..self.piece(choices) })
    }
}
