//! Characters of a text that may be any bytes, and the classes that pre-tokenizers ask for.

use std::borrow::Cow;

use unicode_general_category::{GeneralCategory as Category, get_general_category};

/// What pre-tokenizers tell apart. The classes are disjoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// `\s`: the property White_Space.
    Whitespace,
    /// `\p{L}`.
    Letter,
    /// `\p{N}`.
    Number,
    /// Everything else, unassigned code points and lone surrogates included.
    Other,
}

/// Class of the first character and its length in bytes; `None` at the end of the text.
pub(crate) fn first(text: &[u8]) -> Option<(Class, usize)> {
    let lead = *text.first()?;
    Some(if lead.is_ascii() {
        (ascii_class(lead), 1)
    } else {
        decode(text).map_or((Class::Other, 1), |(code, length)| (class(code), length))
    })
}

/// General category of the first character of a text that is not empty; what is no character is
/// unassigned.
pub(crate) fn category(text: &[u8]) -> Category {
    char::from_u32(code(text)).map_or(Category::Unassigned, get_general_category)
}

/// Code of the first character; beyond all codes where there is none.
pub(crate) fn code(text: &[u8]) -> u32 {
    decode(text).map_or(u32::MAX, |(code, _)| code)
}

fn ascii_class(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
        b'0'..=b'9' => Class::Number,
        b'\t'..=b'\r' | b' ' => Class::Whitespace,
        _ => Class::Other,
    }
}

fn class(code: u32) -> Class {
    let Some(character) = char::from_u32(code) else { return Class::Other };
    if character.is_whitespace() {
        return Class::Whitespace;
    }
    // `char::is_alphabetic` and `is_numeric` are other sets: the former holds marks and
    // numbers like `Ⅷ`.
    match get_general_category(character) {
        Category::UppercaseLetter
        | Category::LowercaseLetter
        | Category::TitlecaseLetter
        | Category::ModifierLetter
        | Category::OtherLetter => Class::Letter,
        Category::DecimalNumber | Category::LetterNumber | Category::OtherNumber => Class::Number,
        _ => Class::Other,
    }
}

/// Makes characters of any bytes as llama.cpp does (`unicode_cpts_from_utf8` in `unicode.cpp`), so
/// that both give the same tokens: a byte that begins no character becomes U+FFFD, an overlong form
/// the character it encodes; lone surrogates stay. Valid UTF-8 is borrowed as it is.
pub(crate) fn repair(text: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(text).is_ok() {
        return Cow::Borrowed(text);
    }
    let mut repaired = Vec::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (code, length) = decode(rest).unwrap_or((0xFFFD, 1));
        encode_into(code, &mut repaired);
        rest = rest.get(length..).unwrap_or_default();
    }
    Cow::Owned(repaired)
}

/// Decodes one character of UTF-8, surrogates and overlong forms included. `None` where no
/// character begins. (llama.cpp throws on codes above U+10FFFF; here they are invalid bytes.)
pub(crate) fn decode(text: &[u8]) -> Option<(u32, usize)> {
    let lead = *text.first()?;
    let (length, bits) = match lead {
        0..=0x7F => return Some((lead.into(), 1)),
        0xC0..=0xDF => (2, lead & 0x1F),
        0xE0..=0xEF => (3, lead & 0x0F),
        0xF0..=0xF7 => (4, lead & 0x07),
        _ => return None,
    };
    let mut code = u32::from(bits);
    for &byte in text.get(1..length)? {
        if byte & 0xC0 != 0x80 {
            return None;
        }
        code = code << 6 | u32::from(byte & 0x3F);
    }
    (code <= 0x10FFFF).then_some((code, length))
}

fn encode_into(code: u32, bytes: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(character) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        // A surrogate, which takes three bytes.
        None => bytes.extend(
            [code >> 12 | 0xE0, code >> 6 & 0x3F | 0x80, code & 0x3F | 0x80].map(|byte| byte as u8),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_general_categories_not_alphabetic() {
        let class =
            |character: char| first(character.to_string().as_bytes()).map(|(class, _)| class);
        for letter in ['a', 'Z', 'é', 'ß', '中', 'ا', 'ー', 'ʰ', 'ª', 'Ა'] {
            assert_eq!(class(letter), Some(Class::Letter), "{letter}");
        }
        for number in ['0', '٣', 'Ⅷ', '½', '②', '〇'] {
            assert_eq!(class(number), Some(Class::Number), "{number}");
        }
        // Alphabetic, but marks or symbols.
        for other in ['\u{93e}', '\u{345}', 'Ⓐ', '_', '\u{200b}', '\u{feff}', '\u{378}', '\0'] {
            assert_eq!(class(other), Some(Class::Other), "{other:?}");
        }
        for space in [' ', '\t', '\n', '\r', '\u{b}', '\u{85}', '\u{a0}', '\u{2003}', '\u{3000}'] {
            assert_eq!(class(space), Some(Class::Whitespace), "{space:?}");
        }
        assert_eq!(first(b"\xed\xa0\x80"), Some((Class::Other, 3)));
        assert_eq!(first(b""), None);
    }

    #[test]
    fn bytes_that_begin_no_character_become_replacement_characters() {
        let repaired = |text: &[u8]| repair(text).into_owned();
        assert_eq!(repaired(b"a\xffb"), "a\u{fffd}b".as_bytes());
        assert_eq!(repaired(b"\x80\x80"), "\u{fffd}\u{fffd}".as_bytes());
        // A cut character: each of its bytes by itself.
        assert_eq!(repaired(b"\xe4\xbd"), "\u{fffd}\u{fffd}".as_bytes());
        assert_eq!(repaired(b"\xe4\xbdA"), "\u{fffd}\u{fffd}A".as_bytes());
        assert_eq!(repaired(b"\xf8\x88\x80\x80\x80"), "\u{fffd}".repeat(5).as_bytes());
        // Beyond U+10FFFF.
        assert_eq!(repaired(b"\xf4\x90\x80\x80"), "\u{fffd}".repeat(4).as_bytes());
    }

    #[test]
    fn overlong_forms_and_surrogates_are_decoded() {
        assert_eq!(*repair(b"\xc0\x80"), *b"\0");
        assert_eq!(*repair(b"\xe0\x81\x81"), *b"A");
        assert_eq!(*repair(b"\xed\xa0\x80\xed\xb0\x80"), *b"\xed\xa0\x80\xed\xb0\x80");
    }

    #[test]
    fn valid_text_is_borrowed() {
        assert!(matches!(repair("grüß 中\u{10ffff}".as_bytes()), Cow::Borrowed(_)));
    }
}
