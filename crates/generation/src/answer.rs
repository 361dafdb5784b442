//! The answer of a model: its text, its reasoning and its calls, from the bytes of its tokens.

mod events;
mod part;
mod reasoning;

use trefoil_contract::Result;

use crate::TextStream;
use crate::tool_calls::{ToolCallParser, ToolFormat};
pub(crate) use events::{CallIds, events};
pub use part::AnswerPart;
pub(crate) use part::Parts;
use reasoning::{MARKERS, ReasoningParser};

/// What to look for in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerForm {
    /// Whether reasoning is told from the answer's text, and the end of the prompt, which may open
    /// the reasoning; `None` leaves it in the text.
    pub reasoning: Option<String>,
    /// Whether there may be calls, in which form, and the names of the tools.
    pub tool_calls: Option<(ToolFormat, Vec<String>)>,
}

/// Turns the bytes of tokens into the parts of an answer and ends before a stop text.
///
/// Without anything to look for it is a [`TextStream`]. How the bytes are cut into tokens changes
/// nothing but how the texts of the parts are cut. Stop texts count in the answer's text alone, not
/// in reasoning or calls; what lies before one of these and what lies behind it make none together.
#[derive(Debug)]
pub struct AnswerStream {
    /// Makes characters; watches for stop texts where there is nothing else to do.
    characters: TextStream,
    parser: Option<Parser>,
    /// Kept for its memory.
    text: String,
}

#[derive(Debug)]
struct Parser {
    reasoning: Option<ReasoningParser>,
    calls: Option<ToolCallParser>,
    stop: TextStream,
    has_stopped: bool,
}

impl AnswerStream {
    /// A stream for an answer of this form that ends before any of `stop`.
    ///
    /// # Errors
    /// See [`TextStream::new`].
    pub fn new(form: &AnswerForm, stop: &[String]) -> Result<Self> {
        let stop = TextStream::new(stop)?;
        let reasoning = form.reasoning.as_deref().map(ReasoningParser::new);
        let calls = form.tool_calls.clone();
        let calls = calls.map(|(format, names)| ToolCallParser::new(format, names));
        let (characters, parser) = match reasoning.is_some() || calls.is_some() {
            true => {
                let parser = Parser { reasoning, calls, stop, has_stopped: false };
                (TextStream::new(&[])?, Some(parser))
            }
            false => (stop, None),
        };
        Ok(AnswerStream { characters, parser, text: String::new() })
    }

    /// Whether the text of a special token is one that the stream looks for: then it must be
    /// pushed, while the texts of other special tokens are no part of an answer.
    pub fn reads_special(&self, bytes: &[u8]) -> bool {
        let Some(parser) = &self.parser else { return false };
        let is = |marker: &&str| marker.as_bytes() == bytes;
        let calls = parser.calls.as_ref().map_or(&[] as &[_], ToolCallParser::markers);
        calls.iter().any(is) || (parser.reasoning.is_some() && MARKERS.iter().any(is))
    }

    /// Whether what comes next is reasoning, as far as one can tell.
    pub fn is_reasoning(&self) -> bool {
        let reasoning = self.parser.as_ref().and_then(|parser| parser.reasoning.as_ref());
        reasoning.is_some_and(ReasoningParser::is_inside)
    }

    /// Whether the answer holds calls, all of them whole.
    pub fn has_called(&self) -> bool {
        let calls = self.parser.as_ref().and_then(|parser| parser.calls.as_ref());
        calls.is_some_and(ToolCallParser::has_called)
    }

    /// Takes the bytes of the next token and appends what has become certain. Answers whether a
    /// stop text has occurred; after that nothing comes any more.
    pub fn push(&mut self, bytes: &[u8], parts: &mut Vec<AnswerPart>) -> bool {
        self.text.clear();
        let stopped = self.characters.push(bytes, &mut self.text);
        self.parse(stopped, false, parts)
    }

    /// Appends what was held back: nothing follows. Answers whether a stop text has occurred.
    pub fn finish(&mut self, parts: &mut Vec<AnswerPart>) -> bool {
        self.text.clear();
        let stopped = self.characters.finish(&mut self.text);
        self.parse(stopped, true, parts)
    }

    fn parse(&mut self, stopped: bool, is_end: bool, parts: &mut Vec<AnswerPart>) -> bool {
        let Some(parser) = &mut self.parser else {
            let mut text = Parts::default();
            text.text(&self.text);
            parts.extend(text.take());
            return stopped;
        };
        parser.parse(&self.text, is_end, parts);
        parser.has_stopped
    }
}

impl Parser {
    fn parse(&mut self, text: &str, is_end: bool, parts: &mut Vec<AnswerPart>) {
        if self.has_stopped {
            return;
        }
        let mut found = Parts::default();
        let mut answer = String::new();
        let answer = match &mut self.reasoning {
            Some(reasoning) => {
                reasoning.push(text, &mut answer, &mut found);
                if is_end {
                    reasoning.finish(&mut answer, &mut found);
                }
                answer.as_str()
            }
            None => text,
        };
        match &mut self.calls {
            Some(calls) => {
                calls.push(answer, &mut found);
                if is_end {
                    calls.finish(&mut found);
                }
            }
            None => found.text(answer),
        }
        for part in found.take() {
            self.watch(part, parts);
            if self.has_stopped {
                return;
            }
        }
        if is_end {
            let mut held = String::new();
            self.has_stopped = self.stop.finish(&mut held);
            join(parts, held);
        }
    }

    /// Passes a part on as far as stop texts allow.
    fn watch(&mut self, part: AnswerPart, parts: &mut Vec<AnswerPart>) {
        let mut certain = String::new();
        match part {
            AnswerPart::Text(text) => {
                self.has_stopped = self.stop.push(text.as_bytes(), &mut certain);
                join(parts, certain);
            }
            // What marks nothing that has come out yet changes nothing about the text around it.
            AnswerPart::Syntax(_) => parts.push(part),
            _ => {
                self.stop.release_all(&mut certain);
                join(parts, certain);
                parts.push(part);
            }
        }
    }
}

/// Appends text.
fn join(parts: &mut Vec<AnswerPart>, text: String) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(AnswerPart::Text(last)) => last.push_str(&text),
        _ => parts.push(AnswerPart::Text(text)),
    }
}

#[cfg(test)]
mod tests;
