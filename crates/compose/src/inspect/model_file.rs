use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value as Json, json};
use trefoil_gguf::{Array, Gguf, Value};

/// Lists longer than this are abbreviated.
const LIST_ELEMENTS_MAX: usize = 8;
/// Texts longer than this are cut, in bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// How deep lists of lists are shown.
const LIST_DEPTH_MAX: u32 = 4;

/// The header of a GGUF file.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct ModelFile {
    /// Version of the format.
    pub gguf_version: u32,
    /// Number of weights.
    pub parameters: u64,
    /// Number of tensors.
    pub tensors: u64,
    /// Bytes of the tensors that computing one token reads: all, but not an embedding of which it
    /// reads one row.
    pub token_bytes: u64,
    /// How the weights are stored; the type with the most bytes first.
    pub tensor_types: Vec<TensorTypeShare>,
    /// Keys and values in the file's order.
    pub metadata: Vec<MetadataEntry>,
}

/// The tensors of one type.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct TensorTypeShare {
    /// For example `Q4_K`.
    pub tensor_type: &'static str,
    /// Number of tensors.
    pub tensors: u64,
    /// Number of weights.
    pub elements: u64,
    /// Bytes.
    pub bytes: u64,
    /// Share of all weights, from 0 to 1.
    pub share_of_elements: f64,
    /// Share of all tensors' bytes, from 0 to 1.
    pub share_of_bytes: f64,
}

/// A key with its value.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct MetadataEntry {
    /// For example `llama.context_length`.
    pub key: String,
    /// The value. A long list is an object of its `length` and its `first` elements; bytes that
    /// are not UTF-8 appear as U+FFFD.
    pub value: Json,
}

impl ModelFile {
    pub(super) fn new(gguf: &Gguf) -> ModelFile {
        let mut types: BTreeMap<&'static str, (u64, u64, u64)> = BTreeMap::new();
        let (mut parameters, mut all_bytes) = (0u64, 0u64);
        for tensor in &gguf.tensors {
            let (tensors, elements, bytes) = types.entry(tensor.tensor_type.name()).or_default();
            *tensors += 1;
            *elements = elements.saturating_add(tensor.elements());
            *bytes = bytes.saturating_add(tensor.size);
            parameters = parameters.saturating_add(tensor.elements());
            all_bytes = all_bytes.saturating_add(tensor.size);
        }
        let bytes = |name: &str| gguf.tensor(name).map(|tensor| tensor.size);
        // Without a matrix of its own for the output the embedding serves, as a whole.
        let embedding_bytes = match bytes("output.weight") {
            Some(_) => bytes("token_embd.weight").unwrap_or(0),
            None => 0,
        };
        let share = |part: u64, all: u64| if all == 0 { 0.0 } else { part as f64 / all as f64 };
        let mut tensor_types: Vec<_> = types
            .into_iter()
            .map(|(tensor_type, (tensors, elements, bytes))| TensorTypeShare {
                tensor_type,
                tensors,
                elements,
                bytes,
                share_of_elements: share(elements, parameters),
                share_of_bytes: share(bytes, all_bytes),
            })
            .collect();
        tensor_types.sort_by_key(|share| std::cmp::Reverse(share.bytes));
        let entry = |(key, value): (&str, &Value)| MetadataEntry {
            key: key.into(),
            value: shown(value, 0),
        };
        ModelFile {
            gguf_version: gguf.version,
            parameters,
            tensors: gguf.tensors.len() as u64,
            token_bytes: all_bytes - embedding_bytes,
            tensor_types,
            metadata: gguf.metadata.iter().map(entry).collect(),
        }
    }
}

fn text(bytes: &[u8]) -> Json {
    let shown = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
    let mut text = String::from_utf8_lossy(shown).into_owned();
    if shown.len() < bytes.len() {
        text.push('…');
    }
    text.into()
}

/// JSON knows neither infinities nor NaN; they are shown as texts.
fn number(value: f64) -> Json {
    if value.is_finite() { value.into() } else { value.to_string().into() }
}

fn shown(value: &Value, depth: u32) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::F32(value) => number(f64::from(*value)),
        Value::F64(value) => number(*value),
        Value::U64(value) => (*value).into(),
        Value::String(bytes) => text(bytes),
        Value::Array(array) => list(array, depth),
        other => match other.as_integer().map(i64::try_from) {
            Some(Ok(value)) => value.into(),
            _ => other.describe().into(),
        },
    }
}

fn list(array: &Array, depth: u32) -> Json {
    fn first<T: Copy>(list: &[T], json: impl Fn(T) -> Json) -> Vec<Json> {
        list.iter().take(LIST_ELEMENTS_MAX).map(|element| json(*element)).collect()
    }
    let elements: Vec<Json> = match array {
        Array::U8(list) => first(list, Json::from),
        Array::I8(list) => first(list, Json::from),
        Array::U16(list) => first(list, Json::from),
        Array::I16(list) => first(list, Json::from),
        Array::U32(list) => first(list, Json::from),
        Array::I32(list) => first(list, Json::from),
        Array::U64(list) => first(list, Json::from),
        Array::I64(list) => first(list, Json::from),
        Array::F32(list) => first(list, |value| number(f64::from(value))),
        Array::F64(list) => first(list, number),
        Array::Bool(list) => first(list, Json::from),
        Array::String(strings) => strings.iter().take(LIST_ELEMENTS_MAX).map(text).collect(),
        Array::Array(lists) if depth < LIST_DEPTH_MAX => {
            lists.iter().take(LIST_ELEMENTS_MAX).map(|array| list(array, depth + 1)).collect()
        }
        _ => Vec::new(),
    };
    if elements.len() == array.len() {
        return Json::Array(elements);
    }
    json!({ "length": array.len(), "first": elements })
}
