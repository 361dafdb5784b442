//! Which form a model's calls have.

use trefoil_settings::TOOL_FORMATS;

use super::{gemma, generic, granite, hermes, llama3, mistral};

/// The form in which a model writes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen and many others.
    Hermes,
    /// `{"name": ..., "parameters": {...}}`, with or without `<|python_tag|>` before it: Llama 3.
    Llama3,
    /// `[TOOL_CALLS]` and a list of objects, or `[TOOL_CALLS]name[ARGS]{...}`: Mistral.
    Mistral,
    /// `<|tool_call|>` and a list of objects: Granite.
    Granite,
    /// An object or a call in Python, in a block of code or without: Gemma. Its template knows no
    /// tools.
    Gemma,
    /// As [`Hermes`](Self::Hermes), and explained in the prompt: any model whose template knows no
    /// tools, or whose own form is none of these.
    Generic,
}

/// What begins a call, and what follows that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opener {
    pub(super) text: &'static str,
    pub(super) body: Body,
}

/// What follows an opener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// An object or a list of objects, then perhaps the text that closes it. Several objects may be
    /// separated by `;`.
    Json {
        /// Empty for none.
        closer: &'static str,
    },
    /// A name, `[ARGS]` and an object, or as [`Body::Json`].
    Named,
    /// A line break, then JSON or Python, then three backticks.
    Code,
}

/// How calls are written.
#[derive(Debug)]
pub(super) struct Syntax {
    pub(super) openers: &'static [Opener],
    /// Whether an answer may begin with a call without an opener. Its name must be a tool's.
    pub(super) is_bare: bool,
    /// Texts of tokens that belong to calls, whether or not the vocabulary has them as special.
    pub(super) markers: &'static [&'static str],
}

impl ToolFormat {
    /// As the setting `tool-format` names it.
    pub(crate) fn name(self) -> &'static str {
        let place = ToolFormat::ALL.iter().position(|format| *format == self).unwrap_or(0);
        TOOL_FORMATS[1 + place]
    }

    /// All of them, as the values of the setting `tool-format` behind its first.
    const ALL: [ToolFormat; 6] = [
        ToolFormat::Hermes,
        ToolFormat::Llama3,
        ToolFormat::Mistral,
        ToolFormat::Granite,
        ToolFormat::Gemma,
        ToolFormat::Generic,
    ];

    /// The format of that name, as the setting `tool-format` has it; `None` for `model`.
    pub fn named(name: &str) -> Option<Self> {
        TOOL_FORMATS[1..].iter().zip(Self::ALL).find(|(known, _)| **known == name).map(|(_, it)| it)
    }

    /// The format of the models that have this chat template: what the template writes for the
    /// calls of earlier messages, or how it asks for them.
    pub fn of_template(source: &str) -> Self {
        let has = |text: &str| source.contains(text);
        if has("<tool_call>") && !has("<function=") {
            ToolFormat::Hermes
        } else if has("[TOOL_CALLS]") {
            ToolFormat::Mistral
        } else if has("<|tool_call|>") && has("<|start_of_role|>") {
            ToolFormat::Granite
        } else if has("<|start_header_id|>") && has("tools") {
            ToolFormat::Llama3
        } else if has("<start_of_turn>") && !has("tools") {
            ToolFormat::Gemma
        } else {
            ToolFormat::Generic
        }
    }

    /// Whether the template does not explain the tools to the model, so that the engine must.
    pub(crate) fn is_explained(self) -> bool {
        matches!(self, ToolFormat::Gemma | ToolFormat::Generic)
    }

    pub(super) fn syntax(self) -> &'static Syntax {
        match self {
            ToolFormat::Hermes => &hermes::SYNTAX,
            ToolFormat::Llama3 => &llama3::SYNTAX,
            ToolFormat::Mistral => &mistral::SYNTAX,
            ToolFormat::Granite => &granite::SYNTAX,
            ToolFormat::Gemma => &gemma::SYNTAX,
            ToolFormat::Generic => &generic::SYNTAX,
        }
    }
}
