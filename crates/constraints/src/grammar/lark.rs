//! What is refused of a Lark grammar before the library sees it.

use std::collections::BTreeMap;

use trefoil_contract::{Error, Result};

use super::depth::check_depth;

/// What the library knows and engines do not do, with what to do instead.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("%json", "give the schema as the response format, or write it as rules"),
    ("%llguidance", "leave it out"),
    ("temperature", "set it for the whole answer"),
    ("stop", "use `suffix`, or a rule with what ends it"),
    ("stop_capture", "leave it out"),
];

/// Checks a grammar for what would be ignored, or would cost too much to read.
///
/// # Errors
/// [`Error::Unsupported`] with line and column; [`Error::InvalidArgument`] where definitions refer
/// to one another in too long a chain.
pub(super) fn check(text: &str) -> Result<()> {
    let mut words = Words { text, place: 0 };
    let mut references: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut defined = "";
    let mut brackets = 0;
    while let Some(word) = words.next() {
        let attribute = brackets > 0 && words.is_followed_by('=');
        let refused = UNSUPPORTED
            .iter()
            .find(|(name, _)| *name == word && (word.starts_with('%') || attribute));
        if let Some((name, cure)) = refused {
            let (line, column) = position(text, words.place - word.len());
            return Err(Error::unsupported(format_args!(
                "`{name}` in a grammar, at line {line}, column {column}; {cure}"
            )));
        }
        match word {
            "[" => brackets += 1,
            "]" => brackets -= 1,
            _ if !is_name(word) => {}
            _ if words.begins_definition(word) => {
                defined = word;
                references.entry(word).or_default();
            }
            _ => references.entry(defined).or_default().push(word),
        }
    }
    check_depth("start", |name| references.get(name).map_or(&[], Vec::as_slice))
}

/// Line and column of a byte, from 1.
pub(super) fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first == '_' || first.is_ascii_alphabetic())
}

/// The words and signs of a grammar, without comments, strings and expressions.
struct Words<'t> {
    text: &'t str,
    place: usize,
}

impl<'t> Words<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.place..).unwrap_or_default()
    }

    fn next(&mut self) -> Option<&'t str> {
        loop {
            let rest = self.rest();
            let first = rest.chars().next()?;
            let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
            let length = match first {
                '#' => rest.find('\n').unwrap_or(rest.len()),
                '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
                '"' | '/' => quoted_length(rest, first),
                // Names of special tokens and of options.
                '<' => rest.find('>').map_or(1, |end| end + 1),
                '%' => 1 + rest[1..].find(|c| !is_word(c)).unwrap_or(rest.len() - 1),
                first if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                other => other.len_utf8(),
            };
            self.place += length;
            if !matches!(first, '#' | '/' | '"' | '<') && !first.is_whitespace() {
                return rest.get(..length);
            }
        }
    }

    fn is_followed_by(&self, sign: char) -> bool {
        self.rest().trim_start().starts_with(sign)
    }

    /// Whether a name that was just read is the one that its line defines.
    fn begins_definition(&self, name: &str) -> bool {
        let start = self.place - name.len();
        let before = self.text.get(..start).and_then(|before| before.rsplit('\n').next());
        let is_first = before.is_some_and(|before| {
            before.trim_matches(|c: char| c.is_whitespace() || c == '?' || c == '!').is_empty()
        });
        is_first && self.rest().trim_start().starts_with([':', '.', '[', '{'])
    }
}

/// Length of a string or an expression with its quotes.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (place, character) in text.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            end if end == quote => return place + 1,
            _ => {}
        }
    }
    text.len()
}
