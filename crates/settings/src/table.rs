use std::fmt;

use trefoil_contract::Value;

use crate::{KV_CACHE_TYPES, POOLINGS, Settings};

/// When a setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// When a model is opened.
    Model,
    /// With each request; as a setting of the model it is the requests' default.
    Request,
}

/// Type and range of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A whole number.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A number; whole numbers are accepted too.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// A text.
    Text {
        /// Longest, in bytes.
        bytes_max: usize,
    },
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// Several texts: the key occurs once for each.
    Texts {
        /// Longest, in bytes.
        bytes_max: usize,
    },
}

impl Kind {
    /// Whether the key may occur several times.
    pub fn is_list(&self) -> bool {
        matches!(self, Kind::Texts { .. })
    }

    /// Whether the value has the type and lies in the range.
    pub fn accepts(&self, value: &Value) -> bool {
        match (self, value) {
            (Kind::Integer { min, max }, Value::Integer(value)) => (min..=max).contains(&value),
            (Kind::Number { min, max }, Value::Number(value)) => (min..=max).contains(&value),
            (Kind::Number { min, max }, Value::Integer(value)) => {
                (min..=max).contains(&&(*value as f64))
            }
            (Kind::Text { bytes_max }, Value::Text(text)) => text.len() <= *bytes_max,
            (Kind::Choice(texts), Value::Text(text)) => texts.contains(&text.as_str()),
            (Kind::Texts { bytes_max }, Value::Text(text)) => {
                !text.is_empty() && text.len() <= *bytes_max
            }
            _ => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Kind::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Kind::Text { bytes_max } => write!(f, "a text of at most {bytes_max} bytes"),
            Kind::Choice(texts) => write!(f, "`{}`", texts.join("` or `")),
            Kind::Texts { bytes_max } => {
                write!(f, "texts of 1 to {bytes_max} bytes")
            }
        }
    }
}

/// A row of the table.
pub struct Key {
    /// As users write it.
    pub name: &'static str,
    /// When it takes effect.
    pub scope: Scope,
    /// Type and range.
    pub kind: Kind,
    /// One sentence for help and documentation.
    pub doc: &'static str,
    /// The GGUF key that sets the model's own default.
    pub metadata: Option<&'static str>,
    pub(crate) get: fn(&Settings) -> Vec<Value>,
    pub(crate) set: fn(&mut Settings, &Value),
    pub(crate) clear: fn(&mut Settings),
}

impl Key {
    /// The engine's default; empty for an empty list.
    pub fn default_values(&self) -> Vec<Value> {
        (self.get)(&Settings::default())
    }
}

/// Finds a row by its name.
pub fn key(name: &str) -> Option<&'static Key> {
    TABLE.iter().find(|key| key.name == name)
}

/// What to say about an unknown key: the most similar one, or all.
pub(crate) fn nearest(name: &str) -> String {
    let distance = |key: &Key| edit_distance(name, key.name);
    match TABLE.iter().min_by_key(|key| distance(key)) {
        Some(key) if distance(key) <= 3 => format!("a known key; did you mean `{}`?", key.name),
        _ => {
            let names: Vec<_> = TABLE.iter().map(|key| key.name).collect();
            format!("one of the keys {}", names.join(", "))
        }
    }
}

/// Levenshtein distance in bytes, one row at a time.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

macro_rules! integer {
    ($group:ident.$field:ident, $min:expr, $max:expr, $type:ty) => {
        (
            Kind::Integer { min: $min, max: $max },
            |settings: &Settings| vec![Value::Integer(settings.$group.$field as i64)],
            |settings: &mut Settings, value: &Value| {
                if let Value::Integer(value) = value {
                    settings.$group.$field = *value as $type;
                }
            },
        )
    };
}

macro_rules! number {
    ($group:ident.$field:ident, $min:expr, $max:expr) => {
        (
            Kind::Number { min: $min, max: $max },
            |settings: &Settings| vec![Value::Number(settings.$group.$field)],
            |settings: &mut Settings, value: &Value| match value {
                Value::Number(value) => settings.$group.$field = *value,
                Value::Integer(value) => settings.$group.$field = *value as f64,
                _ => {}
            },
        )
    };
}

type Access = (Kind, fn(&Settings) -> Vec<Value>, fn(&mut Settings, &Value));

const fn row(
    name: &'static str,
    scope: Scope,
    metadata: Option<&'static str>,
    (kind, get, set): Access,
    doc: &'static str,
) -> Key {
    Key { name, scope, kind, doc, metadata, get, set, clear: |_| {} }
}

/// All settings. GGUF keys of samplers as in llama.cpp's `llama-arch.cpp`
/// (`general.sampling.*`).
pub static TABLE: &[Key] = &[
    row(
        "context-tokens",
        Scope::Model,
        None,
        integer!(model.context_tokens, 0, 1 << 24, u32),
        "Context of one sequence, in tokens. 0 takes what the model was trained for, at most 8192, \
         and less where `sequences-max` of them do not fit the engine's memory.",
    ),
    row(
        "sequences-max",
        Scope::Model,
        None,
        integer!(model.sequences_max, 1, 256, u32),
        "Generations that can be under way at once. Memory is taken as they grow.",
    ),
    row(
        "prefill-tokens",
        Scope::Model,
        None,
        integer!(model.prefill_tokens, 1, 4096, u32),
        "Prompt tokens that one step processes.",
    ),
    row(
        "chat-template",
        Scope::Model,
        None,
        (
            Kind::Text { bytes_max: 1 << 17 },
            |settings| vec![Value::Text(settings.model.chat_template.clone())],
            |settings, value| {
                if let Value::Text(text) = value {
                    settings.model.chat_template.clone_from(text);
                }
            },
        ),
        "A Jinja template in place of the model's own. Empty keeps the model's own.",
    ),
    row(
        "adapters",
        Scope::Model,
        None,
        (
            Kind::Text { bytes_max: 1 << 12 },
            |settings| vec![Value::Text(settings.model.adapters.clone())],
            |settings, value| {
                if let Value::Text(text) = value {
                    settings.model.adapters.clone_from(text);
                }
            },
        ),
        "Which of the composition's adapters (LoRA) change the model: `*` for all, or their names, \
         separated by commas, each with `=SCALE` if that is not 1. Empty for none.",
    ),
    row(
        "cpu.kv-cache-type",
        Scope::Model,
        None,
        (
            Kind::Choice(KV_CACHE_TYPES),
            |settings| vec![Value::Text(settings.model.kv_cache_type.clone())],
            |settings, value| {
                if let Value::Text(text) = value {
                    settings.model.kv_cache_type.clone_from(text);
                }
            },
        ),
        "Precision of cached keys and values. `f16` takes half the memory and time of `f32`. `q8` (8 \
         bits and a scale for 32 of them) takes about half the memory of `f16`.",
    ),
    row(
        "pooling",
        Scope::Model,
        None,
        (
            Kind::Choice(POOLINGS),
            |settings| vec![Value::Text(settings.model.pooling.clone())],
            |settings, value| {
                if let Value::Text(text) = value {
                    settings.model.pooling.clone_from(text);
                }
            },
        ),
        "How an embedding is made of its tokens' vectors: as the model's file says, their mean, the \
         first (`cls`) or the last.",
    ),
    row(
        "max-tokens",
        Scope::Request,
        None,
        integer!(request.max_tokens, 0, 1 << 24, u32),
        "Tokens of the answer at most. 0 stands for as many as the context holds.",
    ),
    row(
        "temperature",
        Scope::Request,
        Some("general.sampling.temp"),
        number!(request.temperature, 0.0, 10.0),
        "Randomness of the choice of tokens. 0 always takes the likeliest (greedy).",
    ),
    row(
        "top-k",
        Scope::Request,
        Some("general.sampling.top_k"),
        integer!(request.top_k, 0, 1 << 24, u32),
        "Chooses among so many likeliest tokens. 0 stands for all.",
    ),
    row(
        "top-p",
        Scope::Request,
        Some("general.sampling.top_p"),
        number!(request.top_p, 0.0, 1.0),
        "Chooses among the likeliest tokens that reach this probability together. 1 stands for all.",
    ),
    row(
        "min-p",
        Scope::Request,
        Some("general.sampling.min_p"),
        number!(request.min_p, 0.0, 1.0),
        "Drops tokens whose probability is below this share of the likeliest token's.",
    ),
    row(
        "repetition-penalty",
        Scope::Request,
        Some("general.sampling.penalty_repeat"),
        number!(request.repetition_penalty, 0.01, 10.0),
        "Divides the logits of tokens that occurred (multiplies negative ones). 1 does nothing.",
    ),
    row(
        "presence-penalty",
        Scope::Request,
        None,
        number!(request.presence_penalty, -10.0, 10.0),
        "Subtracted from the logits of tokens that occurred. 0 does nothing.",
    ),
    row(
        "frequency-penalty",
        Scope::Request,
        None,
        number!(request.frequency_penalty, -10.0, 10.0),
        "Subtracted from the logits of tokens once for each occurrence. 0 does nothing.",
    ),
    row(
        "penalty-tokens",
        Scope::Request,
        Some("general.sampling.penalty_last_n"),
        integer!(request.penalty_tokens, 0, 1 << 24, u32),
        "Number of last tokens, the prompt's included, that the penalties look at.",
    ),
    row(
        "seed",
        Scope::Request,
        None,
        integer!(request.seed, 0, i64::MAX, u64),
        "Seed of the random choices: the same seed gives the same answer.",
    ),
    Key {
        name: "stop",
        scope: Scope::Request,
        kind: Kind::Texts { bytes_max: 1024 },
        doc: "Texts before which the answer ends. May be given several times.",
        metadata: None,
        get: |settings| settings.request.stop.iter().cloned().map(Value::Text).collect(),
        set: |settings, value| {
            if let Value::Text(text) = value {
                settings.request.stop.push(text.clone());
            }
        },
        clear: |settings| settings.request.stop.clear(),
    },
];
