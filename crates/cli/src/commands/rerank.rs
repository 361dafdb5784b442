use anyhow::Result;
use serde_json::{Value, json};
use trefoil_host::{CallError, Inference};

use crate::fields::{Fields, invalid, json_text};
use crate::window::{Window, WindowFlags, input};

/// Sort documents by how well they go with a query
///
/// Takes a model that was trained for it, a reranker. Prints a line for each document, best first:
/// its score, its place among the documents from 0, and its text. JSON: `results` with `index`,
/// `score` and `document`. JSON lines: `query` and `documents`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) window: WindowFlags,
    /// What is looked for
    #[arg(
        short = 'Q',
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        required_unless_present = "jsonl"
    )]
    query: Option<String>,
    /// A document; may be given several times
    #[arg(short, long = "document", value_name = "TEXT", allow_hyphen_values = true)]
    documents: Vec<String>,
    /// A file with a document on each line; `-` is standard input
    #[arg(conflicts_with_all = ["documents", "jsonl"], default_value = "-")]
    file: String,
}

impl Window for Arguments {
    fn request(&self) -> Result<Value> {
        let documents = match self.documents.as_slice() {
            [] => {
                let text = input(Some(&self.file))?;
                let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                lines.map(|line| json_text(line.to_vec())).collect()
            }
            texts => texts.iter().map(|text| json!(text)).collect::<Vec<_>>(),
        };
        Ok(json!({ "query": self.query, "documents": documents }))
    }

    fn answer(&self, inference: &mut Inference, mut request: Fields) -> Result<Value, CallError> {
        let (query, documents) = (request.bytes("query")?, request.texts("documents")?);
        request.finish("`query`, `documents`")?;
        let (Some(query), Some(documents)) = (query, documents) else {
            return Err(invalid("give `query` and `documents`").into());
        };
        let score = |(index, document)| {
            let document: Vec<u8> = document;
            let score = inference.relevance(&query, &document)?.score;
            Ok((score, json!({ "index": index, "score": score, "document": json_text(document) })))
        };
        let scored = documents.into_iter().enumerate().map(score);
        let mut scored = scored.collect::<Result<Vec<_>, CallError>>()?;
        // Equal ones stay in their order.
        scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let results: Vec<_> = scored.into_iter().map(|(_, result)| result).collect();
        Ok(json!({ "results": results }))
    }

    fn show(&self, answer: &Value) -> Vec<u8> {
        let mut lines = String::new();
        for result in answer["results"].as_array().into_iter().flatten() {
            let score = result["score"].as_f64().unwrap_or_default() as f32;
            let document = &result["document"];
            let text = document.as_str().map_or_else(|| document.to_string(), str::to_owned);
            lines += &format!("{score}\t{}\t{text}\n", result["index"]);
        }
        lines.into_bytes()
    }
}
