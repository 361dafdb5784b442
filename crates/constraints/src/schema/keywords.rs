//! The keywords of a schema, one by one.

use serde_json::{Map, Value, json};
use trefoil_contract::Result;

use super::{Place, Read, Reader, Size, broken, expression, formats, unsupported};

/// Most characters, items or properties that a schema may count to.
const COUNT_MAX: u64 = 65_536;
/// Most properties of one object.
const PROPERTIES_MAX: usize = 1000;
/// Largest whole number up to which numbers of 64 bits are exact.
const INTEGER_MAX: u128 = 1 << 53;
/// Most digits of a number.
const DIGITS_MAX: usize = 20;
/// Largest number that all divisors of a schema divide: what follows a number's digits has a state
/// for each remainder.
const MULTIPLE_MAX: u64 = 1000;

/// Say something about a schema that is not checked.
const ANNOTATIONS: &[&str] = &[
    "$comment",
    "$defs",
    "$schema",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];

const TYPES: &[&str] = &["array", "boolean", "integer", "null", "number", "object", "string"];

/// What is known to exist and not supported, with what to do instead.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("uniqueItems", "say in the prompt that items differ, or list them with `enum`"),
    ("not", "say what is allowed instead"),
    ("if", "write each case as a schema of an `anyOf`"),
    ("then", "write each case as a schema of an `anyOf`"),
    ("else", "write each case as a schema of an `anyOf`"),
    ("contains", "say what each item is with `items` or `prefixItems`"),
    ("dependentRequired", "write each case as a schema of an `anyOf`"),
    ("dependentSchemas", "write each case as a schema of an `anyOf`"),
    ("dependencies", "write each case as a schema of an `anyOf`"),
    ("propertyNames", "use `patternProperties` and `additionalProperties`: false"),
    ("unevaluatedProperties", "use `additionalProperties`"),
    ("unevaluatedItems", "use `items`"),
    ("nullable", "use `type`: [..., \"null\"]"),
];

/// Reads a schema that is an object.
pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    map: &'a Map<String, Value>,
    place: &Place,
    depth: usize,
) -> Result<Read> {
    let mut keywords = Keywords {
        reader,
        map,
        place,
        depth,
        out: Map::new(),
        all_of: Vec::new(),
        plain: Size::ONE,
        merged: Vec::new(),
    };
    for (keyword, value) in map {
        keywords.keyword(keyword, value)?;
    }
    keywords.finish()
}

struct Keywords<'r, 'a, 'p> {
    reader: &'r mut Reader<'a>,
    map: &'a Map<String, Value>,
    place: &'p Place,
    depth: usize,
    out: Map<String, Value>,
    /// What must hold in addition.
    all_of: Vec<Value>,
    /// Of all keywords that are not merged with others.
    plain: Size,
    /// Of those that are.
    merged: Vec<Size>,
}

impl<'a> Keywords<'_, 'a, '_> {
    fn keyword(&mut self, keyword: &str, value: &'a Value) -> Result<()> {
        let place = self.place.inside(keyword);
        match keyword {
            "$id" | "id" if *self.place == Place::default() => {}
            "$anchor" => {}
            _ if ANNOTATIONS.contains(&keyword) => {}
            "type" => self.types(value, &place)?,
            "enum" => self.values(list(value, &place)?, &place)?,
            "const" => self.values(std::slice::from_ref(value), &place)?,
            "$ref" => self.reference(value, &place)?,
            "allOf" | "anyOf" | "oneOf" => self.combined(keyword, value, &place)?,
            "properties" | "patternProperties" => self.properties(keyword, value, &place)?,
            "additionalProperties" => self.schema(keyword, value, &place)?,
            "items" | "prefixItems" | "additionalItems" => self.items(keyword, value, &place)?,
            "required" => self.required(value, &place)?,
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties"
            | "maxProperties" => self.bound_of_count(keyword, value, &place)?,
            "minimum" | "maximum" => {
                let number = number(value, &place)?;
                self.put(keyword, number);
            }
            "exclusiveMinimum" | "exclusiveMaximum" => self.exclusive(keyword, value, &place)?,
            "multipleOf" => self.divisor(value, &place)?,
            "pattern" => {
                let pattern = expression(text(value, &place)?, &place)?;
                self.put("pattern", pattern.into());
            }
            "format" => self.format(value, &place)?,
            "uniqueItems" if *value == Value::Bool(false) => {}
            other => {
                let known = UNSUPPORTED.iter().find(|(name, _)| *name == other);
                let cure = match known {
                    Some((_, cure)) => format!("; {cure}"),
                    None => ", which is no keyword that is known here; leave it out if it only \
                             describes"
                        .into(),
                };
                return Err(unsupported(&place, format_args!("the keyword `{other}`{cure}")));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Read> {
        self.bounds_of_properties()?;
        if self.out.contains_key("multipleOf") {
            // Beyond, readers who take numbers of 64 bits find remainders where none are.
            for (bound, number) in [("minimum", -(1_i64 << 53)), ("maximum", 1 << 53)] {
                self.out.entry(bound).or_insert(number.into());
            }
        }
        if !self.all_of.is_empty() {
            self.out.insert("allOf".into(), Value::Array(self.all_of));
        }
        let size = self.merged.iter().fold(self.plain, |size, part| size.merged(*part));
        if !self.merged.is_empty() && size.nodes > super::MERGED_NODES_MAX {
            return Err(broken(
                self.place,
                format_args!(
                    "its alternatives, each with each, make more than {} schemas",
                    super::MERGED_NODES_MAX
                ),
            ));
        }
        Ok(Read { value: Value::Object(self.out), size })
    }

    /// Says what must hold; in addition to what has been said already by the same keyword.
    fn put(&mut self, keyword: &str, value: Value) {
        if self.out.contains_key(keyword) {
            self.all_of.push(json!({ keyword: value }));
        } else {
            self.out.insert(keyword.into(), value);
        }
    }

    fn inner(&mut self, value: &'a Value, place: &Place) -> Result<Read> {
        self.reader.schema(value, place, self.depth + 1)
    }

    fn schema(&mut self, keyword: &str, value: &'a Value, place: &Place) -> Result<()> {
        let read = self.inner(value, place)?;
        self.plain = self.plain.beside(read.size);
        self.out.insert(keyword.into(), read.value);
        Ok(())
    }

    fn types(&mut self, value: &Value, place: &Place) -> Result<()> {
        let names = match value {
            Value::String(_) => std::slice::from_ref(value),
            _ => list(value, place)?,
        };
        for name in names {
            if !name.as_str().is_some_and(|name| TYPES.contains(&name)) {
                let types = TYPES.join("`, `");
                return Err(broken(place, format_args!("{name} is none of `{types}`")));
            }
        }
        self.out.insert("type".into(), value.clone());
        Ok(())
    }

    /// Constants, one of which it must be.
    fn values(&mut self, values: &[Value], place: &Place) -> Result<()> {
        let mut nodes = 0;
        for value in values {
            nodes += self.constant(value, place, 0)?;
        }
        self.put("enum", values.into());
        self.merged.push(Size { alternatives: values.len() as u64, nodes });
        Ok(())
    }

    /// Answers how many nodes a constant has.
    fn constant(&mut self, value: &Value, place: &Place, depth: usize) -> Result<u64> {
        self.reader.count(place)?;
        if depth > super::DEPTH_MAX {
            return Err(broken(
                place,
                format_args!("a constant is nested more than {} deep", super::DEPTH_MAX),
            ));
        }
        let mut nodes = 1;
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(_) => drop(number(value, place)?),
            Value::String(text) => writable(text, place)?,
            Value::Array(items) => {
                for item in items {
                    nodes += self.constant(item, place, depth + 1)?;
                }
            }
            Value::Object(map) => {
                if map.len() > PROPERTIES_MAX {
                    return Err(too_many_properties(place));
                }
                for value in map.values() {
                    nodes += self.constant(value, place, depth + 1)?;
                }
            }
        }
        Ok(nodes)
    }

    fn reference(&mut self, value: &Value, place: &Place) -> Result<()> {
        let reference = text(value, place)?;
        let Some(target) = Place::of_reference(reference) else {
            return Err(unsupported(
                place,
                format_args!(
                    "the reference `{reference}`; supported are places of the same schema, such as \
                     `#/$defs/NAME`"
                ),
            ));
        };
        let Some(found) = target.find(self.reader.root) else {
            return Err(broken(place, format_args!("there is nothing at `{reference}`")));
        };
        // Read later, so that it may refer to itself; how large it becomes is estimated.
        self.merged.push(estimate(found));
        let reference = self.reader.reference(target, self.depth);
        self.put("$ref", reference.into());
        Ok(())
    }

    fn combined(&mut self, keyword: &str, value: &'a Value, place: &Place) -> Result<()> {
        let schemas = list(value, place)?;
        if schemas.is_empty() {
            return Err(broken(place, "there must be at least one schema"));
        }
        let mut read = Vec::with_capacity(schemas.len());
        for (index, schema) in schemas.iter().enumerate() {
            read.push(self.inner(schema, &place.inside(index))?);
        }
        if keyword == "allOf" {
            self.merged.extend(read.iter().map(|read| read.size));
            self.all_of.extend(read.into_iter().map(|read| read.value));
        } else {
            let sum = read.iter().map(|read| read.size).reduce(Size::beside);
            self.merged.extend(sum);
            self.put(keyword, read.into_iter().map(|read| read.value).collect());
        }
        Ok(())
    }

    fn properties(&mut self, keyword: &str, value: &'a Value, place: &Place) -> Result<()> {
        let Value::Object(schemas) = value else {
            return Err(broken(place, format_args!("expected an object, not {value}")));
        };
        if schemas.len() > PROPERTIES_MAX {
            return Err(too_many_properties(place));
        }
        let mut out = Map::new();
        for (name, schema) in schemas {
            let place = place.inside(name);
            let read = self.inner(schema, &place)?;
            self.plain = self.plain.beside(read.size);
            let name = match keyword {
                "patternProperties" => expression(name, &place)?,
                _ => name.clone(),
            };
            out.insert(name, read.value);
        }
        self.out.insert(keyword.into(), Value::Object(out));
        Ok(())
    }

    /// `items` as a list is `prefixItems` of drafts before 2020-12, and `additionalItems` what
    /// `items` is now.
    fn items(&mut self, keyword: &str, value: &'a Value, place: &Place) -> Result<()> {
        let has_list = matches!(self.map.get("items"), Some(Value::Array(_)));
        match (keyword, value) {
            ("items" | "prefixItems", Value::Array(schemas)) => {
                if keyword == "items" && self.map.contains_key("prefixItems") {
                    return Err(broken(place, "a list beside `prefixItems`"));
                }
                let mut out = Vec::with_capacity(schemas.len());
                for (index, schema) in schemas.iter().enumerate() {
                    let read = self.inner(schema, &place.inside(index))?;
                    self.plain = self.plain.beside(read.size);
                    out.push(read.value);
                }
                self.out.insert("prefixItems".into(), Value::Array(out));
                Ok(())
            }
            ("prefixItems", other) => {
                Err(broken(place, format_args!("expected a list, not {other}")))
            }
            ("additionalItems", _) if !has_list => {
                Err(broken(place, "it has no effect unless `items` is a list; use `items`"))
            }
            _ => self.schema("items", value, place),
        }
    }

    fn required(&mut self, value: &Value, place: &Place) -> Result<()> {
        let names = list(value, place)?;
        if names.len() > PROPERTIES_MAX {
            return Err(too_many_properties(place));
        }
        for name in names {
            text(name, place)?;
        }
        self.out.insert("required".into(), value.clone());
        Ok(())
    }

    fn bound_of_count(&mut self, keyword: &str, value: &Value, place: &Place) -> Result<()> {
        let whole = value.as_f64().filter(|number| *number >= 0.0 && number.fract() == 0.0);
        let Some(count) = whole else {
            return Err(broken(place, format_args!("expected a whole number from 0, not {value}")));
        };
        let count = count as u64;
        if count > COUNT_MAX && keyword.starts_with("max") {
            // More than an answer can have.
            return Ok(());
        }
        if count > COUNT_MAX {
            return Err(unsupported(
                place,
                format_args!("`{keyword}` of {count}; at most {COUNT_MAX}"),
            ));
        }
        self.out.insert(keyword.into(), count.into());
        Ok(())
    }

    /// A number, or in draft 4 whether the bound itself is excluded.
    fn exclusive(&mut self, keyword: &str, value: &Value, place: &Place) -> Result<()> {
        let bound = if keyword == "exclusiveMinimum" { "minimum" } else { "maximum" };
        let value = match value {
            Value::Bool(false) => return Ok(()),
            Value::Bool(true) => match self.map.get(bound) {
                Some(value) => number(value, &self.place.inside(bound))?,
                None => return Err(broken(place, format_args!("true without `{bound}`"))),
            },
            value => number(value, place)?,
        };
        let is_integer = self.map.get("type").and_then(Value::as_str) == Some("integer");
        match narrowed(value.as_f64().unwrap_or_default(), keyword == "exclusiveMinimum") {
            Some(inside) if !is_integer => self.put(bound, inside.into()),
            _ => drop(self.out.insert(keyword.into(), value)),
        }
        Ok(())
    }

    fn divisor(&mut self, value: &Value, place: &Place) -> Result<()> {
        let divisor = number(value, place)?.as_f64().unwrap_or_default();
        if divisor <= 0.0 {
            return Err(broken(place, format_args!("expected a number above 0, not {value}")));
        }
        // Sums of tenths are not exact in binary numbers, with which others check.
        let whole = divisor as u64;
        let multiple = least_common_multiple(self.reader.multiple, whole.clamp(1, MULTIPLE_MAX));
        if divisor.fract() != 0.0 || divisor > MULTIPLE_MAX as f64 || multiple > MULTIPLE_MAX {
            return Err(unsupported(
                place,
                format_args!(
                    "`multipleOf` of {value}; supported are whole numbers, those of a schema with \
                     a common multiple of at most {MULTIPLE_MAX}"
                ),
            ));
        }
        self.reader.multiple = multiple;
        self.out.insert("multipleOf".into(), value.clone());
        Ok(())
    }

    fn format(&mut self, value: &Value, place: &Place) -> Result<()> {
        let name = text(value, place)?;
        let Some((pattern, length_max)) = formats::find(name) else {
            let names: Vec<_> = formats::names().collect();
            return Err(unsupported(
                place,
                format_args!("the format `{name}`; supported: `{}`", names.join("`, `")),
            ));
        };
        match length_max {
            Some(length) => self.all_of.push(json!({ "pattern": pattern, "maxLength": length })),
            None => self.put("pattern", pattern.into()),
        }
        Ok(())
    }

    /// The library counts names, but a name of an object that may have any can come twice.
    fn bounds_of_properties(&mut self) -> Result<()> {
        let required = self.out.get("required").and_then(Value::as_array);
        let mut names: Vec<_> = required.into_iter().flatten().filter_map(Value::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let required = names.len() as u64;
        let least = self.out.get("minProperties").and_then(Value::as_u64);
        if least.is_some_and(|least| least > required + 1) {
            return Err(unsupported(
                &self.place.inside("minProperties"),
                "`minProperties` above the number of required properties and one more; list more \
                 of them as `required`",
            ));
        }
        if least.is_some_and(|least| least <= required) {
            self.out.remove("minProperties");
        }
        let properties = self.out.get("properties").and_then(Value::as_object).map_or(0, Map::len);
        let is_closed = self.out.get("additionalProperties") == Some(&Value::Bool(false))
            && !self.out.contains_key("patternProperties");
        let most = self.out.get("maxProperties").and_then(Value::as_u64);
        if is_closed && most.is_some_and(|most| most >= properties as u64) {
            self.out.remove("maxProperties");
        }
        Ok(())
    }
}

fn too_many_properties(place: &Place) -> trefoil_contract::Error {
    broken(place, format_args!("more than {PROPERTIES_MAX} properties of one object"))
}

fn list<'v>(value: &'v Value, place: &Place) -> Result<&'v [Value]> {
    match value {
        Value::Array(list) => Ok(list),
        other => Err(broken(place, format_args!("expected a list, not {other}"))),
    }
}

fn text<'v>(value: &'v Value, place: &Place) -> Result<&'v str> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(broken(place, format_args!("expected a text, not {other}"))),
    }
}

/// A number that is exact in 64 bits.
fn number(value: &Value, place: &Place) -> Result<Value> {
    let Value::Number(number) = value else {
        return Err(broken(place, format_args!("expected a number, not {value}")));
    };
    let size = number.as_f64().unwrap_or(f64::INFINITY).abs();
    let is_inexact = number.as_i128().is_some_and(|whole| whole.unsigned_abs() > INTEGER_MAX);
    if is_inexact || size > INTEGER_MAX as f64 || format!("{size}").len() > DIGITS_MAX {
        return Err(unsupported(
            place,
            format_args!(
                "the number {number}; supported are numbers up to 2^53 of at most {DIGITS_MAX} \
                 digits"
            ),
        ));
    }
    Ok(value.clone())
}

/// The bound next to an excluded one, where the library would let that itself pass: a whole number
/// at the end of a range that is nearer to 0.
fn narrowed(bound: f64, is_minimum: bool) -> Option<f64> {
    let is_inner = if is_minimum { bound >= 0.0 } else { bound <= 0.0 };
    if !is_inner || bound.fract() != 0.0 {
        return None;
    }
    // As fine as numbers of that size are exact.
    let step = match bound.abs() {
        size if size < 1e6 => 1e-9,
        size if size < 1e12 => 1e-3,
        _ => 1.0,
    };
    Some(if is_minimum { bound + step } else { bound - step })
}

fn least_common_multiple(a: u64, b: u64) -> u64 {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a / divisor * b
}

/// Whether answers can have that text: characters that only `\u` can write are none of theirs.
fn writable(text: &str, place: &Place) -> Result<()> {
    let is_unwritable = |character: char| {
        character.is_ascii_control() && !matches!(character, '\x08' | '\x0C' | '\n' | '\r' | '\t')
    };
    match text.chars().find(|&character| is_unwritable(character)) {
        Some(character) => Err(unsupported(
            place,
            format_args!("the control character U+{:04X} in a constant", u32::from(character)),
        )),
        None => Ok(()),
    }
}

/// How large a schema becomes at most, about, without its references.
fn estimate(value: &Value) -> Size {
    match value {
        Value::Array(values) => values.iter().map(estimate).fold(Size::ONE, Size::beside),
        Value::Object(map) => map.values().map(estimate).fold(Size::ONE, Size::beside),
        _ => Size { alternatives: 0, nodes: 1 },
    }
}
