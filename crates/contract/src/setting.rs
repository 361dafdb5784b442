use std::fmt;

/// A value of a setting (`types.value`).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// true or false
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Number(f64),
    /// A text.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Boolean(value) => value.fmt(f),
            Value::Integer(value) => value.fmt(f),
            Value::Number(value) => value.fmt(f),
            Value::Text(value) => value.fmt(f),
        }
    }
}

/// One setting (`types.setting`).
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The key, for example `temperature`.
    pub key: String,
    /// Its value.
    pub value: Value,
}

impl Setting {
    /// A setting from its two halves.
    pub fn new(key: impl Into<String>, value: Value) -> Self {
        Setting { key: key.into(), value }
    }
}
