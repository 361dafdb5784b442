//! WordPiece (`tokenizer.ggml.model` = `bert`): a text is normalised and cut into words, and each
//! word into the longest tokens from its beginning on, or it is the unknown token as a whole.
//!
//! Files write a token that begins a word with U+2581 in front, and one that goes on without
//! BERT's `##` (llama.cpp, `conversion/bert.py`); what is done is `llm_tokenizer_wpm` of
//! `llama-vocab.cpp`.

use unicode_general_category::{GeneralCategory as Category, get_general_category};
use unicode_normalization::char::decompose_canonical;

use crate::characters;
use crate::special::SpecialTexts;
use crate::token_texts::TokenTexts;

/// Longest text of a token, in bytes. Bounds the work at each place of a text.
pub const WORD_PIECE_BYTES_MAX: usize = 256;

/// What a token begins with that begins a word (U+2581).
const WORD_START: &[u8] = "\u{2581}".as_bytes();

/// A vocabulary of words and their pieces.
#[derive(Debug)]
pub(crate) struct WordPiece {
    /// As the file has them.
    texts: TokenTexts,
    pieces: SpecialTexts,
    unknown: u32,
    lowercases: bool,
    strips_accents: bool,
}

impl WordPiece {
    /// A vocabulary, and how words are normalised.
    pub(crate) fn new(
        texts: TokenTexts,
        unknown: u32,
        lowercases: bool,
        strips_accents: bool,
    ) -> Self {
        // Not more than a `u32` counts: `VOCABULARY_TOKENS_MAX`.
        let pieces = SpecialTexts::new(0..texts.len() as u32, &texts);
        WordPiece { texts, pieces, unknown, lowercases, strips_accents }
    }

    /// Appends the tokens of a text, `word` being memory for one of its words.
    pub(crate) fn encode(&self, text: &[u8], word: &mut Vec<u8>, tokens: &mut Vec<u32>) {
        word.clear();
        let mut rest = text;
        while !rest.is_empty() {
            let (code, length) = characters::decode(rest).unwrap_or((0xFFFD, 1));
            rest = rest.get(length..).unwrap_or_default();
            match self.normalised(code) {
                Normalised::Space => self.end_word(word, tokens),
                Normalised::Nothing => {}
                Normalised::Letter(letter) => push(letter, word),
                Normalised::Word(letter) => {
                    self.end_word(word, tokens);
                    push(letter, word);
                    self.end_word(word, tokens);
                }
            }
        }
        self.end_word(word, tokens);
    }

    /// Appends the tokens of a word, if there is one, and empties it.
    fn end_word(&self, word: &mut Vec<u8>, tokens: &mut Vec<u32>) {
        let mut rest = word.as_slice();
        let start = tokens.len();
        while !rest.is_empty() {
            let Some((token, length)) = self.pieces.longest(rest, &self.texts) else {
                tokens.truncate(start);
                tokens.push(self.unknown);
                break;
            };
            tokens.push(token);
            rest = rest.get(length..).unwrap_or_default();
        }
        word.clear();
    }

    fn normalised(&self, code: u32) -> Normalised {
        // Lone surrogates and what begins no character are left out.
        let Some(character) = char::from_u32(code) else { return Normalised::Nothing };
        let character =
            if self.strips_accents { first_of_decomposition(character) } else { character };
        if character.is_whitespace() {
            return Normalised::Space;
        }
        let category = get_general_category(character);
        let is_dropped = match category {
            // The categories of `\p{C}` that are assigned.
            Category::Control | Category::Format | Category::PrivateUse => true,
            Category::NonspacingMark | Category::SpacingMark | Category::EnclosingMark => {
                self.strips_accents
            }
            _ => character == '\u{fffd}',
        };
        if is_dropped {
            return Normalised::Nothing;
        }
        let letter = match self.lowercases {
            // Only U+0130 has more than one; U+0069 is the first, as in its simple mapping.
            true => character.to_lowercase().next().unwrap_or(character),
            false => character,
        };
        match is_word(character, category) {
            true => Normalised::Word(letter),
            false => Normalised::Letter(letter),
        }
    }
}

/// What becomes of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Normalised {
    /// It ends a word.
    Space,
    /// It is left out.
    Nothing,
    /// It is part of a word.
    Letter(char),
    /// It is a word of its own.
    Word(char),
}

/// The first character of the canonical decomposition; llama.cpp takes no further one, so that a
/// syllable of Hangul is its first letter.
fn first_of_decomposition(character: char) -> char {
    if character.is_ascii() {
        return character;
    }
    let mut first = None;
    decompose_canonical(character, |part| _ = first.get_or_insert(part));
    first.unwrap_or(character)
}

/// Punctuation, the signs of ASCII, and ideographs stand for themselves.
fn is_word(character: char, category: Category) -> bool {
    use Category::*;
    match category {
        ConnectorPunctuation | DashPunctuation | OpenPunctuation | ClosePunctuation
        | InitialPunctuation | FinalPunctuation | OtherPunctuation => true,
        MathSymbol | CurrencySymbol | ModifierSymbol | OtherSymbol => character.is_ascii(),
        _ => matches!(
            u32::from(character),
            0x3400..=0x4DBF
                | 0x4E00..=0x9FFF
                | 0xF900..=0xFAFF
                | 0x2_0000..=0x2_A6DF
                | 0x2_A700..=0x2_B73F
                | 0x2_B740..=0x2_B81F
                // BERT has it begin at U+2B820.
                | 0x2_B920..=0x2_CEAF
                | 0x2_F800..=0x2_FA1F
        ),
    }
}

/// Appends a character to a word, which begins with [`WORD_START`].
fn push(letter: char, word: &mut Vec<u8>) {
    if word.is_empty() {
        word.extend_from_slice(WORD_START);
    }
    word.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: [&str; 12] = [
        "[UNK]",
        "\u{2581}",
        "\u{2581}un",
        "aff",
        "able",
        "\u{2581}a",
        "a",
        "\u{2581}!",
        "\u{2581}中",
        "\u{2581}É",
        "\u{2581}e",
        "\u{2581}x",
    ];

    fn pieces(lowercases: bool, strips_accents: bool) -> WordPiece {
        let mut texts = TokenTexts::default();
        for text in TOKENS {
            texts.push(|bytes| bytes.extend_from_slice(text.as_bytes()));
        }
        WordPiece::new(texts, 0, lowercases, strips_accents)
    }

    fn encode(pieces: &WordPiece, text: &[u8]) -> Vec<u32> {
        let mut tokens = Vec::new();
        pieces.encode(text, &mut Vec::new(), &mut tokens);
        tokens
    }

    #[test]
    fn the_longest_pieces_make_a_word_or_none_does() {
        let pieces = pieces(true, true);
        assert_eq!(encode(&pieces, b"Unaffable  aa\n"), [2, 3, 4, 5, 6]);
        assert_eq!(encode(&pieces, b"unaffablez a zz"), [0, 5, 0]);
        assert_eq!(encode(&pieces, b""), [0; 0]);
    }

    #[test]
    fn signs_and_ideographs_are_words() {
        let pieces = pieces(true, true);
        assert_eq!(encode(&pieces, "a!a中x".as_bytes()), [5, 7, 5, 8, 11]);
        // No sign of ASCII, and no token.
        assert_eq!(encode(&pieces, "a≈a".as_bytes()), [0]);
    }

    #[test]
    fn case_and_accents_are_normalised_as_the_file_says() {
        let text = "É e\u{301}".as_bytes();
        assert_eq!(encode(&pieces(true, true), text), [10, 10]);
        assert_eq!(encode(&pieces(false, false), text), [9, 0]);
        assert_eq!(encode(&pieces(true, false), text), [0, 0]);
        assert_eq!(encode(&pieces(false, true), text), [0, 10]);
    }

    #[test]
    fn what_is_no_character_or_not_seen_is_left_out() {
        let pieces = pieces(true, true);
        assert_eq!(encode(&pieces, b"u\xffn\0aff\xed\xa0\x80able"), [2, 3, 4]);
        assert_eq!(encode(&pieces, "a\u{200b}a \u{e000} \u{fffd}".as_bytes()), [5, 6]);
    }

    #[test]
    fn a_long_text_and_a_long_word_take_time_in_proportion() {
        let pieces = pieces(true, true);
        assert_eq!(encode(&pieces, &vec![b'a'; 1 << 20]).len(), 1 << 20);
        assert_eq!(encode(&pieces, "unaffable! ".repeat(100_000).as_bytes()).len(), 400_000);
        assert_eq!(encode(&pieces, &[&vec![b'a'; 1 << 20][..], b"z"].concat()), [0]);
    }
}
