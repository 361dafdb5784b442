//! What a model thinks before it answers.

use super::Parts;

/// Longest run of blanks that is held back because a tag might follow, in bytes.
const BLANK_BYTES_MAX: usize = 64;

/// Tags around reasoning: DeepSeek R1, Qwen 3 and many others; Magistral.
const TAGS: [(&str, &str); 2] = [("<think>", "</think>"), ("[THINK]", "[/THINK]")];

/// Texts of tokens that are tags, whether or not the vocabulary has them as special.
pub(super) const MARKERS: [&str; 4] = [TAGS[0].0, TAGS[0].1, TAGS[1].0, TAGS[1].1];

/// Parts reasoning from the answer behind it: it stands in tags at the answer's beginning. Blanks
/// around the tags belong to them.
#[derive(Debug)]
pub(super) struct ReasoningParser {
    state: State,
    /// What is not decided yet.
    held: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first sign.
    Start,
    /// Behind the tag, before the first sign.
    Opened {
        closer: &'static str,
    },
    Inside {
        closer: &'static str,
    },
    /// Behind the tag that closes, before the first sign.
    Closed,
    /// In the answer.
    Answer,
}

impl ReasoningParser {
    /// A parser of the answer to a prompt, which may open the reasoning itself.
    pub(super) fn new(prompt: &str) -> Self {
        let opened = TAGS.iter().find(|(opener, _)| prompt.trim_end().ends_with(opener));
        let state = match opened {
            Some((_, closer)) => State::Opened { closer },
            None => State::Start,
        };
        ReasoningParser { state, held: String::new() }
    }

    /// Whether what comes next is reasoning, as far as one can tell.
    pub(super) fn is_inside(&self) -> bool {
        matches!(self.state, State::Opened { .. } | State::Inside { .. })
    }

    /// Takes the next text; `answer` gets what is not reasoning.
    pub(super) fn push(&mut self, text: &str, answer: &mut String, parts: &mut Parts) {
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            self.push_character(character, answer, parts);
            if self.state == State::Answer {
                answer.push_str(rest.as_str());
                return;
            }
        }
    }

    /// Nothing follows.
    pub(super) fn finish(&mut self, answer: &mut String, parts: &mut Parts) {
        match std::mem::replace(&mut self.state, State::Answer) {
            State::Start | State::Answer => answer.push_str(&self.held),
            State::Opened { .. } | State::Inside { .. } => parts.reasoning(&self.held),
            State::Closed => parts.syntax(&self.held),
        }
        self.held.clear();
    }

    fn push_character(&mut self, character: char, answer: &mut String, parts: &mut Parts) {
        self.held.push(character);
        let rest = self.held.trim_start();
        let blanks = self.held.len() - rest.len();
        match self.state {
            State::Start => {
                if let Some((_, closer)) = TAGS.iter().find(|(opener, _)| *opener == rest) {
                    self.mark(State::Opened { closer }, parts);
                } else if blanks > BLANK_BYTES_MAX
                    || !TAGS.iter().any(|(opener, _)| opener.starts_with(rest))
                {
                    answer.push_str(&self.held);
                    self.held.clear();
                    self.state = State::Answer;
                }
            }
            State::Opened { closer } if rest.is_empty() => {
                self.mark(State::Opened { closer }, parts);
            }
            State::Opened { closer } | State::Inside { closer } => {
                self.state = State::Inside { closer };
                self.find_closer(closer, parts);
            }
            State::Closed if rest.is_empty() => self.mark(State::Closed, parts),
            State::Closed | State::Answer => {
                answer.push_str(&self.held);
                self.held.clear();
                self.state = State::Answer;
            }
        }
    }

    fn find_closer(&mut self, closer: &'static str, parts: &mut Parts) {
        loop {
            let rest = self.held.trim_start();
            let blanks = self.held.len() - rest.len();
            if rest == closer {
                return self.mark(State::Closed, parts);
            }
            if closer.starts_with(rest) && blanks <= BLANK_BYTES_MAX {
                return;
            }
            let first = rest.chars().next().map_or(0, char::len_utf8);
            let given: String = self.held.drain(..blanks + first).collect();
            parts.reasoning(&given);
        }
    }

    fn mark(&mut self, next: State, parts: &mut Parts) {
        parts.syntax(&self.held);
        self.held.clear();
        self.state = next;
    }
}
