use std::fmt;

use trefoil_contract::Value;

use crate::Settings;

mod rows;
pub use rows::TABLE;

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
