//! Byte strings by token, and tokens by byte string, without an allocation for each.

/// Byte strings in one buffer; the index is the token.
#[derive(Debug, Default)]
pub(crate) struct TokenTexts {
    bytes: Vec<u8>,
    /// Where each string ends in `bytes`.
    ends: Vec<usize>,
}

impl TokenTexts {
    /// Room for so many strings and bytes.
    pub(crate) fn try_with_capacity(
        tokens: usize,
        bytes: usize,
    ) -> Result<Self, std::collections::TryReserveError> {
        let mut texts = TokenTexts::default();
        texts.bytes.try_reserve_exact(bytes)?;
        texts.ends.try_reserve_exact(tokens)?;
        Ok(texts)
    }

    /// Adds the next token's string: what `write` appends.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A token's string.
    pub(crate) fn get(&self, token: u32) -> Option<&[u8]> {
        let token = usize::try_from(token).ok()?;
        let end = *self.ends.get(token)?;
        let start = match token.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(start..end)
    }
}

/// Finds tokens by their texts, which it does not hold itself. Sorted by hash and then by text: a
/// lookup costs the logarithm of the vocabulary whatever texts a hostile file chooses, and needs no
/// randomness; where the hashes are spread, as those of real vocabularies are, the search is among a
/// few.
#[derive(Debug, Default)]
pub(crate) struct TextIndex {
    sorted: Vec<(u64, u32)>,
    /// Where the entries of each beginning of a hash begin; one more for the end.
    buckets: Vec<u32>,
    /// Bits of a hash behind its beginning.
    shift: u32,
}

impl TextIndex {
    /// Indexes tokens whose texts are not empty. Of equal texts the lowest token is found; the
    /// second result is a pair of tokens with equal texts, if there are any.
    pub(crate) fn new<'t>(
        tokens: impl Iterator<Item = u32>,
        text: impl Fn(u32) -> &'t [u8],
    ) -> (Self, Option<(u32, u32)>) {
        let mut sorted: Vec<_> = tokens
            .filter(|token| !text(*token).is_empty())
            .map(|token| (hash(text(token)), token))
            .collect();
        sorted.sort_unstable_by(|&(a_hash, a), &(b_hash, b)| {
            a_hash.cmp(&b_hash).then_with(|| text(a).cmp(text(b))).then(a.cmp(&b))
        });
        let mut twice = None;
        sorted.dedup_by(|&mut (hash, token), &mut (first_hash, first)| {
            let is_equal = hash == first_hash && text(token) == text(first);
            if is_equal {
                twice = twice.or(Some((first, token)));
            }
            is_equal
        });
        let bits = sorted.len().max(1).ilog2() + 1;
        let shift = u64::BITS - bits;
        let mut buckets = Vec::with_capacity((1 << bits) + 1);
        for (place, &(hash, _)) in (0_u32..).zip(&sorted) {
            while buckets.len() as u64 <= hash >> shift {
                buckets.push(place);
            }
        }
        // Tokens are `u32`, so their number is one too.
        buckets.resize((1 << bits) + 1, sorted.len() as u32);
        (TextIndex { sorted, buckets, shift }, twice)
    }

    /// The token with that text; `text` as when the index was made.
    pub(crate) fn find<'t>(&self, wanted: &[u8], text: impl Fn(u32) -> &'t [u8]) -> Option<u32> {
        let wanted_hash = hash(wanted);
        let bucket = (wanted_hash >> self.shift) as usize;
        let &[start, end] = self.buckets.get(bucket..)?.first_chunk()?;
        let bucket = self.sorted.get(start as usize..end as usize)?;
        let place = bucket
            .binary_search_by(|&(hash, token)| {
                hash.cmp(&wanted_hash).then_with(|| text(token).cmp(wanted))
            })
            .ok()?;
        bucket.get(place).map(|&(_, token)| token)
    }
}

/// [`TextIndex`] over the texts of a file.
#[derive(Debug)]
pub(crate) struct TokenIndex<'a> {
    tokens: &'a [&'a [u8]],
    index: TextIndex,
}

impl<'a> TokenIndex<'a> {
    /// Indexes all texts that are not empty.
    ///
    /// # Errors
    /// Two tokens with the same text.
    pub(crate) fn new(tokens: &'a [&'a [u8]]) -> Result<Self, (u32, u32)> {
        let text = |token: u32| tokens.get(token as usize).copied().unwrap_or_default();
        match TextIndex::new(0..tokens.len() as u32, text) {
            (index, None) => Ok(TokenIndex { tokens, index }),
            (_, Some(twice)) => Err(twice),
        }
    }

    /// The token with that text.
    pub(crate) fn find(&self, text: &[u8]) -> Option<u32> {
        let of = |token: u32| self.tokens.get(token as usize).copied().unwrap_or_default();
        self.index.find(text, of)
    }
}

/// FNV-1a (Fowler, Noll, Vo), 64 bits.
fn hash(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_by_token_and_tokens_by_text() {
        let tokens: Vec<String> = (0..1000).map(|number| format!("token {number}")).collect();
        let slices: Vec<&[u8]> = tokens.iter().map(String::as_bytes).collect();
        let index = TokenIndex::new(&slices).expect("no duplicates");
        for (number, text) in (0..).zip(&slices) {
            assert_eq!(index.find(text), Some(number));
        }
        assert_eq!(index.find(b"token 1000"), None);
        assert_eq!(index.find(b""), None);
    }

    #[test]
    fn few_texts_and_none_are_indexed_too() {
        assert_eq!(TokenIndex::new(&[]).expect("no duplicates").find(b"a"), None);
        for count in 1..=9 {
            let texts: Vec<_> = (0..count).map(|number: u8| [number]).collect();
            let slices: Vec<&[u8]> = texts.iter().map(<[u8; 1]>::as_slice).collect();
            let index = TokenIndex::new(&slices).expect("no duplicates");
            for (number, text) in (0..).zip(&slices) {
                assert_eq!(index.find(text), Some(number));
            }
            assert_eq!(index.find(&[count]), None);
        }
    }

    #[test]
    fn duplicates_are_found_but_several_empty_texts_are_none() {
        assert_eq!(TokenIndex::new(&[b"a", b"b", b"a"]).err(), Some((0, 2)));
        assert!(TokenIndex::new(&[b"", b"b", b""]).is_ok());
    }

    #[test]
    fn strings_of_any_length_come_back() {
        let mut texts = TokenTexts::try_with_capacity(3, 5).expect("is little");
        for text in [b"ab".as_slice(), b"", b"cde"] {
            texts.push(|bytes| bytes.extend_from_slice(text));
        }
        assert_eq!(texts.len(), 3);
        assert_eq!(texts.get(0), Some(b"ab".as_slice()));
        assert_eq!(texts.get(1), Some(b"".as_slice()));
        assert_eq!(texts.get(2), Some(b"cde".as_slice()));
        assert_eq!(texts.get(3), None);
    }
}
