use std::sync::Arc;

use thiserror::Error;
use trefoil_contract::{
    Conversation, Error, Event, ModelInfo, Prompt, ResponseFormat, Setting, TokenizeOptions,
};
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::failure::classify;
use crate::guest::{Guest, Limits};
use crate::instances::{Prepared, Workers, prepare};
use crate::{Failure, Gauges, Program, RunOptions, Runtime};

mod bindings {
    #![allow(missing_docs, unreachable_pub)]
    wasmtime::component::bindgen!({ path: "../../wit", world: "plug-in" });
}
mod convert;

use bindings::PlugIn;
use bindings::exports::trefoil::llm::inference as wit;
#[allow(unreachable_pub)] // Generated code uses it again, publicly.
pub use bindings::trefoil::llm::types;
pub(crate) use convert::error;

/// A model that is loaded in an instance of its own, or in several, called from here.
///
/// After a [`CallError::Failure`] the instance is unusable; every further call fails too.
pub struct Inference {
    store: Store<Guest>,
    plug_in: PlugIn,
    model: ResourceAny,
    limits: Limits,
    gauges: Arc<Gauges>,
    workers: Workers,
}

/// Why a call brought no result.
#[derive(Debug, Error)]
pub enum CallError {
    /// The engine refused, by the contract.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The guest did not come to an answer.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// A generation under way. Give it to [`Inference::cancel`] to free its place before the end.
pub struct Generation(ResourceAny);

/// What a request may have beside settings.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestOptions {
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Reports log probabilities: of the chosen token and so many likeliest.
    pub log_probabilities: Option<u32>,
    /// Number of independent answers.
    pub choices: u32,
    /// Form that the answer must have.
    pub response_format: ResponseFormat,
}

impl Default for RequestOptions {
    fn default() -> Self {
        RequestOptions {
            logit_bias: Vec::new(),
            log_probabilities: None,
            choices: 1,
            response_format: ResponseFormat::Text,
        }
    }
}

type CallResult<T> = Result<T, CallError>;

impl Inference {
    /// Instantiates the program and opens the model of this name, or the default one. `settings`
    /// are the defaults that an app would set with `configure`.
    ///
    /// # Errors
    /// [`Failure::Export`] if the program does not export `trefoil:llm/inference`; else what
    /// instantiating or opening brings.
    pub fn open(
        runtime: &Runtime,
        program: &Program,
        options: &RunOptions,
        settings: &[Setting],
        name: Option<&str>,
    ) -> CallResult<Self> {
        if !program.exports("trefoil:llm/inference") {
            return Err(Failure::Export(format!(
                "`{}` does not export `trefoil:llm/inference`: it is not a composition without an \
                 app",
                program.path().display()
            ))
            .into());
        }
        let Prepared { mut store, linker, workers } =
            prepare(runtime, program, "trefoil", options)?;
        let (limits, gauges) = (options.limits, options.gauges.clone());
        let fail = |error: &wasmtime::Error| classify(error, limits.timeout, gauges.refusal());
        let plug_in = PlugIn::instantiate(&mut store, &program.component, &linker)
            .map_err(|error| fail(&error))?;
        let interface = plug_in.trefoil_llm_inference();
        if !settings.is_empty() {
            let settings: Vec<_> = settings.iter().map(convert::setting).collect();
            interface
                .call_configure(&mut store, &settings)
                .map_err(|error| fail(&error))?
                .map_err(convert::error)?;
        }
        let model = interface
            .model()
            .call_open(&mut store, name)
            .map_err(|error| fail(&error))?
            .map_err(convert::error)?;
        let gauges = options.gauges.clone();
        Ok(Inference { store, plug_in, model, limits, gauges, workers })
    }

    /// What is known about the model.
    ///
    /// # Errors
    /// [`CallError::Failure`].
    pub fn info(&mut self) -> CallResult<ModelInfo> {
        let model = self.plug_in.trefoil_llm_inference().model();
        let info = model.call_info(&mut self.store, self.model);
        Ok(convert::info(self.settle(info)?))
    }

    /// Turns text into tokens.
    ///
    /// # Errors
    /// As the contract's `tokenize`.
    pub fn tokenize(&mut self, text: &[u8], options: TokenizeOptions) -> CallResult<Vec<u32>> {
        let model = self.plug_in.trefoil_llm_inference().model();
        let options = convert::tokenize_options(options);
        let ids = model.call_tokenize(&mut self.store, self.model, text, options);
        self.settle_result(ids)
    }

    /// Turns tokens into text.
    ///
    /// # Errors
    /// As the contract's `detokenize`.
    pub fn detokenize(&mut self, tokens: &[u32], special: bool) -> CallResult<Vec<u8>> {
        let model = self.plug_in.trefoil_llm_inference().model();
        let bytes = model.call_detokenize(&mut self.store, self.model, tokens, special);
        self.settle_result(bytes)
    }

    /// Renders a conversation with the model's chat template.
    ///
    /// # Errors
    /// As the contract's `render-chat`.
    pub fn render_chat(&mut self, conversation: Conversation) -> CallResult<String> {
        let model = self.plug_in.trefoil_llm_inference().model();
        let conversation = convert::conversation(conversation);
        let text = model.call_render_chat(&mut self.store, self.model, &conversation);
        self.settle_result(text)
    }

    /// The logits behind the last of `tokens`, one for each token of the vocabulary.
    ///
    /// # Errors
    /// As the contract's `logits`.
    pub fn logits(&mut self, tokens: &[u32]) -> CallResult<Vec<f32>> {
        let model = self.plug_in.trefoil_llm_inference().model();
        let logits = model.call_logits(&mut self.store, self.model, tokens);
        self.settle_result(logits)
    }

    /// Log probabilities of all tokens but the first, given those before.
    ///
    /// # Errors
    /// As the contract's `score`.
    pub fn score(&mut self, tokens: &[u32]) -> CallResult<Vec<f32>> {
        let model = self.plug_in.trefoil_llm_inference().model();
        let scores = model.call_score(&mut self.store, self.model, tokens);
        self.settle_result(scores)
    }

    /// The vector of a text, of length 1.
    ///
    /// # Errors
    /// As the contract's `embed`.
    pub fn embed(&mut self, tokens: &[u32]) -> CallResult<Vec<f32>> {
        let model = self.plug_in.trefoil_llm_inference().model();
        let vector = model.call_embed(&mut self.store, self.model, tokens);
        self.settle_result(vector)
    }

    /// Starts a generation. Nothing is computed yet.
    ///
    /// # Errors
    /// As the contract's `start`.
    pub fn generate(&mut self, prompt: Prompt, settings: &[Setting]) -> CallResult<Generation> {
        self.generate_with(prompt, settings, &RequestOptions::default())
    }

    /// As [`Inference::generate`], with what is no setting.
    ///
    /// # Errors
    /// As the contract's `start`.
    pub fn generate_with(
        &mut self,
        prompt: Prompt,
        settings: &[Setting],
        options: &RequestOptions,
    ) -> CallResult<Generation> {
        let RequestOptions { logit_bias, log_probabilities, choices, response_format } = options;
        let interface = self.plug_in.trefoil_llm_inference();
        let prompt = convert::prompt(prompt);
        let request = interface.model().call_request(&mut self.store, self.model, &prompt);
        let request = self.settle(request)?;
        for setting in settings {
            let interface = self.plug_in.trefoil_llm_inference();
            let set =
                interface.request().call_set(&mut self.store, request, &convert::setting(setting));
            self.settle(set)?;
        }
        if !logit_bias.is_empty() {
            let interface = self.plug_in.trefoil_llm_inference();
            let set = interface.request().call_set_logit_bias(&mut self.store, request, logit_bias);
            self.settle(set)?;
        }
        if *choices != 1 {
            let interface = self.plug_in.trefoil_llm_inference();
            let set = interface.request().call_set_choices(&mut self.store, request, *choices);
            self.settle(set)?;
        }
        if let Some(top) = *log_probabilities {
            let interface = self.plug_in.trefoil_llm_inference();
            let set = interface.request().call_set_log_probabilities(&mut self.store, request, top);
            self.settle(set)?;
        }
        if *response_format != ResponseFormat::Text {
            let interface = self.plug_in.trefoil_llm_inference();
            let format = convert::response_format(response_format);
            let set =
                interface.request().call_set_response_format(&mut self.store, request, &format);
            self.settle(set)?;
        }
        let interface = self.plug_in.trefoil_llm_inference();
        let generation = interface.request().call_start(&mut self.store, request);
        self.settle_result(generation).map(Generation)
    }

    /// Does one step of a generation.
    ///
    /// # Errors
    /// As the contract's `next`: [`Error::Finished`] after the end.
    pub fn next(&mut self, generation: &Generation) -> CallResult<Event> {
        let interface = self.plug_in.trefoil_llm_inference();
        let event = interface.generation().call_next(&mut self.store, generation.0);
        self.settle_result(event).map(convert::event)
    }

    /// Does one batched step of several generations, and answers in their order.
    ///
    /// # Errors
    /// [`Failure`] of the guest as a whole; each generation has its own result besides.
    pub fn advance(
        &mut self,
        generations: &[&Generation],
    ) -> Result<Vec<Result<Event, Error>>, Failure> {
        let interface = self.plug_in.trefoil_llm_inference();
        let handles: Vec<_> = generations.iter().map(|generation| generation.0).collect();
        let events = interface.call_advance(&mut self.store, &handles);
        let events = self.settle(events)?;
        Ok(events
            .into_iter()
            .map(|event| event.map(convert::event).map_err(convert::error))
            .collect())
    }

    /// Ends a generation, finished or not, and frees its place.
    ///
    /// # Errors
    /// [`Failure`] if the guest fails meanwhile.
    pub fn cancel(&mut self, generation: Generation) -> Result<(), Failure> {
        let dropped = generation.0.resource_drop(&mut self.store);
        self.settle(dropped)
    }

    fn settle<T>(&self, result: wasmtime::Result<T>) -> Result<T, Failure> {
        result.map_err(|error| {
            let failure = classify(&error, self.limits.timeout, self.gauges.refusal());
            self.workers.fail(&failure);
            failure
        })
    }

    fn settle_result<T>(&self, result: wasmtime::Result<Result<T, wit::Error>>) -> CallResult<T> {
        self.settle(result)?.map_err(|error| convert::error(error).into())
    }
}
