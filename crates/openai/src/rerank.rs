//! `POST /v1/rerank`, which OpenAI does not have: as Jina, Cohere and llama.cpp have it.

use serde::{Deserialize, Serialize};
use trefoil_contract::Relevance;
use utoipa::ToSchema;

use crate::Failure;
use crate::usage::UsageBody;

/// Documents of a request at most.
const DOCUMENTS_MAX: usize = 2048;

/// A request to sort documents by how well they go with a query.
#[derive(Debug, Deserialize, ToSchema)]
pub struct RerankRequest {
    /// The model's name; may be missing where there is only one.
    model: Option<String>,
    /// What is looked for.
    query: String,
    /// Where it is looked for.
    documents: Vec<Document>,
    /// How many of the best are wanted; all of them by default.
    top_n: Option<usize>,
    /// Give the documents back as well.
    #[serde(default)]
    return_documents: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum Document {
    /// Its text.
    Text(String),
    /// Its text as a field.
    Field(DocumentText),
}

/// A document.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
struct DocumentText {
    text: String,
}

/// The documents, best first.
#[derive(Debug, Serialize, ToSchema)]
pub struct RerankResponse {
    /// `list`
    object: &'static str,
    model: String,
    results: Vec<Ranked>,
    usage: UsageBody,
}

/// A document, and how well it goes with the query.
#[derive(Debug, Serialize, ToSchema)]
struct Ranked {
    /// Its place in the request.
    index: usize,
    /// The higher, the better: as the model gives it, with no bounds.
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<DocumentText>,
}

impl RerankRequest {
    /// The model that it names.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The query, the documents, and what their scores are given to.
    ///
    /// # Errors
    /// No document or too many, or none wanted.
    pub fn texts(self, model: &str) -> Result<(String, Vec<String>, Reranking), Failure> {
        let count = self.documents.len();
        if count == 0 || count > DOCUMENTS_MAX {
            let message = format!("`documents` has {count} texts; give 1 to {DOCUMENTS_MAX}");
            return Err(Failure::parameter("documents", message));
        }
        if self.top_n == Some(0) {
            return Err(Failure::parameter("top_n", "`top_n` is 0; give at least 1"));
        }
        let text = |document| match document {
            Document::Text(text) | Document::Field(DocumentText { text }) => text,
        };
        let documents: Vec<String> = self.documents.into_iter().map(text).collect();
        let kept = if self.return_documents { documents.clone() } else { Vec::new() };
        let reranking = Reranking {
            model: model.to_owned(),
            documents: kept,
            top_n: self.top_n.unwrap_or(count),
            results: Vec::new(),
            tokens: 0,
        };
        Ok((self.query, documents, reranking))
    }
}

/// Makes an answer of scores.
#[derive(Debug)]
pub struct Reranking {
    model: String,
    /// Those that are given back.
    documents: Vec<String>,
    top_n: usize,
    results: Vec<Ranked>,
    tokens: u64,
}

impl Reranking {
    /// Adds the next document's score.
    pub fn add(&mut self, relevance: Relevance) {
        let index = self.results.len();
        let document = self.documents.get_mut(index).map(std::mem::take);
        self.results.push(Ranked {
            index,
            relevance_score: relevance.score,
            document: document.map(|text| DocumentText { text }),
        });
        self.tokens += u64::from(relevance.tokens);
    }

    /// The best of those that were added; equal ones stay in their order.
    pub fn whole(mut self) -> RerankResponse {
        self.results.sort_by(|a, b| b.relevance_score.total_cmp(&a.relevance_score));
        self.results.truncate(self.top_n);
        let usage = UsageBody::of_prompt(self.tokens);
        RerankResponse { object: "list", model: self.model, results: self.results, usage }
    }
}
