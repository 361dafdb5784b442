//! JSON schemas, read strictly: every keyword is understood as a whole or refused with its place.
//!
//! The library takes less: it passes over keywords that it does not know, follows references only
//! as they are written, and has formats that match more than they should. So a schema is written
//! anew for it, with what it does exactly.

mod formats;
mod keywords;
mod pattern;
mod place;
mod satisfiable;

use serde_json::{Map, Value};
use trefoil_contract::{Error, Result};

use pattern::Problem;
pub(crate) use place::Place;

/// Most schemas inside a schema, constants included.
const NODES_MAX: usize = 20_000;
/// Deepest nesting.
const DEPTH_MAX: usize = 64;
/// Deepest nesting with what references lead to, each definition counted where it is met first. The
/// library follows it with calls that an engine's stack has to hold.
const DEPTH_WITH_REFERENCES_MAX: usize = 200;
/// Most nodes that schemas have after those that hold together were merged: alternatives multiply.
const MERGED_NODES_MAX: u64 = 500_000;

/// A schema for the library.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) value: Value,
    /// Where the schema and all schemas inside it stand.
    pub(crate) places: Vec<Place>,
}

/// A schema's text.
///
/// # Errors
/// [`Error::InvalidArgument`] where it is no JSON.
pub(crate) fn parsed(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| {
        Error::InvalidArgument(format!("the JSON schema is no JSON text: {error}"))
    })
}

/// Reads the schema at a place of a document.
///
/// # Errors
/// [`Error::InvalidArgument`] for what is no schema, for what no JSON text satisfies, and for what is too
/// large; [`Error::Unsupported`] for what is not supported. Both name the place.
pub(crate) fn read(root: &Value, place: &Place) -> Result<Schema> {
    let mut reader = Reader {
        root,
        definitions: Vec::new(),
        places: Vec::new(),
        nodes: 0,
        references: Vec::new(),
        multiple: 1,
    };
    let value = place.find(root).unwrap_or(root);
    let first = reader.schema(value, place, 0)?;
    let mut references = vec![std::mem::take(&mut reader.references)];
    // Reading a definition may find further ones.
    let mut definitions = Map::new();
    while let Some(place) = reader.definitions.get(definitions.len()).cloned() {
        let name = name(definitions.len());
        let value = place.find(root).unwrap_or(&Value::Null);
        let read = reader.schema(value, &place, 0)?;
        definitions.insert(name, read.value);
        references.push(std::mem::take(&mut reader.references));
    }
    reader.check_depth(&references)?;
    let (value, definitions) = satisfiable::keep(first.value, definitions);
    let Some(mut value) = value else {
        return Err(Error::InvalidArgument(format!(
            "no JSON text satisfies the JSON schema at {place}"
        )));
    };
    if let (Some(map), false) = (value.as_object_mut(), definitions.is_empty()) {
        map.insert("$defs".into(), Value::Object(definitions));
    }
    Ok(Schema { value, places: reader.places })
}

/// What a definition is called in the schema for the library.
fn name(index: usize) -> String {
    format!("d{index}")
}

struct Reader<'a> {
    root: &'a Value,
    /// What references name, in the order in which they were found.
    definitions: Vec<Place>,
    places: Vec<Place>,
    nodes: usize,
    /// The references of the schema at hand: which definition, and how deep they stand.
    references: Vec<(usize, usize)>,
    /// The least number that all divisors so far divide.
    multiple: u64,
}

/// A schema for the library and how large it becomes.
struct Read {
    value: Value,
    size: Size,
}

/// How large a schema becomes when what holds together in it is merged.
#[derive(Debug, Clone, Copy)]
struct Size {
    alternatives: u64,
    nodes: u64,
}

impl Size {
    const ONE: Size = Size { alternatives: 1, nodes: 1 };

    /// One beside the other.
    fn beside(self, other: Size) -> Size {
        Size {
            alternatives: self.alternatives.saturating_add(other.alternatives),
            nodes: self.nodes.saturating_add(other.nodes),
        }
    }

    /// Both at once: every alternative of one with every one of the other.
    fn merged(self, other: Size) -> Size {
        let alternatives = self.alternatives.saturating_mul(other.alternatives);
        let each =
            self.nodes.div_ceil(self.alternatives) + other.nodes.div_ceil(other.alternatives);
        Size { alternatives, nodes: alternatives.saturating_mul(each) }
    }
}

impl<'a> Reader<'a> {
    fn schema(&mut self, value: &'a Value, place: &Place, depth: usize) -> Result<Read> {
        self.count(place)?;
        if depth > DEPTH_MAX {
            return Err(broken(place, format_args!("it is nested more than {DEPTH_MAX} deep")));
        }
        self.places.push(place.clone());
        match value {
            Value::Bool(_) => Ok(Read { value: value.clone(), size: Size::ONE }),
            Value::Object(map) => keywords::read(self, map, place, depth),
            other => {
                Err(broken(place, format_args!("a schema is an object or a boolean, not {other}")))
            }
        }
    }

    /// Counts a schema or a constant.
    fn count(&mut self, place: &Place) -> Result<()> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(broken(
                place,
                format_args!("it is too large: more than {NODES_MAX} schemas and constants"),
            ));
        }
        Ok(())
    }

    /// A reference to a definition for the library.
    fn reference(&mut self, target: Place, depth: usize) -> String {
        let known = self.definitions.iter().position(|known| *known == target);
        let index = known.unwrap_or_else(|| {
            self.definitions.push(target);
            self.definitions.len() - 1
        });
        self.references.push((index, depth));
        format!("#/$defs/{}", name(index))
    }

    /// Walks the definitions that the first of all schemas needs, each once.
    fn check_depth(&self, references: &[Vec<(usize, usize)>]) -> Result<()> {
        let mut seen = vec![false; self.definitions.len()];
        let mut path: Vec<_> =
            references.first().map(|first| (0, first.iter())).into_iter().collect();
        while let Some((depth, rest)) = path.last_mut() {
            let Some(&(index, inner)) = rest.next() else {
                path.pop();
                continue;
            };
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            let depth = *depth + inner + 1;
            if depth > DEPTH_WITH_REFERENCES_MAX {
                return Err(broken(
                    &self.definitions[index],
                    format_args!(
                        "references lead more than {DEPTH_WITH_REFERENCES_MAX} deep there"
                    ),
                ));
            }
            path.push((depth, references[index + 1].iter()));
        }
        Ok(())
    }
}

/// Something that is no schema.
fn broken(place: &Place, what: impl std::fmt::Display) -> Error {
    Error::InvalidArgument(format!("the JSON schema is broken at {place}: {what}"))
}

/// Something that is not supported.
fn unsupported(place: &Place, what: impl std::fmt::Display) -> Error {
    Error::unsupported(format_args!("{what}, at {place} of the JSON schema"))
}

/// A regular expression for the library.
fn expression(pattern: &str, place: &Place) -> Result<String> {
    pattern::translated(pattern).map_err(|problem| match problem {
        Problem::Broken(what) => broken(place, format_args!("{what}, in the expression")),
        Problem::Unsupported(what) => unsupported(place, format_args!("{what}, in an expression")),
    })
}
