//! One request after the other, as a component serves them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde_json::{Value, json};
use trefoil_contract::{
    Delta, Done, Error, Event, FinishReason, PromptProgress, Relevance, Request, TokenizeOptions,
    Usage,
};
use trefoil_openai::{Client, Generation, Gone, Incoming, Model, Models, Stamp, answer};

/// A model that says "a b c " whatever it is asked.
#[derive(Clone, Default)]
struct Letters(Rc<Said>);

/// What was done with it.
#[derive(Default)]
struct Said {
    opened: Cell<u32>,
    steps: Cell<u32>,
    dropped: Cell<u32>,
    requests: RefCell<Vec<Request>>,
    /// What goes wrong at this step, from 0.
    fails_at: Cell<Option<u32>>,
}

struct One {
    model: Letters,
    names: Vec<&'static str>,
}

struct Words {
    model: Letters,
    step: u32,
}

impl Drop for Words {
    fn drop(&mut self) {
        self.model.0.dropped.set(self.model.0.dropped.get() + 1);
    }
}

impl Models for One {
    type Model = Letters;

    fn names(&mut self) -> Result<Vec<String>, Error> {
        Ok(self.names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn created_s(&self) -> u64 {
        5
    }

    fn open(&mut self, name: &str) -> Result<&Letters, Error> {
        if name == "damaged" {
            return Err(Error::InvalidModel("cut off".into()));
        }
        self.model.0.opened.set(self.model.0.opened.get() + 1);
        Ok(&self.model)
    }
}

impl Model for Letters {
    type Generation = Words;

    fn tokenize(&self, text: &[u8], _: TokenizeOptions) -> Result<Vec<u32>, Error> {
        Ok(text.iter().map(|byte| u32::from(*byte)).collect())
    }

    fn detokenize(&self, tokens: &[u32], _: bool) -> Result<Vec<u8>, Error> {
        Ok(tokens.iter().map(|token| *token as u8).collect())
    }

    fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        Ok(vec![tokens.len() as f32])
    }

    fn relevance(&self, query: &[u8], document: &[u8]) -> Result<Relevance, Error> {
        let tokens = (query.len() + document.len()) as u32;
        Ok(Relevance { score: document.len() as f32, tokens })
    }

    fn start(&self, request: Request) -> Result<Words, Error> {
        if request.choices > 1 {
            return Err(Error::Busy("one place".into()));
        }
        self.0.requests.borrow_mut().push(request);
        Ok(Words { model: self.clone(), step: 0 })
    }
}

impl Generation for Words {
    fn next(&mut self) -> Result<Event, Error> {
        let step = self.step;
        self.step += 1;
        self.model.0.steps.set(self.model.0.steps.get() + 1);
        if self.model.0.fails_at.get() == Some(step) {
            return Err(Error::Io("the disk is gone".into()));
        }
        let delta = |text: &str| Delta {
            choice: 0,
            text: text.into(),
            tokens: Vec::new(),
            log_probabilities: Vec::new(),
        };
        Ok(match step {
            0 => {
                Event::PromptProgress(PromptProgress { choice: 0, done_tokens: 1, total_tokens: 1 })
            }
            1 => Event::Delta(delta("a ")),
            2 => Event::Delta(delta("b ")),
            3 => Event::Delta(delta("c ")),
            _ => Event::Done(Done {
                choice: 0,
                reason: FinishReason::Stop,
                usage: Usage {
                    prompt_tokens: 1,
                    cached_tokens: 0,
                    generated_tokens: 4,
                    ..Usage::default()
                },
            }),
        })
    }
}

/// What arrived at the client, piece by piece.
#[derive(Default)]
struct Heard {
    status: u16,
    headers: Vec<(String, String)>,
    pieces: Vec<String>,
    /// Leaves after so many pieces.
    leaves_after: Option<usize>,
}

impl Client for Heard {
    fn head(&mut self, status: u16, headers: &[(&str, &str)]) -> Result<(), Gone> {
        assert_eq!(self.status, 0, "one head");
        self.status = status;
        self.headers =
            headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        assert_ne!(self.status, 0, "the head comes first");
        if self.leaves_after.is_some_and(|pieces| self.pieces.len() >= pieces) {
            return Err(Gone);
        }
        self.pieces.push(String::from_utf8(bytes.to_vec()).expect("text"));
        Ok(())
    }
}

impl Heard {
    fn json(&self) -> Value {
        assert!(self.headers.contains(&("content-type".into(), "application/json".into())));
        let text = self.pieces.concat();
        assert!(self.headers.contains(&("content-length".into(), text.len().to_string())));
        serde_json::from_str(&text).expect("JSON")
    }

    fn error(&self) -> (u16, Value) {
        (self.status, self.json()["error"]["code"].clone())
    }
}

impl One {
    fn new() -> Self {
        One { model: Letters::default(), names: vec!["one"] }
    }

    fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
        client: &mut Heard,
    ) -> Result<(), Gone> {
        let mut bytes = body.as_bytes();
        let incoming = Incoming { method, path, content_length: None, body: &mut bytes };
        answer(incoming, self, Stamp { random: 1, created_s: 7 }, client)
    }

    fn get(&mut self, path: &str) -> Heard {
        let mut heard = Heard::default();
        self.ask("GET", path, "", &mut heard).expect("stays");
        heard
    }

    fn post(&mut self, path: &str, body: &Value) -> Heard {
        let mut heard = Heard::default();
        self.ask("POST", path, &body.to_string(), &mut heard).expect("stays");
        heard
    }
}

#[test]
fn a_whole_answer_comes_at_its_end() {
    let mut one = One::new();
    let body = json!({ "messages": [{ "role": "user", "content": "x" }], "temperature": 0 });
    let heard = one.post("/v1/chat/completions", &body);
    assert_eq!((heard.status, heard.pieces.len()), (200, 1));
    assert_eq!(heard.json()["choices"][0]["message"]["content"], "a b c ");
    assert_eq!(heard.json()["model"], "one");
    assert_eq!(one.model.0.requests.borrow()[0].settings[0].key, "temperature");
    let body = json!({ "prompt": [104, 105], "echo": true });
    let heard = one.post("/v1/completions", &body);
    assert_eq!(heard.json()["choices"][0]["text"], "hia b c ");
    assert_eq!(one.model.0.dropped.get(), 2);
}

#[test]
fn a_stream_comes_piece_by_piece() {
    let mut one = One::new();
    let heard = one.post("/v1/completions", &json!({ "prompt": "x", "stream": true }));
    assert_eq!(heard.status, 200);
    assert!(heard.headers.contains(&("content-type".into(), "text/event-stream".into())));
    let texts: Vec<_> = heard
        .pieces
        .iter()
        .map(|piece| {
            let data = piece.strip_prefix("data: ").expect("an event");
            let (data, _) = data.split_once("\n\n").expect("its end");
            serde_json::from_str::<Value>(data).expect("JSON")["choices"][0]["text"].clone()
        })
        .collect();
    assert_eq!(json!(texts), json!(["a ", "b ", "c ", ""]));
    assert!(heard.pieces[3].ends_with("\n\ndata: [DONE]\n\n"));
}

#[test]
fn events_of_a_response_have_names_and_no_end_but_the_last() {
    let mut one = One::new();
    let heard = one.post("/v1/responses", &json!({ "input": "x", "stream": true }));
    assert_eq!(heard.status, 200);
    let text = heard.pieces.concat();
    assert!(text.starts_with("event: response.created\ndata: {"), "{text}");
    let last = text.trim_end().rsplit("\n\n").next().expect("events");
    assert!(last.starts_with("event: response.completed\ndata: {"), "{last}");
    let whole = one.post("/v1/responses", &json!({ "input": "x" })).json();
    assert_eq!(whole["output"][0]["content"][0]["text"], "a b c ");
}

#[test]
fn who_leaves_ends_the_answer() {
    let mut one = One::new();
    let mut heard = Heard { leaves_after: Some(1), ..Heard::default() };
    let body = json!({ "prompt": "x", "stream": true }).to_string();
    assert_eq!(one.ask("POST", "/v1/completions", &body, &mut heard), Err(Gone));
    // Progress, the piece that arrived, and the one that did not.
    assert_eq!((one.model.0.steps.get(), one.model.0.dropped.get()), (3, 1));
}

#[test]
fn an_error_has_a_status_until_the_stream_begins_and_an_event_then() {
    let mut one = One::new();
    let body = json!({ "prompt": "x", "stream": true });
    one.model.0.fails_at.set(Some(1));
    assert_eq!(one.post("/v1/completions", &body).error(), (500, json!("engine_error")));
    one.model.0.fails_at.set(Some(2));
    let heard = one.post("/v1/completions", &body);
    assert_eq!((heard.status, heard.pieces.len()), (200, 2));
    assert!(heard.pieces[1].contains(r#""code":"engine_error"}}"#), "{:?}", heard.pieces);
    assert!(heard.pieces[1].ends_with("data: [DONE]\n\n"), "{:?}", heard.pieces);
    // In the middle of a whole answer there is no head yet.
    let whole = one.post("/v1/completions", &json!({ "prompt": "x" }));
    assert_eq!(whole.error(), (500, json!("engine_error")));
}

#[test]
fn what_else_there_is_is_answered() {
    let mut one = One::new();
    assert_eq!(one.get("/health").json(), json!({ "status": "ok" }));
    assert_eq!(one.get("/v1/models").json()["data"][0]["id"], "one");
    assert_eq!(one.get("/v1/models/one").json()["created"], 5);
    assert!(one.get("/openapi.json").json()["paths"]["/v1/chat/completions"].is_object());
    assert_eq!(one.model.0.opened.get(), 0, "nothing of this needs a model");
    let tokens = one.post("/tokenize", &json!({ "content": "ab" })).json();
    assert_eq!(tokens, json!({ "tokens": [97, 98] }));
    let text = one.post("/detokenize", &json!({ "tokens": [97, 98] })).json();
    assert_eq!(text, json!({ "content": "ab" }));
    let vectors = one.post("/v1/embeddings", &json!({ "input": ["abc", "d"] })).json();
    assert_eq!(vectors["data"][0]["embedding"], json!([3.0]));
    assert_eq!(vectors["usage"]["total_tokens"], 4);
    let request = json!({ "query": "q", "documents": ["a", "bc"] });
    let ranked = one.post("/v1/rerank", &request).json();
    assert_eq!(
        (&ranked["results"][0]["index"], &ranked["results"][1]["index"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(ranked["usage"]["total_tokens"], 5);
}

#[test]
fn what_is_wrong_is_named() {
    let mut one = One::new();
    assert_eq!(one.get("/v1/nothing").error(), (404, json!("not_found")));
    assert_eq!(one.get("/v1/completions").error(), (405, json!("method_not_allowed")));
    assert_eq!(one.get("/v1/models/two").error(), (404, json!("model_not_found")));
    let other = json!({ "model": "two", "prompt": "x" });
    assert_eq!(one.post("/v1/completions", &other).error(), (404, json!("model_not_found")));
    let many = json!({ "prompt": "x", "n": 2 });
    assert_eq!(one.post("/v1/completions", &many).error(), (503, json!("overloaded")));
    let mut heard = Heard::default();
    one.ask("POST", "/v1/completions", "{", &mut heard).expect("stays");
    assert_eq!(heard.status, 400);

    let mut several = One { names: vec!["one", "damaged"], ..One::new() };
    let unnamed = several.post("/v1/completions", &json!({ "prompt": "x" }));
    assert_eq!(unnamed.error(), (400, json!("invalid_value")));
    let damaged = several.post("/v1/completions", &json!({ "model": "damaged", "prompt": "x" }));
    assert_eq!(damaged.error(), (503, json!("model_not_loaded")));
    let message = damaged.json()["error"]["message"].to_string();
    assert!(message.contains("`damaged`") && message.contains("cut off"), "{message}");
}

#[test]
fn bodies_have_a_limit_announced_or_not() {
    let mut one = One::new();
    let mut endless = std::io::repeat(b' ');
    for content_length in [Some(40 << 20), None] {
        let mut heard = Heard::default();
        let incoming =
            Incoming { method: "POST", path: "/tokenize", content_length, body: &mut endless };
        let stamp = Stamp { random: 1, created_s: 7 };
        answer(incoming, &mut one, stamp, &mut heard).expect("stays");
        assert_eq!(heard.error(), (413, json!("invalid_body")), "{content_length:?}");
    }
}

#[test]
fn a_head_is_answered_as_a_get() {
    let mut heard = Heard::default();
    One::new().ask("HEAD", "/health", "", &mut heard).expect("stays");
    assert_eq!(heard.status, 200);
}
