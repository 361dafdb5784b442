//! Calls of tools in a model's answer, and how a model is told of tools.
//!
//! Models write calls as text, each family in its own form. [`ToolFormat`] says which; the file of a
//! format says what begins a call there. [`ToolCallParser`] finds the calls of an answer while it
//! comes.

mod call_object;
mod call_schema;
mod explained;
mod format;
mod gemma;
mod generic;
mod granite;
mod hermes;
mod json;
mod llama3;
mod mistral;
mod parser;
mod python;
mod tools;

pub use explained::render;
pub use format::ToolFormat;
pub(crate) use parser::ToolCallParser;
pub use tools::Tools;

/// Most calls of one answer; what looks like a further one is text.
pub(crate) const CALLS_MAX: u32 = 64;

/// Names that a call may have.
#[derive(Debug, Clone, Copy)]
struct Names<'a> {
    /// The tools that there are.
    known: &'a [String],
    /// Whether any other will do: an app can tell the model that there is no such tool.
    is_any: bool,
}

impl Names<'_> {
    fn admit(self, name: &str) -> bool {
        !name.is_empty() && (self.is_any || self.knows(name))
    }

    fn knows(self, name: &str) -> bool {
        self.known.iter().any(|known| known == name)
    }
}

#[cfg(test)]
mod tests;
