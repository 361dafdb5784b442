//! Fuzz targets: one function for each parser that reads what strangers wrote.
//!
//! A target panics where the parser breaks a promise; a parser that refuses its input has kept
//! it. The functions are plain Rust, so that `cargo test` replays the corpora on a stable
//! compiler. To search for new inputs, in the workspace's root:
//!
//! ```sh
//! cargo +nightly fuzz run gguf --features libfuzzer
//! ```
//!
//! To add a target `x`: a function `x` in a file of its own here and its row in [`TARGETS`]; a
//! file `fuzz_targets/x.rs` and its `[[bin]]` in `Cargo.toml`, both copied from a neighbour;
//! seeds, below 20 KB each, in `corpus/x/`. A test says which of these is missing.

#![deny(missing_docs)]

mod chat_template;
mod component;
mod constraint;
mod decoder;
mod gguf;
mod reference;
mod remote;
mod settings_toml;
mod snapshot;
mod tokenizer;
mod tool_calls;

pub use chat_template::chat_template;
pub use component::component;
pub use constraint::constraint;
pub use decoder::decoder;
pub use gguf::gguf;
pub use reference::reference;
pub use remote::remote;
pub use settings_toml::settings_toml;
pub use snapshot::{snapshot, snapshot_seeds};
pub use tokenizer::tokenizer;
pub use tool_calls::tool_calls;

/// A target: it gets any bytes and must return.
pub type Target = fn(&[u8]);

/// Every target under its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("chat_template", chat_template),
    ("component", component),
    ("constraint", constraint),
    ("decoder", decoder),
    ("gguf", gguf),
    ("reference", reference),
    ("remote", remote),
    ("settings_toml", settings_toml),
    ("snapshot", snapshot),
    ("tokenizer", tokenizer),
    ("tool_calls", tool_calls),
];
