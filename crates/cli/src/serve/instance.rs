use std::collections::HashMap;

use trefoil_contract::{
    Conversation, Error, Event, ModelInfo, Relevance, Request, Setting, TokenizeOptions,
};
use trefoil_host::{CallError, Failure, Generation, Inference, Program, RunOptions, Runtime};
use trefoil_server::{Backend, BackendError, GenerationId};

/// A model in an instance of the host.
pub(super) struct Instance {
    inference: Inference,
    generations: HashMap<GenerationId, Generation>,
    next: u64,
}

impl Instance {
    /// Loads the model of this name, or the default one.
    pub(super) fn open(
        runtime: &Runtime,
        program: &Program,
        options: &RunOptions,
        settings: &[Setting],
        name: Option<&str>,
    ) -> Result<Box<dyn Backend>, String> {
        let inference = Inference::open(runtime, program, options, settings, name)
            .map_err(|error| format!("the model cannot be loaded: {error}"))?;
        Ok(Box::new(Instance { inference, generations: HashMap::new(), next: 0 }))
    }
}

fn failed(failure: &Failure) -> BackendError {
    BackendError::Failed(format!("the model's instance has ended: {failure}"))
}

fn error(error: CallError) -> BackendError {
    match error {
        CallError::Refused(error) => error.into(),
        CallError::Failure(failure) => failed(&failure),
    }
}

impl Backend for Instance {
    fn info(&mut self) -> Result<ModelInfo, BackendError> {
        self.inference.info().map_err(error)
    }

    fn tokenize(
        &mut self,
        text: &[u8],
        options: TokenizeOptions,
    ) -> Result<Vec<u32>, BackendError> {
        self.inference.tokenize(text, options).map_err(error)
    }

    fn detokenize(&mut self, tokens: &[u32], special: bool) -> Result<Vec<u8>, BackendError> {
        self.inference.detokenize(tokens, special).map_err(error)
    }

    fn render_chat(&mut self, conversation: Conversation) -> Result<String, BackendError> {
        self.inference.render_chat(conversation).map_err(error)
    }

    fn embed(&mut self, tokens: &[u32]) -> Result<Vec<f32>, BackendError> {
        self.inference.embed(tokens).map_err(error)
    }

    fn relevance(&mut self, query: &[u8], document: &[u8]) -> Result<Relevance, BackendError> {
        self.inference.relevance(query, document).map_err(error)
    }

    fn score(&mut self, tokens: &[u32]) -> Result<Vec<f32>, BackendError> {
        self.inference.score(tokens).map_err(error)
    }

    fn start(&mut self, request: Request) -> Result<GenerationId, BackendError> {
        let generation = self.inference.start(request).map_err(error)?;
        let id = GenerationId(self.next);
        self.next += 1;
        self.generations.insert(id, generation);
        Ok(id)
    }

    fn advance(&mut self, ids: &[GenerationId]) -> Result<Vec<Result<Event, Error>>, BackendError> {
        let known: Vec<_> = ids.iter().map(|id| self.generations.get(id)).collect();
        let handles: Vec<_> = known.iter().copied().flatten().collect();
        let events = self.inference.advance(&handles).map_err(|failure| failed(&failure))?;
        let mut events = events.into_iter();
        let event = |generation: Option<&Generation>| match generation {
            Some(_) => events.next().unwrap_or(Err(Error::Finished)),
            None => Err(Error::Finished),
        };
        Ok(known.into_iter().map(event).collect())
    }

    fn cancel(&mut self, id: GenerationId) -> Result<(), BackendError> {
        match self.generations.remove(&id) {
            Some(generation) => {
                self.inference.cancel(generation).map_err(|failure| failed(&failure))
            }
            None => Ok(()),
        }
    }
}
