//! Every key and every tensor of a model of each architecture, changed to what cannot be: the file is
//! refused by the name of what was changed, unless nothing reads it.
#![allow(clippy::expect_used)]

use trefoil_contract::Error;
use trefoil_decoder::{CacheType, Config, Decoder, Options};
use trefoil_fixtures::Edited;
use trefoil_fixtures::golden;
use trefoil_gguf::{Array, Gguf, Strings, TensorType, Value};

const OPTIONS: Options =
    Options { context_tokens: 16, sequences_max: 1, kv_cache_type: CacheType::F16 };

/// Keys of whole numbers, below the architecture's name.
const INTEGERS: &[&str] = &[
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_feed_forward_length",
    "expert_group_count",
    "expert_shared_count",
    "expert_shared_feed_forward_length",
    "expert_used_count",
    "feed_forward_length",
    "pooling_type",
    "rope.dimension_count",
    "rope.scaling.original_context_length",
    "vocab_size",
];

/// Keys of numbers.
const NUMBERS: &[&str] = &[
    "attention.clamp_kqv",
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "attention.max_alibi_bias",
    "attention.scale",
    "attn_logit_softcapping",
    "embedding_scale",
    "final_logit_softcapping",
    "logit_scale",
    "residual_scale",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_log_multiplier",
];

fn load(file: &[u8]) -> Result<(), Error> {
    let gguf = Gguf::read(&file).map_err(|error| Error::InvalidModel(error.to_string()))?;
    Decoder::load(&gguf, &file, OPTIONS).map(|_| ())
}

/// A model that is to lie.
struct Lying {
    name: String,
    architecture: &'static str,
    file: Vec<u8>,
    original: Edited,
}

/// One or several of each architecture. Those of the quantised types have no other keys.
fn models() -> Vec<Lying> {
    let models = golden::architectures().into_iter().map(|model| (model.name, model.file));
    let embedding = golden::embeddings().into_iter().map(|model| (model.name, model.file));
    models
        .chain(embedding)
        .filter(|(name, _)| !name.contains("types"))
        .map(|(name, file)| Lying {
            architecture: config(&file).architecture.name,
            original: Edited::new(&file),
            name,
            file,
        })
        .collect()
}

/// Zero says that there is none of it.
const ZERO_IS_NONE: &[&str] = &[
    "attention.scale",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attn_logit_softcapping",
    "expert_count",
    "final_logit_softcapping",
    "pooling_type",
];

/// Tensors that a model may do without: ends of their names.
const OPTIONAL: &[&str] = &[
    ".attn_k.bias",
    ".attn_output.bias",
    ".attn_q.bias",
    ".attn_v.bias",
    "output.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
    "rope_freqs.weight",
    "token_types.weight",
];

fn config(file: &[u8]) -> Config {
    Config::from_gguf(&Gguf::read(&file).expect("a GGUF file")).expect("a model")
}

/// Says what is wrong with how a changed key was taken.
fn fault(model: &Lying, key: &str, value: &Value) -> Option<String> {
    let name = format!("{}.{key}", model.architecture);
    let mut edited = model.original.clone();
    edited.set(&name, value.clone());
    let file = edited.file();
    let is_none = ZERO_IS_NONE.contains(&key) && value.as_number() == Some(0.0);
    let verdict = match load(&file) {
        Err(error) if error.to_string().contains(&name) => return None,
        Err(error) if is_none && error.to_string().contains("tensor `blk.") => return None,
        Err(error) => error.to_string(),
        Ok(()) if is_none || config(&file) == config(&model.file) => return None,
        Ok(()) => "accepted".to_owned(),
    };
    Some(format!("{}: {name} = {value:?}: {verdict}", model.name))
}

#[test]
fn keys_that_lie_are_refused_by_their_names() {
    let integers = [
        Value::U32(0),
        Value::U32(u32::MAX),
        Value::U64(u64::MAX),
        Value::I32(-1),
        Value::I64(i64::MIN),
        Value::F32(2.5),
        Value::from("2"),
        Value::Bool(true),
        Value::Array(Array::U32(vec![2])),
        Value::Array(Array::Bool(vec![])),
    ];
    let numbers = [
        Value::F32(0.0),
        Value::F32(-1.0),
        Value::F32(f32::NAN),
        Value::F32(f32::INFINITY),
        Value::F32(f32::MAX),
        Value::F64(f64::NEG_INFINITY),
        Value::F64(1e300),
        Value::I64(i64::MIN),
        Value::from("2"),
        Value::Bool(true),
        Value::Array(Array::F32(vec![2.0])),
        Value::Array(Array::F32(vec![])),
    ];
    let mut faults = Vec::new();
    for model in models() {
        load(&model.file).expect("the model as it is");
        for (keys, values) in [(INTEGERS, &integers[..]), (NUMBERS, &numbers)] {
            let cases = keys.iter().flat_map(|key| values.iter().map(move |value| (key, value)));
            faults.extend(cases.filter_map(|(key, value)| fault(&model, key, value)));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    let mut faults = Vec::new();
    for model in models() {
        let config = config(&model.file);
        for (key, value) in [
            ("attention.head_count", 3),
            ("attention.head_count", config.heads * 2),
            ("attention.head_count_kv", 3),
            ("attention.head_count_kv", config.heads + 1),
            ("attention.key_length", config.head_length + 4),
            ("attention.key_length", config.head_length - 1),
            ("attention.value_length", config.head_length + 4),
            ("block_count", config.blocks + 1),
            ("block_count", 1024),
            ("embedding_length", config.embedding_length * 2),
            ("embedding_length", config.embedding_length - 1),
            ("expert_count", 1024),
            ("feed_forward_length", config.feed_forward_length + 1),
            ("rope.dimension_count", config.rope_length - 1),
            ("rope.dimension_count", config.head_length + 2),
            ("vocab_size", config.vocabulary_tokens + 1),
        ] {
            // Where all networks are experts, nothing has the length of the others.
            if key == "feed_forward_length" && config.experts.is_some() {
                continue;
            }
            // With as many heads of keys, of no said length, that is another model of these shapes.
            if value == config.heads * 2 && config.architecture.is_encoder() {
                continue;
            }
            let key = format!("{}.{key}", model.architecture);
            let mut edited = model.original.clone();
            edited.set(&key, value as u32);
            let name = &model.name;
            match load(&edited.file()) {
                Ok(()) => faults.push(format!("{name}: {key} = {value}: accepted")),
                Err(Error::InvalidModel(_) | Error::Unsupported(_)) => {}
                Err(error) => faults.push(format!("{name}: {key} = {value}: {error:?}")),
            }
        }
        let tokens = (0..config.vocabulary_tokens - 1).map(|token| token.to_string());
        let mut edited = model.original.clone();
        edited.set("tokenizer.ggml.tokens", tokens.collect::<Strings>());
        let error = load(&edited.file()).expect_err("a vocabulary of another length").to_string();
        assert!(error.contains("`tokenizer.ggml.tokens`"), "{}: {error}", model.name);
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn tensors_that_are_not_as_promised_are_refused_by_their_names() {
    let mut faults = Vec::new();
    for model in models() {
        for tensor in &model.original.tensors {
            let name = tensor.name.as_str();
            let mut check = |what: &str, edit: &dyn Fn(&mut Edited)| {
                let mut edited = model.original.clone();
                edit(&mut edited);
                let verdict = match load(&edited.file()) {
                    Err(error) if error.to_string().contains(&format!("`{name}`")) => return,
                    Err(error) => error.to_string(),
                    Ok(()) => "accepted".to_owned(),
                };
                faults.push(format!("{}: {name} {what}: {verdict}", model.name));
            };
            let reshaped = |dimensions: &[u64], tensor_type| {
                let dimensions = dimensions.to_vec();
                move |edited: &mut Edited| edited.tensor(name).reshape(&dimensions, tensor_type)
            };
            let (shape, f32) = (tensor.dimensions.as_slice(), TensorType::F32);
            let (last, others) = shape.split_last().expect("a dimension");
            check("with one more", &reshaped(&[others, &[last + 1]].concat(), f32));
            check("with one less", &reshaped(&[others, &[last - 1]].concat(), f32));
            check("with one", &reshaped(&vec![1; shape.len()], f32));
            check("twice as deep", &reshaped(&[shape, &[2]].concat(), f32));
            check("of type I8", &reshaped(shape, TensorType::I8));
            check("twice", &|edited| {
                let tensor = edited.tensor(name).clone();
                edited.tensors.push(tensor);
            });
            if !OPTIONAL.iter().any(|end| name.ends_with(end)) {
                check("missing", &|edited| edited.tensors.retain(|it| it.name != name));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
