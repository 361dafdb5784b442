//! Between the contract's types and the generated ones.

use trefoil_contract as own;

use super::bindings::exports::trefoil::llm::inference as wit;
use super::bindings::trefoil::llm::types;

pub(crate) fn error(error: types::Error) -> own::Error {
    use own::Error;
    match error {
        types::Error::InvalidModel(text) => Error::InvalidModel(text),
        types::Error::InvalidSetting(refused) => Error::InvalidSetting {
            key: refused.key,
            value: refused.value,
            expected: refused.expected,
        },
        types::Error::InvalidArgument(text) => Error::InvalidArgument(text),
        types::Error::Unsupported(text) => Error::Unsupported(text),
        types::Error::ContextOverflow(sizes) => Error::ContextOverflow {
            needed_tokens: sizes.needed_tokens,
            available_tokens: sizes.available_tokens,
        },
        types::Error::OutOfMemory(sizes) => {
            Error::OutOfMemory { needed_bytes: sizes.needed_bytes, purpose: sizes.purpose }
        }
        types::Error::NotFound(text) => Error::NotFound(text),
        types::Error::Io(text) => Error::Io(text),
        types::Error::Template(text) => Error::Template(text),
        types::Error::Busy(text) => Error::Busy(text),
        types::Error::Finished => Error::Finished,
        types::Error::Duplicate => Error::Duplicate,
        types::Error::Other(other) => Error::Other { code: other.code, message: other.message },
    }
}

pub(super) fn setting(setting: &own::Setting) -> types::Setting {
    let value = match &setting.value {
        own::Value::Boolean(value) => types::Value::Boolean(*value),
        own::Value::Integer(value) => types::Value::Integer(*value),
        own::Value::Number(value) => types::Value::Number(*value),
        own::Value::Text(value) => types::Value::Text(value.clone()),
    };
    types::Setting { key: setting.key.clone(), value }
}

pub(super) fn response_format(format: own::ResponseFormat) -> wit::ResponseFormat {
    match format {
        own::ResponseFormat::Text => wit::ResponseFormat::Text,
        own::ResponseFormat::JsonSchema(schema) => wit::ResponseFormat::JsonSchema(schema),
        own::ResponseFormat::Regex(regex) => wit::ResponseFormat::Regex(regex),
        own::ResponseFormat::Grammar(grammar) => wit::ResponseFormat::Grammar(grammar),
    }
}

pub(super) fn tool_choice(choice: own::ToolChoice) -> wit::ToolChoice {
    match choice {
        own::ToolChoice::Auto => wit::ToolChoice::Auto,
        own::ToolChoice::None => wit::ToolChoice::None,
        own::ToolChoice::Required => wit::ToolChoice::Required,
        own::ToolChoice::Named(name) => wit::ToolChoice::Named(name),
    }
}

pub(super) fn info(info: wit::ModelInfo) -> own::ModelInfo {
    own::ModelInfo {
        name: info.name,
        architecture: info.architecture,
        engine: info.engine,
        parameters: info.parameters,
        size: info.size,
        vocabulary_tokens: info.vocabulary_tokens,
        embedding_length: info.embedding_length,
        context_tokens_trained: info.context_tokens_trained,
        context_tokens: info.context_tokens,
        sequences_max: info.sequences_max,
        bos: info.bos,
        end_of_generation: info.end_of_generation,
        has_chat_template: info.has_chat_template,
    }
}

pub(super) fn tokenize_options(options: own::TokenizeOptions) -> wit::TokenizeOptions {
    let mut flags = wit::TokenizeOptions::empty();
    if options.add_special {
        flags |= wit::TokenizeOptions::ADD_SPECIAL;
    }
    if options.parse_special {
        flags |= wit::TokenizeOptions::PARSE_SPECIAL;
    }
    flags
}

pub(super) fn prompt(prompt: own::Prompt) -> wit::Prompt {
    match prompt {
        own::Prompt::Text(text) => wit::Prompt::Text(text),
        own::Prompt::Tokens(tokens) => wit::Prompt::Tokens(tokens),
        own::Prompt::Chat(chat) => wit::Prompt::Chat(conversation(chat)),
    }
}

pub(super) fn conversation(conversation: own::Conversation) -> wit::Conversation {
    wit::Conversation {
        messages: conversation.messages.into_iter().map(message).collect(),
        tools: conversation.tools,
        variables: conversation.variables,
        add_generation_prompt: conversation.add_generation_prompt,
    }
}

fn message(message: own::Message) -> wit::Message {
    wit::Message {
        role: message.role,
        parts: message.parts.into_iter().map(part).collect(),
        variables: message.variables,
    }
}

fn part(part: own::MessagePart) -> wit::MessagePart {
    use wit::MessagePart as Part;
    match part {
        own::MessagePart::Text(text) => Part::Text(text),
        own::MessagePart::Media { mime, data } => Part::Media(wit::Media { mime, data }),
        own::MessagePart::Reasoning(text) => Part::Reasoning(text),
        own::MessagePart::ToolCall(call) => Part::ToolCall(wit::ToolCall {
            id: call.id,
            name: call.name,
            arguments: call.arguments,
        }),
        own::MessagePart::ToolResult(result) => {
            Part::ToolResult(wit::ToolResult { id: result.id, texts: result.texts })
        }
    }
}

pub(super) fn event(event: wit::Event) -> own::Event {
    match event {
        wit::Event::PromptProgress(progress) => own::Event::PromptProgress(own::PromptProgress {
            choice: progress.choice,
            done_tokens: progress.done_tokens,
            total_tokens: progress.total_tokens,
        }),
        wit::Event::Delta(text) => own::Event::Delta(delta(text)),
        wit::Event::Reasoning(text) => own::Event::Reasoning(delta(text)),
        wit::Event::ToolCallDelta(call) => own::Event::ToolCallDelta(own::ToolCallDelta {
            choice: call.choice,
            index: call.index,
            id: call.id,
            name: call.name,
            arguments: call.arguments,
        }),
        wit::Event::Done(done) => own::Event::Done(own::Done {
            choice: done.choice,
            reason: reason(done.reason),
            usage: own::Usage {
                prompt_tokens: done.usage.prompt_tokens,
                cached_tokens: done.usage.cached_tokens,
                generated_tokens: done.usage.generated_tokens,
                drafted_tokens: done.usage.drafted_tokens,
                accepted_tokens: done.usage.accepted_tokens,
            },
        }),
        wit::Event::Idle(choice) => own::Event::Idle(choice),
    }
}

fn delta(delta: wit::Delta) -> own::Delta {
    let choice = |choice: wit::TokenChoice| own::TokenChoice {
        chosen: probability(choice.chosen),
        top: choice.top.into_iter().map(probability).collect(),
    };
    own::Delta {
        choice: delta.choice,
        text: delta.text,
        tokens: delta.tokens,
        log_probabilities: delta.log_probabilities.into_iter().map(choice).collect(),
    }
}

fn probability(probability: wit::TokenProbability) -> own::TokenProbability {
    own::TokenProbability {
        token: probability.token,
        bytes: probability.bytes,
        log_probability: probability.log_probability,
    }
}

fn reason(reason: wit::FinishReason) -> own::FinishReason {
    match reason {
        wit::FinishReason::Stop => own::FinishReason::Stop,
        wit::FinishReason::StopText => own::FinishReason::StopText,
        wit::FinishReason::Length => own::FinishReason::Length,
        wit::FinishReason::ContextFull => own::FinishReason::ContextFull,
        wit::FinishReason::ToolCalls => own::FinishReason::ToolCalls,
    }
}
