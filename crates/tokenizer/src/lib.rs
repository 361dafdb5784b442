//! Tokenizers from GGUF metadata: byte-level BPE (`tokenizer.ggml.model` = `gpt2`), SentencePiece's
//! (`llama`) and WordPiece (`bert`).
//!
//! A text becomes tokens in three steps: special tokens are cut out, a pre-tokenizer cuts the rest
//! into words, and in each word merges join bytes into tokens. SentencePiece does without words,
//! WordPiece without merges.
//! The results are those of llama.cpp, for any bytes; where they differ, the item says so. Letters
//! and numbers are those of Unicode 16 (llama.cpp: 15).
//!
//! This crate does no I/O, uses no randomness and panics on no input.
#![deny(missing_docs)]

mod alphabet;
mod characters;
mod end_of_generation;
mod error;
mod merges;
mod pre_tokenizer;
mod sentence_piece;
mod special;
mod token_texts;
mod vocabulary;
mod word_piece;

use trefoil_gguf::Metadata;

use merges::{Merges, NO_TOKEN, Rule, Scratch, WORD_SYMBOLS_MAX};
use pre_tokenizer::PreTokenizer;
use sentence_piece::SentencePiece;
use special::{Fragment, SpecialTexts};
use token_texts::{TextIndex, TokenIndex, TokenTexts};
use word_piece::WordPiece;

pub use error::Error;
pub use vocabulary::{
    Ids, MERGES_MAX, Model, SPECIAL_TOKEN_BYTES_MAX, TokenType, VOCABULARY_TOKENS_MAX, Vocabulary,
};
pub use word_piece::WORD_PIECE_BYTES_MAX;

/// The values of `tokenizer.ggml.pre` that are supported; those in one list cut texts alike.
pub fn pre_tokenizers() -> impl Iterator<Item = &'static [&'static str]> {
    pre_tokenizer::TABLE.iter().map(|row| row.names)
}

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    algorithm: Algorithm,
    /// What each token stands for in text.
    texts: TokenTexts,
    /// Found in text where special tokens are parsed: control, unknown and user-defined tokens.
    special_texts: SpecialTexts,
    /// Found in any text.
    user_defined_texts: SpecialTexts,
    /// Control and unknown tokens, ascending.
    special: Vec<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
    adds_eos: bool,
    /// What WordPiece ends a text with.
    separator: Option<u32>,
    end_of_generation: Vec<u32>,
}

/// What makes tokens of ordinary text.
#[derive(Debug)]
enum Algorithm {
    ByteLevel(ByteLevel),
    SentencePiece(SentencePiece),
    WordPiece(WordPiece),
}

/// Byte-level BPE.
#[derive(Debug)]
struct ByteLevel {
    pre_tokenizer: &'static PreTokenizer,
    /// The token of each byte, or [`NO_TOKEN`].
    byte_tokens: [u32; 256],
    merges: Merges,
    /// Tokens by what they stand for, where whole words are taken; else empty.
    whole_words: TextIndex,
}

impl ByteLevel {
    fn new(
        vocabulary: &Vocabulary<'_>,
        types: &[TokenType],
        index: &TokenIndex<'_>,
        texts: &TokenTexts,
    ) -> Result<ByteLevel, Error> {
        let name = vocabulary.pre_tokenizer;
        let pre_tokenizer = PreTokenizer::find(name)
            .ok_or_else(|| Error::UnsupportedPreTokenizer(name.to_owned()))?;
        Ok(ByteLevel {
            pre_tokenizer,
            byte_tokens: std::array::from_fn(|byte| {
                let mut buffer = [0; 4];
                let character = alphabet::character(byte as u8).encode_utf8(&mut buffer);
                index.find(character.as_bytes()).unwrap_or(NO_TOKEN)
            }),
            merges: merges(&vocabulary.merges, index, vocabulary.tokens.len())?,
            whole_words: match pre_tokenizer.takes_whole_words {
                true => {
                    let normal = (0..).zip(types).filter(|(_, each)| **each == TokenType::Normal);
                    let text = |token| texts.get(token).unwrap_or_default();
                    TextIndex::new(normal.map(|(token, _)| token), text).0
                }
                false => TextIndex::default(),
            },
        })
    }

    fn encode(
        &self,
        text: &[u8],
        texts: &TokenTexts,
        scratch: &mut Scratch,
        tokens: &mut Vec<u32>,
    ) {
        let text = characters::repair(text);
        self.pre_tokenizer.words(&text, |word| {
            let text = |token| texts.get(token).unwrap_or_default();
            if let Some(token) = self.whole_words.find(word, text) {
                tokens.push(token);
                return;
            }
            for part in word.chunks(WORD_SYMBOLS_MAX) {
                let symbols = part.iter().map(|&byte| self.byte_tokens[usize::from(byte)]);
                self.merges.apply(symbols, scratch, tokens);
            }
        });
    }
}

/// The scores and texts of SentencePiece.
fn sentence_piece(
    vocabulary: &Vocabulary<'_>,
    types: &[TokenType],
    index: &TokenIndex<'_>,
) -> Result<SentencePiece, Error> {
    let texts = texts_of_file(&vocabulary.tokens)?;
    let byte_tokens = std::array::from_fn(|byte| {
        let named = index.find(format!("<0x{byte:02X}>").as_bytes());
        named.or_else(|| index.find(&[byte as u8])).unwrap_or(NO_TOKEN)
    });
    let is_text = |token_type: TokenType| {
        !matches!(token_type, TokenType::Control | TokenType::Unknown | TokenType::Byte)
    };
    let mergeable = (0_u32..).zip(types).filter(|(_, each)| is_text(**each));
    Ok(SentencePiece::new(
        texts,
        mergeable.map(|(token, _)| token),
        vocabulary.scores.clone(),
        byte_tokens,
        vocabulary.adds_space,
    ))
}

/// The pieces of words.
fn word_piece(vocabulary: &Vocabulary<'_>) -> Result<WordPiece, Error> {
    let Vocabulary { tokens, ids, lowercases, strips_accents, .. } = vocabulary;
    for (token, text) in (0..).zip(tokens) {
        if text.len() > WORD_PIECE_BYTES_MAX {
            return Err(Error::WordPieceTooLong { token, bytes: text.len() });
        }
    }
    // Checked.
    let unknown = ids.unknown.unwrap_or_default();
    Ok(WordPiece::new(texts_of_file(tokens)?, unknown, *lowercases, *strips_accents))
}

fn texts_of_file(tokens: &[&[u8]]) -> Result<TokenTexts, Error> {
    let bytes = tokens.iter().map(|text| text.len()).fold(0, usize::saturating_add);
    let mut texts = TokenTexts::try_with_capacity(tokens.len(), bytes)
        .map_err(|_| Error::OutOfMemory(bytes as u64))?;
    tokens.iter().for_each(|text| texts.push(|bytes| bytes.extend_from_slice(text)));
    Ok(texts)
}

impl Tokenizer {
    /// Builds the tokenizer that `tokenizer.ggml.*` describes.
    ///
    /// # Errors
    /// [`Error`] naming key and cure; [`Error::UnsupportedModel`] and
    /// [`Error::UnsupportedPreTokenizer`] name what is supported.
    pub fn from_gguf(metadata: &Metadata) -> Result<Tokenizer, Error> {
        Tokenizer::new(&Vocabulary::from_gguf(metadata)?)
    }

    /// Builds the tokenizer of a vocabulary.
    ///
    /// Merges of or into texts that the vocabulary lacks are ignored. (llama.cpp applies them and
    /// then takes the result apart again, losing bytes outside ASCII.)
    ///
    /// # Errors
    /// [`Error`] naming key and cure.
    pub fn new(vocabulary: &Vocabulary<'_>) -> Result<Tokenizer, Error> {
        vocabulary.check()?;
        let tokens = &vocabulary.tokens;
        let index = TokenIndex::new(tokens).map_err(|(first, second)| {
            let text = tokens.get(first as usize).copied().unwrap_or_default();
            Error::DuplicateToken { text: shown(text), first, second }
        })?;

        let mut types = vocabulary.token_types.clone();
        types.resize(tokens.len(), TokenType::Normal);
        let end_of_generation = end_of_generation::find(&vocabulary.ids, &index, &mut types);

        let texts = texts(vocabulary.model, tokens, &types)?;
        let of_type = |wanted: &'static [TokenType]| {
            let numbered = (0_u32..).zip(&types);
            numbered.filter(|(_, each)| wanted.contains(each)).map(|(token, _)| token)
        };
        use TokenType::{Control, Unknown, UserDefined};
        Ok(Tokenizer {
            algorithm: match vocabulary.model {
                Model::ByteLevel => {
                    Algorithm::ByteLevel(ByteLevel::new(vocabulary, &types, &index, &texts)?)
                }
                Model::SentencePiece => {
                    Algorithm::SentencePiece(sentence_piece(vocabulary, &types, &index)?)
                }
                Model::WordPiece => Algorithm::WordPiece(word_piece(vocabulary)?),
            },
            special_texts: SpecialTexts::new(of_type(&[Control, Unknown, UserDefined]), &texts),
            user_defined_texts: SpecialTexts::new(of_type(&[UserDefined]), &texts),
            special: of_type(&[Control, Unknown]).collect(),
            texts,
            bos: vocabulary.ids.bos,
            eos: vocabulary.ids.eos,
            adds_bos: vocabulary.adds_bos,
            adds_eos: vocabulary.adds_eos,
            separator: vocabulary.ids.separator.filter(|_| vocabulary.model == Model::WordPiece),
            end_of_generation,
        })
    }

    /// Text to tokens. `add_special`: BOS/EOS as the model wants, `[CLS]` and `[SEP]` of WordPiece. `parse_special`: texts of
    /// special tokens become these tokens; without it only user-defined ones do.
    ///
    /// In byte-level BPE, a byte that begins no UTF-8 character counts as U+FFFD. A byte for which
    /// the vocabulary has no token is left out. WordPiece leaves such bytes out, and makes unknown
    /// tokens of words that it does not know.
    pub fn encode(&self, text: &[u8], add_special: bool, parse_special: bool) -> Vec<u32> {
        let mut tokens = Vec::new();
        tokens.extend(self.bos.filter(|_| add_special && self.adds_bos));
        let special = if parse_special { &self.special_texts } else { &self.user_defined_texts };
        let (mut scratch, mut pieces) = (Scratch::default(), sentence_piece::Scratch::default());
        let mut word = Vec::new();
        let mut is_first = true;
        special.split(text, &self.texts, |fragment| match (fragment, &self.algorithm) {
            (Fragment::Token(token), _) => {
                tokens.push(token);
                is_first = true;
            }
            (Fragment::Text(text), Algorithm::ByteLevel(algorithm)) => {
                algorithm.encode(text, &self.texts, &mut scratch, &mut tokens);
            }
            (Fragment::Text(text), Algorithm::SentencePiece(algorithm)) => {
                algorithm.encode(text, is_first, &mut pieces, &mut tokens);
                is_first = false;
            }
            (Fragment::Text(text), Algorithm::WordPiece(algorithm)) => {
                algorithm.encode(text, &mut word, &mut tokens);
            }
        });
        tokens.extend(self.eos.filter(|_| add_special && self.adds_eos));
        tokens.extend(self.separator.filter(|_| add_special));
        tokens
    }

    /// Bytes of one token as it appears in text (a special token: its name, `<|im_end|>`). `None`
    /// beyond the vocabulary.
    pub fn token_bytes(&self, token: u32) -> Option<&[u8]> {
        self.texts.get(token)
    }

    /// Whether the token is a control token that text output leaves out.
    pub fn is_special(&self, token: u32) -> bool {
        self.special.binary_search(&token).is_ok()
    }

    /// Size of the vocabulary.
    pub fn vocabulary_tokens(&self) -> u32 {
        // `VOCABULARY_TOKENS_MAX` is a `u32`.
        self.texts.len() as u32
    }

    /// Token that begins a text, if the model names one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Token that ends a text, if the model names one.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Whether the model wants BOS in front of a text.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// Whether the model wants EOS behind a text.
    pub fn adds_eos(&self) -> bool {
        self.adds_eos
    }

    /// Token that WordPiece puts behind a text; none of other tokenizers.
    pub fn separator(&self) -> Option<u32> {
        self.separator
    }

    /// Tokens that end a generation, ascending.
    pub fn end_of_generation(&self) -> &[u32] {
        &self.end_of_generation
    }
}

/// What the tokens stand for in text.
fn texts(model: Model, tokens: &[&[u8]], types: &[TokenType]) -> Result<TokenTexts, Error> {
    // Decoding never makes a text longer.
    let bytes = tokens.iter().map(|text| text.len()).fold(0, usize::saturating_add);
    let mut texts = TokenTexts::try_with_capacity(tokens.len(), bytes)
        .map_err(|_| Error::OutOfMemory(bytes as u64))?;
    for ((token, text), token_type) in (0_u32..).zip(tokens).zip(types) {
        match token_type {
            TokenType::Byte if model == Model::SentencePiece => {
                texts.push(|bytes| bytes.extend(sentence_piece::byte(text)));
            }
            TokenType::Normal | TokenType::Byte => texts.push(|bytes| match model {
                Model::ByteLevel => alphabet::decode_into(text, bytes),
                Model::SentencePiece | Model::WordPiece => {
                    sentence_piece::decode_into(text, bytes);
                }
            }),
            TokenType::Unused => texts.push(|_| ()),
            TokenType::Unknown | TokenType::Control | TokenType::UserDefined => {
                if text.len() > SPECIAL_TOKEN_BYTES_MAX {
                    return Err(Error::SpecialTokenTooLong { token, bytes: text.len() });
                }
                texts.push(|bytes| bytes.extend_from_slice(text));
            }
        }
    }
    Ok(texts)
}

/// The merges by the numbers of their tokens.
fn merges(merges: &[&[u8]], index: &TokenIndex<'_>, tokens: usize) -> Result<Merges, Error> {
    let out_of_memory = |_| Error::OutOfMemory((merges.len() * size_of::<Rule>()) as u64);
    let mut rules = Vec::new();
    rules.try_reserve_exact(merges.len()).map_err(out_of_memory)?;
    let mut whole = Vec::new();
    for (rank, merge) in (0_u32..).zip(merges) {
        // The first space from the second byte on, as in llama.cpp.
        let space = merge.iter().skip(1).position(|&byte| byte == b' ').map(|place| place + 1);
        let parts = space.and_then(|space| Some((merge.get(..space)?, merge.get(space + 1..)?)));
        let Some((left, right)) = parts.filter(|(_, right)| !right.is_empty()) else {
            return Err(Error::MalformedMerge { index: rank as usize, text: shown(merge) });
        };
        whole.clear();
        whole.extend_from_slice(left);
        whole.extend_from_slice(right);
        let found = (index.find(left), index.find(right), index.find(&whole));
        if let (Some(left), Some(right), Some(merged)) = found {
            rules.push(Rule { left, right, rank, merged });
        }
    }
    Merges::new(rules, tokens).map_err(out_of_memory)
}

/// A text of the file for a message, cut where it is long.
fn shown(text: &[u8]) -> String {
    const BYTES_MAX: usize = 64;
    match text.get(..BYTES_MAX) {
        Some(start) if text.len() > BYTES_MAX => format!("{}…", String::from_utf8_lossy(start)),
        _ => String::from_utf8_lossy(text).into_owned(),
    }
}
