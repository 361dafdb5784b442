//! Finds calls in an answer while it comes.

use super::call_object::{CallObject, Step};
use super::format::{Body, Syntax};
use super::json::{Invalid, Json};
use super::{CALLS_MAX, Names, ToolFormat, gemma, mistral, python};
use crate::answer::Parts;

/// Longest text that is held back, in bytes, until it is a call for certain: tags, names, and
/// arguments that stand before the name or are written in Python.
const HELD_BYTES_MAX: usize = 16 << 10;
/// Longest run of blanks that is held back because a call might follow, in bytes.
const BLANK_BYTES_MAX: usize = 64;
/// Longest text between `[TOOL_CALLS]` and the arguments, in bytes.
const HEAD_BYTES_MAX: usize = 256;

/// A state machine over the characters of an answer.
///
/// A call goes out as soon as its name is known and its arguments begin; these follow as they come.
/// Until then its text is held back, and comes out as text where it turns out to be no call. Where
/// arguments turn out to be no JSON after they have begun, the rest comes out as text.
#[derive(Debug)]
pub(crate) struct ToolCallParser {
    syntax: &'static Syntax,
    names: Vec<String>,
    state: State,
    /// What is not decided yet.
    held: String,
    /// Bytes of `held` that began the attempt: they are text if it fails.
    opener_bytes: usize,
    /// Whether text other than blanks has come out.
    has_text: bool,
    /// Whether nothing but blanks has come out since the last call.
    is_behind_call: bool,
    /// Calls that have begun.
    calls: u32,
    /// Whether the arguments of one of them never became whole.
    is_broken: bool,
}

#[derive(Debug)]
enum State {
    /// Outside of calls; `held` may be blanks and the beginning of an opener.
    Text,
    /// Objects of calls.
    Objects(Objects),
    /// Between `[TOOL_CALLS]` and arguments.
    Head,
    /// Arguments that follow a head.
    Arguments(Json),
    /// Behind the line that begins a block of code.
    CodeLine,
    /// Code, from its first sign on at this byte of `held`.
    Code { start: usize },
    /// Behind the last object.
    Closing { closer: &'static str },
}

/// Objects of calls, one or a list.
#[derive(Debug)]
struct Objects {
    closer: &'static str,
    /// Whether any name will do.
    is_any: bool,
    is_list: bool,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Before the first sign.
    Start,
    /// Before an object.
    Before,
    /// In an object.
    Object(CallObject, Arguments),
    /// Behind an object of a list.
    After,
}

/// Where the arguments of an object are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arguments {
    /// None so far.
    None,
    /// In `held`, between these bytes, as the name is not known yet.
    Held(usize, usize),
    /// On their way out, or all out.
    Out,
}

impl ToolCallParser {
    /// A parser for a format and tools of these names.
    pub(crate) fn new(format: ToolFormat, names: Vec<String>) -> Self {
        ToolCallParser {
            syntax: format.syntax(),
            names,
            state: State::Text,
            held: String::new(),
            opener_bytes: 0,
            has_text: false,
            is_behind_call: false,
            calls: 0,
            is_broken: false,
        }
    }

    /// Texts of tokens that belong to calls.
    pub(crate) fn markers(&self) -> &'static [&'static str] {
        self.syntax.markers
    }

    /// Whether the answer holds calls, all of them whole.
    pub(crate) fn has_called(&self) -> bool {
        self.calls > 0 && !self.is_broken
    }

    /// Takes the next text of the answer.
    pub(crate) fn push(&mut self, text: &str, parts: &mut Parts) {
        for character in text.chars() {
            self.push_character(character, parts);
        }
    }

    /// Nothing follows.
    pub(crate) fn finish(&mut self, parts: &mut Parts) {
        loop {
            match std::mem::replace(&mut self.state, State::Text) {
                State::Text => break,
                State::Code { start } if self.take_code(start, "", parts) => break,
                State::Closing { closer } if closer.starts_with(self.held.trim_start()) => {
                    self.mark(parts);
                }
                State::Closing { .. } => self.reread(0, parts),
                State::Objects(objects) if objects.is_committed() => {
                    self.is_broken |= objects.is_under_way();
                    break;
                }
                State::Arguments(_) => {
                    self.is_broken = true;
                    break;
                }
                _ => self.fail(parts),
            }
        }
        if self.is_behind_call && self.held.trim_start().is_empty() {
            self.mark(parts);
        }
        self.give(self.held.len(), parts);
    }

    fn push_character(&mut self, character: char, parts: &mut Parts) {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Text => {
                self.held.push(character);
                self.find_opener(parts);
            }
            State::Objects(objects) => self.push_object(objects, character, parts),
            State::Head => self.push_head(character, parts),
            State::Arguments(mut json) => match json.push(character) {
                Ok(()) => {
                    self.arguments(parts, character.encode_utf8(&mut [0; 4]));
                    if !json.is_complete() {
                        self.state = State::Arguments(json);
                    }
                }
                Err(Invalid) => self.break_off(character, parts),
            },
            State::CodeLine => {
                self.held.push(character);
                self.state = match character {
                    '\n' => State::Code { start: self.held.len() },
                    ' ' | '\t' | '\r' if self.held.len() < HEAD_BYTES_MAX => State::CodeLine,
                    _ => return self.fail(parts),
                };
            }
            State::Code { start } => self.push_code(start, character, parts),
            State::Closing { closer } => self.push_closing(closer, character, parts),
        }
    }

    /// Gives out of `held` what begins no call, and begins an attempt where something does.
    fn find_opener(&mut self, parts: &mut Parts) {
        loop {
            let blanks = self.held.len() - self.held.trim_start().len();
            let rest = &self.held[blanks..];
            let Some(first) = rest.chars().next() else {
                if blanks > BLANK_BYTES_MAX {
                    self.give(blanks, parts);
                }
                return;
            };
            let openers = match self.calls < CALLS_MAX {
                true => self.syntax.openers,
                false => &[],
            };
            if let Some(opener) = openers.iter().find(|opener| opener.text == rest) {
                self.opener_bytes = self.held.len();
                self.state = match opener.body {
                    Body::Json { closer } => State::Objects(Objects::new(closer, true)),
                    Body::Named => State::Head,
                    Body::Code => State::CodeLine,
                };
                return;
            }
            if openers.iter().any(|opener| opener.text.starts_with(rest)) {
                return;
            }
            let is_bare = self.syntax.is_bare && !self.has_text && self.calls < CALLS_MAX;
            if is_bare && "{[".contains(first) {
                self.opener_bytes = blanks + 1;
                let again = self.held.split_off(blanks);
                self.state = State::Objects(Objects::new("", false));
                return self.replay(&again, parts);
            }
            self.give(blanks + first.len_utf8(), parts);
        }
    }

    /// Gives the first bytes of `held` out as text.
    fn give(&mut self, bytes: usize, parts: &mut Parts) {
        let text: String = self.held.drain(..bytes).collect();
        if !text.trim_start().is_empty() {
            (self.has_text, self.is_behind_call) = (true, false);
        }
        parts.text(&text);
    }

    /// What is held is no call: its beginning is text, the rest may hold calls of its own.
    fn fail(&mut self, parts: &mut Parts) {
        let bytes = std::mem::take(&mut self.opener_bytes);
        self.reread(bytes, parts);
    }

    /// Gives the first bytes of `held` out as text and reads the rest anew, outside of calls.
    fn reread(&mut self, bytes: usize, parts: &mut Parts) {
        self.state = State::Text;
        self.give(bytes, parts);
        let again = std::mem::take(&mut self.held);
        self.replay(&again, parts);
    }

    fn replay(&mut self, text: &str, parts: &mut Parts) {
        for character in text.chars() {
            self.push_character(character, parts);
        }
    }

    /// Arguments that have gone out end without being whole.
    fn break_off(&mut self, character: char, parts: &mut Parts) {
        self.is_broken = true;
        self.held.push(character);
        self.reread(0, parts);
    }

    /// What is held marks a call.
    fn mark(&mut self, parts: &mut Parts) {
        parts.syntax(&self.held);
        self.held.clear();
        self.opener_bytes = 0;
    }

    fn begin_call(&mut self, name: &str, arguments: String, parts: &mut Parts) {
        parts.call(self.calls, name, arguments);
        self.calls += 1;
        self.is_behind_call = true;
    }

    /// More arguments of the call that began last.
    fn arguments(&self, parts: &mut Parts, text: &str) {
        parts.arguments(self.calls.saturating_sub(1), text);
    }

    fn push_object(&mut self, mut objects: Objects, character: char, parts: &mut Parts) {
        let is_blank = character.is_ascii_whitespace();
        match (&mut objects.place, character) {
            (Place::Object(object, arguments), _) => {
                let names = Names { known: &self.names, is_any: objects.is_any };
                let was_under_way = *arguments == Arguments::Out && object.is_in_arguments();
                match object.push(character, names) {
                    Err(Invalid) if was_under_way => return self.break_off(character, parts),
                    Err(Invalid) => {
                        self.held.push(character);
                        return match *arguments {
                            // The call is whole, what follows it is not.
                            Arguments::Out => self.reread(0, parts),
                            _ => self.fail(parts),
                        };
                    }
                    Ok(Step::Arguments) if *arguments == Arguments::Out => {
                        self.arguments(parts, character.encode_utf8(&mut [0; 4]));
                    }
                    Ok(step) => {
                        let start = self.held.len();
                        self.held.push(character);
                        let name = object.name().map(str::to_owned);
                        match (step, *arguments, name) {
                            (Step::Arguments, Arguments::None, Some(name)) => {
                                self.held.pop();
                                self.mark(parts);
                                self.begin_call(&name, String::new(), parts);
                                self.arguments(parts, character.encode_utf8(&mut [0; 4]));
                                *arguments = Arguments::Out;
                            }
                            (Step::Arguments, Arguments::Held(start, _), _) => {
                                *arguments = Arguments::Held(start, self.held.len());
                            }
                            (Step::Arguments, ..) => {
                                *arguments = Arguments::Held(start, self.held.len());
                            }
                            (Step::Name, Arguments::Held(start, end), Some(name)) => {
                                parts.syntax(&self.held[..start]);
                                self.begin_call(&name, String::new(), parts);
                                parts.arguments(self.calls - 1, &self.held[start..end]);
                                parts.syntax(&self.held[end..]);
                                self.held.clear();
                                self.opener_bytes = 0;
                                *arguments = Arguments::Out;
                            }
                            (Step::End, ..) => {
                                self.mark(parts);
                                return self.end_object(objects);
                            }
                            _ => {}
                        }
                    }
                }
            }
            (Place::Start | Place::Before, '{') => {
                self.held.push(character);
                let mut object = CallObject::new();
                let names = Names { known: &self.names, is_any: objects.is_any };
                if object.push(character, names).is_err() || self.calls == CALLS_MAX {
                    return self.fail(parts);
                }
                objects.place = Place::Object(object, Arguments::None);
            }
            (Place::Start, '[') => {
                self.held.push(character);
                objects.is_list = true;
                objects.place = Place::Before;
            }
            (Place::After, ',') => {
                self.held.push(character);
                objects.place = Place::Before;
            }
            (Place::After, ']') => {
                self.held.push(character);
                self.mark(parts);
                self.state = State::Closing { closer: objects.closer };
                return;
            }
            (Place::Start | Place::Before | Place::After, _) if is_blank => {
                self.held.push(character);
            }
            _ => {
                self.held.push(character);
                return self.fail(parts);
            }
        }
        if self.held.len() > HELD_BYTES_MAX {
            return match objects.is_committed() {
                true => self.reread(0, parts),
                false => self.fail(parts),
            };
        }
        self.state = State::Objects(objects);
    }

    fn end_object(&mut self, mut objects: Objects) {
        self.state = match objects.is_list {
            true => {
                objects.place = Place::After;
                State::Objects(objects)
            }
            false => State::Closing { closer: objects.closer },
        };
    }

    fn push_closing(&mut self, closer: &'static str, character: char, parts: &mut Parts) {
        self.held.push(character);
        let rest = self.held.trim_start();
        if !closer.is_empty() && rest == closer {
            return self.mark(parts);
        }
        // Llama's separator.
        if closer.is_empty() && rest == ";" {
            self.opener_bytes = self.held.len();
            let objects = Objects { place: Place::Before, ..Objects::new(closer, false) };
            self.state = State::Objects(objects);
            return;
        }
        if closer.starts_with(rest) && self.held.len() - rest.len() <= BLANK_BYTES_MAX {
            self.state = State::Closing { closer };
            return;
        }
        self.reread(0, parts);
    }

    fn push_head(&mut self, character: char, parts: &mut Parts) {
        let head = self.held[self.opener_bytes..].trim();
        if head.is_empty() && "{[".contains(character) {
            self.state = State::Objects(Objects::new("", true));
            return self.push_character(character, parts);
        }
        if character == '{'
            && let Some(name) = mistral::name(head)
        {
            let name = name.to_owned();
            let mut json = Json::new();
            // A brace always begins an object.
            let _ = json.push(character);
            self.mark(parts);
            self.begin_call(&name, String::new(), parts);
            self.arguments(parts, "{");
            self.state = State::Arguments(json);
            return;
        }
        self.held.push(character);
        let head_bytes = self.held.len() - self.opener_bytes;
        if !mistral::is_head(character) || head_bytes > HEAD_BYTES_MAX {
            return self.fail(parts);
        }
        self.state = State::Head;
    }

    fn push_code(&mut self, start: usize, character: char, parts: &mut Parts) {
        let is_begun = !self.held[start..].trim_start().is_empty();
        // Python may begin with a bracket, too; JSON goes on with a brace or a quote.
        if !is_begun && character == '{' {
            self.state = State::Objects(Objects::new(gemma::FENCE, false));
            return self.push_character(character, parts);
        }
        if self.held[start..].trim() == "[" && character == '{' {
            let bracket = self.held.trim_end().len() - 1;
            let again = self.held.split_off(bracket);
            self.state = State::Objects(Objects::new(gemma::FENCE, false));
            self.replay(&again, parts);
            return self.push_character(character, parts);
        }
        self.held.push(character);
        self.state = State::Code { start };
        if self.held[start..].ends_with(gemma::FENCE) {
            if !self.take_code(start, gemma::FENCE, parts) {
                self.fail(parts);
            }
        } else if self.held.len() > HELD_BYTES_MAX {
            self.fail(parts);
        }
    }

    /// Reads code from a byte of `held` on, before the text that ends it. Answers whether it was
    /// calls.
    fn take_code(&mut self, start: usize, end: &str, parts: &mut Parts) -> bool {
        let code = &self.held[start..self.held.len() - end.len()];
        let names = Names { known: &self.names, is_any: false };
        let Some(calls) = python::calls(code, |name| names.knows(name)) else { return false };
        if calls.len() > (CALLS_MAX - self.calls) as usize {
            return false;
        }
        self.mark(parts);
        for call in calls {
            self.begin_call(&call.name, call.arguments, parts);
        }
        self.state = State::Text;
        true
    }
}

impl Objects {
    fn new(closer: &'static str, is_any: bool) -> Self {
        Objects { closer, is_any, is_list: false, place: Place::Start }
    }

    /// Whether the object at hand has gone out, or another of its list.
    fn is_committed(&self) -> bool {
        matches!(self.place, Place::Object(_, Arguments::Out) | Place::After)
    }

    /// Whether arguments that have begun are not whole.
    fn is_under_way(&self) -> bool {
        matches!(&self.place, Place::Object(object, _) if object.is_in_arguments())
    }
}
