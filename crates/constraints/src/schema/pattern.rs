//! Regular expressions of JSON Schema (ECMA-262, with the flag `u`) in the syntax of the crate
//! `regex-syntax`. Groups capture nothing: only what is matched counts.

use std::fmt::Write as _;

use crate::expression::{reason, without_captures_and_nul};

/// White space of ECMA-262: what `\s` matches.
const SPACES: &str = concat!(
    r"\t\n\x0B\x0C\r\x20\xA0\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}",
    r"\x{3000}\x{FEFF}"
);
const DIGITS: &str = "0-9";
const WORD: &str = "0-9A-Z_a-z";

/// Why an expression is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// It is no expression.
    Broken(String),
    /// It asks for what is not supported.
    Unsupported(String),
}

/// Translates an expression that is searched for in a text.
pub(super) fn translated(pattern: &str) -> Result<String, Problem> {
    let mut translator = Translator { rest: pattern, whole: pattern, out: String::new() };
    translator.run()?;
    match regex_syntax::Parser::new().parse(&translator.out) {
        Ok(hir) => Ok(without_captures_and_nul(hir).to_string()),
        Err(error) => Err(Problem::Broken(reason(&error))),
    }
}

struct Translator<'a> {
    rest: &'a str,
    whole: &'a str,
    out: String,
}

/// What stands in brackets, or behind a backslash.
enum Item {
    Character(char),
    /// The inside of a class.
    Class(String),
}

impl<'a> Translator<'a> {
    fn run(&mut self) -> Result<(), Problem> {
        while let Some(character) = self.next() {
            match character {
                '\\' => match self.escape(false)? {
                    Item::Character(character) => push(&mut self.out, character),
                    Item::Class(class) => self.out += &format!("[{class}]"),
                },
                '[' => self.class()?,
                '.' => self.out.push_str(r"[^\n\r\x{2028}\x{2029}]"),
                '(' => self.group()?,
                '{' => match self.bounds() {
                    Some(bounds) => self.out.push_str(bounds),
                    None => push(&mut self.out, '{'),
                },
                '}' | ']' => push(&mut self.out, character),
                other => self.out.push(other),
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Option<char> {
        let character = self.rest.chars().next()?;
        self.rest = self.rest.get(character.len_utf8()..)?;
        Some(character)
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn broken<T>(&self, what: impl std::fmt::Display) -> Result<T, Problem> {
        Err(Problem::Broken(format!("{what} before byte {}", self.place())))
    }

    fn unsupported<T>(&self, what: impl std::fmt::Display) -> Result<T, Problem> {
        Err(Problem::Unsupported(format!("{what} before byte {}", self.place())))
    }

    fn place(&self) -> usize {
        self.whole.len() - self.rest.len()
    }

    /// Behind `(`.
    fn group(&mut self) -> Result<(), Problem> {
        if self.take("?") {
            if ["=", "!", "<=", "<!"].iter().any(|look| self.rest.starts_with(look)) {
                return self.unsupported("a look-around (`(?=`, `(?!`, `(?<=` or `(?<!`)");
            }
            if self.take("<") {
                match self.rest.split_once('>') {
                    Some((_, rest)) => self.rest = rest,
                    None => return self.broken("a group's name has no end"),
                }
            } else if !self.take(":") {
                return self.unsupported("flags of a group");
            }
        }
        self.out.push_str("(?:");
        Ok(())
    }

    /// The rest of `{2}`, `{2,}` or `{2,3}` with its brace; another brace is text.
    fn bounds(&mut self) -> Option<&'a str> {
        let start = self.place() - 1;
        let (inside, rest) = self.rest.split_once('}')?;
        let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if least.is_empty() || !is_number(least) || !is_number(most) {
            return None;
        }
        self.rest = rest;
        self.whole.get(start..self.place())
    }

    /// Behind `[`.
    fn class(&mut self) -> Result<(), Problem> {
        let is_negated = self.take("^");
        if self.take("]") {
            // Nothing at all, or anything.
            self.out.push_str(if is_negated {
                r"[\x00-\x{10FFFF}]"
            } else {
                r"[^\x00-\x{10FFFF}]"
            });
            return Ok(());
        }
        let mut class = String::from(if is_negated { "[^" } else { "[" });
        while !self.take("]") {
            let first = match self.item()? {
                Item::Class(inside) => {
                    class += &format!("[{inside}]");
                    continue;
                }
                Item::Character(first) => first,
            };
            push(&mut class, first);
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            if is_range {
                self.take("-");
                match self.item()? {
                    Item::Character(last) if last < first => {
                        return self.broken("a range from a larger to a smaller character");
                    }
                    Item::Character(last) => {
                        class.push('-');
                        push(&mut class, last);
                    }
                    Item::Class(_) => return self.broken("a range that ends with a class"),
                }
            }
        }
        class.push(']');
        self.out += &class;
        Ok(())
    }

    /// The next thing in brackets.
    fn item(&mut self) -> Result<Item, Problem> {
        match self.next() {
            Some('\\') => self.escape(true),
            Some(character) => Ok(Item::Character(character)),
            None => self.broken("brackets that are not closed"),
        }
    }

    /// Behind a backslash.
    fn escape(&mut self, in_class: bool) -> Result<Item, Problem> {
        let Some(character) = self.next() else { return self.broken("a backslash at the end") };
        Ok(match character {
            'd' => Item::Class(DIGITS.into()),
            'D' => Item::Class(format!("^{DIGITS}")),
            'w' => Item::Class(WORD.into()),
            'W' => Item::Class(format!("^{WORD}")),
            's' => Item::Class(SPACES.into()),
            'S' => Item::Class(format!("^{SPACES}")),
            'p' | 'P' => match self.rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
                Some((name, rest)) => {
                    self.rest = rest;
                    Item::Class(format!(r"\{character}{{{name}}}"))
                }
                None => return self.broken(r"`\p` without a name in braces"),
            },
            't' => Item::Character('\t'),
            'n' => Item::Character('\n'),
            'v' => Item::Character('\x0B'),
            'f' => Item::Character('\x0C'),
            'r' => Item::Character('\r'),
            'b' if in_class => Item::Character('\x08'),
            'b' | 'B' => return self.unsupported(r"the boundary of a word (`\b`, `\B`)"),
            '0' => Item::Character('\0'),
            '1'..='9' | 'k' => return self.unsupported("a reference to a group"),
            'c' => match self.next() {
                Some(letter) if letter.is_ascii_alphabetic() => {
                    Item::Character(char::from(letter as u8 % 32))
                }
                _ => return self.broken(r"`\c` without a letter"),
            },
            'x' => self.hexadecimal(2)?,
            'u' if self.take("{") => match self.rest.split_once('}') {
                Some((digits, rest)) => {
                    self.rest = rest;
                    let code = u32::from_str_radix(digits, 16).ok();
                    match code.and_then(char::from_u32) {
                        Some(character) => Item::Character(character),
                        None => return self.broken("an escape that is no character"),
                    }
                }
                None => return self.broken(r"`\u{` without an end"),
            },
            'u' => self.hexadecimal(4)?,
            letter if letter.is_ascii_alphanumeric() => {
                return self.broken(format_args!(r"the unknown escape `\{letter}`"));
            }
            other => Item::Character(other),
        })
    }

    /// A character of so many hexadecimal digits; two escapes may make one character in UTF-16.
    fn hexadecimal(&mut self, digits: usize) -> Result<Item, Problem> {
        let code = self.code(digits)?;
        let low = || -> Option<u32> {
            let low = self.rest.strip_prefix(r"\u")?.get(..4)?;
            u32::from_str_radix(low, 16).ok().filter(|low| (0xDC00..0xE000).contains(low))
        };
        if let (0xD800..0xDC00, Some(low)) = (code, low()) {
            self.rest = self.rest.get(6..).unwrap_or_default();
            let code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            return match char::from_u32(code) {
                Some(character) => Ok(Item::Character(character)),
                None => self.broken("an escape that is no character"),
            };
        }
        match char::from_u32(code) {
            Some(character) => Ok(Item::Character(character)),
            None => self.unsupported("half a character of UTF-16"),
        }
    }

    fn code(&mut self, digits: usize) -> Result<u32, Problem> {
        let code = self.rest.get(..digits).and_then(|text| u32::from_str_radix(text, 16).ok());
        match code {
            Some(code) => {
                self.rest = self.rest.get(digits..).unwrap_or_default();
                Ok(code)
            }
            None => self.broken(format_args!("an escape without {digits} hexadecimal digits")),
        }
    }
}

/// Appends a character as text.
fn push(out: &mut String, character: char) {
    if character.is_ascii_alphanumeric() || !character.is_ascii() {
        out.push(character);
    } else {
        // Writing to a string does not fail.
        let _ = write!(out, r"\x{:02X}", u32::from(character));
    }
}

#[cfg(test)]
mod tests {
    use super::{Problem, translated};

    fn matches(pattern: &str, text: &str) -> bool {
        let translated = translated(pattern).expect(pattern);
        regex::Regex::new(&translated).expect(&translated).is_match(text)
    }

    #[test]
    fn expressions_mean_what_they_do_in_ecma_262() {
        for (pattern, yes, no) in [
            (r"^\d+$", "12", "١٢"),
            (r"^\w$", "a", "ä"),
            (r"^\W$", "ä", "a"),
            (r"^\s$", "\u{FEFF}", "\u{85}"),
            (r"^[^\s]$", "\u{85}", "\u{2003}"),
            (r"^.$", "a", "\r"),
            (r"^[[]$", "[", "]"),
            (r"^[a&&b]$", "&", "c"),
            (r"^[+--]$", ",", "/"),
            (r"^[a-]$", "-", "b"),
            (r"^[\d-x]$", "-", "y"),
            (r"^[]|a$", "a", "b"),
            (r"^[^]$", "\n", ""),
            (r"^a{2}$", "aa", "a"),
            (r"^a{2,}$", "aaa", "a"),
            (r"^a{,2}$", "a{,2}", "a"),
            (r"^{a}$", "{a}", "a"),
            (r"^\u0041\x42\u{43}\cJ\0$", "ABC\n\0", "ABC"),
            (r"^[^a]$", "b", "\0"),
            (r"^\ud83d\ude00$", "😀", "a"),
            (r"^[\ud83d\ude00-\u{1F602}]$", "😁", "a"),
            (r"^[\b]\/\-$", "\x08/-", "b/-"),
            (r"^(?<year>\d{4})-(?:0[1-9]|1[0-2])$", "2024-11", "2024-13"),
            (r"^\p{Lu}\P{L}$", "Ä1", "ä1"),
            ("^#/ \n$", "#/ \n", "#"),
        ] {
            assert!(matches(pattern, yes), "{pattern} does not match {yes:?}");
            assert!(!matches(pattern, no), "{pattern} matches {no:?}");
        }
    }

    #[test]
    fn what_cannot_be_translated_is_refused() {
        for pattern in [r"\bword", r"(a)\1", r"(?=a)", r"(?!a)", r"(?<!a)b", r"(?i:a)", r"\ud800"] {
            let problem = translated(pattern).expect_err(pattern);
            assert!(matches!(problem, Problem::Unsupported(_)), "{pattern}: {problem:?}");
        }
        for pattern in
            ["(", "[a", "a)", r"\", "*", r"\q", r"\u12", "[b-a]", r"\p{Nonsense}", "(?<a"]
        {
            let problem = translated(pattern).expect_err(pattern);
            assert!(matches!(problem, Problem::Broken(_)), "{pattern}: {problem:?}");
        }
    }
}
