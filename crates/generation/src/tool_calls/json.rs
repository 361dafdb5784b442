//! JSON, checked character by character.

/// Deepest nesting of lists and objects. What reads the arguments later bears 128 levels, a few of
/// which are its own.
const DEPTH_MAX: usize = 100;

/// The text is no JSON from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Invalid;

/// A JSON value of which the characters come one by one (RFC 8259).
///
/// It ends with the bracket, the quote or the letter that completes it; a number by itself has no
/// such end, and is refused.
#[derive(Debug, Clone)]
pub(super) struct Json {
    /// The lists and objects around the place, outermost first.
    around: Vec<Container>,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    List,
    Object,
}

/// What the next character belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A value begins, after blanks.
    Value,
    /// The first element of a list, or its end.
    FirstElement,
    /// The first key of an object, or its end.
    FirstKey,
    /// A key begins, after blanks.
    Key,
    /// The colon behind a key.
    Colon,
    /// A text.
    Text(Text),
    /// The rest of `true`, `false` or `null`.
    Word(&'static str),
    /// A number.
    Number(Number),
    /// A comma or the end of what is around.
    AfterValue,
    /// Nothing may follow.
    End,
}

/// Where in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) is_key: bool,
    escape: Escape,
    /// The first half of a surrogate pair stands right before.
    is_paired: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    /// Behind a backslash.
    Begun,
    /// So many digits are missing, of this value so far.
    Hex(u8, u16),
}

/// Where in a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Sign,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Json {
    pub(super) fn new() -> Self {
        Json { around: Vec::new(), place: Place::Value }
    }

    /// Lists and objects that are open.
    pub(super) fn depth(&self) -> usize {
        self.around.len()
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    pub(super) fn is_complete(&self) -> bool {
        self.place == Place::End
    }

    /// Takes the next character; after an error no other.
    pub(super) fn push(&mut self, character: char) -> Result<(), Invalid> {
        if let Place::Number(number) = self.place {
            match number.next(character) {
                Some(next) => {
                    self.place = Place::Number(next);
                    return Ok(());
                }
                None if number.is_whole() => self.place = self.behind_value(),
                None => return Err(Invalid),
            }
        }
        let is_blank = matches!(character, ' ' | '\t' | '\n' | '\r');
        self.place = match (self.place, character) {
            (Place::Text(text), _) => match text.next(character)? {
                Some(text) => Place::Text(text),
                None if text.is_key => Place::Colon,
                None => self.behind_value(),
            },
            (Place::Word(rest), _) => match rest.strip_prefix(character).ok_or(Invalid)? {
                "" => self.behind_value(),
                rest => Place::Word(rest),
            },
            (Place::End, _) => return Err(Invalid),
            (place, _) if is_blank => place,
            (Place::FirstElement, ']') => self.close(Container::List)?,
            (Place::Value | Place::FirstElement, _) => self.value(character)?,
            (Place::FirstKey, '}') => self.close(Container::Object)?,
            (Place::FirstKey | Place::Key, '"') => Place::Text(Text::new(true)),
            (Place::Colon, ':') => Place::Value,
            (Place::AfterValue, ',') => match self.around.last() {
                Some(Container::List) => Place::Value,
                _ => Place::Key,
            },
            (Place::AfterValue, ']') => self.close(Container::List)?,
            (Place::AfterValue, '}') => self.close(Container::Object)?,
            _ => return Err(Invalid),
        };
        Ok(())
    }

    /// The place behind the first character of a value.
    fn value(&mut self, first: char) -> Result<Place, Invalid> {
        Ok(match first {
            '{' => self.open(Container::Object, Place::FirstKey)?,
            '[' => self.open(Container::List, Place::FirstElement)?,
            '"' => Place::Text(Text::new(false)),
            't' => Place::Word("rue"),
            'f' => Place::Word("alse"),
            'n' => Place::Word("ull"),
            _ if self.around.is_empty() => return Err(Invalid),
            '-' => Place::Number(Number::Sign),
            '0' => Place::Number(Number::Zero),
            '1'..='9' => Place::Number(Number::Digits),
            _ => return Err(Invalid),
        })
    }

    fn open(&mut self, container: Container, inside: Place) -> Result<Place, Invalid> {
        if self.around.len() == DEPTH_MAX {
            return Err(Invalid);
        }
        self.around.push(container);
        Ok(inside)
    }

    fn close(&mut self, container: Container) -> Result<Place, Invalid> {
        match self.around.pop() == Some(container) {
            true => Ok(self.behind_value()),
            false => Err(Invalid),
        }
    }

    fn behind_value(&self) -> Place {
        if self.around.is_empty() { Place::End } else { Place::AfterValue }
    }
}

impl Text {
    fn new(is_key: bool) -> Self {
        Text { is_key, escape: Escape::None, is_paired: false }
    }

    /// The place behind a character; `None` behind the quote that ends the text.
    fn next(mut self, character: char) -> Result<Option<Text>, Invalid> {
        self.escape = match (self.escape, character) {
            (Escape::None, '\\') => Escape::Begun,
            (Escape::Begun, 'u') => Escape::Hex(4, 0),
            (Escape::Hex(missing, value), _) => {
                let digit = character.to_digit(16).ok_or(Invalid)? as u16;
                let value = value << 4 | digit;
                if missing == 1 {
                    self.is_paired = match (self.is_paired, value) {
                        (false, 0xD800..=0xDBFF) => true,
                        (true, 0xDC00..=0xDFFF) => false,
                        (true, _) | (false, 0xDC00..=0xDFFF) => return Err(Invalid),
                        (false, _) => false,
                    };
                    Escape::None
                } else {
                    Escape::Hex(missing - 1, value)
                }
            }
            // Half a pair must be followed by the other half.
            _ if self.is_paired => return Err(Invalid),
            (Escape::None, '"') => return Ok(None),
            (Escape::None, '\0'..='\u{1f}') => return Err(Invalid),
            (Escape::None, _) => Escape::None,
            (Escape::Begun, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Escape::None,
            (Escape::Begun, _) => return Err(Invalid),
        };
        Ok(Some(self))
    }
}

impl Number {
    fn is_whole(self) -> bool {
        matches!(self, Number::Zero | Number::Digits | Number::Fraction | Number::ExponentDigits)
    }

    /// The place behind a character that belongs to the number.
    fn next(self, character: char) -> Option<Number> {
        Some(match (self, character) {
            (Number::Sign, '0') => Number::Zero,
            (Number::Sign, '1'..='9') | (Number::Digits, '0'..='9') => Number::Digits,
            (Number::Zero | Number::Digits, '.') => Number::Point,
            (Number::Point | Number::Fraction, '0'..='9') => Number::Fraction,
            (Number::Zero | Number::Digits | Number::Fraction, 'e' | 'E') => Number::Exponent,
            (Number::Exponent, '+' | '-') => Number::ExponentSign,
            (Number::Exponent | Number::ExponentSign | Number::ExponentDigits, '0'..='9') => {
                Number::ExponentDigits
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{DEPTH_MAX, Json};

    /// Whether a list is JSON.
    fn is_json(text: &str) -> bool {
        let mut json = Json::new();
        text.chars().all(|character| json.push(character).is_ok()) && json.is_complete()
    }

    fn oracle(text: &str) -> bool {
        serde_json::from_str::<Vec<serde_json::Value>>(text).is_ok()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn it_accepts_what_serde_json_accepts(
            inside in r#"([\[\]{},: 0-9eE.+-]|"|\\|u|d8|dc|true|null|"a":|\\u|\n|ä){0,12}"#
        ) {
            let text = format!("[{inside}]");
            prop_assert_eq!(is_json(&text), oracle(&text), "{}", text);
        }
    }

    #[test]
    fn each_rule_holds() {
        let accepted = [
            r#"[]"#,
            r#"[ {} , [1] ]"#,
            r#"[{"a":{"b":[1,2]},"c":null}]"#,
            "[-0.5e+10,0,10]",
            r#"["\ud83d\ude00\n\"\\"]"#,
            "[true,false]",
        ];
        let refused = [
            "[1,]",
            "[01]",
            "[1.]",
            "[-]",
            "[1e]",
            r#"[{"a"}]"#,
            r#"[{"a":1,}]"#,
            "[tru]",
            "[}",
            r#"["\ud83d"]"#,
            r#"["\ude00"]"#,
            r#"["\ud83dx"]"#,
            r#"["\x"]"#,
            "[\"\n\"]",
            "[]]",
            "['a']",
            "[",
            "",
        ];
        for text in accepted {
            assert!(is_json(text) && oracle(text), "{text}");
        }
        for text in refused {
            assert!(!is_json(text) && !oracle(text), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(is_json(&nested(DEPTH_MAX)));
        assert!(!is_json(&nested(DEPTH_MAX + 1)));
    }
}
