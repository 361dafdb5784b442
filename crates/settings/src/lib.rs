//! The settings of all engines: one table of keys serves validation, TOML,
//! configuration components, command-line flags, requests and documentation.
//!
//! Precedence is the order of application: engine defaults, the model's
//! metadata, the configuration component, the app's `configure`, the request.
//! See [`Settings::apply`].

#![deny(missing_docs)]

mod docs;
mod table;
#[cfg(feature = "toml")]
mod toml_file;

pub use docs::markdown;
pub use table::{Key, Kind, Scope, TABLE, key};
#[cfg(feature = "toml")]
pub use toml_file::{TomlError, from_toml};

use trefoil_contract::{Error, Setting, Value};

/// Prefixes of keys that only one family of engines understands.
pub const ENGINE_PREFIXES: &[&str] = &["cpu.", "nn."];

/// Values of `cpu.kv-cache-type`, the default first.
pub const KV_CACHE_TYPES: &[&str] = &["f16", "f32", "q8"];

/// Values of `pooling`, the default first.
pub const POOLINGS: &[&str] = &["model", "mean", "cls", "last"];

/// Values of `context-full`, the default first.
pub const CONTEXT_FULL: &[&str] = &["stop", "shift"];

/// Values of `tool-format`, the default first.
pub const TOOL_FORMATS: &[&str] =
    &["model", "hermes", "llama3", "mistral", "granite", "gemma", "generic"];

/// Values of `reasoning`, the default first.
pub const REASONINGS: &[&str] = &["separate", "text"];

/// Everything that the table can set, with the engine's defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// In force from opening a model on.
    pub model: ModelSettings,
    /// Chosen by each request.
    pub request: RequestSettings,
}

/// What is fixed when a model is opened.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSettings {
    /// Context of one sequence, in tokens; 0 takes what the model was trained for, at most 8192, or
    /// what fits.
    pub context_tokens: u32,
    /// Generations that can be under way at once.
    pub sequences_max: u32,
    /// Prompt tokens that one step processes.
    pub prefill_tokens: u32,
    /// Replaces the model's own chat template unless empty.
    pub chat_template: String,
    /// Which adapters change the model: `*` for all, or names, each with its scale.
    pub adapters: String,
    /// How keys and values are cached: one of [`KV_CACHE_TYPES`].
    pub kv_cache_type: String,
    /// How the vectors of a text's tokens become one: as the model's file says, or `mean`, `cls`,
    /// `last`.
    pub pooling: String,
}

/// What a request may choose.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestSettings {
    /// Tokens of the answer at most; 0 stands for as many as the context holds, or for any number
    /// where that shifts.
    pub max_tokens: u32,
    /// Whether a full context makes room for more by giving up old tokens. Otherwise it ends the
    /// answer.
    pub shifts_context: bool,
    /// First tokens that stay then.
    pub keep_tokens: u32,
    /// Tokens that one step guesses from the text so far at most; 0 for none.
    pub lookup_tokens: u32,
    /// Tokens at the end of the text that must have occurred before for a guess.
    pub lookup_ngram: u32,
    /// 0 takes the likeliest token.
    pub temperature: f64,
    /// Number of likeliest tokens to choose among; 0 for all.
    pub top_k: u32,
    /// Probability that the candidates reach together.
    pub top_p: f64,
    /// Standard deviations below the largest logit within which tokens are kept; 0 for all.
    pub top_n_sigma: f64,
    /// Probability that the most typical candidates reach together.
    pub typical_p: f64,
    /// Share of the likeliest token's probability below which tokens are dropped.
    pub min_p: f64,
    /// How often XTC drops likely tokens.
    pub xtc_probability: f64,
    /// Probability from which on XTC drops a token.
    pub xtc_threshold: f64,
    /// Half of the range of the dynamic temperature; 0 for a fixed one.
    pub dynamic_temperature_range: f64,
    /// Exponent of the share of entropy in the dynamic temperature.
    pub dynamic_temperature_exponent: f64,
    /// Version of Mirostat; 0 for none.
    pub mirostat: u32,
    /// Surprise that Mirostat aims at, in bits.
    pub mirostat_tau: f64,
    /// How fast Mirostat learns.
    pub mirostat_eta: f64,
    /// Divides logits of tokens that occurred.
    pub repetition_penalty: f64,
    /// Subtracted from logits of tokens that occurred.
    pub presence_penalty: f64,
    /// Subtracted once for each occurrence.
    pub frequency_penalty: f64,
    /// Number of last tokens that the penalties look at.
    pub penalty_tokens: u32,
    /// DRY's penalty for a repetition of the allowed length; 0 for none.
    pub dry_multiplier: f64,
    /// Factor of DRY's penalty for each token more.
    pub dry_base: f64,
    /// Length of a repetition from which on DRY penalises, in tokens.
    pub dry_allowed_length: u32,
    /// Number of last tokens that DRY looks at; 0 for all.
    pub dry_penalty_tokens: u32,
    /// Texts that end what DRY counts as a repetition.
    pub dry_sequence_breakers: Vec<String>,
    /// Seed of the random choices.
    pub seed: u64,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// The form of tool calls: one of [`TOOL_FORMATS`].
    pub tool_format: String,
    /// Where reasoning goes: one of [`REASONINGS`].
    pub reasoning: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            model: ModelSettings {
                context_tokens: 0,
                sequences_max: 4,
                prefill_tokens: 128,
                chat_template: String::new(),
                adapters: "*".to_owned(),
                kv_cache_type: KV_CACHE_TYPES[0].to_owned(),
                pooling: POOLINGS[0].to_owned(),
            },
            request: RequestSettings {
                max_tokens: 0,
                shifts_context: false,
                keep_tokens: 4,
                lookup_tokens: 0,
                lookup_ngram: 3,
                temperature: 0.8,
                top_k: 40,
                top_p: 0.95,
                top_n_sigma: 0.0,
                typical_p: 1.0,
                min_p: 0.05,
                xtc_probability: 0.0,
                xtc_threshold: 0.1,
                dynamic_temperature_range: 0.0,
                dynamic_temperature_exponent: 1.0,
                mirostat: 0,
                mirostat_tau: 5.0,
                mirostat_eta: 0.1,
                repetition_penalty: 1.0,
                presence_penalty: 0.0,
                frequency_penalty: 0.0,
                penalty_tokens: 64,
                dry_multiplier: 0.0,
                dry_base: 1.75,
                dry_allowed_length: 2,
                dry_penalty_tokens: 0,
                dry_sequence_breakers: ["\n", ":", "\"", "*"].map(str::to_owned).into(),
                seed: 0,
                stop: Vec::new(),
                tool_format: TOOL_FORMATS[0].to_owned(),
                reasoning: REASONINGS[0].to_owned(),
            },
        }
    }
}

impl Settings {
    /// Applies one layer over what earlier layers set. A list (such as `stop`) that occurs in the layer
    /// replaces the earlier one as a whole. `engine` is the prefix of the engine's own keys;
    /// `scope` is [`Scope::Request`] where keys that are fixed at opening must be refused.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] with the key, the value and what would be accepted. Nothing is
    /// applied then.
    pub fn apply(&mut self, layer: &[Setting], scope: Scope, engine: &str) -> Result<(), Error> {
        let mut next = self.clone();
        for key in TABLE.iter().filter(|key| key.kind.is_list()) {
            if layer.iter().any(|setting| setting.key == key.name) {
                (key.clear)(&mut next);
            }
        }
        for setting in layer {
            if let Some(key) = check(setting, scope, engine)? {
                (key.set)(&mut next, &setting.value);
            }
        }
        *self = next;
        Ok(())
    }
}

impl RequestSettings {
    /// The keys that give these settings, whatever the defaults.
    pub fn to_list(&self) -> Vec<Setting> {
        let settings = Settings { request: self.clone(), ..Settings::default() };
        let keys = TABLE.iter().filter(|key| key.scope == Scope::Request);
        let values = keys.flat_map(|key| (key.get)(&settings).into_iter().map(|it| (key.name, it)));
        values.map(|(name, value)| Setting::new(name, value)).collect()
    }

    /// The settings that a list of keys gives.
    ///
    /// # Errors
    /// As [`Settings::apply`].
    pub fn from_list(list: &[Setting]) -> Result<Self, Error> {
        let mut settings = Settings::default();
        settings.apply(list, Scope::Request, "")?;
        Ok(settings.request)
    }
}

/// Checks one setting against the table: `None` if it is another engine's business.
///
/// # Errors
/// [`Error::InvalidSetting`] for an unknown key, a wrong type, a value out of range, or a key
/// that is out of place in this scope.
pub fn check(setting: &Setting, scope: Scope, engine: &str) -> Result<Option<&'static Key>, Error> {
    let refuse = |expected: String| Error::InvalidSetting {
        key: setting.key.clone(),
        value: setting.value.to_string(),
        expected,
    };
    let foreign =
        ENGINE_PREFIXES.iter().any(|prefix| *prefix != engine && setting.key.starts_with(prefix));
    if foreign {
        return Ok(None);
    }
    let Some(key) = key(&setting.key) else {
        return Err(refuse(table::nearest(&setting.key)));
    };
    if scope == Scope::Request && key.scope == Scope::Model {
        return Err(refuse("a key that a request can set; this one is fixed when a model is opened: set it in the configuration".into()));
    }
    if !key.kind.accepts(&setting.value) {
        return Err(refuse(key.kind.to_string()));
    }
    Ok(Some(key))
}

/// Reads a value from text, as it comes from a command line, by the key's type.
///
/// # Errors
/// As [`check`].
pub fn parse(name: &str, text: &str) -> Result<Setting, Error> {
    let value = match key(name).map(|key| &key.kind) {
        Some(Kind::Integer { .. }) => text.parse().map(Value::Integer).ok(),
        Some(Kind::Number { .. }) => text.parse().map(Value::Number).ok(),
        Some(Kind::Text { .. } | Kind::Texts { .. } | Kind::Choice(_)) | None => None,
    };
    let setting = Setting::new(name, value.unwrap_or_else(|| Value::Text(text.into())));
    check(&setting, Scope::Model, "")?;
    Ok(setting)
}

#[cfg(test)]
mod tests;
