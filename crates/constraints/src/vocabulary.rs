//! A model's tokens as the library wants them.

use toktrie::{TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use trefoil_contract::{Error, Result};

/// Longest token that an answer under a constraint may have; longer ones are left out. The trie
/// counts a token's bytes in 10 bits.
const TOKEN_BYTES_MAX: usize = 512;
/// Most bytes of all tokens together. The trie counts its nodes, of which there are at most as
/// many, in 22 bits.
const VOCABULARY_BYTES_MAX: usize = 4_000_000;

/// What a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// Bytes of text.
    Text(&'a [u8]),
    /// A special token's name. It is no text; a Lark grammar can ask for it.
    Special(&'a [u8]),
    /// A token that ends the text.
    End,
}

/// The tokens of a vocabulary.
pub(crate) struct Vocabulary {
    pub(crate) trie: Trie,
    /// Those that end a text, ascending.
    pub(crate) ends: Vec<u32>,
}

/// The texts of tokens.
pub(crate) struct Trie(TokTrie);

impl Vocabulary {
    /// # Errors
    /// [`Error::Unsupported`] for a vocabulary that is too large.
    pub(crate) fn new<'a>(tokens: impl Iterator<Item = Token<'a>>) -> Result<Self> {
        let (mut ends, mut words, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (number, token) in (0..).zip(tokens) {
            let word = word(token, number);
            bytes += word.len();
            words.push(word);
            if token == Token::End {
                ends.push(number);
            }
        }
        if bytes > VOCABULARY_BYTES_MAX {
            return Err(Error::unsupported(format_args!(
                "response formats other than text with a vocabulary of {bytes} bytes; at most \
                 {VOCABULARY_BYTES_MAX}"
            )));
        }
        // Tokens are `u32`, so their number is one too.
        let count = words.len() as u32;
        let end = ends.first().copied().unwrap_or(toktrie::INVALID_TOKEN);
        let mut trie = TokTrie::from(&TokRxInfo::new(count, end), &words);
        if !ends.is_empty() {
            trie = trie.with_eos_tokens(&ends);
        }
        Ok(Vocabulary { trie: Trie(trie), ends })
    }
}

/// A token's bytes in the trie; none keep it out. The marker, which no UTF-8 text contains, stands
/// before what is no text.
fn word(token: Token<'_>, number: u32) -> Vec<u8> {
    const MARKER: u8 = TokTrie::SPECIAL_TOKEN_MARKER;
    match token {
        Token::Text(text) if text.len() > TOKEN_BYTES_MAX || text.contains(&MARKER) => Vec::new(),
        Token::Text(text) => text.to_vec(),
        Token::Special(name) if name.len() < TOKEN_BYTES_MAX && !name.contains(&MARKER) => {
            [&[MARKER], name].concat()
        }
        Token::Special(_) | Token::End => [&[MARKER], format!("[{number}]").as_bytes()].concat(),
    }
}

impl TokenizerEnv for Trie {
    fn tok_trie(&self) -> &TokTrie {
        &self.0
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        self.0.greedy_tokenize(text)
    }

    /// No: the model chooses every token, those of text that is certain included.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}
