//! Places in a schema: JSON pointers (RFC 6901).

use std::fmt;

use serde_json::Value;

/// Where something stands in a schema, as a JSON pointer in a URI fragment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place(String);

impl Place {
    /// The place one step further in.
    pub(super) fn inside(&self, step: impl fmt::Display) -> Place {
        let step = step.to_string().replace('~', "~0").replace('/', "~1");
        Place(format!("{}/{step}", self.0))
    }

    /// Whether this place is `other` or inside of it.
    pub(crate) fn is_within(&self, other: &Place) -> bool {
        let rest = self.0.strip_prefix(&other.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The place that a reference names (`#`, `#/$defs/a`); percent signs and tildes escape.
    pub(super) fn of_reference(reference: &str) -> Option<Place> {
        let pointer = decoded(reference.strip_prefix('#')?)?;
        let is_pointer = pointer.is_empty() || pointer.starts_with('/');
        is_pointer.then_some(Place(pointer))
    }

    /// What stands there.
    pub(super) fn find<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        root.pointer(&self.0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`#{}`", self.0)
    }
}

/// Percent-encoding undone.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Place;

    #[test]
    fn references_name_places() {
        let schema = json!({"$defs": {"a/b~c d": 1}, "list": [2, 3]});
        for (reference, found) in
            [("#/$defs/a~1b~0c%20d", 1), ("#/%24defs/a~1b~0c d", 1), ("#/list/1", 3)]
        {
            let place = Place::of_reference(reference).expect(reference);
            assert_eq!(place.find(&schema), Some(&json!(found)), "{reference}");
        }
        assert_eq!(Place::of_reference("#").expect("the root").find(&schema), Some(&schema));
        for reference in ["", "other.json", "#anchor", "#/%", "#/%g0", "#/%ff"] {
            assert_eq!(Place::of_reference(reference), None, "{reference}");
        }
        let place = Place::default().inside("$defs").inside("a/b~c d");
        assert_eq!(place.to_string(), "`#/$defs/a~1b~0c d`");
        assert_eq!(place.find(&schema), Some(&json!(1)));
        assert!(place.is_within(&Place::default().inside("$defs")));
        assert!(!place.is_within(&Place::default().inside("$def")));
    }
}
