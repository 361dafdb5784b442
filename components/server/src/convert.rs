//! Conversions between the bindings' types and those of `trefoil-contract`: the same records
//! under two names.

use trefoil_contract as contract;

use crate::bindings::trefoil::llm::inference as wit;
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

variant!(contract::Value => types::Value {
    Boolean(value), Integer(value), Number(value), Text(value),
});
record!(contract::Setting => types::Setting { key, value });

impl From<contract::TokenizeOptions> for wit::TokenizeOptions {
    fn from(options: contract::TokenizeOptions) -> Self {
        let mut flags = Self::empty();
        flags.set(Self::ADD_SPECIAL, options.add_special);
        flags.set(Self::PARSE_SPECIAL, options.parse_special);
        flags
    }
}

record!(contract::ToolCall => wit::ToolCall { id, name, arguments });
record!(contract::ToolResult => wit::ToolResult { id, texts });

impl From<contract::MessagePart> for wit::MessagePart {
    fn from(part: contract::MessagePart) -> Self {
        use contract::MessagePart as P;
        match part {
            P::Text(text) => Self::Text(text),
            P::Media { mime, data } => Self::Media(wit::Media { mime, data }),
            P::Reasoning(text) => Self::Reasoning(text),
            P::ToolCall(call) => Self::ToolCall(call.into()),
            P::ToolResult(result) => Self::ToolResult(result.into()),
        }
    }
}

impl From<contract::Message> for wit::Message {
    fn from(message: contract::Message) -> Self {
        Self { role: message.role, parts: each(message.parts), variables: message.variables }
    }
}

impl From<contract::Conversation> for wit::Conversation {
    fn from(conversation: contract::Conversation) -> Self {
        Self {
            messages: each(conversation.messages),
            tools: conversation.tools,
            variables: conversation.variables,
            add_generation_prompt: conversation.add_generation_prompt,
        }
    }
}

variant!(contract::Prompt => wit::Prompt { Text(text), Tokens(tokens), Chat(conversation) });
variant!(contract::ResponseFormat => wit::ResponseFormat {
    Text, JsonSchema(schema), Regex(regex), Grammar(grammar),
});
variant!(contract::ToolChoice => wit::ToolChoice { Auto, None, Required, Named(name) });

record!(wit::PromptProgress => contract::PromptProgress { choice, done_tokens, total_tokens });
record!(wit::TokenProbability => contract::TokenProbability { token, bytes, log_probability });

impl From<wit::TokenChoice> for contract::TokenChoice {
    fn from(choice: wit::TokenChoice) -> Self {
        Self { chosen: choice.chosen.into(), top: each(choice.top) }
    }
}

impl From<wit::Delta> for contract::Delta {
    fn from(delta: wit::Delta) -> Self {
        Self {
            choice: delta.choice,
            text: delta.text,
            tokens: delta.tokens,
            log_probabilities: each(delta.log_probabilities),
        }
    }
}

record!(wit::ToolCallDelta => contract::ToolCallDelta { choice, index, id, name, arguments });
record!(wit::Relevance => contract::Relevance { score, tokens });
record!(wit::Usage => contract::Usage {
    prompt_tokens, cached_tokens, generated_tokens, drafted_tokens, accepted_tokens,
});
record!(wit::Done => contract::Done { choice, reason, usage });
variant!(wit::FinishReason => contract::FinishReason {
    Stop, StopText, Length, ContextFull, ToolCalls,
});
variant!(wit::Event => contract::Event {
    PromptProgress(progress), Delta(delta), Reasoning(delta), ToolCallDelta(delta), Done(done),
    Idle(choice),
});
