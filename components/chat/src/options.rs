use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use trefoil_settings::{Kind, Scope, TABLE};

use crate::bindings::trefoil::llm::inference::{Message, ResponseFormat};
use crate::bindings::trefoil::llm::types::{Setting, Value};
use crate::message;

/// What the command line says.
pub(crate) struct Options {
    pub(crate) prompt: Option<String>,
    pub(crate) raw: bool,
    pub(crate) stats: bool,
    pub(crate) model: Option<String>,
    system: Option<String>,
    settings: Vec<trefoil_contract::Setting>,
    response_format: ResponseFormat,
}

/// What every request has beside its prompt.
pub(crate) struct RequestOptions {
    pub(crate) settings: Vec<Setting>,
    pub(crate) response_format: ResponseFormat,
}

/// The flags that say which form answers have.
const RESPONSE_FORMATS: &[(&str, &str, &str)] = &[
    ("json-schema", "JSON", "Answer with JSON that satisfies this schema"),
    ("regex", "PATTERN", "Answer with text that this regular expression matches as a whole"),
    ("grammar", "GRAMMAR", "Answer with text that this grammar derives, in Lark or GBNF"),
];

impl Options {
    /// Reads the command line; prints help or a usage error and exits where it must.
    pub(crate) fn parse() -> Options {
        let mut matches = command().get_matches();
        let settings = settings(&matches).unwrap_or_else(|error| {
            command().error(clap::error::ErrorKind::ValueValidation, error).exit()
        });
        Options {
            prompt: matches.remove_one("prompt"),
            raw: matches.get_flag("raw"),
            stats: matches.get_flag("stats") || std::env::var_os("TREFOIL_STATS").is_some(),
            model: matches.remove_one("model"),
            system: matches.remove_one("system"),
            settings,
            response_format: response_format(&mut matches),
        }
    }

    /// The messages before the user's first one.
    pub(crate) fn opening(&self) -> Vec<Message> {
        self.system.iter().map(|text| message("system", text)).collect()
    }

    /// The flags as options of requests. Without `--seed` each run has its own.
    pub(crate) fn request(&self) -> RequestOptions {
        let mut settings: Vec<Setting> = self.settings.iter().cloned().map(convert).collect();
        if !self.settings.iter().any(|setting| setting.key == "seed") {
            settings.push(Setting { key: "seed".into(), value: Value::Integer(random_seed()) });
        }
        RequestOptions { settings, response_format: self.response_format.clone() }
    }
}

/// A seed from the host's random numbers, by way of the standard library's hash keys
/// (`wasi:random/insecure-seed`).
fn random_seed() -> i64 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0) >> 1) as i64
}

fn command() -> Command {
    let mut command = Command::new("chat")
        .about("Chats with the model that this file contains")
        .after_help(
            "Without a prompt it holds a dialogue: one message a line on standard input, answers on \
             standard output.\nEnd it with Ctrl-D. `/clear` forgets the dialogue.",
        )
        .arg(
            Arg::new("prompt")
                .short('p')
                .long("prompt")
                .value_name("TEXT")
                .help("Answer this and end; `-` reads it from standard input")
                .allow_hyphen_values(true),
        )
        .arg(
            Arg::new("system")
                .long("system")
                .value_name("TEXT")
                .help("System message: how the assistant should behave"),
        )
        .arg(
            Arg::new("raw")
                .long("raw")
                .action(ArgAction::SetTrue)
                .conflicts_with("system")
                .help("Continue the prompt as it is, without the chat template"),
        )
        .arg(
            Arg::new("model")
                .long("model")
                .value_name("NAME")
                .help("Which model, where the file contains several"),
        )
        .arg(
            Arg::new("stats")
                .long("stats")
                .action(ArgAction::SetTrue)
                .help("Report speed on standard error"),
        );
    for &(name, value, help) in RESPONSE_FORMATS {
        let others = RESPONSE_FORMATS.iter().map(|(name, ..)| *name).filter(|other| *other != name);
        command = command.arg(
            Arg::new(name)
                .long(name)
                .value_name(value)
                .allow_hyphen_values(true)
                .conflicts_with_all(others)
                .help(help),
        );
    }
    for key in TABLE.iter().filter(|key| key.scope == Scope::Request) {
        let defaults: Vec<_> = key.default_values().iter().map(ToString::to_string).collect();
        let range = match key.kind {
            Kind::Texts { .. } | Kind::Text { .. } => String::new(),
            Kind::Choice(_) => format!(" [{}]", key.kind),
            _ => format!(" [{}; engine's default {}]", key.kind, defaults.join(", ")),
        };
        let arg = Arg::new(key.name)
            .long(key.name)
            .value_name(match key.kind {
                Kind::Texts { .. } | Kind::Text { .. } | Kind::Choice(_) => "TEXT",
                _ => "NUMBER",
            })
            .value_parser(value_parser!(String))
            .allow_hyphen_values(true)
            .action(if key.kind.is_list() { ArgAction::Append } else { ArgAction::Set })
            .help(format!("{}{range}", key.doc));
        command = command.arg(if key.name == "max-tokens" { arg.short('n') } else { arg });
    }
    command
}

fn settings(matches: &ArgMatches) -> Result<Vec<trefoil_contract::Setting>, String> {
    let mut settings = Vec::new();
    for key in TABLE.iter().filter(|key| key.scope == Scope::Request) {
        for text in matches.get_many::<String>(key.name).into_iter().flatten() {
            settings
                .push(trefoil_settings::parse(key.name, text).map_err(|error| error.to_string())?);
        }
    }
    Ok(settings)
}

fn response_format(matches: &mut ArgMatches) -> ResponseFormat {
    if let Some(schema) = matches.remove_one("json-schema") {
        ResponseFormat::JsonSchema(schema)
    } else if let Some(expression) = matches.remove_one("regex") {
        ResponseFormat::Regex(expression)
    } else if let Some(grammar) = matches.remove_one("grammar") {
        ResponseFormat::Grammar(grammar)
    } else {
        ResponseFormat::Text
    }
}

fn convert(setting: trefoil_contract::Setting) -> Setting {
    use trefoil_contract::Value as Plain;
    Setting {
        key: setting.key,
        value: match setting.value {
            Plain::Boolean(value) => Value::Boolean(value),
            Plain::Integer(value) => Value::Integer(value),
            Plain::Number(value) => Value::Number(value),
            Plain::Text(value) => Value::Text(value),
        },
    }
}
