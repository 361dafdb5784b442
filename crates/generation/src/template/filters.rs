//! Filters, tests and functions of Jinja that minijinja lacks, or does otherwise than Jinja.

use std::borrow::Cow;

use minijinja::value::{Kwargs, Rest, Tuple, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::{assignment, display, json, methods};

type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds all of them.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.set_formatter(|output, state, value| {
        let text = match value.as_str() {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(display::text(state, value)?),
        };
        output.write_str(&text).map_err(Error::from)
    });
    environment.add_filter("tojson", to_json);
    environment
        .add_filter("string", |state: &State<'_, '_>, value: Value| display::text(state, &value));
    environment.add_filter("pprint", |state: &State<'_, '_>, value: Value| {
        display::literal(state, &value)
    });
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("trim", trim);
    environment.add_filter("indent", indent);
    environment.add_filter("center", center);
    environment.add_filter("wordcount", |text: &str| {
        text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|it| !it.is_empty()).count()
    });
    environment.add_filter("dictsort", dictsort);
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_sequence);
    environment.add_test("mapping", |value: Value| {
        value.kind() == ValueKind::Map && !assignment::is_namespace(&value)
    });
    environment.add_test("callable", is_callable);
    environment.add_function("dict", dict);
}

fn invalid<T>(text: impl Into<Cow<'static, str>>) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidOperation, text))
}

/// The options of a filter by their names, given by place or by name.
fn options<const N: usize>(
    filter: &str,
    names: [&str; N],
    places: &[Value],
    named: &Kwargs,
) -> Result<[Option<Value>; N]> {
    if places.len() > N {
        return invalid(format!("`{filter}` takes at most {N} options: {}", names.join(", ")));
    }
    let mut found = [const { None }; N];
    for (option, place) in found.iter_mut().zip(places) {
        *option = Some(place.clone());
    }
    for (option, name) in found.iter_mut().zip(names) {
        if let Some(value) = named.get::<Option<Value>>(name)? {
            *option = Some(value);
        }
    }
    named.assert_all_used()?;
    Ok(found)
}

fn is_true(option: Option<Value>) -> bool {
    option.is_some_and(|value| value.is_true())
}

/// `json.dumps` in the form of `transformers`.
fn to_json(
    state: &State<'_, '_>,
    value: &Value,
    Rest(places): Rest<Value>,
    named: Kwargs,
) -> Result<Value> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ascii, indent, separators, sort_keys] = options("tojson", names, &places, &named)?;
    let indent = match indent.filter(|indent| !indent.is_none()) {
        Some(indent) if indent.as_str().is_some() => indent.as_str().map(str::to_owned),
        Some(indent) => match usize::try_from(indent.clone()) {
            Ok(spaces) => Some(" ".repeat(spaces.min(1 + json::INDENT_BYTES_MAX))),
            Err(_) => return invalid("`indent` of `tojson` is a number or a text"),
        },
        None => None,
    };
    let separators = match separators.filter(|separators| !separators.is_none()) {
        Some(separators) => {
            Some(separators.try_iter()?.take(3).map(|it| it.to_string()).collect::<Vec<_>>())
        }
        None => None,
    };
    let options =
        json::Options { indent, ascii: is_true(ascii), sort_keys: is_true(sort_keys), separators };
    let text = json::write(value, &options, &|work| state.consume_fuel(work))?;
    Ok(Value::from_safe_string(text))
}

fn default(value: Value, Rest(places): Rest<Value>, named: Kwargs) -> Result<Value> {
    let [other, for_false] = options("default", ["default_value", "boolean"], &places, &named)?;
    let is_missing = value.is_undefined() || is_true(for_false) && !value.is_true();
    Ok(if is_missing { other.unwrap_or_else(|| Value::from("")) } else { value })
}

fn int(value: Value, Rest(places): Rest<Value>, named: Kwargs) -> Result<Value> {
    let [other, base] = options("int", ["default", "base"], &places, &named)?;
    let base = base.map_or(Ok(10), u32::try_from)?;
    let whole = match value.as_str() {
        Some(text) => {
            whole_number(text, base).or_else(|| text.trim().parse().ok().and_then(truncated))
        }
        None if value.is_integer() => return Ok(value),
        None if value.kind() == ValueKind::Bool => Some(i64::from(value.is_true())),
        None => f64::try_from(value).ok().and_then(truncated),
    };
    Ok(whole.map_or_else(|| other.unwrap_or_else(|| Value::from(0)), Value::from))
}

/// A text as a whole number, with the prefix of its base if it has one; base 0 takes the prefix's.
fn whole_number(text: &str, base: u32) -> Option<i64> {
    let text = text.trim();
    let digits = text.trim_start_matches(['+', '-']);
    if text.len() - digits.len() > 1 {
        return None;
    }
    let prefixed = [("0x", 16), ("0o", 8), ("0b", 2)].into_iter().find_map(|(prefix, of)| {
        let lower = digits.get(..2)?.to_ascii_lowercase();
        (lower == prefix && (base == of || base == 0)).then(|| (digits[2..].to_owned(), of))
    });
    let (digits, base) =
        prefixed.unwrap_or_else(|| (digits.to_owned(), if base == 0 { 10 } else { base }));
    if !(2..=36).contains(&base) || digits.starts_with(['+', '-']) {
        return None;
    }
    let number = i64::from_str_radix(&digits, base).ok()?;
    Some(if text.starts_with('-') { -number } else { number })
}

fn truncated(number: f64) -> Option<i64> {
    (number.abs() < i64::MAX as f64).then_some(number.trunc() as i64)
}

fn float(value: Value, Rest(places): Rest<Value>, named: Kwargs) -> Result<Value> {
    let [other] = options("float", ["default"], &places, &named)?;
    let number = match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None => f64::try_from(value).ok(),
    };
    Ok(number.map_or_else(|| other.unwrap_or_else(|| Value::from(0.0)), Value::from))
}

fn trim(state: &State<'_, '_>, value: Value, characters: Option<&str>) -> Result<String> {
    let text = display::text(state, &value)?;
    Ok(methods::strip(&text, characters, true, true).to_owned())
}

/// Indents all lines but the first; blank ones only if asked to.
fn indent(
    state: &State<'_, '_>,
    text: &str,
    Rest(places): Rest<Value>,
    named: Kwargs,
) -> Result<String> {
    let [width, first, blank] = options("indent", ["width", "first", "blank"], &places, &named)?;
    let indent = match width {
        Some(width) if width.as_str().is_some() => width.to_string(),
        width => " ".repeat(methods::missing("", width.map_or(Ok(4), usize::try_from)?)?),
    };
    let (first, blank) = (is_true(first), is_true(blank));
    // As in Jinja, which needs it to keep a last line break.
    let text = format!("{text}\n");
    let mut indented = String::new();
    for (index, line) in methods::lines(&text, false).into_iter().enumerate() {
        state.consume_fuel(1 + (indent.len() + line.len()) as u64 / 64)?;
        if index > 0 {
            indented.push('\n');
        }
        if (index == 0 && first) || (index > 0 && (blank || !line.is_empty())) {
            indented.push_str(&indent);
        }
        indented.push_str(line);
    }
    Ok(indented)
}

fn center(text: &str, width: Option<usize>) -> Result<String> {
    let width = width.unwrap_or(80);
    let missing = methods::missing(text, width)?;
    let left = missing / 2 + (missing & width & 1);
    Ok(methods::pad(text, left, missing - left, ' '))
}

fn dictsort(
    state: &mut State<'_, '_>,
    value: Value,
    Rest(places): Rest<Value>,
    named: Kwargs,
) -> Result<Value> {
    let names = ["case_sensitive", "by", "reverse"];
    let [case_sensitive, by, reverse] = options("dictsort", names, &places, &named)?;
    if value.kind() != ValueKind::Map {
        return invalid("`dictsort` sorts mappings");
    }
    let column = match by.as_ref().map_or(Some("key"), |by| by.as_str()) {
        Some("key") => "0",
        Some("value") => "1",
        _ => return invalid("`by` of `dictsort` is `key` or `value`"),
    };
    let mut pairs = Vec::new();
    for key in value.try_iter()? {
        pairs.push(Value::from(Tuple::from([key.clone(), value.get_item(&key)?])));
    }
    let options = [
        ("attribute", Value::from(column)),
        ("case_sensitive", Value::from(is_true(case_sensitive))),
        ("reverse", Value::from(is_true(reverse))),
    ];
    let options: Kwargs = options.into_iter().collect();
    state.apply_filter("sort", &[Value::from(pairs), Value::from(options)])
}

fn is_iterable(value: Value) -> bool {
    use ValueKind::{Iterable, Map, Seq, String, Undefined};
    matches!(value.kind(), Undefined | String | Seq | Map | Iterable)
        && !assignment::is_namespace(&value)
}

/// What has a length and items: in Python, mappings and texts as well.
fn is_sequence(value: Value) -> bool {
    is_iterable(value.clone()) && (value.is_undefined() || value.len().is_some())
}

fn is_callable(value: Value) -> bool {
    matches!(value.kind(), ValueKind::Plain | ValueKind::Undefined)
}

/// `dict(mapping or pairs, name=value, ...)`
fn dict(first: Option<Value>, named: Kwargs) -> Result<Value> {
    let mut pairs = Vec::new();
    if let Some(first) = first {
        for item in first.try_iter()? {
            pairs.push(match first.kind() {
                ValueKind::Map => (item.clone(), first.get_item(&item)?),
                _ => (item.get_item_by_index(0)?, item.get_item_by_index(1)?),
            });
        }
    }
    for name in named.args() {
        pairs.push((Value::from(name), named.get(name)?));
    }
    Ok(Value::from_pairs(pairs))
}
