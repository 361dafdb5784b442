//! Runs tests on a model that is open.

use std::time::{Duration, Instant};

use trefoil_contract::{Error, Event, Prompt, Request, ResponseFormat, Setting, Value};
use trefoil_host::{CallError, Generation, Inference};

use super::test::Test;

/// What `tg128-json` writes: records with what records have, more of them than it has time for.
const JSON_SCHEMA: &str = r#"{
    "type": "array",
    "minItems": 60000,
    "items": {
        "type": "object",
        "properties": {
            "name": { "type": "string", "minLength": 3, "maxLength": 40 },
            "age": { "type": "integer", "minimum": 0, "maximum": 120 },
            "email": { "type": "string", "pattern": "^[a-z.]{2,20}@[a-z]{2,10}\\.(?:com|org)$" },
            "kind": { "enum": ["person", "company", "other"] },
            "note": { "type": ["string", "null"], "maxLength": 80 },
            "scores": { "type": "array", "items": { "type": "number" }, "maxItems": 3 }
        },
        "required": ["name", "age", "email", "kind", "note", "scores"],
        "additionalProperties": false
    }
}"#;

/// An open model with what prompts need.
pub(crate) struct Bench {
    inference: Inference,
    vocabulary_tokens: u32,
    end_of_generation: Vec<u32>,
    /// State of the generator of prompts (xorshift, Marsaglia 2003). Every prompt is another one,
    /// so that none is in the cache already.
    random: u64,
}

impl Bench {
    pub(crate) fn new(mut inference: Inference) -> Result<Self, CallError> {
        let info = inference.info()?;
        Ok(Bench {
            inference,
            vocabulary_tokens: info.vocabulary_tokens,
            end_of_generation: info.end_of_generation,
            random: 0x9e37_79b9_7f4a_7c15,
        })
    }

    /// Tokens per second.
    pub(crate) fn run(&mut self, test: Test) -> Result<f64, CallError> {
        let (tokens, time) = match test {
            Test::Prefill { tokens } => (tokens, self.prefill(tokens)?),
            Test::Decode { tokens, depth, batch } => {
                (tokens * batch, self.decode(tokens, depth.max(1), batch, ResponseFormat::Text)?)
            }
            Test::Json { tokens } => {
                let format = ResponseFormat::JsonSchema(JSON_SCHEMA.to_owned());
                (tokens, self.decode(tokens, 1, 1, format)?)
            }
        };
        Ok(f64::from(tokens) / time.as_secs_f64())
    }

    /// Time from the prompt to the choice of the first token.
    fn prefill(&mut self, tokens: u32) -> Result<Duration, CallError> {
        let prompt = self.prompt(tokens);
        let start = Instant::now();
        let generation = self.start(prompt, ResponseFormat::Text)?;
        self.first_tokens(std::slice::from_ref(&generation))?;
        let time = start.elapsed();
        self.inference.cancel(generation)?;
        Ok(time)
    }

    /// Time of `tokens` steps of all sequences behind prompts of `depth` tokens.
    fn decode(
        &mut self,
        tokens: u32,
        depth: u32,
        batch: u32,
        format: ResponseFormat,
    ) -> Result<Duration, CallError> {
        let mut generations = Vec::new();
        for _ in 0..batch {
            let prompt = self.prompt(depth);
            generations.push(self.start(prompt, format.clone())?);
        }
        self.first_tokens(&generations)?;
        let handles: Vec<_> = generations.iter().collect();
        let start = Instant::now();
        for _ in 0..tokens {
            for event in self.inference.advance(&handles)? {
                let Event::Delta(_) = event? else { return Err(unexpected()) };
            }
        }
        let time = start.elapsed();
        for generation in generations {
            self.inference.cancel(generation)?;
        }
        Ok(time)
    }

    /// Steps until every generation has its first token.
    fn first_tokens(&mut self, generations: &[Generation]) -> Result<(), CallError> {
        let mut waiting: Vec<_> = generations.iter().collect();
        while !waiting.is_empty() {
            let events = self.inference.advance(&waiting)?;
            let mut still = Vec::new();
            for (generation, event) in waiting.into_iter().zip(events) {
                match event? {
                    Event::Delta(_) => {}
                    Event::PromptProgress(_) => still.push(generation),
                    _ => return Err(unexpected()),
                }
            }
            waiting = still;
        }
        Ok(())
    }

    fn start(
        &mut self,
        prompt: Vec<u32>,
        response_format: ResponseFormat,
    ) -> Result<Generation, CallError> {
        let mut request = Request::new(Prompt::Tokens(prompt));
        request.response_format = response_format;
        request.settings = vec![
            Setting::new("temperature", Value::Number(0.0)),
            Setting::new("max-tokens", Value::Integer(0)),
        ];
        // A token that ends the answer would end the measurement.
        let never = self.end_of_generation.iter().map(|token| (*token, f32::NEG_INFINITY));
        request.logit_bias = never.collect();
        self.inference.start(request)
    }

    fn prompt(&mut self, tokens: u32) -> Vec<u32> {
        let mut token = || {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            ((self.random >> 32) % u64::from(self.vocabulary_tokens.max(1))) as u32
        };
        (0..tokens).map(|_| token()).collect()
    }
}

fn unexpected() -> CallError {
    CallError::Refused(Error::Other {
        code: "bench".into(),
        message: "the engine ended a generation that was not to end; measure another engine or \
                  model"
            .into(),
    })
}
