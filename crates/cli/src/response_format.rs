//! The form that an answer must have, as flags.

use serde_json::Value;
use trefoil_contract::{Error, ResponseFormat};

use crate::fields::{Fields, invalid};

/// Longest file of a schema or a grammar, in bytes; the engine takes shorter ones only.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// At most one of them.
#[derive(clap::Args, Clone, Debug)]
#[group(multiple = false)]
pub(crate) struct ResponseFormatFlags {
    /// Answer with JSON that satisfies this JSON schema: a file, or the schema itself (`{...}`)
    #[arg(long, value_name = "FILE|JSON", value_parser = schema)]
    json_schema: Option<String>,
    /// Answer with text that this regular expression matches as a whole
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    regex: Option<String>,
    /// Answer with text that the grammar in this file derives, in Lark or GBNF
    #[arg(long, value_name = "FILE", value_parser = read)]
    grammar: Option<String>,
}

impl ResponseFormatFlags {
    /// What the flags say.
    pub(crate) fn get(&self) -> ResponseFormat {
        let schema = self.json_schema.clone().map(ResponseFormat::JsonSchema);
        let expression = self.regex.clone().map(ResponseFormat::Regex);
        let grammar = self.grammar.clone().map(ResponseFormat::Grammar);
        schema.or(expression).or(grammar).unwrap_or_default()
    }
}

/// A schema, or the content of the file that holds it.
fn schema(text: &str) -> Result<String, String> {
    match text.trim_start().starts_with('{') {
        true => Ok(text.to_owned()),
        false => read(text),
    }
}

fn read(file: &str) -> Result<String, String> {
    let about = |error: std::io::Error| format!("cannot read the file: {error}");
    let bytes = std::fs::metadata(file).map_err(about)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("the file has {bytes} bytes; at most {FILE_BYTES_MAX}"));
    }
    std::fs::read_to_string(file).map_err(about)
}

/// What a request that is a JSON object says, if it does: `json_schema` (an object or a text),
/// `regex` or `grammar` (texts).
pub(crate) fn response_format(request: &mut Fields) -> Result<Option<ResponseFormat>, Error> {
    let schema = request.take("json_schema").map(|schema| match schema {
        Value::String(text) => text,
        schema => schema.to_string(),
    });
    match (schema, request.string("regex")?, request.string("grammar")?) {
        (None, None, None) => Ok(None),
        (Some(schema), None, None) => Ok(Some(ResponseFormat::JsonSchema(schema))),
        (None, Some(expression), None) => Ok(Some(ResponseFormat::Regex(expression))),
        (None, None, Some(grammar)) => Ok(Some(ResponseFormat::Grammar(grammar))),
        _ => Err(invalid("give one of `json_schema`, `regex` and `grammar`")),
    }
}

/// The flag of the chat app that says the same; its files are not here.
pub(crate) fn argument(format: ResponseFormat) -> Option<String> {
    match format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonSchema(text) => Some(format!("--json-schema={text}")),
        ResponseFormat::Regex(text) => Some(format!("--regex={text}")),
        ResponseFormat::Grammar(text) => Some(format!("--grammar={text}")),
    }
}
