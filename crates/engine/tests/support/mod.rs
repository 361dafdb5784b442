//! Engines over tiny models in memory.
#![allow(dead_code)] // Each test uses a part.

use std::cell::Cell;
use std::rc::Rc;

use trefoil_contract::{Event, FinishReason, Part, Prompt, Result, Role, Setting, Usage, Value};
use trefoil_engine::{Engine, Generation, Imports, Model, Request};
use trefoil_fixtures::{TinyLlama, tiny_llama};

/// Imports that hold models in memory.
pub(crate) struct Memory {
    pub(crate) models: Vec<(Part, Vec<u8>)>,
    pub(crate) configuration: Result<Vec<Setting>, String>,
    pub(crate) bytes_read: Cell<u64>,
}

impl Imports for Memory {
    fn parts(&self) -> Result<Vec<Part>> {
        Ok(self.models.iter().map(|(part, _)| part.clone()).collect())
    }

    fn read(&self, part: u32, offset: u64, length: u32) -> Result<Vec<u64>> {
        assert!(length <= trefoil_contract::READ_LENGTH_MAX);
        let bytes = &self.models[part as usize].1;
        let start = bytes.len().min(offset as usize);
        let end = bytes.len().min(start + length as usize);
        self.bytes_read.set(self.bytes_read.get() + (end - start) as u64);
        Ok(trefoil_contract::words(&bytes[start..end]))
    }

    fn configure(&self, parts: &[Part]) -> Result<Vec<Setting>, String> {
        assert_eq!(parts.len(), self.models.len());
        self.configuration.clone()
    }

    fn collective_rank(&self) -> u32 {
        0
    }

    fn collective_size(&self) -> u32 {
        1
    }

    fn broadcast(&self, _: &[u8]) -> Result<Vec<u8>> {
        panic!("there is nobody to exchange with")
    }

    fn all_gather(&self, _: &[u8]) -> Result<Vec<u8>> {
        panic!("there is nobody to exchange with")
    }

    fn gather(&self, _: &[u8]) -> Result<Vec<u8>> {
        panic!("there is nobody to exchange with")
    }
}

pub(crate) fn memory(models: &[TinyLlama]) -> Memory {
    holding(models.iter().map(|options| (options.name.clone(), tiny_llama(options))))
}

/// Models by name and file.
pub(crate) fn holding(files: impl Iterator<Item = (String, Vec<u8>)>) -> Memory {
    let model = |(name, bytes): (String, Vec<u8>)| {
        let part = Part {
            name,
            role: Role::Weights,
            format: "gguf".into(),
            size: bytes.len() as u64,
            sha256: String::new(),
            license: String::new(),
        };
        (part, bytes)
    };
    Memory {
        models: files.map(model).collect(),
        configuration: Ok(Vec::new()),
        bytes_read: Cell::new(0),
    }
}

pub(crate) fn engine(imports: Memory) -> Engine {
    Engine::new("cpu", Rc::new(imports))
}

pub(crate) fn tiny() -> Engine {
    engine(memory(&[TinyLlama::default()]))
}

pub(crate) fn integer(key: &str, value: i64) -> Setting {
    Setting::new(key, Value::Integer(value))
}

pub(crate) fn start(model: &Rc<Model>, prompt: Prompt, settings: &[Setting]) -> Result<Generation> {
    let mut request = Request::new(Rc::clone(model), prompt);
    for setting in settings {
        request.set(setting.clone());
    }
    request.start()
}

pub(crate) fn text(prompt: &str) -> Prompt {
    Prompt::Text(prompt.as_bytes().to_vec())
}

/// Runs a generation to its end: text, tokens, reason and usage.
pub(crate) fn finish(generation: &Generation) -> (String, Vec<u32>, FinishReason, Usage) {
    let (mut text, mut tokens) = (String::new(), Vec::new());
    loop {
        match generation.next().expect("the step succeeds") {
            Event::Delta(delta) => {
                text.push_str(&delta.text);
                tokens.extend(delta.tokens);
            }
            Event::Done(done) => return (text, tokens, done.reason, done.usage),
            _ => {}
        }
    }
}

pub(crate) const GREEDY: &str = "temperature";

pub(crate) fn greedy(max_tokens: i64) -> Vec<Setting> {
    vec![Setting::new(GREEDY, Value::Number(0.0)), integer("max-tokens", max_tokens)]
}

pub(crate) fn message<T>(result: Result<T>) -> String {
    result.err().expect("should be refused").to_string()
}
