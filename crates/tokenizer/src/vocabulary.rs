use trefoil_gguf::Metadata;

use crate::Error;
use crate::pre_tokenizer::PreTokenizer;

/// Most tokens of a vocabulary. The largest real ones have 262,144.
pub const VOCABULARY_TOKENS_MAX: usize = 4 << 20;
/// Most merges. The largest real vocabularies have 514,906.
pub const MERGES_MAX: usize = 8 << 20;
/// Longest text of a special token, in bytes. Bounds the work at each place of a text.
pub const SPECIAL_TOKEN_BYTES_MAX: usize = 1024;

/// What a token is for (`tokenizer.ggml.token_type`; numbered as in llama.cpp's `llama.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenType {
    /// Text in the byte-level alphabet; also what has an unknown number.
    #[default]
    Normal,
    /// 2: stands for what has no token.
    Unknown,
    /// 3: control token; never made of text unless special tokens are parsed.
    Control,
    /// 4: added to the vocabulary as whole words, always found in text.
    UserDefined,
    /// 5: fills up the vocabulary; stands for no text.
    Unused,
    /// 6: `<0x0A>` stands for a byte.
    Byte,
}

impl TokenType {
    /// The type with that number.
    pub fn from_number(number: i32) -> Self {
        match number {
            2 => TokenType::Unknown,
            3 => TokenType::Control,
            4 => TokenType::UserDefined,
            5 => TokenType::Unused,
            6 => TokenType::Byte,
            _ => TokenType::Normal,
        }
    }
}

/// Tokens that keys name. All of them are optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ids {
    /// `tokenizer.ggml.bos_token_id`: begins a text.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`: ends a text.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`: ends a turn.
    pub end_of_turn: Option<u32>,
    /// `tokenizer.ggml.eom_token_id`: ends a message.
    pub end_of_message: Option<u32>,
    /// `tokenizer.ggml.fim_pad_token_id`.
    pub fill_in_padding: Option<u32>,
    /// `tokenizer.ggml.fim_rep_token_id`.
    pub fill_in_repository: Option<u32>,
    /// `tokenizer.ggml.fim_sep_token_id`.
    pub fill_in_file: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id` of WordPiece: stands for words that have no tokens.
    pub unknown: Option<u32>,
    /// `tokenizer.ggml.seperator_token_id` of WordPiece: ends a text.
    pub separator: Option<u32>,
}

pub(crate) const BOS_KEY: &str = "tokenizer.ggml.bos_token_id";
pub(crate) const EOS_KEY: &str = "tokenizer.ggml.eos_token_id";
pub(crate) const UNKNOWN_KEY: &str = "tokenizer.ggml.unknown_token_id";
/// So it is spelled.
pub(crate) const SEPARATOR_KEY: &str = "tokenizer.ggml.seperator_token_id";
const LOWERCASE_KEY: &str = "tokenizer.ggml.normalizer.lowercase";
const STRIP_ACCENTS_KEY: &str = "tokenizer.ggml.normalizer.strip_accents";
const PRE_KEY: &str = "tokenizer.ggml.pre";
pub(crate) const SCORES_KEY: &str = "tokenizer.ggml.scores";
pub(crate) const ADD_BOS_KEY: &str = "tokenizer.ggml.add_bos_token";
pub(crate) const ADD_EOS_KEY: &str = "tokenizer.ggml.add_eos_token";

/// A field of [`Ids`].
type Field = fn(&mut Ids) -> &mut Option<u32>;

/// The keys of [`Ids`].
const ID_KEYS: [(&str, Field); 7] = [
    (BOS_KEY, |ids| &mut ids.bos),
    (EOS_KEY, |ids| &mut ids.eos),
    ("tokenizer.ggml.eot_token_id", |ids| &mut ids.end_of_turn),
    ("tokenizer.ggml.eom_token_id", |ids| &mut ids.end_of_message),
    ("tokenizer.ggml.fim_pad_token_id", |ids| &mut ids.fill_in_padding),
    ("tokenizer.ggml.fim_rep_token_id", |ids| &mut ids.fill_in_repository),
    ("tokenizer.ggml.fim_sep_token_id", |ids| &mut ids.fill_in_file),
];

/// Those that only WordPiece needs, and which tokens they are in BERT's vocabulary.
const WORD_PIECE_KEYS: [(&str, Field, u32); 3] = [
    (BOS_KEY, |ids| &mut ids.bos, 101),
    (UNKNOWN_KEY, |ids| &mut ids.unknown, 100),
    (SEPARATOR_KEY, |ids| &mut ids.separator, 102),
];

/// How text becomes tokens (`tokenizer.ggml.model`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Model {
    /// `gpt2`: byte-level BPE.
    #[default]
    ByteLevel,
    /// `llama`: SentencePiece's BPE.
    SentencePiece,
    /// `bert`: WordPiece.
    WordPiece,
}

/// The data of a tokenizer, as the file holds them.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary<'a> {
    /// `tokenizer.ggml.model`.
    pub model: Model,
    /// `tokenizer.ggml.pre`: the name of the pre-tokenizer of byte-level BPE.
    pub pre_tokenizer: &'a str,
    /// `tokenizer.ggml.tokens`: texts in the byte-level alphabet, or with U+2581 for spaces and in
    /// front of words; special tokens in plain text.
    pub tokens: Vec<&'a [u8]>,
    /// `tokenizer.ggml.token_type`, one for each token, or none at all.
    pub token_types: Vec<TokenType>,
    /// `tokenizer.ggml.merges` of byte-level BPE: `left right`, the most important first.
    pub merges: Vec<&'a [u8]>,
    /// `tokenizer.ggml.scores` of SentencePiece, one for each token.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.add_space_prefix` of SentencePiece.
    pub adds_space: bool,
    /// `tokenizer.ggml.normalizer.lowercase` of WordPiece.
    pub lowercases: bool,
    /// `tokenizer.ggml.normalizer.strip_accents` of WordPiece.
    pub strips_accents: bool,
    /// Tokens that keys name.
    pub ids: Ids,
    /// `tokenizer.ggml.add_bos_token`; WordPiece always does.
    pub adds_bos: bool,
    /// `tokenizer.ggml.add_eos_token`; WordPiece adds its separator instead.
    pub adds_eos: bool,
}

impl<'a> Vocabulary<'a> {
    /// Takes the data out of a file's metadata.
    ///
    /// # Errors
    /// [`Error::Metadata`] for a key that is missing or mistyped, [`Error::UnsupportedModel`] for
    /// another `tokenizer.ggml.model`, and limits. The rest is checked by
    /// [`Tokenizer::new`](crate::Tokenizer::new).
    pub fn from_gguf(metadata: &'a Metadata) -> Result<Self, Error> {
        let text = |key| metadata.string(key)?.ok_or_else(|| metadata.missing(key));
        let model = match text("tokenizer.ggml.model")? {
            "gpt2" => Model::ByteLevel,
            "llama" => Model::SentencePiece,
            "bert" => Model::WordPiece,
            other => return Err(Error::UnsupportedModel(other.to_owned())),
        };
        let strings = |key, max, error: fn(usize) -> Error| {
            let strings = metadata.strings(key)?.ok_or_else(|| metadata.missing(key))?;
            if strings.len() > max {
                return Err(error(strings.len()));
            }
            let bytes = strings.len().saturating_mul(size_of::<&[u8]>());
            let mut list = Vec::new();
            list.try_reserve_exact(strings.len()).map_err(|_| Error::OutOfMemory(bytes as u64))?;
            list.extend(strings.iter());
            Ok(list)
        };
        // What models want unless they say otherwise, as in llama.cpp.
        let adds_bos = match (model, metadata.string(PRE_KEY)?) {
            (Model::SentencePiece | Model::WordPiece, _) => true,
            (Model::ByteLevel, name) => {
                name.and_then(PreTokenizer::find).is_some_and(|row| row.adds_bos)
            }
        };
        let mut vocabulary = Vocabulary {
            model,
            tokens: strings("tokenizer.ggml.tokens", VOCABULARY_TOKENS_MAX, Error::TooManyTokens)?,
            adds_bos: metadata.bool(ADD_BOS_KEY)?.unwrap_or(adds_bos),
            adds_eos: metadata.bool(ADD_EOS_KEY)?.unwrap_or(false),
            adds_space: metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
            ..Vocabulary::default()
        };
        match model {
            Model::ByteLevel => {
                vocabulary.pre_tokenizer = text(PRE_KEY)?;
                vocabulary.merges =
                    strings("tokenizer.ggml.merges", MERGES_MAX, Error::TooManyMerges)?;
            }
            Model::SentencePiece => {
                let scores = metadata.f32s(SCORES_KEY)?;
                vocabulary.scores = scores.ok_or_else(|| metadata.missing(SCORES_KEY))?;
            }
            Model::WordPiece => {
                vocabulary.lowercases = metadata.bool(LOWERCASE_KEY)?.unwrap_or(true);
                let strips_accents = metadata.bool(STRIP_ACCENTS_KEY)?;
                vocabulary.strips_accents = strips_accents.unwrap_or(vocabulary.lowercases);
                // As in llama.cpp, whatever the keys say.
                (vocabulary.adds_bos, vocabulary.adds_eos) = (true, false);
            }
        }
        if let Some(numbers) = metadata.i32s("tokenizer.ggml.token_type")? {
            vocabulary.check_types(numbers.len())?;
            vocabulary.token_types = numbers.into_iter().map(TokenType::from_number).collect();
        }
        for (key, field) in ID_KEYS {
            *field(&mut vocabulary.ids) = metadata.u32(key)?;
        }
        if model == Model::SentencePiece {
            // As in llama.cpp.
            let Ids { bos, eos, .. } = &mut vocabulary.ids;
            let known = |token: u32| (vocabulary.tokens.len() > token as usize).then_some(token);
            (*bos, *eos) = (bos.or(known(1)), eos.or(known(2)));
        }
        if model == Model::WordPiece {
            for (key, field, default) in WORD_PIECE_KEYS {
                let known = Some(default).filter(|token| vocabulary.tokens.len() > *token as usize);
                *field(&mut vocabulary.ids) = metadata.u32(key)?.or(known);
            }
        }
        Ok(vocabulary)
    }

    /// Checks sizes and the tokens that keys name.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let tokens = self.tokens.len();
        if tokens == 0 {
            return Err(Error::NoTokens);
        }
        if tokens > VOCABULARY_TOKENS_MAX {
            return Err(Error::TooManyTokens(tokens));
        }
        if self.merges.len() > MERGES_MAX {
            return Err(Error::TooManyMerges(self.merges.len()));
        }
        if !self.token_types.is_empty() {
            self.check_types(self.token_types.len())?;
        }
        if self.model == Model::SentencePiece && self.scores.len() != tokens {
            return Err(Error::Scores { scores: self.scores.len(), tokens });
        }
        if let Some(token) = self.scores.iter().position(|score| score.is_nan()) {
            return Err(Error::NotAScore { token });
        }
        let mut ids = self.ids;
        if self.model == Model::WordPiece {
            for (key, field, default) in WORD_PIECE_KEYS {
                if field(&mut ids).is_none() {
                    return Err(Error::NoWordPieceToken { key, default, tokens });
                }
            }
        }
        let word_piece = WORD_PIECE_KEYS.map(|(key, field, _)| (key, field));
        for (key, field) in ID_KEYS.into_iter().chain(word_piece) {
            if let Some(token) = *field(&mut ids)
                && token as usize >= tokens
            {
                return Err(Error::NoSuchToken { key, token, tokens });
            }
        }
        for (adds, id, flag, key) in [
            (self.adds_bos, ids.bos, ADD_BOS_KEY, BOS_KEY),
            (self.adds_eos, ids.eos, ADD_EOS_KEY, EOS_KEY),
        ] {
            if adds && id.is_none() {
                return Err(Error::NoTokenToAdd { flag, key });
            }
        }
        Ok(())
    }

    fn check_types(&self, types: usize) -> Result<(), Error> {
        let tokens = self.tokens.len();
        if types == tokens { Ok(()) } else { Err(Error::TokenTypes { types, tokens }) }
    }
}
