//! Conversions between the bindings' types and those of `trefoil-contract`: the same records
//! under two names.

use trefoil_contract as contract;

use crate::bindings::exports::trefoil::llm::inference as wit;
use crate::bindings::trefoil::llm::types;

/// Converts a struct field by field.
macro_rules! record {
    ($from:ty => $into:path { $($field:ident),* $(,)? }) => {
        impl From<$from> for $into {
            fn from(it: $from) -> Self {
                #[allow(clippy::useless_conversion)]
                Self { $($field: it.$field.into()),* }
            }
        }
    };
}

/// Converts an enum of the same cases, each with the same number of values.
macro_rules! variant {
    ($from:path => $into:path { $($case:ident $(($value:ident))?),* $(,)? }) => {
        impl From<$from> for $into {
            fn from(it: $from) -> Self {
                use $from as From_;
                match it {
                    $(From_::$case $(($value))? => Self::$case $(($value.into()))?),*
                }
            }
        }
    };
}

fn each<A, B: From<A>>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(Into::into).collect()
}

impl From<contract::Error> for types::Error {
    fn from(error: contract::Error) -> Self {
        use contract::Error as E;
        match error {
            E::InvalidModel(text) => Self::InvalidModel(text),
            E::InvalidSetting { key, value, expected } => {
                Self::InvalidSetting(types::InvalidSetting { key, value, expected })
            }
            E::InvalidArgument(text) => Self::InvalidArgument(text),
            E::Unsupported(text) => Self::Unsupported(text),
            E::ContextOverflow { needed_tokens, available_tokens } => {
                Self::ContextOverflow(types::ContextOverflow { needed_tokens, available_tokens })
            }
            E::OutOfMemory { needed_bytes, purpose } => {
                Self::OutOfMemory(types::OutOfMemory { needed_bytes, purpose })
            }
            E::NotFound(text) => Self::NotFound(text),
            E::Io(text) => Self::Io(text),
            E::Template(text) => Self::Template(text),
            E::Busy(text) => Self::Busy(text),
            E::Finished => Self::Finished,
            E::Duplicate => Self::Duplicate,
            E::Other { code, message } => Self::Other(types::OtherError { code, message }),
        }
    }
}

impl From<types::Error> for contract::Error {
    fn from(error: types::Error) -> Self {
        use types::Error as E;
        match error {
            E::InvalidModel(text) => Self::InvalidModel(text),
            E::InvalidSetting(it) => {
                Self::InvalidSetting { key: it.key, value: it.value, expected: it.expected }
            }
            E::InvalidArgument(text) => Self::InvalidArgument(text),
            E::Unsupported(text) => Self::Unsupported(text),
            E::ContextOverflow(it) => Self::ContextOverflow {
                needed_tokens: it.needed_tokens,
                available_tokens: it.available_tokens,
            },
            E::OutOfMemory(it) => {
                Self::OutOfMemory { needed_bytes: it.needed_bytes, purpose: it.purpose }
            }
            E::NotFound(text) => Self::NotFound(text),
            E::Io(text) => Self::Io(text),
            E::Template(text) => Self::Template(text),
            E::Busy(text) => Self::Busy(text),
            E::Finished => Self::Finished,
            E::Duplicate => Self::Duplicate,
            E::Other(it) => Self::Other { code: it.code, message: it.message },
        }
    }
}

variant!(types::Value => contract::Value {
    Boolean(value), Integer(value), Number(value), Text(value),
});
record!(types::Setting => contract::Setting { key, value });
variant!(types::Role => contract::Role { Weights, Adapter, Projector, Draft });
variant!(contract::Role => types::Role { Weights, Adapter, Projector, Draft });
record!(types::Part => contract::Part { name, role, format, size, sha256, license });
record!(contract::Part => types::Part { name, role, format, size, sha256, license });

record!(contract::ModelInfo => wit::ModelInfo {
    name, architecture, engine, parameters, size, vocabulary_tokens, embedding_length,
    context_tokens_trained, context_tokens, sequences_max, bos, end_of_generation,
    has_chat_template,
});

impl From<wit::TokenizeOptions> for contract::TokenizeOptions {
    fn from(options: wit::TokenizeOptions) -> Self {
        Self {
            add_special: options.contains(wit::TokenizeOptions::ADD_SPECIAL),
            parse_special: options.contains(wit::TokenizeOptions::PARSE_SPECIAL),
        }
    }
}

record!(wit::ToolCall => contract::ToolCall { id, name, arguments });
record!(wit::ToolResult => contract::ToolResult { id, texts });

impl From<wit::MessagePart> for contract::MessagePart {
    fn from(part: wit::MessagePart) -> Self {
        match part {
            wit::MessagePart::Text(text) => Self::Text(text),
            wit::MessagePart::Media(media) => Self::Media { mime: media.mime, data: media.data },
            wit::MessagePart::Reasoning(text) => Self::Reasoning(text),
            wit::MessagePart::ToolCall(call) => Self::ToolCall(call.into()),
            wit::MessagePart::ToolResult(result) => Self::ToolResult(result.into()),
        }
    }
}

impl From<wit::Message> for contract::Message {
    fn from(message: wit::Message) -> Self {
        Self { role: message.role, parts: each(message.parts), variables: message.variables }
    }
}

impl From<wit::Conversation> for contract::Conversation {
    fn from(conversation: wit::Conversation) -> Self {
        Self {
            messages: each(conversation.messages),
            tools: conversation.tools,
            variables: conversation.variables,
            add_generation_prompt: conversation.add_generation_prompt,
        }
    }
}

variant!(wit::Prompt => contract::Prompt { Text(text), Tokens(tokens), Chat(conversation) });
variant!(wit::ResponseFormat => contract::ResponseFormat {
    Text, JsonSchema(schema), Regex(regex), Grammar(grammar),
});
variant!(wit::ToolChoice => contract::ToolChoice { Auto, None, Required, Named(name) });

record!(contract::PromptProgress => wit::PromptProgress { choice, done_tokens, total_tokens });
record!(contract::TokenProbability => wit::TokenProbability { token, bytes, log_probability });

impl From<contract::TokenChoice> for wit::TokenChoice {
    fn from(choice: contract::TokenChoice) -> Self {
        Self { chosen: choice.chosen.into(), top: each(choice.top) }
    }
}

impl From<contract::Delta> for wit::Delta {
    fn from(delta: contract::Delta) -> Self {
        Self {
            choice: delta.choice,
            text: delta.text,
            tokens: delta.tokens,
            log_probabilities: each(delta.log_probabilities),
        }
    }
}

record!(contract::ToolCallDelta => wit::ToolCallDelta { choice, index, id, name, arguments });
record!(contract::Relevance => wit::Relevance { score, tokens });
record!(contract::Usage => wit::Usage {
    prompt_tokens, cached_tokens, generated_tokens, drafted_tokens, accepted_tokens,
});
record!(contract::Done => wit::Done { choice, reason, usage });
variant!(contract::FinishReason => wit::FinishReason {
    Stop, StopText, Length, ContextFull, ToolCalls,
});
variant!(contract::Event => wit::Event {
    PromptProgress(progress), Delta(delta), Reasoning(delta), ToolCallDelta(delta), Done(done),
    Idle(choice),
});
