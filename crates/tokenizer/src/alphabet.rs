//! The alphabet of byte-level BPE: a printable character for each byte, so that a vocabulary is
//! text (GPT-2's `encoder.py`, `bytes_to_unicode`).

/// The character that stands for a byte. Printable Latin-1 bytes stand for themselves; the others
/// take the characters from U+0100 on, in ascending order.
pub(crate) const fn character(byte: u8) -> char {
    let code = match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => byte as u32,
        0..=0x20 => 0x100 + byte as u32,
        0x7F..=0xA0 => 0x121 + (byte as u32 - 0x7F),
        0xAD => 0x143,
    };
    match char::from_u32(code) {
        Some(character) => character,
        // Every code above is a scalar value; `const fn` has no `expect` on `char` conversions.
        None => char::REPLACEMENT_CHARACTER,
    }
}

/// The byte that a character stands for.
pub(crate) fn byte(character: char) -> Option<u8> {
    let byte = match u32::from(character) {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => code,
        code @ 0x100..=0x120 => code - 0x100,
        code @ 0x121..=0x142 => code - 0x121 + 0x7F,
        0x143 => 0xAD,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// Appends what a token's text in the vocabulary stands for. Characters outside the alphabet (an
/// added token that is not marked as one) and bytes that are not UTF-8 stand for themselves.
pub(crate) fn decode_into(text: &[u8], bytes: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match byte(character) {
                Some(byte) => bytes.push(byte),
                None => {
                    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        bytes.extend_from_slice(chunk.invalid());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_and_bytes_are_inverse() {
        for each in 0..=u8::MAX {
            assert_eq!(byte(character(each)), Some(each));
        }
        assert_eq!((character(b' '), character(b'\n'), character(0xAD)), ('Ġ', 'Ċ', 'Ń'));
        assert_eq!(byte(' '), None);
        assert_eq!(byte('\u{144}'), None);
    }

    #[test]
    fn what_is_outside_the_alphabet_stands_for_itself() {
        let mut bytes = Vec::new();
        decode_into("Ġa 中".as_bytes(), &mut bytes);
        decode_into(b"\xff\xfe", &mut bytes);
        assert_eq!(bytes, [" a 中".as_bytes(), b"\xff\xfe"].concat());
    }
}
