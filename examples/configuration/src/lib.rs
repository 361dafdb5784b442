//! A configuration written as a program: a longer context for small models, and creative
//! sampling for models whose name says that they tell stories.
//!
//! ```text
//! cargo build --release -p trefoil-example-configuration --target wasm32-wasip2
//! trefoil compose --engine cpu --model model.gguf --config trefoil_example_configuration.wasm \
//!     --app chat -o chat.wasm
//! ```

#![allow(missing_docs)] // Generated bindings.

mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "configuration-component", generate_all });
}

use bindings::exports::trefoil::llm::configuration::{Guest, Part, Setting};
use bindings::trefoil::llm::types::{Role, Value};

/// Weights below this many bytes leave room for a long context.
const SMALL_MODEL_BYTES: u64 = 500_000_000;

struct Configuration;

impl Guest for Configuration {
    fn configure(parts: Vec<Part>) -> Result<Vec<Setting>, String> {
        let model = parts
            .iter()
            .find(|part| part.role == Role::Weights)
            .ok_or("this configuration needs a model with weights")?;
        let context = if model.size < SMALL_MODEL_BYTES { 4096 } else { 2048 };
        let temperature = if model.name.contains("stories") { 1.0 } else { 0.3 };
        Ok(vec![
            Setting { key: "context-tokens".into(), value: Value::Integer(context) },
            Setting { key: "temperature".into(), value: Value::Number(temperature) },
        ])
    }
}

bindings::export!(Configuration with_types_in bindings);
