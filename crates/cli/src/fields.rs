//! Reading requests that are JSON objects, with errors that name the key.

use serde_json::{Map, Value};
use trefoil_contract::{Error, Setting};
use trefoil_settings::{Kind, Scope, TABLE};

/// The keys of a request that were not taken yet.
pub(crate) struct Fields(Map<String, Value>);

type Result<T, E = Error> = std::result::Result<T, E>;

/// An [`Error::InvalidArgument`].
pub(crate) fn invalid(text: impl Into<String>) -> Error {
    Error::InvalidArgument(text.into())
}

impl Fields {
    /// Keys may be written with `-` as well as with `_`.
    pub(crate) fn new(value: Value) -> Result<Self> {
        match value {
            Value::Object(map) => {
                let map = map.into_iter().map(|(key, value)| (key.replace('-', "_"), value));
                Ok(Fields(map.collect()))
            }
            other => Err(invalid(format!("expected a JSON object, not {}", kind(&other)))),
        }
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key).filter(|value| !value.is_null())
    }

    pub(crate) fn flag(&mut self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(crate) fn count(&mut self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "a whole number from 0 on", Value::as_u64)
    }

    /// What a `u32` holds.
    pub(crate) fn number(&mut self, key: &str) -> Result<Option<u32>> {
        self.typed(key, "a whole number from 0 to 4294967295", |value| {
            value.as_u64().and_then(|number| u32::try_from(number).ok())
        })
    }

    pub(crate) fn string(&mut self, key: &str) -> Result<Option<String>> {
        self.typed(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// Text, or `{"hex": ...}` for bytes that are not UTF-8.
    pub(crate) fn bytes(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        self.typed(key, "a text or {\"hex\": \"...\"}", bytes)
    }

    /// A list of what [`bytes`](Self::bytes) takes.
    pub(crate) fn texts(&mut self, key: &str) -> Result<Option<Vec<Vec<u8>>>> {
        self.typed(key, "a list of texts or {\"hex\": \"...\"}", |value| {
            value.as_array()?.iter().map(bytes).collect()
        })
    }

    pub(crate) fn tokens(&mut self, key: &str) -> Result<Option<Vec<u32>>> {
        self.typed(key, "a list of token ids", tokens)
    }

    /// A list of what [`tokens`](Self::tokens) takes.
    pub(crate) fn token_lists(&mut self, key: &str) -> Result<Option<Vec<Vec<u32>>>> {
        self.typed(key, "a list of lists of token ids", |value| {
            value.as_array()?.iter().map(tokens).collect()
        })
    }

    /// All settings of a request that are among the keys.
    pub(crate) fn settings(&mut self) -> Result<Vec<Setting>> {
        let mut settings = Vec::new();
        for key in TABLE.iter().filter(|key| key.scope == Scope::Request) {
            let Some(value) = self.take(&key.name.replace('-', "_")) else { continue };
            let values = match value {
                Value::Array(values) if key.kind.is_list() => values,
                value => vec![value],
            };
            for value in values {
                let setting = setting(key.name, &key.kind, value);
                trefoil_settings::check(&setting, Scope::Request, "")?;
                settings.push(setting);
            }
        }
        Ok(settings)
    }

    /// Refuses keys that nobody took.
    pub(crate) fn finish(self, known: &str) -> Result<()> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((key, _)) => Err(invalid(format!("unknown key `{key}`; known are {known}"))),
        }
    }

    fn typed<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match read(&value) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(format!("`{key}` must be {expected}, not {}", kind(&value)))),
        }
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Object(object) if object.len() == 1 => from_hex(object.get("hex")?.as_str()?),
        _ => None,
    }
}

fn tokens(value: &Value) -> Option<Vec<u32>> {
    let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
    value.as_array()?.iter().map(id).collect()
}

fn setting(name: &str, kind: &Kind, value: Value) -> Setting {
    use trefoil_contract::Value as Plain;
    let value = match value {
        Value::Bool(value) => Plain::Boolean(value),
        Value::String(value) => Plain::Text(value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Plain::Integer(value),
            // JSON does not tell 1.0 from 1; a whole number is meant where only those fit.
            (None, Some(value))
                if matches!(kind, Kind::Integer { .. })
                    && value.fract() == 0.0
                    && value.abs() < 9e15 =>
            {
                Plain::Integer(value as i64)
            }
            (None, Some(value)) => Plain::Number(value),
            (None, None) => Plain::Text(number.to_string()),
        },
        other => Plain::Text(other.to_string()),
    };
    Setting::new(name, value)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Bytes as JSON: text, or `{"hex": ...}` where they are not UTF-8.
pub(crate) fn json_text(bytes: Vec<u8>) -> Value {
    match String::from_utf8(bytes) {
        Ok(text) => Value::String(text),
        Err(error) => {
            let hex: String = error.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            serde_json::json!({ "hex": hex })
        }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some((digit(*high)? * 16 + digit(*low)?) as u8),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        Fields::new(value).expect("an object")
    }

    #[test]
    fn bytes_survive_as_json() {
        for bytes in [&b"plain"[..], &[0xff, 0x00, 0xc3]] {
            let mut fields = fields(json!({ "text": json_text(bytes.to_vec()) }));
            assert_eq!(fields.bytes("text"), Ok(Some(bytes.to_vec())));
        }
    }

    #[test]
    fn damaged_hex_is_refused() {
        for hex in ["f", "zz", "0"] {
            assert!(fields(json!({"text": {"hex": hex}})).bytes("text").is_err(), "{hex}");
        }
    }

    #[test]
    fn unknown_keys_are_named() {
        let error = fields(json!({"txet": 1})).finish("`text`").expect_err("refused");
        assert!(error.to_string().contains("`txet`"), "{error}");
    }

    #[test]
    fn settings_are_checked_and_may_be_lists() {
        let mut good = fields(json!({"max-tokens": 3.0, "temperature": 0, "stop": ["a", "b"]}));
        assert_eq!(good.settings().expect("valid").len(), 4);
        good.finish("").expect("nothing left");
        let error = fields(json!({"temperature": "hot"})).settings().expect_err("refused");
        assert!(error.to_string().contains("`temperature`"), "{error}");
    }
}
