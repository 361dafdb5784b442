//! The model's chat template: Jinja as `transformers` runs it.

mod assignment;
mod bounds;
mod conversation;
mod date;
mod display;
mod filters;
mod json;
mod methods;

use std::error::Error as _;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, State, Value};
use trefoil_contract::{Conversation, Error, MessagePart, Result};

use crate::ToolFormat;
use conversation::Form;

/// Longest template, in bytes. The longest of today's have 30 KiB; what a template nests without a
/// loop is bounded by its length, and the stack has to bear it.
const SOURCE_BYTES_MAX: usize = 128 << 10;
/// Longest rendered text, in bytes: no list of the contract is longer.
const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// Work that a template may do whatever the conversation. One unit pays for an instruction or for
/// 64 bytes that the template makes, so that this also bounds its memory.
const FUEL_BASE: u64 = 1_000_000;
/// Further work for each byte of the conversation: 64 copies of it.
const FUEL_PER_BYTE: u64 = 1;
/// Further work for each message.
const FUEL_PER_MESSAGE: u64 = 5_000;
/// Nesting of macros, loops and conditions; small, because a component's stack is.
const RECURSION_MAX: usize = 100;

/// A model's chat template.
///
/// A template sees what `transformers` gives it: `messages`, `tools`, `add_generation_prompt`,
/// `bos_token`, `eos_token`, the functions `raise_exception`, `strftime_now`, `namespace` and
/// `range`, the filter `tojson` in its Python form, Python's methods of strings, lists and
/// dictionaries, `break` and `continue`; and the conversation's own variables.
///
/// `strftime_now` exists if the conversation has the variable `now` (seconds since 1970-01-01 UTC):
/// engines have no clock. Without it, templates that ask whether the function is defined take their
/// own default.
///
/// Unlike in Python, a namespace holds copies, at most 32 levels deep, and no other namespace: see
/// the module `assignment`.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    tool_format: ToolFormat,
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("source", &self.source).finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// Checks a template.
    ///
    /// # Errors
    /// [`Error::Template`] with the line of a syntax error, or if it is longer than 128 KiB.
    pub fn new(source: &str) -> Result<Self> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(Error::Template(format!(
                "it has {} bytes; at most {SOURCE_BYTES_MAX} are accepted",
                source.len()
            )));
        }
        bounds::check(source)?;
        // As in Jinja, which knows one line break.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let template = ChatTemplate {
            environment: environment()?,
            source: assignment::guard(&without_generation_tags(&source)),
            tool_format: ToolFormat::of_template(&source),
        };
        template.compile()?;
        Ok(template)
    }

    /// The form in which a model with this template writes tool calls.
    pub fn tool_format(&self) -> ToolFormat {
        self.tool_format
    }

    /// The text for the model: a conversation's prompt. It holds special tokens as text, `bos`
    /// among them where the template asks for it: tokenize it with `parse-special`, and without
    /// another BOS in front if it begins with one.
    ///
    /// A message's fields: `role`; `content`, its texts joined; `reasoning_content`, also as
    /// `thinking`; `tool_calls` in OpenAI's form, arguments as an object; its own variables. A message
    /// of tool calls alone has no `content`. Templates were written against other forms as well: one
    /// that fails gets `none` or an empty text as that `content`, and arguments as text. Each tool result becomes a
    /// message of its own with `tool_call_id` and, where an earlier call tells it, `name`.
    ///
    /// # Errors
    /// - [`Error::Unsupported`] for media, with the MIME type.
    /// - [`Error::InvalidArgument`] for JSON that does not parse or has the wrong type.
    /// - [`Error::Template`] with the line, when the template fails, does too much work, or gives
    ///   more than 16 MiB; what it passes to `raise_exception` is the error's text as it is.
    pub fn render(&self, conversation: &Conversation, bos: &str, eos: &str) -> Result<String> {
        let has_calls = conversation
            .messages
            .iter()
            .flat_map(|message| &message.parts)
            .any(|part| matches!(part, MessagePart::ToolCall(_)));
        let [first, others @ ..] = &conversation::FORMS;
        let rendered = self.render_with(conversation, bos, eos, *first);
        match &rendered {
            // One that adds arguments or contents to a text fails on objects and on what is missing.
            Err(Error::Template(_)) if has_calls => others
                .iter()
                .find_map(|form| self.render_with(conversation, bos, eos, *form).ok())
                .map_or(rendered, Ok),
            _ => rendered,
        }
    }

    fn render_with(
        &self,
        conversation: &Conversation,
        bos: &str,
        eos: &str,
        form: Form,
    ) -> Result<String> {
        let context = conversation::context(conversation, bos, eos, form)?;
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel(conversation)));
        if let Some(now) = context.now {
            environment.add_function("strftime_now", move |format: &str| {
                date::format(now, format)
                    .map_err(|text| minijinja::Error::new(ErrorKind::InvalidOperation, text))
            });
        }
        let mut output = LimitedOutput::default();
        let rendered = environment
            .template_from_named_str("chat template", &self.source)
            .and_then(|template| template.render_captured_to(context.value, &mut output));
        if output.exceeded {
            return Err(Error::Template(format!(
                "it gives more than {OUTPUT_BYTES_MAX} bytes; does it repeat itself?"
            )));
        }
        rendered.map_err(|error| explain(&error))?;
        String::from_utf8(output.bytes).map_err(|error| Error::Template(error.to_string()))
    }

    fn compile(&self) -> Result<()> {
        self.environment
            .template_from_named_str("chat template", &self.source)
            .map(|_| ())
            .map_err(|error| explain(&error))
    }
}

fn environment() -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    // As `transformers` sets Jinja up (utils/chat_template_utils.py).
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(false)
        .build()
        .map_err(|error| explain(&error))?;
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_unknown_method_callback(methods::call);
    environment.add_function("raise_exception", raise_exception);
    filters::add(&mut environment);
    environment.add_filter(assignment::FILTER, assignment::assigned);
    Ok(environment)
}

/// `{% generation %}` marks what the assistant said, for training (an extension of `transformers`).
/// It prints its body; `{% if true %}` does the same on the same line.
fn without_generation_tags(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        text.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        let is_mark = |character: char| character.is_whitespace() || "-+{%}".contains(character);
        match tag.trim_matches(is_mark) {
            "generation" => text.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => text.push_str(&tag.replace("endgeneration", "endif")),
            _ => text.push_str(tag),
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

fn fuel(conversation: &Conversation) -> u64 {
    let part_bytes = |part: &MessagePart| match part {
        MessagePart::Text(text) | MessagePart::Reasoning(text) => text.len(),
        MessagePart::Media { data, .. } => data.len(),
        MessagePart::ToolCall(call) => call.arguments.len(),
        MessagePart::ToolResult(result) => result.texts.iter().map(String::len).sum(),
    };
    let bytes: u64 = conversation
        .messages
        .iter()
        .flat_map(|message| &message.parts)
        .map(|part| part_bytes(part) as u64)
        .sum();
    let json = |text: &Option<String>| text.as_ref().map_or(0, |text| text.len() as u64);
    let variables = json(&conversation.tools) + json(&conversation.variables);
    FUEL_BASE
        + FUEL_PER_BYTE * (bytes + variables)
        + FUEL_PER_MESSAGE * conversation.messages.len() as u64
}

/// What a template passed to `raise_exception`.
#[derive(Debug, Clone)]
struct Raised(String);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn raise_exception(state: &State<'_, '_>, message: Value) -> Result<Value, minijinja::Error> {
    let message = display::text(state, &message)?;
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message.clone())
        .with_source(Raised(message)))
}

/// The contract's error for one of minijinja.
fn explain(error: &minijinja::Error) -> Error {
    let mut innermost = error;
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(Raised(message)) = source.downcast_ref() {
            return Error::Template(message.clone());
        }
        if let Some(source) = source.downcast_ref::<minijinja::Error>() {
            innermost = source;
        }
        cause = source.source();
    }
    let mut text = match innermost.kind() {
        ErrorKind::OutOfFuel => "it does too much work; does a loop repeat itself?".into(),
        kind => match innermost.detail() {
            Some(detail) => format!("{kind}: {detail}"),
            None => kind.to_string(),
        },
    };
    if innermost.kind() == ErrorKind::UnknownFunction && text.contains("strftime_now") {
        text = "it asks for the date, and engines have no clock: pass the time as the variable \
                `now`, in seconds since 1970-01-01 UTC"
            .into();
    }
    if let Some(line) = innermost.line().or_else(|| error.line()) {
        text.push_str(&format!(" (line {line})"));
    }
    Error::Template(text)
}

/// A text that refuses to grow beyond [`OUTPUT_BYTES_MAX`].
#[derive(Default)]
struct LimitedOutput {
    bytes: Vec<u8>,
    exceeded: bool,
}

impl io::Write for LimitedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > OUTPUT_BYTES_MAX - self.bytes.len() {
            self.exceeded = true;
            return Err(io::Error::other("output too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
