//! How text becomes tokens, on small vocabularies.
#![allow(missing_docs)]

use proptest::prelude::*;
use trefoil_tokenizer::{Ids, TokenType, Tokenizer, Vocabulary};

/// The byte-level alphabet as GPT-2's `encoder.py` builds it: here written a second time, as data
/// of the tests.
fn alphabet() -> Vec<String> {
    let mut next = 0x100;
    (0..=u8::MAX)
        .map(|byte| {
            let printable = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
            let code = if printable { u32::from(byte) } else { next };
            next += u32::from(!printable);
            char::from_u32(code).expect("is a character").to_string()
        })
        .collect()
}

const MERGES: [&str; 9] = ["h e", "l l", "he ll", "hell o", "Ġ w", "Ġw o", "r l", "Ġwo rl", "Ã ¤"];

/// 256 bytes, then the results of the merges, then `<s>`, `</s>`, `<tool>` and `hello`'s rival.
fn texts() -> Vec<String> {
    let merged = MERGES.iter().map(|merge| merge.replace(' ', ""));
    let special = ["<s>", "</s>", "<tool>"].map(str::to_owned);
    alphabet().into_iter().chain(merged).chain(special).collect()
}

const BOS: u32 = 256 + MERGES.len() as u32;
const EOS: u32 = BOS + 1;
const TOOL: u32 = BOS + 2;

fn vocabulary(texts: &[String]) -> Vocabulary<'_> {
    let mut token_types = vec![TokenType::Normal; texts.len()];
    for (token, token_type) in
        [(BOS, TokenType::Control), (EOS, TokenType::Control), (TOOL, TokenType::UserDefined)]
    {
        token_types[token as usize] = token_type;
    }
    Vocabulary {
        pre_tokenizer: "smollm",
        tokens: texts.iter().map(String::as_bytes).collect(),
        token_types,
        merges: MERGES.iter().map(|merge| merge.as_bytes()).collect(),
        ids: Ids { bos: Some(BOS), eos: Some(EOS), ..Ids::default() },
        ..Vocabulary::default()
    }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::new(&vocabulary(&texts())).expect("is valid")
}

fn decode(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<u8> {
    let bytes = |&token| tokenizer.token_bytes(token).expect("is in the vocabulary");
    tokens.iter().flat_map(bytes).copied().collect()
}

fn token(text: &str) -> u32 {
    texts().iter().position(|each| each == text).expect("is in the vocabulary") as u32
}

#[test]
fn merges_join_bytes_within_words() {
    let tokenizer = tokenizer();
    let tokens = tokenizer.encode("hello world ä".as_bytes(), false, false);
    assert_eq!(tokens, ["hello", "Ġworl", "d", "Ġ", "Ã¤"].map(token));
    assert_eq!(tokenizer.encode(b"helhello", false, false), ["he", "l", "hello"].map(token));
}

#[test]
fn control_tokens_are_text_unless_parsed_and_user_defined_ones_never() {
    let tokenizer = tokenizer();
    let text = b"<s>he<tool></s>";
    assert_eq!(tokenizer.encode(text, false, true), [BOS, token("he"), TOOL, EOS]);
    let plain = ["<", "s", ">", "he", "<tool>", "<", "/", "s", ">"].map(token);
    assert_eq!(tokenizer.encode(text, false, false), plain);
}

#[test]
fn bos_and_eos_are_added_where_file_and_caller_want_them() {
    let texts = texts();
    for (adds_bos, adds_eos) in [(false, false), (true, false), (false, true), (true, true)] {
        let vocabulary = Vocabulary { adds_bos, adds_eos, ..vocabulary(&texts) };
        let tokenizer = Tokenizer::new(&vocabulary).expect("is valid");
        assert_eq!((tokenizer.adds_bos(), tokenizer.adds_eos()), (adds_bos, adds_eos));
        assert_eq!(tokenizer.encode(b"he", false, true), [token("he")]);
        let mut expected = vec![token("he")];
        if adds_bos {
            expected.insert(0, BOS);
        }
        if adds_eos {
            expected.push(EOS);
        }
        assert_eq!(tokenizer.encode(b"he", true, false), expected);
        assert_eq!(tokenizer.encode(b"", true, false).len(), expected.len() - 1);
    }
}

#[test]
fn special_tokens_are_told_from_text() {
    let tokenizer = tokenizer();
    let special: Vec<u32> =
        (0..tokenizer.vocabulary_tokens()).filter(|&token| tokenizer.is_special(token)).collect();
    assert_eq!(special, [BOS, EOS]);
    assert!(!tokenizer.is_special(u32::MAX));
    assert_eq!(tokenizer.token_bytes(BOS), Some(b"<s>".as_slice()));
    assert_eq!(tokenizer.token_bytes(tokenizer.vocabulary_tokens()), None);
    assert_eq!(tokenizer.token_bytes(u32::MAX), None);
    assert_eq!(tokenizer.end_of_generation(), [EOS]);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(BOS), Some(EOS)));
}

#[test]
fn bytes_without_a_token_are_left_out() {
    let texts = ["a", "b", "ab", "Ġ"].map(str::to_owned);
    let vocabulary = Vocabulary {
        pre_tokenizer: "gpt-2",
        tokens: texts.iter().map(String::as_bytes).collect(),
        merges: vec![b"a b"],
        ..Vocabulary::default()
    };
    let tokenizer = Tokenizer::new(&vocabulary).expect("is valid");
    assert_eq!(tokenizer.encode("xab caxb".as_bytes(), false, false), [2, 3, 0, 1]);
}

#[test]
fn merges_of_or_into_unknown_texts_are_ignored() {
    let texts = ["a", "b", "c", "bc"].map(str::to_owned);
    let vocabulary = Vocabulary {
        pre_tokenizer: "gpt-2",
        tokens: texts.iter().map(String::as_bytes).collect(),
        merges: vec![b"a b", b"x b", b"a x", b"b c"],
        ..Vocabulary::default()
    };
    let tokenizer = Tokenizer::new(&vocabulary).expect("is valid");
    assert_eq!(tokenizer.encode(b"abc", false, false), [0, 3]);
}

#[test]
fn a_word_of_a_megabyte_is_no_trouble() {
    let tokenizer = tokenizer();
    let text = "hello".repeat(200_000);
    assert_eq!(tokenizer.encode(text.as_bytes(), false, true), vec![token("hello"); 200_000]);
}

proptest! {
    #[test]
    fn text_comes_back(text in "(\\PC|[ \\n\\t'<s>/tolhew0-9äÄ]){0,64}", parse_special: bool) {
        let tokenizer = tokenizer();
        let tokens = tokenizer.encode(text.as_bytes(), false, parse_special);
        prop_assert_eq!(decode(&tokenizer, &tokens), text.as_bytes());
    }

    #[test]
    fn any_bytes_come_back_with_replacement_characters(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let tokenizer = tokenizer();
        let decoded = decode(&tokenizer, &tokenizer.encode(&bytes, false, true));
        if std::str::from_utf8(&bytes).is_ok() {
            prop_assert_eq!(&decoded, &bytes);
        }
        // Once repaired, a text stays as it is.
        let again = decode(&tokenizer, &tokenizer.encode(&decoded, false, true));
        prop_assert_eq!(again, decoded);
    }

    #[test]
    fn any_vocabulary_is_refused_or_encodes(
        tokens in prop::collection::vec("[a-dĠ <>]{0,4}", 0..40),
        merges in prop::collection::vec("[a-dĠ]{1,2} [a-dĠ]{1,2}", 0..40),
        numbers in prop::collection::vec(0..7_i32, 40),
        text in "[a-d <>]{0,40}",
        bos in prop::option::of(0..40_u32),
    ) {
        let vocabulary = Vocabulary {
            pre_tokenizer: "smollm",
            tokens: tokens.iter().map(String::as_bytes).collect(),
            token_types: numbers[..tokens.len()].iter().copied().map(TokenType::from_number).collect(),
            merges: merges.iter().map(String::as_bytes).collect(),
            ids: Ids { bos, ..Ids::default() },
            adds_bos: bos.is_some(),
            ..Vocabulary::default()
        };
        if let Ok(tokenizer) = Tokenizer::new(&vocabulary) {
            for token in tokenizer.encode(text.as_bytes(), true, true) {
                prop_assert!(tokenizer.token_bytes(token).is_some());
            }
        }
    }
}
