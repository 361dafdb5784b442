//! An app that shows whether two machines compute the same: it prints the SHA-256 of the logits
//! behind a prompt, bit for bit, and of what a seed generates from there.
//!
//! ```text
//! cargo build --release -p trefoil-example-fingerprint --target wasm32-wasip2
//! trefoil compose --engine cpu --model model.gguf --app trefoil-example-fingerprint.wasm -o f.wasm
//! trefoil run f.wasm "Once upon a time"
//! ```

use std::process::ExitCode;

use bindings::trefoil::llm::inference::{Event, Model, Prompt, Request, TokenizeOptions};
use bindings::trefoil::llm::types::Error;
use sha2::{Digest, Sha256};

#[allow(missing_docs, unreachable_pub)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "app", generate_all });
}

/// Seed of the generation unless a second argument gives one.
const SEED: u64 = 7;

/// Tokens that are generated.
const TOKENS: u32 = 24;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seed = arguments.get(1).map_or(Ok(SEED), |seed| seed.parse());
    let (Some(prompt), Ok(seed)) = (arguments.first(), seed) else {
        eprintln!("usage: fingerprint PROMPT [SEED]");
        return ExitCode::FAILURE;
    };
    match fingerprint(prompt, seed) {
        Ok(digest) => {
            println!("{digest}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn fingerprint(prompt: &str, seed: u64) -> Result<String, Error> {
    let model = Model::open(None)?;
    let tokens = model.tokenize(prompt.as_bytes(), TokenizeOptions::ADD_SPECIAL)?;
    let mut hash = Sha256::new();
    for logit in model.logits(&tokens)? {
        hash.update(logit.to_le_bytes());
    }
    let request = model.request(&Prompt::Tokens(tokens));
    request.set_max_tokens(TOKENS);
    request.set_temperature(1.0);
    request.set_seed(seed);
    let generation = Request::start(request)?;
    loop {
        match generation.next()? {
            Event::Delta(delta) => {
                delta.tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
            }
            Event::Done(_) => break,
            _ => {}
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
