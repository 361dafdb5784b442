//! SentencePiece's BPE (`tokenizer.ggml.model` = `llama`): no words, and instead of a list of merges
//! a score for each token. Two neighbours merge if their text is a token's, the one with the highest
//! score first, of equal ones the leftmost.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::merges::NO_TOKEN;
use crate::token_texts::{TextIndex, TokenTexts};

/// What stands for a space (U+2581).
const SPACE: &[u8] = "\u{2581}".as_bytes();

/// A vocabulary with scores.
#[derive(Debug)]
pub(crate) struct SentencePiece {
    /// As the file has them.
    texts: TokenTexts,
    index: TextIndex,
    scores: Vec<f32>,
    /// Bytes of the longest text.
    longest: usize,
    /// The token of each byte, or [`NO_TOKEN`].
    byte_tokens: [u32; 256],
    /// Whether a text gets a space in front.
    adds_space: bool,
}

/// Memory for a text while it is merged.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    text: Vec<u8>,
    symbols: Vec<Symbol>,
    pairs: BinaryHeap<Pair>,
}

/// A piece of the text; empty once it was merged into its left neighbour.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: usize,
    length: usize,
    /// Places of the neighbours; [`NOBODY`] where there is none.
    previous: usize,
    next: usize,
}

const NOBODY: usize = usize::MAX;

/// A merge that was possible when it was queued. The order of the fields is that of the queue.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    score: Score,
    left: Reverse<usize>,
    right: usize,
    /// Bytes of both then.
    length: usize,
}

#[derive(Debug, Clone, Copy)]
struct Score(f32);

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl SentencePiece {
    /// A vocabulary whose texts `mergeable` tokens may be made of.
    pub(crate) fn new(
        texts: TokenTexts,
        mergeable: impl Iterator<Item = u32> + Clone,
        scores: Vec<f32>,
        byte_tokens: [u32; 256],
        adds_space: bool,
    ) -> Self {
        let text = |token| texts.get(token).unwrap_or_default();
        let longest = mergeable.clone().map(|token| text(token).len()).max().unwrap_or(0);
        let (index, _) = TextIndex::new(mergeable, text);
        // Adding zero makes one of the two zeros.
        let scores = scores.into_iter().map(|score| score + 0.0).collect();
        SentencePiece { texts, index, scores, longest, byte_tokens, adds_space }
    }

    /// Appends the tokens of a text. `is_first`: nothing or a special token stands before it.
    pub(crate) fn encode(
        &self,
        text: &[u8],
        is_first: bool,
        scratch: &mut Scratch,
        tokens: &mut Vec<u32>,
    ) {
        let Scratch { text: escaped, symbols, pairs } = scratch;
        escaped.clear();
        if self.adds_space && is_first {
            escaped.extend_from_slice(SPACE);
        }
        for &byte in text {
            match byte {
                b' ' => escaped.extend_from_slice(SPACE),
                byte => escaped.push(byte),
            }
        }
        symbols.clear();
        let mut start = 0;
        while let Some(&lead) = escaped.get(start) {
            let length = character_bytes(lead).min(escaped.len() - start);
            let place = symbols.len();
            symbols.push(Symbol {
                start,
                length,
                previous: place.checked_sub(1).unwrap_or(NOBODY),
                next: place + 1,
            });
            start += length;
        }
        if let Some(last) = symbols.last_mut() {
            last.next = NOBODY;
        }
        pairs.clear();
        for right in 1..symbols.len() {
            pairs.extend(self.pair(escaped, symbols, right - 1, right));
        }
        while let Some(Pair { left: Reverse(left), right, length, .. }) = pairs.pop() {
            let (Some(first), Some(second)) =
                (symbols.get(left).copied(), symbols.get(right).copied())
            else {
                continue;
            };
            // What stands there now may be something else.
            if first.length == 0 || second.length == 0 || first.length + second.length != length {
                continue;
            }
            if let Some(symbol) = symbols.get_mut(right) {
                symbol.length = 0;
            }
            if let Some(symbol) = symbols.get_mut(second.next) {
                symbol.previous = left;
            }
            if let Some(symbol) = symbols.get_mut(left) {
                (symbol.length, symbol.next) = (length, second.next);
            }
            pairs.extend(self.pair(escaped, symbols, first.previous, left));
            pairs.extend(self.pair(escaped, symbols, left, second.next));
        }
        for symbol in symbols.iter().filter(|symbol| symbol.length > 0) {
            let text = &escaped[symbol.start..symbol.start + symbol.length];
            match self.find(text) {
                Some(token) => tokens.push(token),
                None => {
                    let bytes = text.iter().map(|&byte| self.byte_tokens[usize::from(byte)]);
                    tokens.extend(bytes.filter(|&token| token != NO_TOKEN));
                }
            }
        }
    }

    /// The pair of two neighbours, if it merges.
    fn pair(&self, text: &[u8], symbols: &[Symbol], left: usize, right: usize) -> Option<Pair> {
        let (first, second) = (symbols.get(left)?, symbols.get(right)?);
        let length = first.length + second.length;
        let token = self.find(text.get(first.start..first.start + length)?)?;
        let score = Score(self.scores.get(token as usize).copied().unwrap_or(0.0));
        Some(Pair { score, left: Reverse(left), right, length })
    }

    fn find(&self, text: &[u8]) -> Option<u32> {
        // Texts grow with the word, and hashing them would take as long as its square.
        if text.len() > self.longest {
            return None;
        }
        self.index.find(text, |token| self.texts.get(token).unwrap_or_default())
    }
}

/// Bytes of the character that a byte begins, as llama.cpp counts them in any bytes.
fn character_bytes(lead: u8) -> usize {
    match lead >> 4 {
        0xC | 0xD => 2,
        0xE => 3,
        0xF => 4,
        _ => 1,
    }
}

/// What a token's text stands for: `U+2581` for a space.
pub(crate) fn decode_into(text: &[u8], bytes: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(SPACE) {
            bytes.push(b' ');
            rest = behind;
        } else {
            bytes.push(first);
            rest = behind;
        }
    }
}

/// The byte that a token of a byte stands for: `<0x0A>`.
pub(crate) fn byte(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let is_byte = digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_byte)?;
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(pieces: &[(&str, f32)], adds_space: bool) -> SentencePiece {
        let mut texts = TokenTexts::default();
        for (text, _) in pieces {
            texts.push(|bytes| bytes.extend_from_slice(text.as_bytes()));
        }
        let scores = pieces.iter().map(|(_, score)| *score).collect();
        let bytes = std::array::from_fn(|byte| 1000 + byte as u32);
        SentencePiece::new(texts, 0..pieces.len() as u32, scores, bytes, adds_space)
    }

    fn encode(pieces: &SentencePiece, text: &[u8]) -> Vec<u32> {
        let mut tokens = Vec::new();
        pieces.encode(text, true, &mut Scratch::default(), &mut tokens);
        tokens
    }

    #[test]
    fn the_highest_score_merges_first_and_of_equal_ones_the_leftmost() {
        let pieces =
            [("a", -9.0), ("b", -9.0), ("c", -9.0), ("ab", -2.0), ("bc", -1.0), ("aa", -3.0)];
        let pieces = vocabulary(&pieces, false);
        assert_eq!(encode(&pieces, b"abc"), [0, 4]);
        assert_eq!(encode(&pieces, b"aaa"), [5, 0]);
        assert_eq!(encode(&pieces, b"ab"), [3]);
        assert_eq!(encode(&pieces, b""), [0; 0]);
    }

    #[test]
    fn spaces_are_characters_and_what_has_no_token_is_bytes() {
        let pieces = vocabulary(&[("\u{2581}", -1.0), ("a", -1.0), ("\u{2581}a", -1.0)], true);
        assert_eq!(encode(&pieces, b"a a"), [2, 2]);
        assert_eq!(encode(&pieces, "\u{e9}".as_bytes()), [0, 1000 + 0xc3, 1000 + 0xa9]);
        assert_eq!(encode(&pieces, b"\xff\x80a"), [0, 1000 + 0xff, 1000 + 0x80, 1000 + 0x61]);
    }

    #[test]
    fn texts_come_back() {
        let mut bytes = Vec::new();
        decode_into("\u{2581}a\u{2581}\u{2581}b".as_bytes(), &mut bytes);
        assert_eq!(bytes, b" a  b");
        assert_eq!(
            (byte(b"<0x0A>"), byte(b"<0xA>"), byte(b"<0x+1>"), byte(b"a")),
            (Some(10), None, None, None)
        );
    }

    #[test]
    fn a_long_word_takes_time_in_proportion() {
        let pieces = vocabulary(&[("a", 0.0), ("aa", 1.0), ("aaaa", 2.0)], false);
        assert_eq!(encode(&pieces, &vec![b'a'; 1 << 20]).len(), 1 << 18);
    }
}
