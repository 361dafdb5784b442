//! The CPU engines as a component. One source, built twice: with `simd128` it is `cpu`, with
//! relaxed SIMD in addition `cpu-relaxed`. Everything it does lives in `trefoil-engine`; this
//! crate translates between its types and the bindings.

#![allow(missing_docs)] // Generated bindings.

mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "engine-component" });
}

mod convert;
mod imports;

use std::cell::RefCell;
use std::rc::Rc;

use bindings::exports::trefoil::llm::inference as wit;
use bindings::exports::trefoil::llm::worker;
use trefoil_contract::{Setting, Value};
use trefoil_engine as engine;
use wit::{Error, Event};

const NAME: &str = if cfg!(target_feature = "relaxed-simd") { "cpu-relaxed" } else { "cpu" };

thread_local! {
    static ENGINE: engine::Engine = engine::Engine::new(NAME, Rc::new(imports::Imports));
}

struct Component;

impl wit::Guest for Component {
    type Model = Model;
    type Request = Request;
    type Snapshot = Snapshot;
    type Restoration = Restoration;
    type Generation = Generation;

    fn configure(settings: Vec<wit::Setting>) -> Result<(), Error> {
        let settings = settings.into_iter().map(Into::into).collect();
        ENGINE.with(|engine| engine.configure(settings)).map_err(Into::into)
    }

    fn models() -> Result<Vec<wit::Part>, Error> {
        let parts = ENGINE.with(engine::Engine::models)?;
        Ok(parts.into_iter().map(Into::into).collect())
    }

    fn advance(generations: Vec<wit::GenerationBorrow<'_>>) -> Vec<Result<Event, Error>> {
        let generations: Vec<_> =
            generations.iter().map(|handle| &handle.get::<Generation>().0).collect();
        let events = engine::advance(&generations);
        events.into_iter().map(|event| Ok(event?.into())).collect()
    }
}

struct Model(Rc<engine::Model>);

impl wit::GuestModel for Model {
    fn open(name: Option<String>) -> Result<wit::Model, Error> {
        let model = ENGINE.with(|engine| engine.open(name.as_deref()))?;
        Ok(wit::Model::new(Model(model)))
    }

    fn info(&self) -> wit::ModelInfo {
        self.0.info().clone().into()
    }

    fn tokenize(&self, text: Vec<u8>, options: wit::TokenizeOptions) -> Result<Vec<u32>, Error> {
        Ok(self.0.tokenize(&text, options.into()))
    }

    fn detokenize(&self, tokens: Vec<u32>, special: bool) -> Result<Vec<u8>, Error> {
        Ok(self.0.detokenize(&tokens, special)?)
    }

    fn render_chat(&self, conversation: wit::Conversation) -> Result<String, Error> {
        Ok(self.0.render_chat(&conversation.into())?)
    }

    fn logits(&self, tokens: Vec<u32>) -> Result<Vec<f32>, Error> {
        Ok(self.0.logits(&tokens)?)
    }

    fn score(&self, tokens: Vec<u32>) -> Result<Vec<f32>, Error> {
        Ok(self.0.score(&tokens)?)
    }

    fn embed(&self, tokens: Vec<u32>) -> Result<Vec<f32>, Error> {
        Ok(self.0.embed(&tokens)?)
    }

    fn relevance(&self, query: Vec<u8>, document: Vec<u8>) -> Result<wit::Relevance, Error> {
        Ok(self.0.relevance(&query, &document)?.into())
    }

    fn request(&self, prompt: wit::Prompt) -> wit::Request {
        let request = engine::Request::new(Rc::clone(&self.0), prompt.into());
        wit::Request::new(Request(RefCell::new(request)))
    }
}

struct Request(RefCell<engine::Request>);

impl Request {
    fn integer(&self, key: &str, value: impl Into<i64>) {
        self.0.borrow_mut().set(Setting::new(key, Value::Integer(value.into())));
    }

    fn number(&self, key: &str, value: f64) {
        self.0.borrow_mut().set(Setting::new(key, Value::Number(value)));
    }
}

impl wit::GuestRequest for Request {
    fn set_max_tokens(&self, count: u32) {
        self.integer("max-tokens", count);
    }

    fn set_temperature(&self, temperature: f64) {
        self.number("temperature", temperature);
    }

    fn set_top_k(&self, count: u32) {
        self.integer("top-k", count);
    }

    fn set_top_p(&self, probability: f64) {
        self.number("top-p", probability);
    }

    fn set_min_p(&self, share: f64) {
        self.number("min-p", share);
    }

    fn set_repetition_penalty(&self, factor: f64) {
        self.number("repetition-penalty", factor);
    }

    fn set_presence_penalty(&self, penalty: f64) {
        self.number("presence-penalty", penalty);
    }

    fn set_frequency_penalty(&self, penalty: f64) {
        self.number("frequency-penalty", penalty);
    }

    fn set_seed(&self, seed: u64) {
        // The table's range ends at the largest s64: a larger seed wraps into it.
        self.integer("seed", (seed & i64::MAX as u64) as i64);
    }

    fn set_stop(&self, texts: Vec<String>) {
        self.0.borrow_mut().set_stop(texts);
    }

    fn set_logit_bias(&self, biases: Vec<(u32, f32)>) {
        self.0.borrow_mut().set_logit_bias(biases);
    }

    fn set_log_probabilities(&self, top: u32) {
        self.0.borrow_mut().set_log_probabilities(top);
    }

    fn set_choices(&self, count: u32) {
        self.0.borrow_mut().set_choices(count);
    }

    fn set_response_format(&self, format: wit::ResponseFormat) {
        self.0.borrow_mut().set_response_format(format.into());
    }

    fn set_tool_choice(&self, choice: wit::ToolChoice) {
        self.0.borrow_mut().set_tool_choice(choice.into());
    }

    fn set(&self, setting: wit::Setting) {
        self.0.borrow_mut().set(setting.into());
    }

    fn start(request: wit::Request) -> Result<wit::Generation, Error> {
        let request = request.into_inner::<Request>().0.into_inner();
        Ok(wit::Generation::new(Generation(request.start()?)))
    }
}

struct Generation(engine::Generation);

impl wit::GuestGeneration for Generation {
    fn next(&self) -> Result<Event, Error> {
        Ok(self.0.next()?.into())
    }

    fn snapshot(&self) -> Result<wit::Snapshot, Error> {
        Ok(wit::Snapshot::new(Snapshot(self.0.snapshot()?)))
    }

    fn fork(&self) -> Result<wit::Request, Error> {
        Ok(wit::Request::new(Request(RefCell::new(self.0.fork()?))))
    }
}

struct Snapshot(engine::Snapshot);

impl wit::GuestSnapshot for Snapshot {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        Ok(self.0.read(offset, length)?)
    }
}

struct Restoration(engine::Restoration);

impl wit::GuestRestoration for Restoration {
    fn begin(model: wit::ModelBorrow<'_>, size: u64) -> Result<wit::Restoration, Error> {
        let model = Rc::clone(&model.get::<Model>().0);
        Ok(wit::Restoration::new(Restoration(engine::Restoration::begin(model, size)?)))
    }

    fn write(&self, bytes: Vec<u8>) -> Result<(), Error> {
        Ok(self.0.write(&bytes)?)
    }

    fn finish(restoration: wit::Restoration) -> Result<wit::Request, Error> {
        let request = restoration.into_inner::<Restoration>().0.finish()?;
        Ok(wit::Request::new(Request(RefCell::new(request))))
    }
}

impl worker::Guest for Component {
    fn serve() -> Result<(), worker::Error> {
        Ok(ENGINE.with(engine::Engine::serve)?)
    }
}

bindings::export!(Component with_types_in bindings);
