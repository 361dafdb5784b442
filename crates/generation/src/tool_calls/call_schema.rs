//! The JSON schema of a call.

use serde_json::{Map, Value, json};
use trefoil_contract::{Error, Result};

use super::Tools;

/// Keywords whose values are no schemas.
const PLAIN: [&str; 5] = ["const", "default", "enum", "example", "examples"];
/// Keywords whose values are schemas by names of any kind.
const NAMED: [&str; 4] = ["$defs", "definitions", "patternProperties", "properties"];

impl Tools {
    /// The JSON schema of an answer that is one call, of the named tool or of any, as
    /// [`ToolFormat::Generic`](super::ToolFormat::Generic) reads it without tags: `{"name": NAME,
    /// "arguments": ...}`. References in a tool's schema lead to the same as before.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: there are no tools, none of that name, or the `parameters` of one are
    /// no schema of an object.
    pub fn call_schema(&self, name: Option<&str>) -> Result<String> {
        let mut calls = Vec::new();
        let is_wanted = |known: &str| name.is_none_or(|name| name == known);
        let count = self.names().iter().filter(|known| is_wanted(known)).count();
        for (index, known) in self.names().iter().enumerate().filter(|(_, it)| is_wanted(it)) {
            let place = match count {
                1 => "#/properties/arguments".to_owned(),
                _ => format!("#/anyOf/{}/properties/arguments", calls.len()),
            };
            let arguments = arguments(self.parameters(index), known, &place)?;
            calls.push(json!({
                "type": "object",
                "properties": { "name": { "const": known }, "arguments": arguments },
                "required": ["name", "arguments"],
                "additionalProperties": false,
            }));
        }
        let schema = match (calls.len(), name) {
            (0, Some(name)) => {
                return Err(Error::InvalidArgument(format!(
                    "the tool choice: no tool is called `{name}`; there are: `{}`",
                    self.names().join("`, `")
                )));
            }
            (0, None) => {
                return Err(Error::InvalidArgument(
                    "the tool choice: a call is required, but there are no tools".into(),
                ));
            }
            (1, _) => calls.remove(0),
            _ => json!({ "anyOf": calls }),
        };
        Ok(schema.to_string())
    }
}

/// The schema of a tool's arguments, to stand at a place of another schema.
fn arguments(parameters: Value, name: &str, place: &str) -> Result<Value> {
    let refuse = || {
        Error::InvalidArgument(format!(
            "`tools`: the `parameters` of `{name}` must be a JSON schema of an object"
        ))
    };
    let mut schema = match parameters {
        Value::Null => Map::new(),
        Value::Object(schema) => schema,
        _ => return Err(refuse()),
    };
    match schema.get("type") {
        None => {
            schema.insert("type".into(), "object".into());
        }
        Some(kind) if kind == "object" => {}
        Some(_) => return Err(refuse()),
    }
    let mut schema = Value::Object(schema);
    move_references(&mut schema, place, false);
    Ok(schema)
}

/// Has references lead to what they led to before the schema stood at `place`. The nesting of a
/// schema is bounded by what read it.
fn move_references(value: &mut Value, place: &str, is_named: bool) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(target) if key == "$ref" && !is_named => {
                        if let Some(rest) = target.strip_prefix('#') {
                            *target = format!("{place}{rest}");
                        }
                    }
                    _ if !is_named && PLAIN.contains(&key.as_str()) => {}
                    _ => move_references(value, place, !is_named && NAMED.contains(&key.as_str())),
                }
            }
        }
        Value::Array(values) => {
            values.iter_mut().for_each(|value| move_references(value, place, false));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(tools: &Value, name: Option<&str>) -> Result<Value> {
        let text = Tools::read(&tools.to_string()).expect("tools").call_schema(name)?;
        Ok(serde_json::from_str(&text).expect("JSON"))
    }

    #[test]
    fn one_tool_or_any_may_be_called() {
        let place = json!({"type": "object", "properties": {"place": {"type": "string"}}});
        let tools = json!([
            {"type": "function", "function": {"name": "weather", "parameters": place}},
            {"name": "now"},
        ]);
        let call = |name: &str, arguments: &Value| {
            json!({
                "type": "object",
                "properties": {"name": {"const": name}, "arguments": arguments},
                "required": ["name", "arguments"],
                "additionalProperties": false,
            })
        };
        let now = call("now", &json!({"type": "object"}));
        assert_eq!(schema(&tools, Some("now")), Ok(now.clone()));
        let any = json!({"anyOf": [call("weather", &place), now]});
        assert_eq!(schema(&tools, None), Ok(any));
    }

    #[test]
    fn references_lead_to_the_same_as_before() {
        let parameters = |place: &str| {
            json!({
                "type": "object",
                "properties": {
                    "$ref": {"$ref": format!("{place}/$defs/x")},
                    "const": {"anyOf": [{"$ref": place}, {"const": {"$ref": "#/a"}}]},
                },
                "$defs": {"x": {"enum": ["#"]}},
            })
        };
        let tools = json!([{"name": "a"}, {"name": "b", "parameters": parameters("#")}]);
        let alone = schema(&tools, Some("b")).expect("a schema");
        let arguments = "#/properties/arguments";
        assert_eq!(alone.pointer(&arguments[1..]), Some(&parameters(arguments)));
        let any = schema(&tools, None).expect("a schema");
        let arguments = "#/anyOf/1/properties/arguments";
        assert_eq!(any.pointer(&arguments[1..]), Some(&parameters(arguments)));
    }

    #[test]
    fn what_cannot_be_called_is_refused() {
        let refused = |tools: Value, name: Option<&str>, expected: &str| {
            let error = schema(&tools, name).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        };
        refused(json!([]), None, "there are no tools");
        refused(
            json!([{"name": "a"}, {"name": "b"}]),
            Some("c"),
            "called `c`; there are: `a`, `b`",
        );
        for parameters in [json!([]), json!({"type": "array"}), json!(true)] {
            refused(
                json!([{"name": "a", "parameters": parameters}]),
                None,
                "the `parameters` of `a`",
            );
        }
    }
}
