//! A conversation as the variables of a template.

use std::collections::HashMap;

use minijinja::Value;
use minijinja::value::ValueKind;
use trefoil_contract::{Conversation, Error, Message, MessagePart, Result, ToolCall};

/// Form of messages with tool calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// The arguments of calls.
    pub(super) arguments: Arguments,
    /// The content of a message that has none.
    pub(super) content: Content,
}

/// Form of the arguments of a tool call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Arguments {
    /// As a JSON object: what `transformers` documents.
    Object,
    /// As the JSON text: OpenAI's form.
    Text,
}

/// What stands for the content of a message that has tool calls alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// There is no such field, as `transformers` has it: a template that prints it prints nothing.
    Missing,
    /// `none`: OpenAI's form.
    None,
    /// An empty text.
    Empty,
}

/// The forms that templates were written for, the likeliest first.
pub(super) const FORMS: [Form; 6] = {
    use Arguments::{Object, Text};
    use Content::{Empty, Missing, None};
    [
        Form { arguments: Object, content: Missing },
        Form { arguments: Object, content: None },
        Form { arguments: Object, content: Empty },
        Form { arguments: Text, content: Missing },
        Form { arguments: Text, content: None },
        Form { arguments: Text, content: Empty },
    ]
};

/// The variables of a template.
pub(super) struct Context {
    /// All of them, as a mapping.
    pub(super) value: Value,
    /// The variable `now`, in seconds since 1970-01-01 UTC.
    pub(super) now: Option<i64>,
}

type Fields = Vec<(String, Value)>;

pub(super) fn context(
    conversation: &Conversation,
    bos: &str,
    eos: &str,
    form: Form,
) -> Result<Context> {
    let mut messages = Vec::new();
    let mut tool_names = HashMap::new();
    for (index, message) in conversation.messages.iter().enumerate() {
        push_message(message, index, form, &mut tool_names, &mut messages)?;
    }
    let tools = match &conversation.tools {
        Some(text) => parse(text, ValueKind::Seq, || "`tools`".into(), "array")?,
        None => Value::from(()),
    };
    let mut fields: Fields = vec![
        ("messages".into(), Value::from(messages)),
        ("tools".into(), tools),
        ("add_generation_prompt".into(), Value::from(conversation.add_generation_prompt)),
        ("bos_token".into(), Value::from(bos)),
        ("eos_token".into(), Value::from(eos)),
    ];
    let mut now = None;
    let mut has_documents = false;
    if let Some(text) = &conversation.variables {
        let place = || "the conversation's `variables`".to_owned();
        let variables = parse(text, ValueKind::Map, place, "object")?;
        now = match variables.get_attr("now") {
            Ok(value) if !value.is_undefined() => Some(seconds(&value)?),
            _ => None,
        };
        has_documents = variables.get_attr("documents").is_ok_and(defined);
        extend(&mut fields, &variables, place)?;
    }
    if !has_documents {
        // As in `transformers`.
        fields.push(("documents".into(), Value::from(())));
    }
    // Jinja's view of the template's blocks, of which it has none.
    fields.push(("self".into(), Value::from_pairs(std::iter::empty::<(String, Value)>())));
    Ok(Context { value: Value::from_pairs(fields), now })
}

fn seconds(value: &Value) -> Result<i64> {
    let fraction = || f64::try_from(value.clone()).ok().filter(|value| value.is_finite());
    value.as_i64().or_else(|| fraction().map(|value| value.floor() as i64)).ok_or_else(|| {
        Error::InvalidArgument(format!(
            "the variable `now` is `{value}`; expected seconds since 1970-01-01 UTC"
        ))
    })
}

/// Adds a message, and each tool result of it as a message of its own, as OpenAI's form has it.
fn push_message(
    message: &Message,
    index: usize,
    form: Form,
    tool_names: &mut HashMap<String, String>,
    messages: &mut Vec<Value>,
) -> Result<()> {
    let mut content = String::new();
    let mut has_content = false;
    let mut reasoning = String::new();
    let mut calls = Vec::new();
    let mut has_results = false;
    let extra = match &message.variables {
        Some(text) => {
            Some(parse(text, ValueKind::Map, || format!("message {index}: `variables`"), "object")?)
        }
        None => None,
    };
    let finish = |mut fields: Fields| {
        if let Some(extra) = &extra {
            extend(&mut fields, extra, || format!("message {index}: `variables`"))?;
        }
        Ok(Value::from_pairs(fields))
    };
    for part in &message.parts {
        match part {
            MessagePart::Text(text) => {
                content.push_str(text);
                has_content = true;
            }
            MessagePart::Reasoning(text) => reasoning.push_str(text),
            MessagePart::Media { mime, .. } => {
                return Err(Error::unsupported(format_args!(
                    "media of type {mime} in message {index}; this engine reads text only"
                )));
            }
            MessagePart::ToolCall(call) => {
                tool_names.insert(call.id.clone(), call.name.clone());
                calls.push(tool_call(call, index, form.arguments)?);
            }
            MessagePart::ToolResult(result) => {
                has_results = true;
                let mut fields: Fields = vec![
                    ("role".into(), Value::from(message.role.as_str())),
                    ("tool_call_id".into(), Value::from(result.id.as_str())),
                    ("content".into(), Value::from(result.texts.concat())),
                ];
                // A name that the message brings itself must not meet one from here.
                let has_name =
                    extra.as_ref().is_some_and(|extra| extra.get_attr("name").is_ok_and(defined));
                if let Some(name) = tool_names.get(&result.id).filter(|_| !has_name) {
                    fields.push(("name".into(), Value::from(name.as_str())));
                }
                messages.push(finish(fields)?);
            }
        }
    }
    if has_results && !has_content && reasoning.is_empty() && calls.is_empty() {
        return Ok(());
    }
    let content = match (has_content || calls.is_empty(), form.content) {
        (false, Content::Missing) => None,
        (false, Content::None) => Some(Value::from(())),
        _ => Some(Value::from(content)),
    };
    let mut fields: Fields = vec![("role".into(), Value::from(message.role.as_str()))];
    fields.extend(content.map(|content| ("content".into(), content)));
    if !reasoning.is_empty() {
        // Harmony's templates read `thinking`.
        fields.push(("thinking".into(), Value::from(reasoning.as_str())));
        fields.push(("reasoning_content".into(), Value::from(reasoning)));
    }
    if !calls.is_empty() {
        fields.push(("tool_calls".into(), Value::from(calls)));
    }
    messages.push(finish(fields)?);
    Ok(())
}

fn defined(value: Value) -> bool {
    !value.is_undefined()
}

fn tool_call(call: &ToolCall, index: usize, arguments: Arguments) -> Result<Value> {
    let place = || format!("message {index}: the arguments of tool call `{}`", call.id);
    let object = parse(&call.arguments, ValueKind::Map, place, "object")?;
    let arguments = match arguments {
        Arguments::Object => object,
        Arguments::Text => Value::from(call.arguments.as_str()),
    };
    let function =
        Value::from_pairs([("name", Value::from(call.name.as_str())), ("arguments", arguments)]);
    Ok(Value::from_pairs([
        ("id", Value::from(call.id.as_str())),
        ("type", Value::from("function")),
        ("function", function),
    ]))
}

/// Adds variables of the caller to those that are there.
fn extend(fields: &mut Fields, variables: &Value, place: impl Fn() -> String) -> Result<()> {
    let keys = variables.try_iter().map_err(|error| Error::InvalidArgument(error.to_string()))?;
    let standard = fields.len();
    for key in keys {
        let value = variables
            .get_item(&key)
            .map_err(|error| Error::InvalidArgument(format!("{}: {error}", place())))?;
        let name = key.to_string();
        if fields[..standard].iter().any(|(field, _)| *field == name) {
            return Err(Error::InvalidArgument(format!(
                "{}: `{name}` is set by the conversation itself; choose another name",
                place()
            )));
        }
        fields.push((name, value));
    }
    Ok(())
}

/// Reads JSON. `serde_json` bounds its nesting to 128.
fn parse(text: &str, kind: ValueKind, place: impl Fn() -> String, expected: &str) -> Result<Value> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        Error::InvalidArgument(format!("{}: expected a JSON {expected}: {error}", place()))
    })?;
    if value.kind() != kind {
        return Err(Error::InvalidArgument(format!(
            "{}: expected a JSON {expected}, found a JSON {}",
            place(),
            value.kind()
        )));
    }
    Ok(value)
}
