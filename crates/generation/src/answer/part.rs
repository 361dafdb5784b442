//! What an answer is made of.

/// A piece of an answer, in the answer's order.
///
/// The texts of all parts but [`Call`](Self::Call), put together, are the answer as the model wrote
/// it: nothing is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerPart {
    /// Text of the answer.
    Text(String),
    /// Text of the model's reasoning.
    Reasoning(String),
    /// A call begins.
    Call {
        /// Which of the answer, from 0.
        index: u32,
        /// The tool's name.
        name: String,
        /// All of its arguments, where the model did not write JSON; otherwise they follow.
        arguments: String,
    },
    /// More of a call's arguments.
    Arguments {
        /// Which call of the answer: the one that began last.
        index: u32,
        /// As the model wrote it.
        text: String,
    },
    /// What only marks the others: tags, a call's name, the blanks around them.
    Syntax(String),
}

/// Parts on their way out; neighbours of the same kind are one.
#[derive(Debug, Default)]
pub(crate) struct Parts(Vec<AnswerPart>);

impl Parts {
    pub(crate) fn text(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(AnswerPart::Text(last)) => last.push_str(text),
            _ => self.0.push(AnswerPart::Text(text.to_owned())),
        }
    }

    pub(crate) fn reasoning(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(AnswerPart::Reasoning(last)) => last.push_str(text),
            _ => self.0.push(AnswerPart::Reasoning(text.to_owned())),
        }
    }

    pub(crate) fn arguments(&mut self, index: u32, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(AnswerPart::Arguments { text: last, .. }) => last.push_str(text),
            _ => self.0.push(AnswerPart::Arguments { index, text: text.to_owned() }),
        }
    }

    pub(crate) fn syntax(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(AnswerPart::Syntax(last)) => last.push_str(text),
            _ => self.0.push(AnswerPart::Syntax(text.to_owned())),
        }
    }

    pub(crate) fn call(&mut self, index: u32, name: &str, arguments: String) {
        self.0.push(AnswerPart::Call { index, name: name.to_owned(), arguments });
    }

    /// Gives out what there is.
    pub(crate) fn take(&mut self) -> Vec<AnswerPart> {
        std::mem::take(&mut self.0)
    }
}
