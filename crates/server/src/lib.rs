//! An OpenAI-compatible server: HTTP, requests, batches and limits, over models that compute
//! elsewhere ([`Backend`]). It knows nothing of WebAssembly and prints nothing.
//!
//! Every model has a thread of its own (`batch`), which takes requests from a bounded queue and
//! does one step after the other for all answers that are under way. Handlers (`api`) stand between
//! HTTP and that thread; what they read and write is `trefoil-openai`'s.

mod api;
mod backend;
mod batch;
mod metrics;
mod models;
mod serve;

pub use backend::{Backend, BackendError, GenerationId, Open};
pub use batch::Limits;
pub use models::{ModelSource, Models};
pub use serve::{Access, Options, Server, Stopper, Tls};
