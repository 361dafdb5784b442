//! Methods of Python's strings, lists and dictionaries that `pycompat` lacks, or does otherwise than
//! Python. Texts are counted in characters.

use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// Bytes of a text for which one unit of fuel pays.
const BYTES_PER_FUEL: u64 = 64;
/// Widest field that a text is padded to.
const WIDTH_MAX: usize = 4096;

/// Calls a method that minijinja does not have itself.
///
/// # Errors
/// An unknown method, or arguments that it does not take.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let own = match (value.as_str(), value.kind()) {
        (Some(text), _) => {
            // What is read costs as much as what is made.
            state.consume_fuel(text.len() as u64 / BYTES_PER_FUEL)?;
            string_method(state, text, method, arguments)
        }
        (None, ValueKind::Seq) => sequence_method(value, method, arguments),
        (None, ValueKind::Map) if method == "copy" => {
            from_args::<()>(arguments).map(|()| Some(value.clone()))
        }
        _ => Ok(None),
    };
    match own? {
        Some(result) => Ok(result),
        None => pycompat::unknown_method_callback(state, value, method, arguments),
    }
}

fn refuse<T>(text: String) -> Result<T, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, text))
}

/// What Python takes for a blank: unlike in Unicode, the separators of ASCII are among them.
pub(super) fn is_blank(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// The method's result; `None` if it is none of these.
fn string_method(
    state: &State<'_, '_>,
    text: &str,
    method: &str,
    arguments: &[Value],
) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "strip" | "lstrip" | "rstrip" => {
            let (characters,): (Option<&str>,) = from_args(arguments)?;
            Value::from(strip(text, characters, method != "rstrip", method != "lstrip"))
        }
        "split" | "rsplit" => list(state, &split(text, arguments, method == "rsplit")?)?,
        "splitlines" => {
            let (keeps, options): (Option<bool>, Kwargs) = from_args(arguments)?;
            let keeps = keeps.or(options.get("keepends")?).unwrap_or(false);
            options.assert_all_used()?;
            list(state, &lines(text, keeps))?
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            if separator.is_empty() {
                return refuse(format!("the separator of `{method}` is empty"));
            }
            let from_left = method == "partition";
            let found =
                if from_left { text.split_once(separator) } else { text.rsplit_once(separator) };
            let parts = match found {
                Some((left, right)) => [left, separator, right],
                None if from_left => [text, "", ""],
                None => ["", "", text],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "find" | "rfind" | "index" | "rindex" => {
            let (part, Rest(bounds)): (&str, Rest<Option<i64>>) = from_args(arguments)?;
            let place = bounded(text, &bounds)?.and_then(|(start, range)| {
                let found = match method {
                    "find" | "index" => range.find(part),
                    _ => range.rfind(part),
                };
                Some(start + range[..found?].chars().count())
            });
            match place {
                Some(place) => Value::from(place),
                None if method.ends_with("find") => Value::from(-1),
                None => return refuse(format!("`{part}` is not in the text")),
            }
        }
        "count" => {
            let (part, Rest(bounds)): (&str, Rest<Option<i64>>) = from_args(arguments)?;
            let range = bounded(text, &bounds)?.map_or("", |(_, range)| range);
            Value::from(range.matches(part).count())
        }
        "startswith" | "endswith" => {
            let (parts, Rest(bounds)): (&Value, Rest<Option<i64>>) = from_args(arguments)?;
            let range = bounded(text, &bounds)?;
            let mut found = false;
            let single = parts.as_str().map(|_| parts.clone());
            let several = single.is_none().then(|| parts.try_iter()).transpose()?;
            for part in single.into_iter().chain(several.into_iter().flatten()) {
                let Some(part) = part.as_str() else {
                    return refuse(format!("`{method}` takes a text, or several"));
                };
                found |= range.is_some_and(|(_, range)| match method {
                    "startswith" => range.starts_with(part),
                    _ => range.ends_with(part),
                });
            }
            Value::from(found)
        }
        "removeprefix" => {
            let (part,): (&str,) = from_args(arguments)?;
            Value::from(text.strip_prefix(part).unwrap_or(text))
        }
        "removesuffix" => {
            let (part,): (&str,) = from_args(arguments)?;
            Value::from(text.strip_suffix(part).unwrap_or(text))
        }
        "title" => {
            from_args::<()>(arguments)?;
            Value::from(title(text))
        }
        "swapcase" => {
            from_args::<()>(arguments)?;
            let swap = |character: char| match character.is_uppercase() {
                true => character.to_lowercase().collect::<String>(),
                false => character.to_uppercase().collect(),
            };
            Value::from(text.chars().map(swap).collect::<String>())
        }
        "casefold" => {
            from_args::<()>(arguments)?;
            Value::from(text.to_lowercase().replace('ß', "ss"))
        }
        "isdecimal" => {
            from_args::<()>(arguments)?;
            Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit()))
        }
        "isspace" => {
            from_args::<()>(arguments)?;
            Value::from(!text.is_empty() && text.chars().all(is_blank))
        }
        "zfill" => {
            let (width,): (usize,) = from_args(arguments)?;
            let digits = text.trim_start_matches(['-', '+']);
            let sign = &text[..(text.len() - digits.len()).min(1)];
            let zeros = missing(text, width)?;
            Value::from(format!("{sign}{}{}", "0".repeat(zeros), &text[sign.len()..]))
        }
        "ljust" | "rjust" | "center" => {
            let (width, fill): (usize, Option<char>) = from_args(arguments)?;
            let missing = missing(text, width)?;
            let left = match method {
                "ljust" => 0,
                "rjust" => missing,
                // As in CPython: the odd one stands left where the width is odd.
                _ => missing / 2 + (missing & width & 1),
            };
            Value::from(pad(text, left, missing - left, fill.unwrap_or(' ')))
        }
        _ => return Ok(None),
    }))
}

fn sequence_method(
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Option<Value>, Error> {
    match method {
        "index" => {
            let (item,): (&Value,) = from_args(arguments)?;
            match value.try_iter()?.position(|each| each == *item) {
                Some(place) => Ok(Some(Value::from(place))),
                None => refuse("the value is not in the list".into()),
            }
        }
        "copy" => from_args::<()>(arguments).map(|()| Some(value.clone())),
        _ => Ok(None),
    }
}

/// A text without blanks, or without these characters, at its ends.
pub(super) fn strip<'a>(
    text: &'a str,
    characters: Option<&str>,
    at_start: bool,
    at_end: bool,
) -> &'a str {
    let goes = |character: char| match characters {
        Some(characters) => characters.contains(character),
        None => is_blank(character),
    };
    let text = if at_start { text.trim_start_matches(goes) } else { text };
    if at_end { text.trim_end_matches(goes) } else { text }
}

/// What `start` and `end` leave of a text, as of a slice, and the number of its first character.
fn bounded<'a>(text: &'a str, bounds: &[Option<i64>]) -> Result<Option<(usize, &'a str)>, Error> {
    if bounds.is_empty() {
        return Ok(Some((0, text)));
    }
    let &[start, ref end @ ..] = bounds else { return Ok(None) };
    let end = match end {
        [] => None,
        [end] => *end,
        _ => return Err(Error::from(ErrorKind::TooManyArguments)),
    };
    let count = text.chars().count();
    let place = |bound: i64| match usize::try_from(bound) {
        Ok(bound) => bound,
        Err(_) => count.saturating_sub(usize::try_from(bound.unsigned_abs()).unwrap_or(count)),
    };
    let start = place(start.unwrap_or(0));
    let end = end.map_or(count, place).min(count);
    let byte = |place| text.char_indices().nth(place).map_or(text.len(), |(byte, _)| byte);
    Ok((start <= end).then(|| (start, &text[byte(start)..byte(end)])))
}

/// A list of texts, each paid for: many of them are empty.
fn list(state: &State<'_, '_>, texts: &[&str]) -> Result<Value, Error> {
    state.consume_fuel(texts.len() as u64)?;
    Ok(texts.iter().copied().map(Value::from).collect())
}

fn split<'a>(text: &'a str, arguments: &[Value], from_right: bool) -> Result<Vec<&'a str>, Error> {
    let (separator, count, options): (Option<&str>, Option<i64>, Kwargs) = from_args(arguments)?;
    let separator = separator.or(options.get("sep")?);
    let count = count.or(options.get("maxsplit")?);
    options.assert_all_used()?;
    // Negative is without a limit.
    let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    Ok(match separator {
        Some("") => return refuse("the separator of `split` is empty".into()),
        Some(separator) if from_right => {
            let mut parts: Vec<_> = text.rsplitn(count.saturating_add(1), separator).collect();
            parts.reverse();
            parts
        }
        Some(separator) => text.splitn(count.saturating_add(1), separator).collect(),
        None if from_right => {
            let mut rest = text.trim_end_matches(is_blank);
            let mut parts = Vec::new();
            while !rest.is_empty() && parts.len() < count {
                let start = rest
                    .char_indices()
                    .rev()
                    .find(|(_, character)| is_blank(*character))
                    .map_or(0, |(at, blank)| at + blank.len_utf8());
                parts.push(&rest[start..]);
                rest = rest[..start].trim_end_matches(is_blank);
            }
            parts.extend((!rest.is_empty()).then_some(rest));
            parts.reverse();
            parts
        }
        None => {
            let mut rest = text.trim_start_matches(is_blank);
            let mut parts = Vec::new();
            while !rest.is_empty() && parts.len() < count {
                let end = rest.find(is_blank).unwrap_or(rest.len());
                parts.push(&rest[..end]);
                rest = rest[end..].trim_start_matches(is_blank);
            }
            parts.extend((!rest.is_empty()).then_some(rest));
            parts
        }
    })
}

/// The lines of a text, cut where `str.splitlines` cuts.
pub(super) fn lines(text: &str, keeps_ends: bool) -> Vec<&str> {
    let is_end = |character: char| matches!(character, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_end).unwrap_or(rest.len());
        let length = match rest[end..].chars().next() {
            Some('\r') if rest[end + 1..].starts_with('\n') => 2,
            mark => mark.map_or(0, char::len_utf8),
        };
        lines.push(&rest[..end + if keeps_ends { length } else { 0 }]);
        rest = &rest[end + length..];
    }
    lines
}

/// Letters behind others are small, the others are capitals.
fn title(text: &str) -> String {
    let mut inside = false;
    let mut titled = String::with_capacity(text.len());
    for character in text.chars() {
        match (inside, character) {
            (true, _) => titled.extend(character.to_lowercase()),
            // Letters of two have a form of their own.
            (false, 'Ǆ'..='ǆ') => titled.push('ǅ'),
            (false, 'Ǉ'..='ǉ') => titled.push('ǈ'),
            (false, 'Ǌ'..='ǌ') => titled.push('ǋ'),
            (false, 'Ǳ'..='ǳ') => titled.push('ǲ'),
            (false, _) => titled.extend(character.to_uppercase()),
        }
        inside = character.is_uppercase() || character.is_lowercase();
    }
    titled
}

/// Characters that a text lacks of a width.
///
/// # Errors
/// A width beyond the limit.
pub(super) fn missing(text: &str, width: usize) -> Result<usize, Error> {
    if width > WIDTH_MAX {
        return refuse(format!("texts are padded to at most {WIDTH_MAX} characters"));
    }
    Ok(width.saturating_sub(text.chars().count()))
}

/// A text with so many characters before and behind it.
pub(super) fn pad(text: &str, left: usize, right: usize, fill: char) -> String {
    let fills = |count| std::iter::repeat_n(fill, count);
    fills(left).chain(text.chars()).chain(fills(right)).collect()
}
