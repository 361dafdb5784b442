//! Events of an answer, as a whole or as a stream of server-sent events.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::sync::mpsc::Receiver;
use trefoil_contract::Event;
use trefoil_openai::{Answer, Asked, Failure, GenerationRequest, Stamp};

use super::{App, Body, Refused};
use crate::batch::Client;
use crate::metrics::ModelMetrics;

/// How often a stream says that it is alive while a long prompt is processed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Answers a request of any kind, as a whole or as a stream.
pub(super) async fn create<R: GenerationRequest>(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Body { value: body, share: _share }: Body<R>,
) -> Result<Response, Refused>
where
    R::Answer: Send + 'static,
{
    let model = app.models.get(body.model())?;
    let asked = body.ask(&model.name, app.models.limits.tokens_max, Stamp::now())?;
    let Asked { request, stream, echo, mut answer } = asked;
    if let Some(tokens) = echo {
        let text = model.call(move |backend| backend.detokenize(&tokens, false)).await?;
        answer.begin_with(&text);
    }
    let mut events = Events::begin(model.generate(client, request)?, &model.metrics).await?;
    if stream {
        return Ok(respond(events, answer));
    }
    while let Some(event) = events.next(answer.is_complete()).await {
        answer.add(event?);
    }
    Ok(Json(answer.whole()).into_response())
}

/// The events of an answer, the first of which has arrived: what is wrong with a request shows
/// before the status is sent.
struct Events {
    first: Option<Event>,
    rest: Receiver<Result<Event, Failure>>,
    has_failed: bool,
}

impl Events {
    /// Waits for the first event.
    async fn begin(
        mut events: Receiver<Result<Event, Failure>>,
        metrics: &ModelMetrics,
    ) -> Result<Self, Failure> {
        let start = Instant::now();
        let first = loop {
            match events.recv().await {
                Some(Ok(Event::PromptProgress(_) | Event::Idle(_))) => {}
                Some(first) => break first?,
                None => return Err(Failure::stopping()),
            }
        };
        metrics.first_token_seconds.observe(start.elapsed().as_secs_f64());
        Ok(Events { first: Some(first), rest: events, has_failed: false })
    }

    /// The next event; `None` behind an error, or when all is there.
    async fn next(&mut self, is_complete: bool) -> Option<Result<Event, Failure>> {
        if is_complete || self.has_failed {
            return None;
        }
        let event = match self.first.take() {
            Some(event) => Some(Ok(event)),
            None => self.rest.recv().await,
        };
        // The other side ends behind the last event, or when the server stops.
        let event = event.unwrap_or_else(|| Err(Failure::stopping()));
        self.has_failed = event.is_err();
        Some(event)
    }
}

/// Server-sent events: what `answer` makes of each event, an error as OpenAI's body, and what comes
/// last.
fn respond<A: Answer + Send + 'static>(events: Events, mut answer: A) -> Response {
    let before: Vec<_> = answer.first().iter().map(piece::<A>).collect();
    let chunks = stream::unfold((events, answer), |(mut events, mut answer)| async {
        let data: Vec<_> = match events.next(answer.is_complete()).await? {
            Ok(event) => answer.chunks(event).iter().map(piece::<A>).collect(),
            Err(failure) => vec![data(&failure.into_body())],
        };
        Some((stream::iter(data), (events, answer)))
    });
    let last = stream::iter(A::LAST).map(|text| sse::Event::default().data(text));
    sse(stream::iter(before).chain(chunks.flatten()).chain(last))
}

fn piece<A: Answer>(chunk: &A::Chunk) -> sse::Event {
    match A::name(chunk) {
        Some(name) => data(chunk).event(name),
        None => data(chunk),
    }
}

fn data(value: &impl Serialize) -> sse::Event {
    // Our own types have text as keys and no NaN: they always become JSON.
    let text = serde_json::to_string(value).unwrap_or_else(|error| error.to_string());
    sse::Event::default().data(text)
}

fn sse(events: impl Stream<Item = sse::Event> + Send + 'static) -> Response {
    Sse::new(events.map(Ok::<_, Infallible>))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}
