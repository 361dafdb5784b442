//! The head of a snapshot: all but keys and values.

use trefoil_contract::{
    Delta, Error, Event, FinishReason, ResponseFormat, Result, Setting, TokenChoice,
    TokenProbability, ToolCallDelta, Value,
};
use trefoil_settings::RequestSettings;

use super::bytes::{Reader, Writer};
use crate::answer::CallIds;
use crate::generations::{LookupState, SavedGeneration};
use crate::sampler::SamplerState;
use crate::{AnswerForm, GenerationOptions, SavedCache, ToolFormat};

/// What a snapshot belongs to, as names with their values: the engine, the weights.
pub type Identity = [(&'static str, String)];

/// Writes a head.
pub(super) fn encode(identity: &Identity, saved: &SavedGeneration, cache: &SavedCache) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.list(identity, |writer, (name, value)| {
        writer.text(name);
        writer.text(value);
    });
    put_cache(&mut writer, cache);
    put_generation(&mut writer, saved);
    writer.0
}

/// Reads a head of a snapshot of that identity.
///
/// # Errors
/// [`Error::InvalidArgument`] for one of another identity, by name, and for what is no head.
pub(crate) fn decode(bytes: &[u8], identity: &Identity) -> Result<(SavedGeneration, SavedCache)> {
    let mut reader = Reader::new(bytes);
    let saved = reader.list(|reader| Ok((reader.text()?, reader.text()?)))?;
    if saved.len() != identity.len() {
        return Err(reader.refuse("identity"));
    }
    for ((name, value), (own_name, own)) in saved.iter().zip(identity) {
        if name != own_name {
            return Err(reader.refuse("identity"));
        }
        if value != own {
            return Err(Error::InvalidArgument(format!(
                "the snapshot was made with another {name}: `{value}`, and this is `{own}`"
            )));
        }
    }
    let cache = take_cache(&mut reader)?;
    let saved = take_generation(&mut reader)?;
    reader.end()?;
    Ok((saved, cache))
}

fn put_cache(writer: &mut Writer, cache: &SavedCache) {
    writer.text(&cache.form);
    writer.u32(cache.tokens);
    writer.u32(cache.first);
    writer.u64(cache.pages);
    writer.u32(cache.page_bytes);
}

fn take_cache(reader: &mut Reader<'_>) -> Result<SavedCache> {
    Ok(SavedCache {
        form: reader.text()?,
        tokens: reader.u32()?,
        first: reader.u32()?,
        pages: reader.u64()?,
        page_bytes: reader.u32()?,
    })
}

fn put_generation(writer: &mut Writer, saved: &SavedGeneration) {
    writer.tokens(&saved.tokens);
    writer.u64(saved.cached as u64);
    writer.u64(saved.prompt_tokens as u64);
    writer.u64(saved.reused_tokens as u64);
    writer.tokens(&saved.generated);
    writer.list(&saved.settings.to_list(), put_setting);
    put_options(writer, &saved.options);
    writer.bytes(&saved.sampler.generator_bytes());
    writer.option(saved.sampler.surprise, Writer::f64);
    let LookupState { needed_tokens, drafted_tokens, accepted_tokens } = saved.lookup;
    [needed_tokens, drafted_tokens, accepted_tokens]
        .into_iter()
        .for_each(|tokens| writer.u64(tokens as u64));
    writer.u64(saved.call_ids.0);
    writer.list(&saved.events, put_event);
    writer.option(saved.ended, |writer, reason| writer.u32(reason_number(reason)));
}

fn take_generation(reader: &mut Reader<'_>) -> Result<SavedGeneration> {
    let tokens = reader.tokens()?;
    let (cached, prompt_tokens) = (reader.usize()?, reader.usize()?);
    let (reused_tokens, generated) = (reader.usize()?, reader.tokens()?);
    let settings = reader.list(take_setting)?;
    let settings = RequestSettings::from_list(&settings).map_err(|error| {
        Error::InvalidArgument(format!("the snapshot is damaged or of another version: {error}"))
    })?;
    let options = take_options(reader)?;
    let generator = SamplerState::generator_from(reader.bytes()?);
    let generator = generator.ok_or_else(|| reader.refuse("state of the random numbers"))?;
    let sampler = SamplerState { generator, surprise: reader.option(Reader::f64)? };
    let lookup = LookupState {
        needed_tokens: reader.usize()?,
        drafted_tokens: reader.usize()?,
        accepted_tokens: reader.usize()?,
    };
    Ok(SavedGeneration {
        tokens,
        cached,
        prompt_tokens,
        reused_tokens,
        generated,
        settings,
        options,
        sampler,
        lookup,
        call_ids: CallIds(reader.u64()?),
        events: reader.list(take_event)?,
        ended: reader.option(|reader| {
            let number = reader.u32()?;
            let reason = REASONS.get(number as usize).copied();
            reason.ok_or_else(|| reader.refuse("reason to end"))
        })?,
    })
}

fn put_setting(writer: &mut Writer, setting: &Setting) {
    writer.text(&setting.key);
    match &setting.value {
        Value::Boolean(value) => {
            writer.u32(0);
            writer.u32(u32::from(*value));
        }
        Value::Integer(value) => {
            writer.u32(1);
            writer.u64(value.cast_unsigned());
        }
        Value::Number(value) => {
            writer.u32(2);
            writer.f64(*value);
        }
        Value::Text(value) => {
            writer.u32(3);
            writer.text(value);
        }
    }
}

fn take_setting(reader: &mut Reader<'_>) -> Result<Setting> {
    let key = reader.text()?;
    let value = match reader.u32()? {
        0 => Value::Boolean(reader.u32()? != 0),
        1 => Value::Integer(reader.u64()?.cast_signed()),
        2 => Value::Number(reader.f64()?),
        3 => Value::Text(reader.text()?),
        _ => return Err(reader.refuse("value")),
    };
    Ok(Setting { key, value })
}

fn put_options(writer: &mut Writer, options: &GenerationOptions) {
    writer.list(&options.logit_bias, |writer, (token, bias)| {
        writer.u32(*token);
        writer.f32(*bias);
    });
    writer.u32(options.choice);
    writer.option(options.log_probabilities, Writer::u32);
    let (number, text) = match &options.response_format {
        ResponseFormat::Text => (0, ""),
        ResponseFormat::JsonSchema(text) => (1, text.as_str()),
        ResponseFormat::Regex(text) => (2, text.as_str()),
        ResponseFormat::Grammar(text) => (3, text.as_str()),
    };
    writer.u32(number);
    writer.text(text);
    writer.option(options.answer.reasoning.as_deref(), Writer::text);
    writer.option(options.answer.tool_calls.as_ref(), |writer, (format, names)| {
        writer.text(format.name());
        writer.list(names, |writer, name| writer.text(name));
    });
}

fn take_options(reader: &mut Reader<'_>) -> Result<GenerationOptions> {
    let logit_bias = reader.list(|reader| Ok((reader.u32()?, reader.f32()?)))?;
    let choice = reader.u32()?;
    let log_probabilities = reader.option(Reader::u32)?;
    let (number, text) = (reader.u32()?, reader.text()?);
    let response_format = match number {
        0 => ResponseFormat::Text,
        1 => ResponseFormat::JsonSchema(text),
        2 => ResponseFormat::Regex(text),
        3 => ResponseFormat::Grammar(text),
        _ => return Err(reader.refuse("response format")),
    };
    let reasoning = reader.option(Reader::text)?;
    let tool_calls = reader.option(|reader| {
        let format = ToolFormat::named(&reader.text()?);
        let format = format.ok_or_else(|| reader.refuse("form of tool calls"))?;
        Ok((format, reader.list(Reader::text)?))
    })?;
    let answer = AnswerForm { reasoning, tool_calls };
    Ok(GenerationOptions { logit_bias, choice, log_probabilities, response_format, answer })
}

fn put_event(writer: &mut Writer, event: &Event) {
    match event {
        Event::ToolCallDelta(call) => {
            writer.u32(2);
            writer.u32(call.choice);
            writer.u32(call.index);
            writer.option(call.id.as_deref(), Writer::text);
            writer.option(call.name.as_deref(), Writer::text);
            writer.text(&call.arguments);
        }
        Event::Delta(delta) => put_delta(writer, 0, delta),
        Event::Reasoning(delta) => put_delta(writer, 1, delta),
        // None of these ever waits.
        Event::PromptProgress(_) | Event::Done(_) | Event::Idle(_) => writer.u32(u32::MAX),
    }
}

fn take_event(reader: &mut Reader<'_>) -> Result<Event> {
    match reader.u32()? {
        0 => take_delta(reader).map(Event::Delta),
        1 => take_delta(reader).map(Event::Reasoning),
        2 => Ok(Event::ToolCallDelta(ToolCallDelta {
            choice: reader.u32()?,
            index: reader.u32()?,
            id: reader.option(Reader::text)?,
            name: reader.option(Reader::text)?,
            arguments: reader.text()?,
        })),
        _ => Err(reader.refuse("event")),
    }
}

fn put_delta(writer: &mut Writer, number: u32, delta: &Delta) {
    writer.u32(number);
    writer.u32(delta.choice);
    writer.text(&delta.text);
    writer.tokens(&delta.tokens);
    writer.list(&delta.log_probabilities, |writer, choice| {
        put_probability(writer, &choice.chosen);
        writer.list(&choice.top, put_probability);
    });
}

fn take_delta(reader: &mut Reader<'_>) -> Result<Delta> {
    Ok(Delta {
        choice: reader.u32()?,
        text: reader.text()?,
        tokens: reader.tokens()?,
        log_probabilities: reader.list(|reader| {
            let chosen = take_probability(reader)?;
            Ok(TokenChoice { chosen, top: reader.list(take_probability)? })
        })?,
    })
}

fn put_probability(writer: &mut Writer, probability: &TokenProbability) {
    writer.u32(probability.token);
    writer.bytes(&probability.bytes);
    writer.f32(probability.log_probability);
}

fn take_probability(reader: &mut Reader<'_>) -> Result<TokenProbability> {
    Ok(TokenProbability {
        token: reader.u32()?,
        bytes: reader.bytes()?.to_vec(),
        log_probability: reader.f32()?,
    })
}

const REASONS: [FinishReason; 5] = [
    FinishReason::Stop,
    FinishReason::StopText,
    FinishReason::Length,
    FinishReason::ContextFull,
    FinishReason::ToolCalls,
];

fn reason_number(reason: FinishReason) -> u32 {
    REASONS.iter().zip(0..).find(|(known, _)| **known == reason).map_or(u32::MAX, |(_, it)| it)
}
