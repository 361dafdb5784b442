//! A call as a JSON object.

use super::Names;
use super::json::{Invalid, Json, Place};

/// Longest key, name or id, in bytes with its escapes.
const TEXT_BYTES_MAX: usize = 256;

/// The object of a call: `name`, `arguments` (or `parameters`) in either order, and perhaps `id` and
/// `type`. Anything else is no call.
#[derive(Debug, Clone)]
pub(super) struct CallObject {
    json: Json,
    /// The key whose value is next or under way.
    key: Option<Key>,
    /// Those that occurred.
    keys: Vec<Key>,
    /// A key or a value that is a text, as JSON, as far as it is known.
    text: String,
    name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Name,
    Arguments,
    Id,
    Type,
}

/// What a character of the object was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// One of the object itself.
    Syntax,
    /// The last one of the name.
    Name,
    /// One of the arguments, their braces included.
    Arguments,
    /// The object's last one.
    End,
}

impl CallObject {
    /// An object of which nothing was read, not even the brace.
    pub(super) fn new() -> Self {
        CallObject {
            json: Json::new(),
            key: None,
            keys: Vec::new(),
            text: String::new(),
            name: None,
        }
    }

    /// The tool's name, once it is known.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether the arguments are under way.
    pub(super) fn is_in_arguments(&self) -> bool {
        self.key == Some(Key::Arguments) && self.json.depth() > 1
    }

    /// Takes the next character. `names` are those that a call may have.
    ///
    /// # Errors
    /// The object is no call.
    pub(super) fn push(&mut self, character: char, names: Names<'_>) -> Result<Step, Invalid> {
        let (before, depth) = (self.json.place(), self.json.depth());
        self.json.push(character)?;
        if depth == 0 {
            return if character == '{' { Ok(Step::Syntax) } else { Err(Invalid) };
        }
        if depth > 1 {
            return Ok(Step::Arguments);
        }
        let after = self.json.place();
        if before == Place::Value && after != Place::Value {
            match (self.key, character) {
                (Some(Key::Arguments), '{') => return Ok(Step::Arguments),
                (Some(Key::Name | Key::Id | Key::Type), '"') => {}
                _ => return Err(Invalid),
            }
        }
        match (before, after) {
            (Place::Text(_), _) | (_, Place::Text(_)) => self.read(before, after, character, names),
            (_, Place::End) if !self.keys.contains(&Key::Arguments) || self.name.is_none() => {
                Err(Invalid)
            }
            (_, Place::End) => Ok(Step::End),
            _ => Ok(Step::Syntax),
        }
    }

    /// Reads a character of a key or of a value that is a text.
    fn read(
        &mut self,
        before: Place,
        after: Place,
        character: char,
        names: Names<'_>,
    ) -> Result<Step, Invalid> {
        let Place::Text(text) = before else {
            self.text.clear();
            self.text.push(character);
            return Ok(Step::Syntax);
        };
        self.text.push(character);
        if self.text.len() > TEXT_BYTES_MAX {
            return Err(Invalid);
        }
        if matches!(after, Place::Text(_)) {
            return Ok(Step::Syntax);
        }
        let value: String = serde_json::from_str(&self.text).map_err(|_| Invalid)?;
        if text.is_key {
            let key = Key::named(&value).ok_or(Invalid)?;
            if self.keys.contains(&key) {
                return Err(Invalid);
            }
            self.keys.push(key);
            self.key = Some(key);
        } else if self.key == Some(Key::Name) {
            if !names.admit(&value) {
                return Err(Invalid);
            }
            self.name = Some(value);
            return Ok(Step::Name);
        }
        Ok(Step::Syntax)
    }
}

impl Key {
    fn named(text: &str) -> Option<Key> {
        match text {
            "name" => Some(Key::Name),
            "arguments" | "parameters" => Some(Key::Arguments),
            "id" => Some(Key::Id),
            "type" => Some(Key::Type),
            _ => None,
        }
    }
}
