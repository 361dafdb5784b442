use crate::error::shown;
use crate::names::Names;
use crate::{Array, Error, Strings, Value};

/// Keys and values of the header.
///
/// The typed getters return `None` where the key is absent, and an error where it is there with a
/// value of another type.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    entries: Vec<Entry>,
    names: Names,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where its record begins, in bytes from the start of the file.
    pub(crate) offset: u64,
    pub(crate) value: Value,
}

impl Metadata {
    pub(crate) fn new(entries: Vec<Entry>) -> Result<Self, Error> {
        let keys: Vec<(&str, u64)> =
            entries.iter().map(|entry| (entry.key.as_str(), entry.offset)).collect();
        let names = Names::new("key", &keys)?;
        Ok(Metadata { entries, names })
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Any value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Where a key's record begins, in bytes from the start of the file.
    pub fn offset(&self, key: &str) -> Option<u64> {
        self.entry(key).map(|entry| entry.offset)
    }

    /// All entries in the file's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + '_ {
        self.entries.iter().map(|entry| (entry.key.as_str(), &entry.value))
    }

    /// A whole number of any integer type that fits.
    ///
    /// # Errors
    /// Wrong type or range.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, Error> {
        self.typed(key, "an integer from 0 to 4294967295", |value| {
            value.as_integer().and_then(|value| value.try_into().ok())
        })
    }

    /// A whole number of any integer type that fits.
    ///
    /// # Errors
    /// Wrong type or range.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, Error> {
        self.typed(key, "an integer from 0 on", |value| {
            value.as_integer().and_then(|value| value.try_into().ok())
        })
    }

    /// A number of any float or integer type.
    ///
    /// # Errors
    /// Wrong type.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        self.typed(key, "a number", |value| value.as_number().map(|value| value as f32))
    }

    /// A boolean.
    ///
    /// # Errors
    /// Wrong type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "a boolean", |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// A text.
    ///
    /// # Errors
    /// Wrong type, or not UTF-8.
    pub fn string(&self, key: &str) -> Result<Option<&str>, Error> {
        self.typed(key, "a text in UTF-8", Value::as_str)
    }

    /// A list of texts.
    ///
    /// # Errors
    /// Wrong type.
    pub fn strings(&self, key: &str) -> Result<Option<&Strings>, Error> {
        self.typed(key, "a list of texts", |value| match value {
            Value::Array(Array::String(strings)) => Some(strings),
            _ => None,
        })
    }

    /// A list of integers of any type that fit into i32 (token types).
    ///
    /// # Errors
    /// Wrong type or range.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>, Error> {
        self.integers(key, "a list of integers from -2147483648 to 2147483647")
    }

    /// A list of integers of any type that fit into u32 (sizes that differ by layer).
    ///
    /// # Errors
    /// Wrong type or range.
    pub fn u32s(&self, key: &str) -> Result<Option<Vec<u32>>, Error> {
        self.integers(key, "a list of integers from 0 to 4294967295")
    }

    /// A list of floats (token scores).
    ///
    /// # Errors
    /// Wrong type.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>, Error> {
        self.typed(key, "a list of numbers", |value| match value {
            Value::Array(Array::F32(list)) => Some(list.clone()),
            Value::Array(Array::F64(list)) => {
                Some(list.iter().map(|value| *value as f32).collect())
            }
            _ => None,
        })
    }

    /// The error that says a needed key is missing: `metadata.u32(k)?.ok_or_else(|| metadata.missing(k))`.
    pub fn missing(&self, key: &str) -> Error {
        Error::MissingKey { key: shown(key) }
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        let name_of = |number: usize| self.entries.get(number).map(|entry| entry.key.as_str());
        self.names.find(key, name_of).and_then(|number| self.entries.get(number))
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(Entry { offset, value, .. }) = self.entry(key) else { return Ok(None) };
        convert(value).map(Some).ok_or_else(|| Error::KeyType {
            key: shown(key),
            offset: *offset,
            expected,
            found: match value {
                Value::String(bytes) if str::from_utf8(bytes).is_err() => {
                    format!("{} bytes that are not UTF-8", bytes.len())
                }
                _ => value.describe(),
            },
        })
    }

    fn integers<T: TryFrom<i128>>(
        &self,
        key: &str,
        expected: &'static str,
    ) -> Result<Option<Vec<T>>, Error> {
        let Some(entry) = self.entry(key) else { return Ok(None) };
        let found = match &entry.value {
            Value::Array(array) => match array.integers() {
                Some(Ok(list)) => return Ok(Some(list)),
                Some(Err(integer)) => format!("a list with {integer}"),
                None => entry.value.describe(),
            },
            value => value.describe(),
        };
        Err(Error::KeyType { key: shown(key), offset: entry.offset, expected, found })
    }
}
