use std::sync::OnceLock;

use trefoil_contract::Error;
use trefoil_decoder::{CacheType, Decoder, Options};
use trefoil_fixtures::{Edited, golden};
use trefoil_generation::{Forward, Logits, Span};
use trefoil_gguf::{Array, Gguf, TensorType, Value};

/// Longest change of a tensor's shape, in bytes of the tensor.
const TENSOR_BYTES_MAX: u64 = 1 << 20;
/// Most changes.
const EDITS_MAX: usize = 64;

/// A model's metadata and tensors. What loads computes logits for every token of the vocabulary, and
/// what does not is refused as a model that is not valid or not supported.
///
/// The input is a GGUF file, or lines that change a model of `tests/reference/architectures`: first
/// the file's name, then `KEY=TVALUE` (T is `u`, `i`, `f`, `s`, `b`, `U`, `B` for whole numbers, floats,
/// texts, booleans and lists; a key that begins with a dot is one of the architecture), `-NAME` for a
/// key or tensor that goes, or `NAME:TYPE:SHAPE`.
pub fn decoder(data: &[u8]) {
    if data.starts_with(b"GGUF") {
        return compute(data);
    }
    let Ok(text) = str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let name = lines.next().unwrap_or_default();
    let Some((_, model)) = models().iter().find(|(each, _)| each == name) else { return };
    let mut model = model.clone();
    for line in lines.take(EDITS_MAX) {
        edit(&mut model, line);
    }
    compute(&model.file());
}

fn models() -> &'static [(String, Edited)] {
    static MODELS: OnceLock<Vec<(String, Edited)>> = OnceLock::new();
    MODELS.get_or_init(|| {
        let models = golden::architectures().into_iter();
        models.map(|model| (model.name, Edited::new(&model.file))).collect()
    })
}

fn edit(model: &mut Edited, line: &str) {
    let architecture = model.values.iter().find(|(key, _)| key == "general.architecture");
    let architecture = architecture.and_then(|(_, value)| value.as_str()).unwrap_or_default();
    let full = |key: &str| match key.starts_with('.') {
        true => format!("{architecture}{key}"),
        false => key.to_owned(),
    };
    if let Some(name) = line.strip_prefix('-') {
        let name = full(name);
        model.values.retain(|(key, _)| *key != name);
        model.tensors.retain(|tensor| tensor.name != name);
    } else if let Some((key, value)) = line.split_once('=') {
        let key = full(key);
        if let Some(value) = parse(value) {
            model.set(&key, value);
        }
    } else if let [name, tensor_type, shape] = line.split(':').collect::<Vec<_>>()[..] {
        let Some(tensor) = model.tensors.iter_mut().find(|tensor| tensor.name == name) else {
            return;
        };
        let dimensions: Vec<u64> = shape.split(',').filter_map(|it| it.parse().ok()).collect();
        let Some(tensor_type) = tensor_type.parse().ok().and_then(TensorType::from_number) else {
            return;
        };
        let size = tensor_type.size_of(&dimensions);
        if !dimensions.is_empty() && size.is_some_and(|size| size <= TENSOR_BYTES_MAX) {
            tensor.reshape(&dimensions, tensor_type);
        }
    }
}

fn parse(text: &str) -> Option<Value> {
    let (kind, value) = text.split_at_checked(1)?;
    let list = || value.split(',').filter(|item| !item.is_empty());
    Some(match kind {
        "u" => Value::U64(value.parse().ok()?),
        "i" => Value::I64(value.parse().ok()?),
        "f" => Value::F64(value.parse().ok()?),
        "s" => Value::from(value),
        "b" => Value::Bool(value == "true"),
        "U" => Value::Array(Array::U32(list().map_while(|item| item.parse().ok()).collect())),
        "B" => Value::Array(Array::Bool(list().map(|item| item == "true").collect())),
        _ => return None,
    })
}

fn compute(file: &[u8]) {
    let Ok(gguf) = Gguf::read(&file) else { return };
    let options = Options { context_tokens: 0, sequences_max: 1, kv_cache_type: CacheType::F16 };
    let mut decoder = match Decoder::load(&gguf, &file, options) {
        Ok(decoder) => decoder,
        Err(Error::InvalidModel(text) | Error::Unsupported(text)) => {
            return assert!(!text.is_empty());
        }
        Err(error) => panic!("{error:?}"),
    };
    let tokens = decoder.vocabulary_tokens() as u32;
    let mut logits = Vec::new();
    for (position, prompt) in [(0, &[0, tokens / 2, tokens - 1][..]), (3, &[1 % tokens])] {
        let span = Span { sequence: 0, position, tokens: prompt, logits: Logits::All };
        match decoder.forward(&[span], &mut logits) {
            Ok(()) => assert_eq!(logits.len(), prompt.len() * tokens as usize),
            // A context of few tokens.
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
