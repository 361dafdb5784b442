//! The tools of a conversation.

use minijinja::Value;
use trefoil_contract::{Error, Result};

/// Most tools of a conversation.
const TOOLS_MAX: usize = 1024;
/// Longest name of a tool, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// The tools that a model may call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tools {
    /// In whose objects the fields keep their order.
    tools: Vec<Value>,
    names: Vec<String>,
}

impl Tools {
    /// Reads tools in OpenAI's form: a list of `{"type": "function", "function": {"name": ...,
    /// "description": ..., "parameters": SCHEMA}}`. What is inside `function` may also stand alone.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the tool's place: no list, more than 1024 tools, a tool
    /// without a name, a name above 128 bytes, or one that another tool has.
    pub fn read(json: &str) -> Result<Self> {
        let tools: Vec<Value> = serde_json::from_str(json).map_err(|error| {
            Error::InvalidArgument(format!("`tools`: expected a JSON array: {error}"))
        })?;
        if tools.len() > TOOLS_MAX {
            return Err(Error::InvalidArgument(format!(
                "`tools`: there are {}; at most {TOOLS_MAX} are accepted",
                tools.len()
            )));
        }
        let mut names: Vec<String> = Vec::with_capacity(tools.len());
        for (index, tool) in tools.iter().enumerate() {
            let refuse = |what: &str| {
                Err(Error::InvalidArgument(format!("`tools`: {what} (tool {index}, from 0)")))
            };
            let name = function(tool).get_attr("name").unwrap_or_default();
            match name.as_str() {
                None | Some("") => {
                    return refuse(
                        "expected {\"type\": \"function\", \"function\": {\"name\": ...}}",
                    );
                }
                Some(name) if name.len() > NAME_BYTES_MAX => {
                    return refuse("its name is longer than 128 bytes");
                }
                Some(name) if names.iter().any(|other| other == name) => {
                    return refuse(&format!("an earlier tool is called `{name}`, too"));
                }
                Some(name) => names.push(name.to_owned()),
            }
        }
        Ok(Tools { tools, names })
    }

    /// Their names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The schema of a tool's arguments; null for none.
    pub(super) fn parameters(&self, index: usize) -> serde_json::Value {
        let parameters = self.tools.get(index).map(function);
        let parameters = parameters.and_then(|function| function.get_attr("parameters").ok());
        serde_json::to_value(parameters.unwrap_or_default()).unwrap_or_default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }
}

/// What describes a tool's function.
fn function(tool: &Value) -> Value {
    tool.get_attr("function")
        .ok()
        .filter(|function| !function.is_undefined())
        .unwrap_or_else(|| tool.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_either_form() {
        let tools = Tools::read(r#"[{"type":"function","function":{"name":"a"}},{"name":"b"}]"#);
        assert_eq!(tools.expect("tools").names(), ["a", "b"]);
        assert!(Tools::read("[]").expect("tools").is_empty());
    }

    #[test]
    fn unusable_tools_are_refused_with_their_place() {
        let long = format!(r#"[{{"name":"{}"}}]"#, "x".repeat(NAME_BYTES_MAX + 1));
        let many = format!("[{}1]", "1,".repeat(TOOLS_MAX));
        for (json, expected) in [
            ("{}", "expected a JSON array"),
            (r#"[{"name":"a"},{"type":"function"}]"#, "tool 1"),
            (r#"[{"name":"a"},{"name":"a"}]"#, "`a`"),
            (r#"[{"name":""}]"#, "tool 0"),
            (&long, "128 bytes"),
            (&many, "at most 1024"),
        ] {
            let Err(Error::InvalidArgument(text)) = Tools::read(json) else { panic!("{json}") };
            assert!(text.contains(expected), "{text}");
        }
    }
}
