//! OpenAI's API as JSON, without a server: bodies of requests become what the contract's
//! `inference` is asked, its events become answers, whole or in chunks, and what goes wrong becomes
//! an error body with a status.
//!
//! It does no I/O and knows no HTTP server: whoever has a request's bytes calls [`read`], asks a
//! model, and gives the events to an [`Answer`]. The server (`trefoil serve`) does so in its
//! threads; where there is nothing but one request and a model, as in the app `server` inside a
//! composition, [`answer`] does all of it.

#![deny(missing_docs)]

mod answer;
mod body;
mod chat;
mod completions;
mod content;
mod embeddings;
mod endpoint;
mod failure;
mod info;
mod openapi;
mod rerank;
mod responses;
mod sampling;
mod service;
mod tokens;
mod tool_choice;
mod usage;

pub use answer::{Answer, Asked, GenerationRequest, Stamp};
pub use body::{BODY_BYTES_MAX, read};
pub use chat::{ChatAnswer, ChatChunk, ChatRequest, ChatResponse};
pub use completions::{CompletionAnswer, CompletionRequest, CompletionResponse};
pub use embeddings::{EmbeddingRequest, EmbeddingResponse, Embeddings, Text};
pub use failure::{ErrorBody, Failure};
pub use info::{Health, ModelBody, ModelList, choose};
pub use openapi::document;
pub use rerank::{RerankRequest, RerankResponse, Reranking};
pub use responses::{ResponseBody, ResponsesAnswer, ResponsesRequest};
pub use service::{Client, Generation, Gone, Incoming, Model, Models, answer};
pub use tokens::{DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse};
