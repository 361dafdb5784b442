//! The rows of the table.

use trefoil_contract::Value;

use super::{Key, Kind, Scope};
use crate::{CONTEXT_FULL, KV_CACHE_TYPES, POOLINGS, REASONINGS, Settings, TOOL_FORMATS};

macro_rules! integer {
    ($group:ident.$field:ident, $min:expr, $max:expr, $type:ty) => {
        (
            Kind::Integer { min: $min, max: $max },
            |settings: &Settings| vec![Value::Integer(settings.$group.$field as i64)],
            |settings: &mut Settings, value: &Value| {
                if let Value::Integer(value) = value {
                    settings.$group.$field = *value as $type;
                }
            },
        )
    };
}

macro_rules! number {
    ($group:ident.$field:ident, $min:expr, $max:expr) => {
        (
            Kind::Number { min: $min, max: $max },
            |settings: &Settings| vec![Value::Number(settings.$group.$field)],
            |settings: &mut Settings, value: &Value| match value {
                Value::Number(value) => settings.$group.$field = *value,
                Value::Integer(value) => settings.$group.$field = *value as f64,
                _ => {}
            },
        )
    };
}

type Access = (Kind, fn(&Settings) -> Vec<Value>, fn(&mut Settings, &Value));

const fn row(
    name: &'static str,
    scope: Scope,
    metadata: Option<&'static str>,
    (kind, get, set): Access,
    doc: &'static str,
) -> Key {
    Key { name, scope, kind, doc, metadata, get, set, clear: |_| {} }
}

fn texts(texts: &[String]) -> Vec<Value> {
    texts.iter().cloned().map(Value::Text).collect()
}

/// All settings. GGUF keys of samplers as in llama.cpp's `llama-arch.cpp`
/// (`general.sampling.*`).
pub static TABLE: &[Key] = &[
    row(
        "context-tokens",
        Scope::Model,
        None,
        integer!(model.context_tokens, 0, 1 << 24, u32),
        "Context of one sequence, in tokens. 0 takes what the model was trained for, at most 8192, \
         and less where `sequences-max` of them do not fit the engine's memory.",
    ),
    row(
        "sequences-max",
        Scope::Model,
        None,
        integer!(model.sequences_max, 1, 256, u32),
        "Generations that can be under way at once. Memory is taken as they grow.",
    ),
    row(
        "prefill-tokens",
        Scope::Model,
        None,
        integer!(model.prefill_tokens, 1, 4096, u32),
        "Prompt tokens that one step processes.",
    ),
    row(
        "chat-template",
        Scope::Model,
        None,
        (
            Kind::Text { bytes_max: 1 << 17 },
            |settings| vec![Value::Text(settings.model.chat_template.clone())],
            |settings, value| {
                if let Value::Text(text) = value {
                    settings.model.chat_template.clone_from(text);
                }
            },
        ),
        "A Jinja template in place of the model's own. Empty keeps the model's own.",
    ),
    row(
        "adapters",
        Scope::Model,
        None,
        (
            Kind::Text { bytes_max: 1 << 12 },
            |settings| vec![Value::Text(settings.model.adapters.clone())],
            |settings, value| {
                if let Value::Text(text) = value {
                    settings.model.adapters.clone_from(text);
                }
            },
        ),
        "Which of the composition's adapters (LoRA) change the model: `*` for all, or their names, \
         separated by commas, each with `=SCALE` if that is not 1. Empty for none.",
    ),
    row(
        "cpu.kv-cache-type",
        Scope::Model,
        None,
        (
            Kind::Choice(KV_CACHE_TYPES),
            |settings| vec![Value::Text(settings.model.kv_cache_type.clone())],
            |settings, value| {
                if let Value::Text(text) = value {
                    settings.model.kv_cache_type.clone_from(text);
                }
            },
        ),
        "Precision of cached keys and values. `f16` takes half the memory and time of `f32`. `q8` (8 \
         bits and a scale for 32 of them) takes about half the memory of `f16`.",
    ),
    row(
        "pooling",
        Scope::Model,
        None,
        (
            Kind::Choice(POOLINGS),
            |settings| vec![Value::Text(settings.model.pooling.clone())],
            |settings, value| {
                if let Value::Text(text) = value {
                    settings.model.pooling.clone_from(text);
                }
            },
        ),
        "How an embedding is made of its tokens' vectors: as the model's file says, their mean, the \
         first (`cls`) or the last.",
    ),
    row(
        "max-tokens",
        Scope::Request,
        None,
        integer!(request.max_tokens, 0, 1 << 24, u32),
        "Tokens of the answer at most. 0 stands for as many as the context holds, and for any number \
         where `context-full` is `shift`.",
    ),
    row(
        "context-full",
        Scope::Request,
        None,
        (
            Kind::Choice(CONTEXT_FULL),
            |settings| {
                let name = CONTEXT_FULL[usize::from(settings.request.shifts_context)];
                vec![Value::Text(name.to_owned())]
            },
            |settings, value| {
                if let Value::Text(text) = value {
                    settings.request.shifts_context = text == CONTEXT_FULL[1];
                }
            },
        ),
        "What happens when an answer fills the context: `stop` ends it, `shift` gives up the older \
         half of the tokens behind the first `keep-tokens`, computes the others anew, and goes on. A \
         prompt has to fit in any case.",
    ),
    row(
        "keep-tokens",
        Scope::Request,
        None,
        integer!(request.keep_tokens, 0, 1 << 24, u32),
        "First tokens that stay when the context shifts, the prompt's included; at most half of the \
         context. Models attend to the very first ones whatever these are.",
    ),
    row(
        "lookup-tokens",
        Scope::Request,
        None,
        integer!(request.lookup_tokens, 0, 64, u32),
        "Tokens that one step guesses at most: those that followed where the end of the text occurred \
         before (prompt lookup). One batch computes them all, and those are kept that would have been \
         chosen anyway, so the answer stays the same. For answers that repeat their prompt. 0 guesses \
         none.",
    ),
    row(
        "lookup-ngram",
        Scope::Request,
        None,
        integer!(request.lookup_ngram, 1, 16, u32),
        "Tokens at the end of the text that must have occurred before, for `lookup-tokens`. After a \
         wrong guess more are asked for.",
    ),
    row(
        "temperature",
        Scope::Request,
        Some("general.sampling.temp"),
        number!(request.temperature, 0.0, 10.0),
        "Randomness of the choice of tokens. 0 always takes the likeliest (greedy).",
    ),
    row(
        "top-k",
        Scope::Request,
        Some("general.sampling.top_k"),
        integer!(request.top_k, 0, 1 << 24, u32),
        "Chooses among so many likeliest tokens. 0 stands for all.",
    ),
    row(
        "top-p",
        Scope::Request,
        Some("general.sampling.top_p"),
        number!(request.top_p, 0.0, 1.0),
        "Chooses among the likeliest tokens that reach this probability together. 1 stands for all.",
    ),
    row(
        "min-p",
        Scope::Request,
        Some("general.sampling.min_p"),
        number!(request.min_p, 0.0, 1.0),
        "Drops tokens whose probability is below this share of the likeliest token's.",
    ),
    row(
        "top-n-sigma",
        Scope::Request,
        None,
        number!(request.top_n_sigma, 0.0, 100.0),
        "Drops tokens whose logits are more than so many standard deviations below the largest. 0 \
         drops none.",
    ),
    row(
        "typical-p",
        Scope::Request,
        None,
        number!(request.typical_p, 0.0, 1.0),
        "Chooses among the tokens that are about as likely as is to be expected (locally typical \
         sampling) and reach this probability together. 1 stands for all.",
    ),
    row(
        "xtc-probability",
        Scope::Request,
        Some("general.sampling.xtc_probability"),
        number!(request.xtc_probability, 0.0, 1.0),
        "How often XTC drops all tokens that reach `xtc-threshold` but the least likely of these. 0 \
         stands for never.",
    ),
    row(
        "xtc-threshold",
        Scope::Request,
        Some("general.sampling.xtc_threshold"),
        number!(request.xtc_threshold, 0.0, 1.0),
        "Probability from which on XTC counts a token as a top choice. Above 0.5 it drops none.",
    ),
    row(
        "dynamic-temperature-range",
        Scope::Request,
        None,
        number!(request.dynamic_temperature_range, 0.0, 10.0),
        "How much lower and higher than `temperature` the temperature may be: the more even the \
         tokens' probabilities are, the higher. 0 leaves it fixed.",
    ),
    row(
        "dynamic-temperature-exponent",
        Scope::Request,
        None,
        number!(request.dynamic_temperature_exponent, 0.0, 10.0),
        "Bends the dynamic temperature: above 1 it is low for longer.",
    ),
    row(
        "mirostat",
        Scope::Request,
        Some("general.sampling.mirostat"),
        integer!(request.mirostat, 0, 2, u32),
        "Version of Mirostat, which keeps surprise near `mirostat-tau`, in place of top-n-sigma, top-k, \
         typical-p, top-p, min-p, XTC and the dynamic temperature. 0 stands for none.",
    ),
    row(
        "mirostat-tau",
        Scope::Request,
        Some("general.sampling.mirostat_tau"),
        number!(request.mirostat_tau, 0.0, 100.0),
        "Surprise of a token that Mirostat aims at, in bits.",
    ),
    row(
        "mirostat-eta",
        Scope::Request,
        Some("general.sampling.mirostat_eta"),
        number!(request.mirostat_eta, 0.0, 1.0),
        "How fast Mirostat learns.",
    ),
    row(
        "repetition-penalty",
        Scope::Request,
        Some("general.sampling.penalty_repeat"),
        number!(request.repetition_penalty, 0.01, 10.0),
        "Divides the logits of tokens that occurred (multiplies negative ones). 1 does nothing.",
    ),
    row(
        "presence-penalty",
        Scope::Request,
        None,
        number!(request.presence_penalty, -10.0, 10.0),
        "Subtracted from the logits of tokens that occurred. 0 does nothing.",
    ),
    row(
        "frequency-penalty",
        Scope::Request,
        None,
        number!(request.frequency_penalty, -10.0, 10.0),
        "Subtracted from the logits of tokens once for each occurrence. 0 does nothing.",
    ),
    row(
        "penalty-tokens",
        Scope::Request,
        Some("general.sampling.penalty_last_n"),
        integer!(request.penalty_tokens, 0, 1 << 24, u32),
        "Number of last tokens, the prompt's included, that the penalties look at.",
    ),
    row(
        "dry-multiplier",
        Scope::Request,
        None,
        number!(request.dry_multiplier, 0.0, 100.0),
        "What DRY subtracts from the logit of a token that would go on with a repetition of \
         `dry-allowed-length` tokens. 0 does nothing.",
    ),
    row(
        "dry-base",
        Scope::Request,
        None,
        number!(request.dry_base, 1.0, 10.0),
        "Multiplies what DRY subtracts for each token by which a repetition is longer.",
    ),
    row(
        "dry-allowed-length",
        Scope::Request,
        None,
        integer!(request.dry_allowed_length, 1, 1 << 24, u32),
        "Length of a repetition, in tokens, from which on DRY subtracts something.",
    ),
    row(
        "dry-penalty-tokens",
        Scope::Request,
        None,
        integer!(request.dry_penalty_tokens, 0, 1 << 24, u32),
        "Number of last tokens, the prompt's included, that DRY looks at. 0 stands for all.",
    ),
    Key {
        name: "dry-sequence-breaker",
        scope: Scope::Request,
        kind: Kind::Texts { bytes_max: 1024 },
        doc: "Texts that end what DRY counts as a repetition: by default the end of a line, `:`, `\"` and \
              `*`. May be given several times.",
        metadata: None,
        get: |settings| texts(&settings.request.dry_sequence_breakers),
        set: |settings, value| {
            if let Value::Text(text) = value {
                settings.request.dry_sequence_breakers.push(text.clone());
            }
        },
        clear: |settings| settings.request.dry_sequence_breakers.clear(),
    },
    row(
        "seed",
        Scope::Request,
        None,
        integer!(request.seed, 0, i64::MAX, u64),
        "Seed of the random choices: the same seed gives the same answer.",
    ),
    Key {
        name: "stop",
        scope: Scope::Request,
        kind: Kind::Texts { bytes_max: 1024 },
        doc: "Texts before which the answer ends. May be given several times.",
        metadata: None,
        get: |settings| texts(&settings.request.stop),
        set: |settings, value| {
            if let Value::Text(text) = value {
                settings.request.stop.push(text.clone());
            }
        },
        clear: |settings| settings.request.stop.clear(),
    },
    row(
        "tool-format",
        Scope::Request,
        None,
        (
            Kind::Choice(TOOL_FORMATS),
            |settings| vec![Value::Text(settings.request.tool_format.clone())],
            |settings, value| {
                if let Value::Text(text) = value {
                    settings.request.tool_format.clone_from(text);
                }
            },
        ),
        "The form in which the model writes tool calls. `model` finds it from the chat template; \
         `gemma` and `generic` explain the tools in the prompt.",
    ),
    row(
        "reasoning",
        Scope::Request,
        None,
        (
            Kind::Choice(REASONINGS),
            |settings| vec![Value::Text(settings.request.reasoning.clone())],
            |settings, value| {
                if let Value::Text(text) = value {
                    settings.request.reasoning.clone_from(text);
                }
            },
        ),
        "Where what the model thinks before its answer (`<think>`) goes: apart from the answer \
         (`separate`), or as it is into its text (`text`). For conversations only.",
    ),
];
