//! The description of what is served, for programs. The functions only carry it.
#![allow(dead_code)]

use utoipa::OpenApi;

use crate::chat::{ChatChunk, ChatRequest, ChatResponse};
use crate::completions::{CompletionRequest, CompletionResponse};
use crate::embeddings::{EmbeddingRequest, EmbeddingResponse};
use crate::failure::ErrorBody;
use crate::info::{Health, ModelBody, ModelList};
use crate::rerank::{RerankRequest, RerankResponse};
use crate::responses::{ResponseBody, ResponsesRequest};
use crate::tokens::{DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse};

/// What is served, as OpenAPI describes it.
#[derive(OpenApi)]
#[openapi(
    info(title = "Trefoil", description = "OpenAI-compatible access to models in a sandbox"),
    paths(
        list,
        one,
        health,
        chat,
        completions,
        responses,
        embeddings,
        rerank,
        tokenize,
        detokenize
    ),
    components(schemas(ChatChunk))
)]
struct Document;

/// The description of all that this crate reads and writes. A server merges its own pages into it.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Lists the models.
#[utoipa::path(
    get, path = "/v1/models", tag = "info", operation_id = "list_models",
    responses(
        (status = 200, description = "The models", body = ModelList),
        (status = "default", description = "Why there is no answer", body = ErrorBody),
    )
)]
fn list() {}

/// Shows a model.
#[utoipa::path(
    get, path = "/v1/models/{name}", tag = "info", operation_id = "get_model",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The model", body = ModelBody),
        (status = "default", description = "Why there is no answer", body = ErrorBody),
    )
)]
fn one() {}

/// Says that the server is up.
#[utoipa::path(
    get, path = "/health", tag = "info", operation_id = "health",
    responses((status = 200, description = "It is", body = Health))
)]
fn health() {}

/// Answers a conversation.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "chat", operation_id = "create_chat_completion",
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answers; with `stream` as server-sent events, each a \
            `ChatChunk`, and at the end `[DONE]`", body = ChatResponse),
        (status = "default", description = "Why there is none", body = ErrorBody),
    )
)]
fn chat() {}

/// Goes on with a text.
#[utoipa::path(
    post, path = "/v1/completions", tag = "completions", operation_id = "create_completion",
    request_body = CompletionRequest,
    responses(
        (status = 200, description = "The answers; with `stream` as server-sent events of the \
            same form, and at the end `[DONE]`", body = CompletionResponse),
        (status = "default", description = "Why there is none", body = ErrorBody),
    )
)]
fn completions() {}

/// Answers a conversation of which nothing is kept.
#[utoipa::path(
    post, path = "/v1/responses", tag = "responses", operation_id = "create_response",
    request_body = ResponsesRequest,
    responses(
        (status = 200, description = "The response; with `stream` as server-sent events, each with \
            its `type` and `sequence_number`", body = ResponseBody),
        (status = "default", description = "Why there is none", body = ErrorBody),
    )
)]
fn responses() {}

/// Computes the vectors of texts.
#[utoipa::path(
    post, path = "/v1/embeddings", tag = "embeddings", operation_id = "create_embedding",
    request_body = EmbeddingRequest,
    responses(
        (status = 200, description = "The vectors", body = EmbeddingResponse),
        (status = "default", description = "Why there are none", body = ErrorBody),
    )
)]
fn embeddings() {}

/// Sorts documents by how well they go with a query.
#[utoipa::path(
    post, path = "/v1/rerank", tag = "embeddings", operation_id = "rerank",
    request_body = RerankRequest,
    responses(
        (status = 200, description = "The documents, best first", body = RerankResponse),
        (status = "default", description = "Why there is no answer", body = ErrorBody),
    )
)]
fn rerank() {}

/// Turns text into tokens.
#[utoipa::path(
    post, path = "/tokenize", tag = "tokens", operation_id = "tokenize",
    request_body = TokenizeRequest,
    responses(
        (status = 200, description = "The tokens", body = TokenizeResponse),
        (status = "default", description = "Why there are none", body = ErrorBody),
    )
)]
fn tokenize() {}

/// Turns tokens into text.
#[utoipa::path(
    post, path = "/detokenize", tag = "tokens", operation_id = "detokenize",
    request_body = DetokenizeRequest,
    responses(
        (status = 200, description = "The text", body = DetokenizeResponse),
        (status = "default", description = "Why there is none", body = ErrorBody),
    )
)]
fn detokenize() {}
