//! The chat app: one answer to a prompt, or a dialogue on standard input and output.

mod dialogue;
mod options;
mod reasoning;
mod stats;

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use bindings::trefoil::llm::inference::{
    Conversation, Event, FinishReason, Generation, Message, MessagePart, Model, Prompt, Request,
};
use bindings::trefoil::llm::types;
use options::{Options, RequestOptions};
use reasoning::Reasoning;
use stats::Stats;

#[allow(missing_docs, unreachable_pub)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "app", generate_all });
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has left: nothing more to say.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Why the app ends early.
enum Failure {
    Input(String),
    Output(io::Error),
    Engine(types::Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Input(text) => f.write_str(text),
            Failure::Output(error) => write!(f, "standard output cannot be written: {error}"),
            Failure::Engine(error) => trefoil_contract::Error::from(error.clone()).fmt(f),
        }
    }
}

impl From<types::Error> for Failure {
    fn from(error: types::Error) -> Self {
        Failure::Engine(error)
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let mut stats = Stats::new(options.stats);
    let model = Model::open(options.model.as_deref())?;
    stats.loaded();
    let wanted = options.request();
    match &options.prompt {
        Some(prompt) => {
            let prompt = match prompt.as_str() {
                "-" => read_all()?,
                text => text.to_owned(),
            };
            let prompt = if options.raw {
                Prompt::Text(prompt.into_bytes())
            } else {
                let mut messages = options.opening();
                messages.push(message("user", &prompt));
                conversation(messages)
            };
            let answer = answer(&model, prompt, &wanted, &mut stats)?;
            if !answer.text.ends_with('\n') {
                print(io::stdout(), "\n")?;
            }
        }
        None if options.raw => {
            return Err(Failure::Input("`--raw` needs a prompt: add `-p PROMPT`".into()));
        }
        None => dialogue::run(&model, options, &wanted, &mut stats)?,
    }
    stats.report();
    Ok(())
}

/// What the model answered.
#[derive(Default)]
struct Answer {
    text: String,
    reasoning: String,
}

impl Answer {
    /// As the assistant's message: the template decides what of the reasoning the model sees again.
    fn message(self) -> Message {
        let mut message = message("assistant", &self.text);
        if !self.reasoning.is_empty() {
            message.parts.insert(0, MessagePart::Reasoning(self.reasoning));
        }
        message
    }
}

/// Streams one answer to standard output, and reasoning to standard error, and returns it.
fn answer(
    model: &Model,
    prompt: Prompt,
    wanted: &RequestOptions,
    stats: &mut Stats,
) -> Result<Answer, Failure> {
    let request = model.request(&prompt);
    for setting in &wanted.settings {
        request.set(setting);
    }
    request.set_response_format(&wanted.response_format);
    let generation: Generation = Request::start(request)?;
    stats.started();
    let mut answer = Answer::default();
    let mut shown = Reasoning::new();
    loop {
        match generation.next()? {
            Event::Delta(delta) => {
                stats.token();
                if !delta.text.is_empty() {
                    shown.end()?;
                }
                print(io::stdout(), &delta.text)?;
                answer.text.push_str(&delta.text);
            }
            Event::Reasoning(delta) => {
                stats.token();
                shown.show(&delta.text)?;
                answer.reasoning.push_str(&delta.text);
            }
            Event::Done(done) => {
                shown.end()?;
                if let FinishReason::ContextFull = done.reason {
                    eprintln!("\nnote: the context is full; the answer ends here");
                }
                stats.done(&done.usage);
                return Ok(answer);
            }
            _ => {}
        }
    }
}

fn print(mut out: impl Write, text: &str) -> Result<(), Failure> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}

fn message(role: &str, text: &str) -> Message {
    Message {
        role: role.to_owned(),
        parts: vec![MessagePart::Text(text.to_owned())],
        variables: None,
    }
}

fn conversation(messages: Vec<Message>) -> Prompt {
    Prompt::Chat(Conversation {
        messages,
        tools: None,
        variables: None,
        add_generation_prompt: true,
    })
}

fn read_all() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Input(format!("standard input cannot be read: {error}")))?;
    utf8(bytes, 1)
}

/// The text, or where it stops being one. `first_line` counts from 1.
fn utf8(bytes: Vec<u8>, first_line: usize) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..valid];
        let line = first_line + before.iter().filter(|byte| **byte == b'\n').count();
        Failure::Input(format!(
            "standard input is not UTF-8: line {line}, byte {valid}; convert it, for example \
             with `iconv -t utf-8`"
        ))
    })
}

impl From<types::Error> for trefoil_contract::Error {
    fn from(error: types::Error) -> Self {
        use trefoil_contract::Error;
        match error {
            types::Error::InvalidModel(text) => Error::InvalidModel(text),
            types::Error::InvalidSetting(it) => {
                Error::InvalidSetting { key: it.key, value: it.value, expected: it.expected }
            }
            types::Error::InvalidArgument(text) => Error::InvalidArgument(text),
            types::Error::Unsupported(text) => Error::Unsupported(text),
            types::Error::ContextOverflow(it) => Error::ContextOverflow {
                needed_tokens: it.needed_tokens,
                available_tokens: it.available_tokens,
            },
            types::Error::OutOfMemory(it) => {
                Error::OutOfMemory { needed_bytes: it.needed_bytes, purpose: it.purpose }
            }
            types::Error::NotFound(text) => Error::NotFound(text),
            types::Error::Io(text) => Error::Io(text),
            types::Error::Template(text) => Error::Template(text),
            types::Error::Busy(text) => Error::Busy(text),
            types::Error::Finished => Error::Finished,
            types::Error::Duplicate => Error::Duplicate,
            types::Error::Other(it) => Error::Other { code: it.code, message: it.message },
        }
    }
}
