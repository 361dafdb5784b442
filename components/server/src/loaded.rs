//! The models of the composition, as the service asks them.

use std::collections::BTreeMap;

use trefoil_contract::{Error, Event, Relevance, Request, TokenizeOptions};
use trefoil_openai::{Generation, Model, Models};

use crate::bindings::trefoil::llm::inference as wit;

/// Models that are loaded, by name. They stay so as long as the instance lives.
pub(crate) struct Loaded {
    created_s: u64,
    models: BTreeMap<String, wit::Model>,
}

impl Loaded {
    pub(crate) fn new(created_s: u64) -> Self {
        Loaded { created_s, models: BTreeMap::new() }
    }
}

impl Models for Loaded {
    type Model = wit::Model;

    fn names(&mut self) -> Result<Vec<String>, Error> {
        Ok(wit::models()?.into_iter().map(|part| part.name).collect())
    }

    fn created_s(&self) -> u64 {
        self.created_s
    }

    fn open(&mut self, name: &str) -> Result<&wit::Model, Error> {
        if !self.models.contains_key(name) {
            self.models.insert(name.into(), wit::Model::open(Some(name))?);
        }
        Ok(&self.models[name])
    }
}

impl Model for wit::Model {
    type Generation = wit::Generation;

    fn tokenize(&self, text: &[u8], options: TokenizeOptions) -> Result<Vec<u32>, Error> {
        Ok(wit::Model::tokenize(self, text, options.into())?)
    }

    fn detokenize(&self, tokens: &[u32], special: bool) -> Result<Vec<u8>, Error> {
        Ok(wit::Model::detokenize(self, tokens, special)?)
    }

    fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        Ok(wit::Model::embed(self, tokens)?)
    }

    fn relevance(&self, query: &[u8], document: &[u8]) -> Result<Relevance, Error> {
        Ok(wit::Model::relevance(self, query, document)?.into())
    }

    fn start(&self, request: Request) -> Result<wit::Generation, Error> {
        let wanted = self.request(&request.prompt.into());
        for setting in request.settings {
            wanted.set(&setting.into());
        }
        if !request.logit_bias.is_empty() {
            wanted.set_logit_bias(&request.logit_bias);
        }
        if let Some(top) = request.log_probabilities {
            wanted.set_log_probabilities(top);
        }
        wanted.set_choices(request.choices);
        wanted.set_response_format(&request.response_format.into());
        wanted.set_tool_choice(&request.tool_choice.into());
        Ok(wit::Request::start(wanted)?)
    }
}

impl Generation for wit::Generation {
    fn next(&mut self) -> Result<Event, Error> {
        Ok(wit::Generation::next(self)?.into())
    }
}
