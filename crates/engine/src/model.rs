use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use trefoil_contract::{
    Conversation, Error, FORMAT_GGUF, FORMAT_GGUF_ROWS_16, ModelInfo, Part, ROWS_16_VERSION_KEY,
    Relevance, Result, Setting, TokenizeOptions, Value,
};
use trefoil_decoder::{CacheType, Fitted};
use trefoil_generation::{ChatTemplate, Forward, Generations, Pooling, ToolFormat, not_ranking};
use trefoil_gguf::{Gguf, Metadata, SPLIT_COUNT_KEY, Source, Tensor};
use trefoil_settings::{RequestSettings, Scope, Settings, TABLE};
use trefoil_tokenizer::Tokenizer;

use crate::adapters::{Adapters, Choice, chosen};
use crate::instances::{Leader, Opening};
use crate::{Imports, PartSource, SETTINGS_PREFIX, identity};

/// A loaded model.
pub struct Model {
    info: ModelInfo,
    tokenizer: Rc<Tokenizer>,
    longest_token_bytes: usize,
    template: Option<ChatTemplate>,
    /// Bytes that it takes of each instance's memory at most, by rank.
    pub(crate) memory_bytes: Vec<u64>,
    /// How it embeds texts, if the file or a setting says.
    pooling: Option<Pooling>,
    /// Defaults of its requests.
    pub(crate) settings: Settings,
    pub(crate) generations: RefCell<Generations<Leader, Rc<Tokenizer>>>,
    /// Its file, and its adapters with their scales.
    files: Vec<(Part, PartSource, f32)>,
    /// What its snapshots belong to, once it was asked for.
    identity: OnceCell<Vec<(&'static str, String)>>,
}

/// Where a model comes from.
pub(crate) struct Origin<'a> {
    pub(crate) imports: &'a Rc<dyn Imports>,
    /// All that there are.
    pub(crate) parts: &'a [Part],
    /// Of the model's part.
    pub(crate) index: u32,
    /// Of the model, among all that were ever open.
    pub(crate) number: u32,
    /// Bytes of memory that instances have left for it, by rank.
    pub(crate) free_bytes: Vec<u64>,
}

impl Model {
    /// Reads a GGUF file. `layers` are settings in rising precedence, above the file's own.
    pub(crate) fn load(
        engine: &str,
        origin: &Origin<'_>,
        source: &dyn Source,
        layers: &[&[Setting]],
    ) -> Result<Model> {
        let part = &origin.parts[origin.index as usize];
        let is_arranged = match part.format.as_str() {
            FORMAT_GGUF => false,
            FORMAT_GGUF_ROWS_16 => true,
            other => {
                return Err(Error::unsupported(format!(
                    "the format `{other}` of the model `{}`; supported: {FORMAT_GGUF}, \
                     {FORMAT_GGUF_ROWS_16}",
                    part.name
                )));
            }
        };
        let gguf = Gguf::read(source).map_err(|error| Error::InvalidModel(error.to_string()))?;
        if gguf.metadata.get(ROWS_16_VERSION_KEY).is_some() != is_arranged {
            return Err(Error::InvalidModel(format!(
                "its format is `{}`, but `{ROWS_16_VERSION_KEY}` says otherwise: pack it anew",
                part.format
            )));
        }
        let files = gguf.metadata.u32(SPLIT_COUNT_KEY).map_err(model_error)?.unwrap_or(1);
        if files > 1 {
            return Err(Error::InvalidModel(format!(
                "it is one of {files} files, which are one model together: pack or compose it \
                 with the others beside it, under the names that they had"
            )));
        }
        let settings = settings(&gguf.metadata, layers)?;
        let options = trefoil_decoder::Options {
            context_tokens: settings.model.context_tokens,
            sequences_max: settings.model.sequences_max,
            kv_cache_type: match settings.model.kv_cache_type.as_str() {
                "f32" => CacheType::F32,
                "q8" => CacheType::Q8,
                _ => CacheType::F16,
            },
        };
        let prefill_tokens = settings.model.prefill_tokens;
        let choices = chosen(origin.parts, &settings.model.adapters)?;
        let adapters = Adapters::open(origin.imports, origin.parts, &choices)?;
        let files = std::iter::once(Choice { part: origin.index, scale: 1.0 });
        let files =
            files.chain(choices.iter().copied()).filter_map(|Choice { part: index, scale }| {
                let part = origin.parts.get(index as usize)?.clone();
                let source = PartSource::new(Rc::clone(origin.imports), index, &part);
                Some((part, source, scale))
            });
        let files = files.collect();
        let free_bytes: Vec<_> = origin
            .free_bytes
            .iter()
            .map(|free| free.saturating_sub(adapters.bytes_max()))
            .collect();
        let Fitted { options, bytes: mut memory_bytes } =
            trefoil_decoder::fit(&gguf, options, prefill_tokens, &free_bytes)?;
        memory_bytes
            .iter_mut()
            .for_each(|bytes| *bytes = bytes.saturating_add(adapters.bytes_max()));
        let prepare = || {
            let tokenizer = Tokenizer::from_gguf(&gguf.metadata).map_err(tokenizer_error)?;
            let template = template(&gguf.metadata, &settings)?;
            Ok((tokenizer, template))
        };
        let (model, part_index) = (origin.number, origin.index);
        let opening = Opening { model, part: part_index, options, choices, adapters };
        let (leader, (tokenizer, template)) =
            Leader::load(origin.imports, opening, (&gguf, source), prepare)?;
        check_vocabulary(&tokenizer, &leader)?;
        let config = leader.decoder().config();
        let info = ModelInfo {
            name: part.name.clone(),
            architecture: config.architecture.name.to_owned(),
            engine: format!("{engine} {}", env!("CARGO_PKG_VERSION")),
            parameters: gguf.tensors.iter().map(Tensor::elements).sum(),
            size: part.size,
            vocabulary_tokens: tokenizer.vocabulary_tokens(),
            embedding_length: u32::try_from(config.embedding_length).unwrap_or(u32::MAX),
            context_tokens_trained: config.context_tokens_trained,
            context_tokens: leader.context_tokens(),
            sequences_max: settings.model.sequences_max,
            bos: tokenizer.bos(),
            end_of_generation: tokenizer.end_of_generation().to_vec(),
            has_chat_template: template.is_some(),
        };
        let pooling = Pooling::named(&settings.model.pooling).or(config.pooling);
        let bytes = |token| tokenizer.token_bytes(token).map_or(0, <[u8]>::len);
        let longest_token_bytes = (0..tokenizer.vocabulary_tokens()).map(bytes).max().unwrap_or(0);
        let tokenizer = Rc::new(tokenizer);
        let generations = Generations::new(leader, Rc::clone(&tokenizer), prefill_tokens);
        let generations = RefCell::new(generations);
        Ok(Model {
            info,
            tokenizer,
            longest_token_bytes,
            template,
            memory_bytes,
            pooling,
            settings,
            generations,
            files,
            identity: OnceCell::new(),
        })
    }

    /// `model.info`
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// `model.tokenize`
    pub fn tokenize(&self, text: &[u8], options: TokenizeOptions) -> Vec<u32> {
        self.tokenizer.encode(text, options.add_special, options.parse_special)
    }

    /// Tokens of a rendered conversation: special tokens are parsed, and BOS is added where the
    /// model wants it unless the template has written it.
    pub(crate) fn tokenize_rendered(&self, text: &[u8]) -> Vec<u32> {
        let tokenizer = &self.tokenizer;
        let bos = tokenizer.bos().and_then(|bos| tokenizer.token_bytes(bos));
        let has_bos = bos.is_some_and(|bos| text.starts_with(bos));
        tokenizer.encode(text, !has_bos, true)
    }

    /// Refuses a text that fits no context however few tokens it has, before time is spent on
    /// counting them: other generations wait meanwhile. Bytes that the vocabulary has no token for,
    /// and that would be left out, count as well.
    ///
    /// # Errors
    /// [`Error::ContextOverflow`] with the fewest tokens that the text can have.
    pub(crate) fn check_length(&self, text: &[u8]) -> Result<()> {
        // A character that the vocabulary does not have is one token, too.
        let longest = self.longest_token_bytes.max(char::MAX.len_utf8());
        let needed_tokens = text.len().div_ceil(longest) as u64;
        let available_tokens = self.info.context_tokens.into();
        if needed_tokens > available_tokens {
            return Err(Error::ContextOverflow { needed_tokens, available_tokens });
        }
        Ok(())
    }

    /// `model.detokenize`
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a token beyond the vocabulary.
    pub fn detokenize(&self, tokens: &[u32], special: bool) -> Result<Vec<u8>> {
        let tokenizer = &self.tokenizer;
        let mut text = Vec::new();
        for &token in tokens {
            let bytes = tokenizer.token_bytes(token).ok_or_else(|| {
                Error::InvalidArgument(format!(
                    "token {token} lies beyond the vocabulary of {} tokens",
                    tokenizer.vocabulary_tokens()
                ))
            })?;
            if special || !tokenizer.is_special(token) {
                text.extend_from_slice(bytes);
            }
        }
        Ok(text)
    }

    /// `model.render-chat`
    ///
    /// # Errors
    /// [`Error::Template`], also where the model has no template.
    pub fn render_chat(&self, conversation: &Conversation) -> Result<String> {
        let format = self.tool_format(&self.settings.request);
        self.render_chat_with(conversation, format)
    }

    /// The form of tool calls: as a setting says, or the template.
    pub(crate) fn tool_format(&self, settings: &RequestSettings) -> ToolFormat {
        let of_template = || self.template.as_ref().map(ChatTemplate::tool_format);
        ToolFormat::named(&settings.tool_format).or_else(of_template).unwrap_or(ToolFormat::Generic)
    }

    /// The same with tool calls in this form.
    pub(crate) fn render_chat_with(
        &self,
        conversation: &Conversation,
        format: ToolFormat,
    ) -> Result<String> {
        let template = self.template.as_ref().ok_or_else(|| {
            Error::Template(format!(
                "the model `{}` brings none; continue text without one (`--raw`) or give one as \
                 the setting `chat-template` (`--chat-template FILE`)",
                self.info.name
            ))
        })?;
        let tokenizer = &self.tokenizer;
        let name = |token: Option<u32>| {
            let bytes = token.and_then(|token| tokenizer.token_bytes(token)).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let (bos, eos) = (name(tokenizer.bos()), name(tokenizer.eos()));
        trefoil_generation::render(template, conversation, format, &bos, &eos)
    }

    /// `model.logits`
    ///
    /// # Errors
    /// See [`Generations::logits`]; [`Error::Unsupported`] for an encoder.
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.check_generates()?;
        self.generations.borrow_mut().logits(tokens)
    }

    /// `model.score`
    ///
    /// # Errors
    /// See [`Generations::score`]; [`Error::Unsupported`] for an encoder.
    pub fn score(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.check_generates()?;
        self.generations.borrow_mut().score(tokens)
    }

    /// `model.embed`: a vector of length 1.
    ///
    /// # Errors
    /// See [`Generations::embed`]; [`Error::Unsupported`] where neither file nor setting says how.
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let pooling = self.pooling.ok_or_else(|| {
            let ModelInfo { name, architecture, .. } = &self.info;
            Error::unsupported(format_args!(
                "embeddings of the model `{name}`: its file does not say how tokens' vectors become \
                 one (`{architecture}.pooling_type`); choose `mean`, `cls` or `last` as the setting \
                 `pooling` (`--pooling`)"
            ))
        })?;
        self.generations.borrow_mut().embed(tokens, pooling)
    }

    /// `model.relevance`: the query and the document, each with the token behind it that ends a text
    /// (`[CLS] query [SEP] document [SEP]`).
    ///
    /// # Errors
    /// See [`Generations::relevance`]; [`Error::Unsupported`] unless the model ranks texts.
    pub fn relevance(&self, query: &[u8], document: &[u8]) -> Result<Relevance> {
        let mut generations = self.generations.borrow_mut();
        if !generations.forward().decoder().config().ranks {
            return Err(not_ranking());
        }
        self.check_length(query)?;
        self.check_length(document)?;
        let mut tokens = self.tokenizer.encode(query, true, false);
        let behind = self.tokenizer.encode(document, true, false);
        let begins = behind.first().is_some_and(|first| Some(*first) == self.tokenizer.bos());
        tokens.extend_from_slice(&behind[usize::from(begins)..]);
        let score = generations.relevance(&tokens)?;
        Ok(Relevance { score, tokens: u32::try_from(tokens.len()).unwrap_or(u32::MAX) })
    }

    /// What its snapshots belong to: they go on only where all of that is the same.
    ///
    /// # Errors
    /// What the model component reports.
    pub(crate) fn identity(&self) -> Result<&[(&'static str, String)]> {
        if let Some(identity) = self.identity.get() {
            return Ok(identity);
        }
        let mut digests = Vec::new();
        for (part, source, scale) in &self.files {
            digests.push(match identity::digest(part, source)? {
                digest if *scale == 1.0 => digest,
                digest => format!("{digest} times {scale}"),
            });
        }
        let identity = vec![
            ("engine", self.info.engine.clone()),
            ("model", digests.remove(0)),
            ("choice of adapters", digests.join(", ")),
        ];
        Ok(self.identity.get_or_init(|| identity))
    }

    /// # Errors
    /// [`Error::Unsupported`] for an encoder.
    pub(crate) fn check_generates(&self) -> Result<()> {
        if !self.generations.borrow().forward().is_encoder() {
            return Ok(());
        }
        let ModelInfo { name, architecture, .. } = &self.info;
        Err(Error::unsupported(format_args!(
            "generating text with the model `{name}` (`{architecture}`), an encoder; use `embed`"
        )))
    }
}

fn settings(metadata: &Metadata, layers: &[&[Setting]]) -> Result<Settings> {
    let mut settings = Settings::default();
    let mut own = Vec::new();
    for key in TABLE {
        if let Some(name) = key.metadata
            && let Some(value) = metadata.f32(name).map_err(model_error)?
        {
            own.push(Setting::new(key.name, number(key, f64::from(value))));
        }
    }
    settings.apply(&own, Scope::Model, SETTINGS_PREFIX).map_err(|error| {
        Error::InvalidModel(format!("its `general.sampling` metadata: {error}"))
    })?;
    for layer in layers {
        settings.apply(layer, Scope::Model, SETTINGS_PREFIX)?;
    }
    Ok(settings)
}

/// Metadata numbers are floats; keys that count want whole ones.
fn number(key: &trefoil_settings::Key, value: f64) -> Value {
    match key.kind {
        trefoil_settings::Kind::Integer { .. } => Value::Integer(value as i64),
        _ => Value::Number(value),
    }
}

fn template(metadata: &Metadata, settings: &Settings) -> Result<Option<ChatTemplate>> {
    let source = match settings.model.chat_template.as_str() {
        "" => metadata.string("tokenizer.chat_template").map_err(model_error)?,
        source => Some(source),
    };
    source.map(ChatTemplate::new).transpose()
}

/// Every token that the tokenizer makes must have a row of the embedding.
fn check_vocabulary(tokenizer: &Tokenizer, forward: &impl Forward) -> Result<()> {
    let (tokens, rows) = (tokenizer.vocabulary_tokens() as usize, forward.vocabulary_tokens());
    if tokens == rows {
        return Ok(());
    }
    Err(Error::InvalidModel(format!(
        "`tokenizer.ggml.tokens` has {tokens} tokens, but `token_embd.weight` has {rows} rows"
    )))
}

fn model_error(error: trefoil_gguf::Error) -> Error {
    Error::InvalidModel(error.to_string())
}

fn tokenizer_error(error: trefoil_tokenizer::Error) -> Error {
    use trefoil_tokenizer::Error as E;
    match error {
        E::UnsupportedModel(_) | E::UnsupportedPreTokenizer(_) => Error::unsupported(error),
        error => Error::InvalidModel(error.to_string()),
    }
}
