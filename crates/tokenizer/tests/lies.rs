//! Every key of a tokenizer of each kind, changed to what cannot be: the file is refused by the key's
//! name, unless nothing reads it.
#![allow(missing_docs)]

use trefoil_gguf::{Array, Gguf, Strings, Value, Writer};
use trefoil_tokenizer::Tokenizer;

const TOKENS: [&str; 6] = ["<unk>", "<s>", "</s>", "a", "b", "ab"];

/// A valid file of each kind, with every key that its kind reads, by `tokenizer.ggml.model`.
fn files() -> Vec<(&'static str, Vec<(String, Value)>)> {
    let strings = |texts: &[&str]| Value::from(texts.iter().copied().collect::<Strings>());
    let shared = [
        ("tokens", strings(&TOKENS)),
        ("token_type", vec![2, 3, 3, 1, 1, 1].into()),
        ("bos_token_id", Value::U32(1)),
        ("eos_token_id", Value::U32(2)),
        ("eot_token_id", Value::U32(2)),
        ("eom_token_id", Value::U32(2)),
        ("fim_pad_token_id", Value::U32(2)),
        ("fim_rep_token_id", Value::U32(2)),
        ("fim_sep_token_id", Value::U32(2)),
        ("add_bos_token", Value::Bool(true)),
        ("add_eos_token", Value::Bool(true)),
    ];
    let kinds = [
        ("gpt2", vec![("pre", Value::from("smollm")), ("merges", strings(&["a b"]))]),
        (
            "llama",
            vec![
                ("scores", Value::Array(Array::F32(vec![0.0, 0.0, 0.0, -1.0, -2.0, -0.5]))),
                ("add_space_prefix", Value::Bool(false)),
            ],
        ),
    ];
    kinds
        .map(|(model, own)| {
            let entries = [("model", Value::from(model))].into_iter().chain(own);
            let entries = entries.chain(shared.clone());
            let key = |key| format!("tokenizer.ggml.{key}");
            (model, entries.map(|(name, value)| (key(name), value)).collect())
        })
        .into()
}

fn read(entries: &[(String, Value)]) -> Result<Tokenizer, String> {
    let mut writer = Writer::new();
    for (key, value) in entries {
        writer.value(key, value.clone());
    }
    let file = writer.to_bytes().expect("can be written");
    let gguf = Gguf::read(&file.as_slice()).expect("is GGUF");
    Tokenizer::from_gguf(&gguf.metadata).map_err(|error| error.to_string())
}

/// Values that a key cannot have.
fn lies(key: &str, value: &Value) -> Vec<Value> {
    let mut lies = vec![
        Value::F32(1.0),
        Value::from("maybe"),
        Value::Array(Array::Bool(vec![true; 6])),
        Value::Array(Array::Array(vec![Array::U32(vec![1]); 6])),
    ];
    match value {
        Value::U32(_) => lies.extend([
            Value::U32(TOKENS.len() as u32),
            Value::U32(u32::MAX),
            Value::U64(1 << 32 | 1),
            Value::I32(-1),
            Value::I64(i64::MIN),
            Value::Bool(true),
        ]),
        Value::Bool(_) => lies.extend([Value::U8(1), Value::U32(0)]),
        Value::Array(Array::F32(scores)) => {
            let but_last = scores[..scores.len() - 1].to_vec();
            let with = |last| Value::Array(Array::F32([&but_last[..], &[last]].concat()));
            lies.extend([
                Value::Array(Array::F32(but_last.clone())),
                Value::Array(Array::F32([&scores[..], &[0.0]].concat())),
                Value::Array(Array::F32(vec![])),
                with(f32::NAN),
            ]);
        }
        Value::Array(Array::I32(types)) => lies.extend([
            types[1..].to_vec().into(),
            [&types[..], &[1]].concat().into(),
            Vec::<i32>::new().into(),
        ]),
        _ => {}
    }
    // Their values are texts.
    if ["tokenizer.ggml.model", "tokenizer.ggml.pre"].contains(&key) {
        lies.extend([Value::from(""), Value::String(vec![0xff]), Value::U32(1)]);
    }
    lies
}

#[test]
fn keys_that_lie_are_refused_by_their_names() {
    let mut faults = Vec::new();
    for (model, entries) in files() {
        read(&entries).expect("the file as it is");
        for (place, (key, value)) in entries.iter().enumerate() {
            for lie in lies(key, value) {
                let mut changed = entries.clone();
                changed[place].1 = lie.clone();
                match read(&changed) {
                    Err(error) if error.contains(&format!("`{key}`")) => {}
                    Err(error) => faults.push(format!("{model}: {key} = {lie:?}: {error}")),
                    Ok(_) => faults.push(format!("{model}: {key} = {lie:?}: accepted")),
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn defaults_that_the_vocabulary_is_too_small_for_are_not_taken() {
    let (_, entries) = files().pop().expect("a file");
    let entries: Vec<_> = entries
        .into_iter()
        .filter(|(key, _)| !key.ends_with("_token_id") && !key.ends_with("token_type"))
        .map(|(key, value)| match key.rsplit('.').next() {
            Some("tokens") => (key, Value::from(["a"].into_iter().collect::<Strings>())),
            Some("scores") => (key, Value::Array(Array::F32(vec![0.0]))),
            _ => (key, value),
        })
        .collect();
    let error = read(&entries).map(|_| ()).expect_err("no token to add");
    assert!(error.contains("`tokenizer.ggml.bos_token_id` is missing"), "{error}");
    let without: Vec<_> = entries.into_iter().filter(|(key, _)| !key.contains("add_bos")).collect();
    // SentencePiece's vocabularies add BOS unless they say otherwise.
    assert!(read(&without).is_err());
}
