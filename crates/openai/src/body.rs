use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Failure;
use crate::sampling::Sampling;

/// Bytes of a request's body at most.
pub const BODY_BYTES_MAX: usize = 32 << 20;

/// Reads a request's body.
///
/// # Errors
/// What is wrong, as OpenAI reports it: with the name of the parameter.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Failure::invalid(format!("the body is not JSON: {error}")))?;
    // Of flattened fields the name is known to their own type only.
    parameter::<Sampling>(&value)?;
    parameter(&value)
}

fn parameter<T: DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." => Failure::invalid(error.into_inner().to_string()),
            _ => Failure::parameter(&path, format!("`{path}`: {}", error.inner())),
        }
    })
}
