use std::sync::Arc;

use thiserror::Error;
use trefoil_contract::{
    Conversation, Error, Event, ModelInfo, Relevance, Request, ResponseFormat, Setting,
    TokenizeOptions, ToolChoice,
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

/// A saved state of a generation, to be read before its next step.
pub struct Snapshot {
    handle: ResourceAny,
    size: u64,
}

impl Snapshot {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// A saved state on its way back. It holds a place until it is finished or given up.
pub struct Restoration(ResourceAny);

type CallResult<T> = Result<T, CallError>;

/// An instance of a program that exports `trefoil:llm/inference`, and those beside it.
fn instantiate(
    runtime: &Runtime,
    program: &Program,
    options: &RunOptions,
) -> CallResult<(Store<Guest>, PlugIn, Workers)> {
    if !program.exports("trefoil:llm/inference") {
        return Err(Failure::Export(format!(
            "`{}` does not export `trefoil:llm/inference`: it is not a composition without an app",
            program.path().display()
        ))
        .into());
    }
    let Prepared { mut store, linker, workers } = prepare(runtime, program, "trefoil", options)?;
    let plug_in = PlugIn::instantiate(&mut store, &program.component, &linker)
        .map_err(|error| classify(&error, options.limits.timeout, options.gauges.refusal()))?;
    Ok((store, plug_in, workers))
}

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
        let (mut store, plug_in, workers) = instantiate(runtime, program, options)?;
        let (limits, gauges) = (options.limits, options.gauges.clone());
        let fail = |error: &wasmtime::Error| classify(error, limits.timeout, gauges.refusal());
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

    /// The names of the models that a program can open, the default one first. Loads none.
    ///
    /// # Errors
    /// As [`Inference::open`].
    pub fn models(
        runtime: &Runtime,
        program: &Program,
        options: &RunOptions,
    ) -> CallResult<Vec<String>> {
        let (mut store, plug_in, _workers) = instantiate(runtime, program, options)?;
        let parts = plug_in
            .trefoil_llm_inference()
            .call_models(&mut store)
            .map_err(|error| classify(&error, options.limits.timeout, options.gauges.refusal()))?
            .map_err(convert::error)?;
        Ok(parts.into_iter().map(|part| part.name).collect())
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

    /// How well a document goes with a query.
    ///
    /// # Errors
    /// As the contract's `relevance`.
    pub fn relevance(&mut self, query: &[u8], document: &[u8]) -> CallResult<Relevance> {
        let model = self.plug_in.trefoil_llm_inference().model();
        let relevance = model.call_relevance(&mut self.store, self.model, query, document);
        let wit::Relevance { score, tokens } = self.settle_result(relevance)?;
        Ok(Relevance { score, tokens })
    }

    /// Starts a generation. Nothing is computed yet.
    ///
    /// # Errors
    /// As the contract's `start`.
    pub fn start(&mut self, request: Request) -> CallResult<Generation> {
        let prompt = convert::prompt(request.prompt);
        let interface = self.plug_in.trefoil_llm_inference();
        let handle = interface.model().call_request(&mut self.store, self.model, &prompt);
        let handle = self.settle(handle)?;
        for setting in &request.settings {
            let setting = convert::setting(setting);
            self.record(|setters, store| setters.call_set(store, handle, &setting))?;
        }
        if !request.logit_bias.is_empty() {
            let bias = &request.logit_bias;
            self.record(|setters, store| setters.call_set_logit_bias(store, handle, bias))?;
        }
        if let Some(top) = request.log_probabilities {
            self.record(|setters, store| setters.call_set_log_probabilities(store, handle, top))?;
        }
        if request.choices != 1 {
            let count = request.choices;
            self.record(|setters, store| setters.call_set_choices(store, handle, count))?;
        }
        if request.response_format != ResponseFormat::Text {
            let format = convert::response_format(request.response_format);
            self.record(|setters, store| setters.call_set_response_format(store, handle, &format))?;
        }
        if request.tool_choice != ToolChoice::Auto {
            let choice = convert::tool_choice(request.tool_choice);
            self.record(|setters, store| setters.call_set_tool_choice(store, handle, &choice))?;
        }
        let interface = self.plug_in.trefoil_llm_inference();
        let generation = interface.request().call_start(&mut self.store, handle);
        self.settle_result(generation).map(Generation)
    }

    /// Calls one of a request's setters.
    fn record(
        &mut self,
        set: impl FnOnce(wit::GuestRequest<'_>, &mut Store<Guest>) -> wasmtime::Result<()>,
    ) -> Result<(), Failure> {
        let result = set(self.plug_in.trefoil_llm_inference().request(), &mut self.store);
        self.settle(result)
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

    /// Saves a generation's state.
    ///
    /// # Errors
    /// As the contract's `snapshot`.
    pub fn snapshot(&mut self, generation: &Generation) -> CallResult<Snapshot> {
        let interface = self.plug_in.trefoil_llm_inference();
        let handle = interface.generation().call_snapshot(&mut self.store, generation.0);
        let handle = self.settle_result(handle)?;
        let interface = self.plug_in.trefoil_llm_inference();
        let size = interface.snapshot().call_size(&mut self.store, handle);
        Ok(Snapshot { handle, size: self.settle(size)? })
    }

    /// At most `length` bytes from `offset` on, 1 MiB at once; fewer only at the end.
    ///
    /// # Errors
    /// As the contract's `read`.
    pub fn read(&mut self, snapshot: &Snapshot, offset: u64, length: u32) -> CallResult<Vec<u8>> {
        let interface = self.plug_in.trefoil_llm_inference();
        let bytes =
            interface.snapshot().call_read(&mut self.store, snapshot.handle, offset, length);
        self.settle_result(bytes)
    }

    /// Gives up a snapshot, which takes little memory.
    ///
    /// # Errors
    /// [`Failure`] if the guest fails meanwhile.
    pub fn close(&mut self, snapshot: Snapshot) -> Result<(), Failure> {
        let dropped = snapshot.handle.resource_drop(&mut self.store);
        self.settle(dropped)
    }

    /// Expects a snapshot of `size` bytes of this model.
    ///
    /// # Errors
    /// As the contract's `begin`.
    pub fn restore(&mut self, size: u64) -> CallResult<Restoration> {
        let interface = self.plug_in.trefoil_llm_inference();
        let restoration = interface.restoration().call_begin(&mut self.store, self.model, size);
        self.settle_result(restoration).map(Restoration)
    }

    /// Brings the next bytes of a snapshot, at most 1 MiB.
    ///
    /// # Errors
    /// As the contract's `write`.
    pub fn write(&mut self, restoration: &Restoration, bytes: &[u8]) -> CallResult<()> {
        let interface = self.plug_in.trefoil_llm_inference();
        let written = interface.restoration().call_write(&mut self.store, restoration.0, bytes);
        self.settle_result(written)
    }

    /// Goes on with a snapshot that was written as a whole. `settings` take the place of those that
    /// it was saved with.
    ///
    /// # Errors
    /// As the contract's `finish` and `start`.
    pub fn resume(
        &mut self,
        restoration: Restoration,
        settings: &[Setting],
    ) -> CallResult<Generation> {
        let interface = self.plug_in.trefoil_llm_inference();
        let request = interface.restoration().call_finish(&mut self.store, restoration.0);
        let request = self.settle_result(request)?;
        self.go_on(request, settings)
    }

    /// Gives up a restoration, and frees its place.
    ///
    /// # Errors
    /// [`Failure`] if the guest fails meanwhile.
    pub fn abandon(&mut self, restoration: Restoration) -> Result<(), Failure> {
        let dropped = restoration.0.resource_drop(&mut self.store);
        self.settle(dropped)
    }

    /// A second generation that goes on from where this one stands, with `settings` in the place of
    /// its own.
    ///
    /// # Errors
    /// As the contract's `fork` and `start`.
    pub fn fork(
        &mut self,
        generation: &Generation,
        settings: &[Setting],
    ) -> CallResult<Generation> {
        let interface = self.plug_in.trefoil_llm_inference();
        let request = interface.generation().call_fork(&mut self.store, generation.0);
        let request = self.settle_result(request)?;
        self.go_on(request, settings)
    }

    fn go_on(&mut self, request: ResourceAny, settings: &[Setting]) -> CallResult<Generation> {
        for setting in settings {
            let setting = convert::setting(setting);
            self.record(|setters, store| setters.call_set(store, request, &setting))?;
        }
        let interface = self.plug_in.trefoil_llm_inference();
        let generation = interface.request().call_start(&mut self.store, request);
        self.settle_result(generation).map(Generation)
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
