//! Packs models into components, composes and recomposes components, and inspects them.
//!
//! Files may be larger than memory: of each component only a *skeleton* is held, which is
//! everything that decides its type. Graphs are built on skeletons; the bulk is streamed past them
//! when a result is written. This crate reads and writes the files that it is given, prints
//! nothing, has no network, and knows no WebAssembly runtime.
//!
//! ```no_run
//! use std::path::Path;
//! use trefoil_compose::{Component, Model, PackOptions, Parts, compose, configuration};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Model::from_gguf(Path::new("smollm2.gguf"), &PackOptions::default(), &mut ())?;
//! let parts = Parts {
//!     engine: Component::from_path(Path::new("cpu.wasm"))?,
//!     model: Some(model.models()),
//!     configuration: configuration(&[])?,
//!     collective: Some(Component::from_path(Path::new("solo.wasm"))?),
//!     app: Some(Component::from_path(Path::new("chat.wasm"))?),
//! };
//! compose(&parts, Path::new("out.wasm"), &mut ())?;
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs)]

mod arranged;
mod component;
mod compose;
mod configuration;
mod contract;
mod gguf_source;
mod graph;
mod inspect;
mod interface;
mod layout;
mod model;
mod model_files;
mod models;
mod outline;
mod output;
mod part_file;
mod progress;
mod read_at;
mod recompose;
mod record;
mod remote;
mod router;
mod sections;
mod segments;
mod skeleton;
mod splice;

pub use component::{Component, ComponentError};
pub use compose::{ComposeError, Parts, compose};
pub use configuration::{ConfigurationError, configuration, settings_from_toml};
pub use contract::GenerateError;
pub use inspect::{
    InspectError, InspectedPart, Inspection, MetadataEntry, ModelFile, Nested, NestedKind,
    TensorTypeShare, inspect,
};
pub use interface::{Kind, Role};
pub use model::{
    Model, PackError, PackOptions, PartRecord, SHARD_BYTES_MAX, SHARD_BYTES_MIN, Shard, pack,
};
pub use model_files::model_files;
pub use models::Models;
pub use outline::{Outline, OutlinedModule};
pub use output::OutputError;
pub use part_file::{PartFile, PartFileError};
pub use progress::Progress;
pub use read_at::ReadAt;
pub use recompose::{Change, Changes, cache_key, recompose};
pub use record::{COMPOSITION_SECTION, Record, RecordError, RecordedPart};
pub use remote::model_over_http;
pub use sections::WasmError;
