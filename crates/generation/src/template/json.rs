//! `tojson` as templates expect it: `json.dumps(value, ensure_ascii=False)` of Python.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use super::display::{finite_float, write_display};

/// Deepest nesting of a value.
const DEPTH_MAX: usize = 64;
/// Longest indentation of a level, in bytes.
pub(super) const INDENT_BYTES_MAX: usize = 16;
/// Bytes for which one unit of fuel pays.
const BYTES_PER_FUEL: usize = 4;

/// Keyword arguments of `tojson`.
#[derive(Debug, Default)]
pub(super) struct Options {
    /// What each level is indented with; `None` writes one line.
    pub(super) indent: Option<String>,
    /// Escape all but ASCII.
    pub(super) ascii: bool,
    /// Sort the keys of objects.
    pub(super) sort_keys: bool,
    /// Between items, and between key and value.
    pub(super) separators: Option<Vec<String>>,
}

/// Writes a value as JSON; `pay` is asked for fuel as the text grows.
///
/// # Errors
/// Nesting, an unusable option, or what `pay` answers.
pub(super) fn write(
    value: &Value,
    options: &Options,
    pay: &dyn Fn(u64) -> Result<(), Error>,
) -> Result<String, Error> {
    let refuse = |text: &'static str| Err(Error::new(ErrorKind::InvalidOperation, text));
    if options.indent.as_ref().is_some_and(|indent| indent.len() > INDENT_BYTES_MAX) {
        return refuse("`tojson` indents by at most 16 bytes");
    }
    let (item, key) = match options.separators.as_deref() {
        None if options.indent.is_some() => (",", ": "),
        None => (", ", ": "),
        Some([item, key]) => (item.as_str(), key.as_str()),
        Some(_) => return refuse("`separators` of `tojson` holds two texts"),
    };
    let mut writer = Writer { text: String::new(), paid: 0, options, item, key, pay };
    writer.value(value, 0)?;
    Ok(writer.text)
}

struct Writer<'a> {
    text: String,
    paid: usize,
    options: &'a Options,
    item: &'a str,
    key: &'a str,
    pay: &'a dyn Fn(u64) -> Result<(), Error>,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            let text = format!("`tojson` writes at most {DEPTH_MAX} nested levels");
            return Err(Error::new(ErrorKind::InvalidOperation, text));
        }
        match value.kind() {
            ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self.text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => write_display(&mut self.text, value),
            ValueKind::Number => {
                let number = f64::try_from(value.clone())?;
                write_float(&mut self.text, number);
            }
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                self.text.push('[');
                let mut empty = true;
                for item in value.try_iter()? {
                    self.begin(&mut empty, depth)?;
                    self.value(&item, depth + 1)?;
                }
                self.end(empty, depth, ']');
            }
            ValueKind::Map => {
                self.text.push('{');
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.options.sort_keys {
                    keys.sort();
                }
                let mut empty = true;
                for key in keys {
                    self.begin(&mut empty, depth)?;
                    self.member(&key)?;
                    self.value(&value.get_item(&key)?, depth + 1)?;
                }
                self.end(empty, depth, '}');
            }
            kind => {
                let text = format!("a value of type {kind} cannot be written as JSON");
                return Err(Error::new(ErrorKind::InvalidOperation, text));
            }
        }
        self.charge()
    }

    /// Python turns keys that are not texts into texts.
    fn member(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.string(key.as_str().unwrap_or_default()),
            _ => {
                self.text.push('"');
                self.value(key, DEPTH_MAX)?;
                self.text.push('"');
            }
        }
        self.text.push_str(self.key);
        Ok(())
    }

    fn begin(&mut self, empty: &mut bool, depth: usize) -> Result<(), Error> {
        if !*empty {
            self.text.push_str(self.item);
        }
        *empty = false;
        self.line(depth + 1);
        self.charge()
    }

    fn end(&mut self, empty: bool, depth: usize, bracket: char) {
        if !empty {
            self.line(depth);
        }
        self.text.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.options.indent {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn charge(&mut self) -> Result<(), Error> {
        let due = (self.text.len() - self.paid) / BYTES_PER_FUEL;
        self.paid += due * BYTES_PER_FUEL;
        (self.pay)(due as u64)
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for character in text.chars() {
            match character {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                '\0'..='\u{1f}' => self.escape(character),
                // Python's `ensure_ascii` leaves DEL as it is.
                '\u{80}'.. if self.options.ascii => self.escape(character),
                _ => self.text.push(character),
            }
        }
        self.text.push('"');
    }

    fn escape(&mut self, character: char) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            write_display(&mut self.text, format_args!("\\u{unit:04x}"));
        }
    }
}

/// As `json.dumps` of Python.
fn write_float(text: &mut String, number: f64) {
    match number {
        number if number.is_finite() => finite_float(text, number),
        number if number.is_nan() => text.push_str("NaN"),
        number if number > 0.0 => text.push_str("Infinity"),
        _ => text.push_str("-Infinity"),
    }
}
