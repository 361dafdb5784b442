//! A configuration written as a program: short and sober answers, longer and livelier ones from
//! models whose name says that they tell stories.
//!
//! ```text
//! cargo build --release -p trefoil-example-configuration --target wasm32-wasip2
//! trefoil compose --model model.gguf --config trefoil_example_configuration.wasm -o out.wasm
//! ```

#![allow(missing_docs)] // Generated bindings.

mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "configuration-component", generate_all });
}

use bindings::exports::trefoil::llm::configuration::{Guest, Part, Setting};
use bindings::trefoil::llm::types::{Role, Value};

struct Configuration;

impl Guest for Configuration {
    fn configure(parts: Vec<Part>) -> Result<Vec<Setting>, String> {
        let model = parts
            .iter()
            .find(|part| part.role == Role::Weights)
            .ok_or("this configuration needs a model with weights")?;
        let tells_stories = model.name.contains("stories");
        let (tokens, temperature) = if tells_stories { (48, 1.0) } else { (16, 0.3) };
        Ok(vec![
            Setting { key: "max-tokens".into(), value: Value::Integer(tokens) },
            Setting { key: "temperature".into(), value: Value::Number(temperature) },
        ])
    }
}

bindings::export!(Configuration with_types_in bindings);
