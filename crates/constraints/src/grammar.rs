//! From a response format to the library's parser; what is refused, with its place.

mod depth;
mod gbnf;
mod lark;

use llguidance::TokenParser;
use llguidance::api::TopLevelGrammar;
use serde_json::{Map, Value, json};
use trefoil_contract::{Error, Result};

use crate::schema::{self, Place};
use crate::{TEXT_BYTES_MAX, expression};

/// White space between the parts of a JSON text: a space or two, or one line break with what
/// indents the next line. More would let a model go on with it for ever.
const WHITE_SPACE: &str = r"[ \t]{1,2}|[ \t]?\r?\n[ \t]{0,80}";
/// What may stand behind a backslash in JSON strings. Without `u`, each text can be written in one
/// way only: otherwise the name of a property could come under another spelling.
const ESCAPES: &str = "nrbtf\\\"";
/// How often a schema is tried in part, to find the place of what was refused.
const TRIALS_MAX: usize = 64;

/// What makes a parser of a grammar.
pub(crate) trait Compile: Fn(TopLevelGrammar) -> anyhow::Result<TokenParser> {}
impl<F: Fn(TopLevelGrammar) -> anyhow::Result<TokenParser>> Compile for F {}

/// The parser of the JSON texts that satisfy a schema.
pub(crate) fn json_schema(text: &str, compile: impl Compile) -> Result<TokenParser> {
    check_length(text, "the JSON schema")?;
    let root = schema::parsed(text)?;
    let whole = Place::default();
    let read = schema::read(&root, &whole)?;
    let places = read.places;
    let reason = match compile(json_grammar(read.value)) {
        Ok(parser) => return Ok(parser),
        Err(reason) => reason,
    };
    // From the whole inwards, as long as something inside is refused as well.
    let (mut place, mut reason, mut trials) = (whole, Refusal::of(&reason), 0);
    'inwards: loop {
        for inner in places.iter().filter(|inner| **inner != place && inner.is_within(&place)) {
            trials += 1;
            if trials > TRIALS_MAX {
                break 'inwards;
            }
            let Ok(read) = schema::read(&root, inner) else { continue };
            if let Err(inner_reason) = compile(json_grammar(read.value)) {
                (place, reason) = (inner.clone(), Refusal::of(&inner_reason));
                continue 'inwards;
            }
        }
        break;
    }
    Err(reason.error("the JSON schema", &format!(" at {place}")))
}

fn json_grammar(schema: Value) -> TopLevelGrammar {
    let mut map = match schema {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    map.insert(
        "x-guidance".into(),
        json!({ "whitespace_pattern": WHITE_SPACE, "json_allowed_escapes": ESCAPES }),
    );
    TopLevelGrammar::from_json_schema(Value::Object(map))
}

/// The parser of the texts that an expression matches as a whole.
pub(crate) fn regex(text: &str, compile: impl Compile) -> Result<TokenParser> {
    const WHAT: &str = "the regular expression";
    check_length(text, WHAT)?;
    let hir = regex_syntax::Parser::new().parse(text).map_err(|error| {
        let (place, reason) = (expression::place(&error), expression::reason(&error));
        Error::InvalidArgument(format!("{WHAT} is broken at byte {place}: {reason}"))
    })?;
    if hir.properties().minimum_len().is_none() {
        return Err(Error::InvalidArgument(format!("no text satisfies {WHAT}")));
    }
    // Written anew, with what flags of the whole mean in place.
    let text = expression::without_captures(hir).to_string();
    compile(TopLevelGrammar::from_regex(&text)).map_err(|error| Refusal::of(&error).error(WHAT, ""))
}

/// The parser of the texts that a grammar derives.
pub(crate) fn grammar(text: &str, compile: impl Compile) -> Result<TokenParser> {
    const WHAT: &str = "the grammar";
    check_length(text, WHAT)?;
    let text = if gbnf::is_gbnf(text) {
        gbnf::to_lark(text)?
    } else {
        lark::check(text)?;
        text.to_owned()
    };
    compile(TopLevelGrammar::from_lark(text)).map_err(|error| Refusal::of(&error).error(WHAT, ""))
}

fn check_length(text: &str, what: &str) -> Result<()> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "{what} has {} bytes; at most {TEXT_BYTES_MAX}",
        text.len()
    )))
}

/// Why the library refuses a grammar.
#[derive(Debug, Clone)]
enum Refusal {
    /// No text satisfies it.
    Unsatisfiable(String),
    /// It costs too much.
    TooLarge(String),
    /// The library has no such thing.
    Unsupported(String),
    /// It is no grammar.
    Broken(String),
}

/// The library's message in one line. It begins with `at LINE(COLUMN): ` in grammars; further lines
/// show the source, or repeat the message with its context, but the last one of an expression's
/// says what is wrong with it.
fn message(text: &str) -> String {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().trim();
    let first = first.trim_start_matches("Unsatisfiable schema: ");
    let mut message = match position(first) {
        Some((line, column, rest)) => format!("line {line}, column {column}: {rest}"),
        None => first.to_owned(),
    };
    if let Some(reason) = lines.find_map(|line| line.strip_prefix("error: ")) {
        message += &format!(" {reason}");
    }
    message
}

/// `at 3(14): rest` or `3(14): rest`.
fn position(text: &str) -> Option<(usize, usize, &str)> {
    let text = text.strip_prefix("at ").unwrap_or(text);
    let (place, rest) = text.split_once("): ")?;
    let (line, column) = place.split_once('(')?;
    Some((line.parse().ok()?, column.parse().ok()?, rest))
}

impl Refusal {
    fn of(error: &anyhow::Error) -> Refusal {
        let text = error.to_string();
        debug_assert!(!text.contains("panic:"), "the library failed: {text}");
        let line = message(&text);
        if text.contains("lookarounds not supported") {
            return Refusal::Unsupported(
                "`^` and `$` may stand only at the beginning and the end, and `\\b` and the like \
                 nowhere"
                    .into(),
            );
        }
        if text.contains("oneOf constraints") {
            return Refusal::Unsupported(
                "`oneOf` with schemas more than one of which might hold; use `anyOf`, or give each \
                 a property with a `const` of its own"
                    .into(),
            );
        }
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if has(&["nsatisfiable"]) {
            Refusal::Unsatisfiable(line)
        } else if has(&["too large", "too big", "too complex", "limit", "fuel", "exceeded"]) {
            Refusal::TooLarge(line)
        } else if has(&["not supported", "only supported", "Unimplemented", "disjoint"]) {
            Refusal::Unsupported(line)
        } else {
            Refusal::Broken(line)
        }
    }

    fn error(self, what: &str, place: &str) -> Error {
        match self {
            Refusal::Unsatisfiable(line) => {
                Error::InvalidArgument(format!("no text satisfies {what}{place}: {line}"))
            }
            Refusal::TooLarge(line) => {
                Error::InvalidArgument(format!("{what} costs too much{place}: {line}"))
            }
            Refusal::Unsupported(line) => {
                Error::unsupported(format_args!("a part of {what}{place}: {line}"))
            }
            Refusal::Broken(line) => {
                Error::InvalidArgument(format!("{what} is broken{place}: {line}"))
            }
        }
    }
}
