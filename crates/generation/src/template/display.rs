//! Values as text the way Python prints them: `str` and `repr`.

use std::fmt::Write as _;

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use unicode_general_category::{GeneralCategory, get_general_category};

/// Deepest nesting of a value that is printed; JSON of a conversation has 128 levels at most.
const DEPTH_MAX: usize = 128;
/// Bytes for which one unit of fuel pays.
const BYTES_PER_FUEL: usize = 64;

/// `str(value)`; nothing for an undefined one.
///
/// # Errors
/// Nesting, or no fuel for so much text.
pub(super) fn text(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None if value.is_undefined() => Ok(String::new()),
        None => literal(state, value),
    }
}

/// `repr(value)`.
///
/// # Errors
/// As [`text`].
pub(super) fn literal(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut writer = Writer { state, text: String::new(), paid: 0 };
    writer.value(value, 0)?;
    Ok(writer.text)
}

struct Writer<'a, 'b, 'c> {
    state: &'a State<'b, 'c>,
    text: String,
    paid: usize,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            let text = format!("at most {DEPTH_MAX} nested levels are printed");
            return Err(Error::new(ErrorKind::InvalidOperation, text));
        }
        match value.kind() {
            ValueKind::Undefined => self.text.push_str("Undefined"),
            ValueKind::Number if !value.is_integer() => {
                float(&mut self.text, f64::try_from(value.clone())?);
            }
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => self.sequence(value, depth)?,
            ValueKind::Map => {
                self.text.push('{');
                for (index, key) in value.try_iter()?.enumerate() {
                    self.separate(index)?;
                    self.value(&key, depth + 1)?;
                    self.text.push_str(": ");
                    self.value(&value.get_item(&key)?, depth + 1)?;
                }
                self.text.push('}');
            }
            // Numbers, `None`, `True`; functions have no form of Python's.
            _ => write_display(&mut self.text, value),
        }
        self.pay(0)
    }

    fn sequence(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let is_tuple = value.downcast_object_ref::<Tuple>().is_some();
        self.text.push(if is_tuple { '(' } else { '[' });
        let mut count = 0;
        for item in value.try_iter()? {
            self.separate(count)?;
            self.value(&item, depth + 1)?;
            count += 1;
        }
        if is_tuple && count == 1 {
            self.text.push(',');
        }
        self.text.push(if is_tuple { ')' } else { ']' });
        Ok(())
    }

    fn separate(&mut self, index: usize) -> Result<(), Error> {
        if index > 0 {
            self.text.push_str(", ");
        }
        self.pay(1)
    }

    /// In single quotes, unless that spares escapes.
    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.pay(text.len())?;
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        self.text.push(quote);
        for character in text.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                _ if character == quote => self.text.extend(['\\', character]),
                _ if is_printable(character) => self.text.push(character),
                '\0'..='\u{ff}' => {
                    write_display(&mut self.text, format_args!("\\x{:02x}", character as u32));
                }
                '\0'..='\u{ffff}' => {
                    write_display(&mut self.text, format_args!("\\u{:04x}", character as u32));
                }
                _ => write_display(&mut self.text, format_args!("\\U{:08x}", character as u32)),
            }
        }
        self.text.push(quote);
        Ok(())
    }

    /// Pays for what was written, and for so many bytes to come.
    fn pay(&mut self, bytes: usize) -> Result<(), Error> {
        let due = (self.text.len() + bytes).saturating_sub(self.paid) / BYTES_PER_FUEL;
        self.paid += due * BYTES_PER_FUEL;
        self.state.consume_fuel(due as u64)
    }
}

/// `str.isprintable` of Python.
fn is_printable(character: char) -> bool {
    use GeneralCategory::{
        Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, SpaceSeparator, Surrogate,
        Unassigned,
    };
    match get_general_category(character) {
        SpaceSeparator => character == ' ',
        Control | Format | Surrogate | PrivateUse | Unassigned => false,
        LineSeparator | ParagraphSeparator => false,
        _ => true,
    }
}

pub(super) fn write_display(text: &mut String, value: impl std::fmt::Display) {
    // Writing to a `String` cannot fail.
    let _ = write!(text, "{value}");
}

/// As `float.__repr__`: the shortest digits that read back as the same number, with an exponent
/// below 1e-4 and from 1e16 on.
fn float(text: &mut String, number: f64) {
    if !number.is_finite() {
        return text.push_str(match number {
            number if number.is_nan() => "nan",
            number if number > 0.0 => "inf",
            _ => "-inf",
        });
    }
    finite_float(text, number);
}

/// Likewise for a finite number.
pub(super) fn finite_float(text: &mut String, number: f64) {
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let scientific = format!("{number:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return write_display(text, format_args!("{digits}e{sign}{exponent:0>2}"));
    }
    write_display(text, format_args!("{number:?}"));
}
