use std::fmt;

use trefoil_contract::{Error, Setting, Value};

use crate::{Scope, check};

/// Why a TOML file is not a configuration.
#[derive(Debug, Clone, PartialEq)]
pub enum TomlError {
    /// It is not TOML; the text names line and column.
    Syntax(String),
    /// A key of it is refused.
    Setting {
        /// Line of the key, from 1.
        line: usize,
        /// What is wrong with it.
        error: Error,
    },
}

impl fmt::Display for TomlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TomlError::Syntax(text) => f.write_str(text.trim_end()),
            TomlError::Setting { line, error } => write!(f, "line {line}: {error}"),
        }
    }
}

impl std::error::Error for TomlError {}

/// Reads settings from TOML: `key = value`, lists for keys that may occur several times, and
/// tables for engines' own keys (`[cpu]`). Every engine's keys are accepted here; the engine
/// that runs checks its own.
///
/// # Errors
/// [`TomlError`], with the line.
pub fn from_toml(text: &str) -> Result<Vec<Setting>, TomlError> {
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| TomlError::Syntax(error.to_string()))?;
    let mut settings = Vec::new();
    for (key, value) in table {
        flatten(key, value, text, &mut settings)?;
    }
    Ok(settings)
}

fn flatten(
    key: String,
    value: toml::Value,
    text: &str,
    settings: &mut Vec<Setting>,
) -> Result<(), TomlError> {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                flatten(format!("{key}.{name}"), value, text, settings)?;
            }
        }
        toml::Value::Array(values) => {
            for value in values {
                push(&key, value, text, settings)?;
            }
        }
        value => push(&key, value, text, settings)?,
    }
    Ok(())
}

fn push(
    key: &str,
    value: toml::Value,
    text: &str,
    settings: &mut Vec<Setting>,
) -> Result<(), TomlError> {
    let value = match value {
        toml::Value::Boolean(value) => Value::Boolean(value),
        toml::Value::Integer(value) => Value::Integer(value),
        toml::Value::Float(value) => Value::Number(value),
        toml::Value::String(value) => Value::Text(value),
        other => Value::Text(other.to_string()),
    };
    let setting = Setting::new(key, value);
    check(&setting, Scope::Model, "")
        .map_err(|error| TomlError::Setting { line: line_of(text, key), error })?;
    settings.push(setting);
    Ok(())
}

/// The first line that begins with the key's last segment; 1 where the file spells it otherwise.
fn line_of(text: &str, key: &str) -> usize {
    let name = key.rsplit('.').next().unwrap_or(key);
    let is_key = |line: &str| {
        let line = line.trim_start().trim_start_matches(['"', '\'']);
        line.strip_prefix(name)
            .is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with('='))
    };
    text.lines().position(is_key).map_or(1, |index| index + 1)
}
