//! Finding the texts of tokens in a text.

use crate::token_texts::TokenTexts;

/// Texts to be found, sorted, so that those with a common beginning stand together.
#[derive(Debug, Default)]
pub(crate) struct SpecialTexts {
    sorted: Vec<u32>,
    /// For each first byte: where the texts that begin with it stand in `sorted`.
    by_first_byte: Vec<(usize, usize)>,
}

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fragment<'t> {
    /// Ordinary text, not empty.
    Text(&'t [u8]),
    /// A special token.
    Token(u32),
}

impl SpecialTexts {
    /// Prepares these tokens; ones without a text are never found.
    pub(crate) fn new(tokens: impl Iterator<Item = u32>, texts: &TokenTexts) -> Self {
        let text = |token| texts.get(token).unwrap_or_default();
        let mut sorted: Vec<u32> = tokens.filter(|&token| !text(token).is_empty()).collect();
        sorted.sort_unstable_by(|&a, &b| text(a).cmp(text(b)));
        if sorted.is_empty() {
            return SpecialTexts::default();
        }
        let place = |byte: u16| {
            sorted.partition_point(|&token| {
                text(token).first().is_some_and(|&first| u16::from(first) < byte)
            })
        };
        let by_first_byte = (0..=0xFF).map(|byte| (place(byte), place(byte + 1))).collect();
        SpecialTexts { sorted, by_first_byte }
    }

    /// Cuts a text at the special tokens in it: from left to right, at each place the longest.
    ///
    /// llama.cpp looks for the longest token in the whole text first; the two differ only where
    /// the texts of different tokens overlap in a text, like `<ab` and `b>>>` in `<ab>>>`.
    pub(crate) fn split<'t>(
        &self,
        text: &'t [u8],
        texts: &TokenTexts,
        mut each: impl FnMut(Fragment<'t>),
    ) {
        let (mut start, mut place) = (0, 0);
        while !self.sorted.is_empty() && place < text.len() {
            let Some((token, length)) = self.longest(&text[place..], texts) else {
                place += 1;
                continue;
            };
            if start < place {
                each(Fragment::Text(&text[start..place]));
            }
            each(Fragment::Token(token));
            place += length;
            start = place;
        }
        if start < text.len() {
            each(Fragment::Text(&text[start..]));
        }
    }

    /// The longest token that the text begins with, and its length in bytes.
    pub(crate) fn longest(&self, text: &[u8], texts: &TokenTexts) -> Option<(u32, usize)> {
        let &(start, end) = self.by_first_byte.get(usize::from(*text.first()?))?;
        let mut candidates = self.sorted.get(start..end)?;
        let mut longest = None;
        // All candidates share the first `length` bytes with the text; a text that is just these
        // stands first among them.
        for length in 1.. {
            let (&token, longer) = candidates.split_first()?;
            if texts.get(token)?.len() == length {
                longest = Some((token, length));
                candidates = longer;
            }
            let Some(&next) = text.get(length) else { break };
            let byte = |token: u32| texts.get(token).and_then(|text| text.get(length)).copied();
            let start = candidates.partition_point(|&token| byte(token) < Some(next));
            let end = candidates.partition_point(|&token| byte(token) <= Some(next));
            candidates = candidates.get(start..end)?;
            if candidates.is_empty() {
                break;
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Fragment::{Text, Token};

    fn split<'t>(tokens: &[&str], text: &'t str) -> Vec<Fragment<'t>> {
        let mut texts = TokenTexts::default();
        for token in tokens {
            texts.push(|bytes| bytes.extend_from_slice(token.as_bytes()));
        }
        let special = SpecialTexts::new(0..tokens.len() as u32, &texts);
        let mut fragments = Vec::new();
        special.split(text.as_bytes(), &texts, |fragment| fragments.push(fragment));
        fragments
    }

    #[test]
    fn the_longest_text_is_taken() {
        let tokens = ["<a>", "<a>b", "<a>bcd", "x"];
        assert_eq!(split(&tokens, "<a>bc<a>x"), [Token(1), Text(b"c"), Token(0), Token(3)]);
        assert_eq!(split(&tokens, "-<a>bcd-"), [Text(b"-"), Token(2), Text(b"-")]);
        assert_eq!(split(&["\n\n", "\n\n\n"], "\n\n\n\n\n\n\n"), [Token(1), Token(1), Text(b"\n")]);
    }

    #[test]
    fn texts_that_are_cut_or_absent_stay_text() {
        assert_eq!(split(&["<a>"], "<a<b>a>"), [Text(b"<a<b>a>")]);
        assert_eq!(split(&["<a>", ""], "<a"), [Text(b"<a")]);
        assert_eq!(split(&[], "<a>"), [Text(b"<a>")]);
        assert_eq!(split(&["<a>"], ""), []);
    }

    #[test]
    fn neighbours_in_the_alphabet_are_told_apart() {
        let tokens = ["<|a|>", "<|b|>", "<|ba|>", "<", "\u{ff}"];
        assert_eq!(
            split(&tokens, "<|b|><|ba|><|bb\u{ff}"),
            [Token(1), Token(2), Token(3), Text(b"|bb"), Token(4)]
        );
    }
}
