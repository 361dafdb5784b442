//! Pre-tokenizers: how a text is cut into words, inside which merges happen.
//!
//! llama.cpp describes them as lists of regular expressions (`llama-vocab.cpp`,
//! `llm_tokenizer_bpe`), each cutting the pieces that the one before left. Here they are matched by
//! hand over [`Class`]es: no regex engine travels in the component.

use crate::characters::{Class, first};

/// A row of the table: a value of `tokenizer.ggml.pre` and how it cuts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PreTokenizer {
    /// The value of `tokenizer.ggml.pre`.
    pub(crate) name: &'static str,
    split: Split,
}

#[derive(Debug, PartialEq, Eq)]
enum Split {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// `\p{N}`, then [`Split::Gpt2`]: each digit is a word.
    Gpt2SingleDigits,
}

/// All that are supported, the same as llama.cpp's groups of these names.
pub(crate) const TABLE: &[PreTokenizer] = &[
    PreTokenizer { name: "gpt-2", split: Split::Gpt2 },
    PreTokenizer { name: "mpt", split: Split::Gpt2 },
    PreTokenizer { name: "olmo", split: Split::Gpt2 },
    PreTokenizer { name: "phi-2", split: Split::Gpt2 },
    PreTokenizer { name: "codeshell", split: Split::Gpt2SingleDigits },
    PreTokenizer { name: "command-r", split: Split::Gpt2SingleDigits },
    PreTokenizer { name: "exaone", split: Split::Gpt2SingleDigits },
    PreTokenizer { name: "refact", split: Split::Gpt2SingleDigits },
    PreTokenizer { name: "smollm", split: Split::Gpt2SingleDigits },
    PreTokenizer { name: "starcoder", split: Split::Gpt2SingleDigits },
];

impl PreTokenizer {
    /// The row with that name.
    pub(crate) fn find(name: &str) -> Option<&'static PreTokenizer> {
        TABLE.iter().find(|row| row.name == name)
    }

    /// Passes the words of a text to `each`, in order; together they are the text.
    pub(crate) fn words<'t>(&self, text: &'t [u8], mut each: impl FnMut(&'t [u8])) {
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, behind) = match self.split {
                Split::Gpt2 => (rest, <&[u8]>::default()),
                Split::Gpt2SingleDigits => rest.split_at(before_or_single_number(rest)),
            };
            rest = behind;
            let mut piece = piece;
            while !piece.is_empty() {
                let (word, behind) = piece.split_at(gpt2_word(piece));
                each(word);
                piece = behind;
            }
        }
    }
}

/// Bytes up to the first number; where the text begins with one, the bytes of that one.
fn before_or_single_number(text: &[u8]) -> usize {
    let mut end = 0;
    while let Some((class, length)) = first(&text[end..]) {
        if class == Class::Number {
            return if end == 0 { length } else { end };
        }
        end += length;
    }
    end
}

/// Bytes of the first word of a text that is not empty; at least 1.
fn gpt2_word(text: &[u8]) -> usize {
    const CONTRACTIONS: [&[u8]; 7] = [b"'s", b"'t", b"'re", b"'ve", b"'m", b"'ll", b"'d"];
    if text.first() == Some(&b'\'')
        && let Some(contraction) = CONTRACTIONS.iter().find(|each| text.starts_with(each))
    {
        return contraction.len();
    }
    let space = usize::from(text.first() == Some(&b' '));
    match first(&text[space..]) {
        None | Some((Class::Whitespace, _)) => whitespace_word(text),
        Some((class, length)) => run(text, space + length, class),
    }
}

/// Where the run of characters of one class ends that goes on at `end`.
fn run(text: &[u8], mut end: usize, class: Class) -> usize {
    while let Some((next, length)) = first(&text[end..]) {
        if next != class {
            break;
        }
        end += length;
    }
    end
}

/// Bytes of whitespace, less the last one where a word follows it (`\s+(?!\S)`), which may want it.
fn whitespace_word(text: &[u8]) -> usize {
    let (mut end, mut last) = (0, 0);
    while let Some((Class::Whitespace, length)) = first(&text[end..]) {
        end += length;
        last = length;
    }
    if end < text.len() && end > last { end - last } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
        let mut words = Vec::new();
        PreTokenizer::find(name)
            .expect("is in the table")
            .words(text.as_bytes(), |word| words.push(std::str::from_utf8(word).expect("whole")));
        assert_eq!(words.concat(), text);
        words
    }

    #[test]
    fn gpt2_keeps_numbers_and_takes_one_space_into_a_word() {
        assert_eq!(
            words("gpt-2", "Hello  world 123 x1!"),
            ["Hello", " ", " world", " 123", " x", "1", "!"]
        );
        assert_eq!(words("gpt-2", "a \n b\t\tc  "), ["a", " \n", " b", "\t", "\t", "c", "  "]);
        assert_eq!(words("gpt-2", ""), [""; 0]);
    }

    #[test]
    fn contractions_are_lower_case_and_behind_no_space() {
        assert_eq!(
            words("gpt-2", "don't I'LL 'tis they've'"),
            ["don", "'t", " I", "'", "LL", " '", "tis", " they", "'ve", "'"]
        );
    }

    #[test]
    fn smollm_cuts_digits_out_first() {
        assert_eq!(words("smollm", "a 12  3½x"), ["a", " ", "1", "2", "  ", "3", "½", "x"]);
        assert_eq!(words("smollm", "٣٤"), ["٣", "٤"]);
    }

    #[test]
    fn unicode_whitespace_is_whitespace_but_only_the_space_joins_a_word() {
        assert_eq!(
            words("smollm", "\u{a0}nbsp\u{3000}\u{3000}中"),
            ["\u{a0}", "nbsp", "\u{3000}", "\u{3000}", "中"]
        );
        assert_eq!(words("smollm", "न\u{92e}\u{94d}a"), ["न\u{92e}", "\u{94d}", "a"]);
    }

    #[test]
    fn words_cover_any_bytes() {
        let text: Vec<u8> = (0..=u8::MAX).chain([0xe4, 0xbd, b' ', 0xed, 0xa0, 0x80]).collect();
        for row in TABLE {
            let mut all = Vec::new();
            row.words(&text, |word| {
                assert!(!word.is_empty());
                all.extend_from_slice(word);
            });
            assert_eq!(all, text);
        }
    }
}
