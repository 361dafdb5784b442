//! Leaves out of a schema what no JSON text of finite length satisfies, such as an object that must
//! contain one of its own kind: an answer that entered it could never end.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The schema and its definitions with `false` for what cannot be satisfied; none if the whole
/// cannot.
pub(super) fn keep(
    mut schema: Value,
    mut definitions: Map<String, Value>,
) -> (Option<Value>, Map<String, Value>) {
    let mut finite = BTreeSet::new();
    loop {
        let more: Vec<_> = definitions
            .iter()
            .filter(|(name, value)| !finite.contains(*name) && is_finite(value, &finite))
            .map(|(name, _)| name.clone())
            .collect();
        if more.is_empty() {
            break;
        }
        finite.extend(more);
    }
    if !is_finite(&schema, &finite) {
        return (None, definitions);
    }
    prune(&mut schema, &finite);
    definitions.values_mut().for_each(|value| prune(value, &finite));
    (Some(schema), definitions)
}

/// Whether some text of finite length may satisfy a schema, with the definitions that some may.
fn is_finite(schema: &Value, finite: &BTreeSet<String>) -> bool {
    let Value::Object(map) = schema else { return *schema != Value::Bool(false) };
    let all = |schemas: &Value| each(schemas).all(|schema| is_finite(schema, finite));
    let any = |schemas: &Value| each(schemas).any(|schema| is_finite(schema, finite));
    if let Some(Value::String(reference)) = map.get("$ref")
        && !reference.rsplit('/').next().is_some_and(|name| finite.contains(name))
    {
        return false;
    }
    if !map.get("allOf").is_none_or(all)
        || !map.get("anyOf").is_none_or(any)
        || !map.get("oneOf").is_none_or(any)
    {
        return false;
    }
    let is_type = |wanted: &str| match map.get("type") {
        None => true,
        Some(Value::String(name)) => name == wanted,
        Some(names) => each(names).any(|name| name.as_str() == Some(wanted)),
    };
    let has_simple = ["boolean", "integer", "null", "number", "string"].into_iter().any(is_type);
    has_simple
        || (is_type("object") && object_is_finite(map, finite))
        || (is_type("array") && array_is_finite(map, finite))
}

fn object_is_finite(map: &Map<String, Value>, finite: &BTreeSet<String>) -> bool {
    let names = map.get("required").into_iter().flat_map(each).filter_map(Value::as_str);
    let schema_of = |name: &str| {
        let named = map.get("properties").and_then(|properties| properties.get(name));
        named.or_else(|| map.get("additionalProperties"))
    };
    names.filter_map(schema_of).all(|schema| is_finite(schema, finite))
}

fn array_is_finite(map: &Map<String, Value>, finite: &BTreeSet<String>) -> bool {
    let least = map.get("minItems").and_then(Value::as_u64).unwrap_or(0) as usize;
    let first: Vec<_> = map.get("prefixItems").into_iter().flat_map(each).collect();
    let rest = map.get("items").filter(|_| least > first.len());
    first.into_iter().take(least).chain(rest).all(|schema| is_finite(schema, finite))
}

/// The members of a list; of anything else none.
fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Writes `false` for the schemas inside one that cannot be satisfied.
fn prune(schema: &mut Value, finite: &BTreeSet<String>) {
    let Value::Object(map) = schema else { return };
    for (keyword, value) in map {
        match (keyword.as_str(), value) {
            ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => {
                schemas.iter_mut().for_each(|schema| prune_one(schema, finite));
            }
            ("properties" | "patternProperties", Value::Object(schemas)) => {
                schemas.values_mut().for_each(|schema| prune_one(schema, finite));
            }
            ("items" | "additionalProperties", schema) => prune_one(schema, finite),
            _ => {}
        }
    }
}

fn prune_one(schema: &mut Value, finite: &BTreeSet<String>) {
    if is_finite(schema, finite) {
        prune(schema, finite);
    } else {
        *schema = Value::Bool(false);
    }
}
