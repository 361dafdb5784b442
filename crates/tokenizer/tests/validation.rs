//! Which files are refused, and how.
#![allow(missing_docs)]

use trefoil_fixtures::{TinyLlama, Vocabulary, tiny_llama};
use trefoil_gguf::{Gguf, TensorType, Value, Writer};
use trefoil_tokenizer::{
    Error, SPECIAL_TOKEN_BYTES_MAX, TokenType, Tokenizer, WORD_PIECE_BYTES_MAX,
};

/// Keys and values of a valid file.
fn entries() -> Vec<(&'static str, Value)> {
    vec![
        ("tokenizer.ggml.model", Value::from("gpt2")),
        ("tokenizer.ggml.pre", Value::from("smollm")),
        ("tokenizer.ggml.tokens", strings(&["a", "b", "ab", "<s>"])),
        ("tokenizer.ggml.token_type", numbers(&[1, 1, 1, 3])),
        ("tokenizer.ggml.merges", strings(&["a b"])),
        ("tokenizer.ggml.bos_token_id", Value::from(3_u32)),
        ("tokenizer.ggml.eos_token_id", Value::from(3_u32)),
        ("tokenizer.ggml.add_bos_token", Value::from(true)),
    ]
}

fn strings(texts: &[&str]) -> Value {
    texts.iter().copied().collect::<trefoil_gguf::Strings>().into()
}

fn numbers(numbers: &[i32]) -> Value {
    numbers.to_vec().into()
}

fn read(entries: &[(&'static str, Value)]) -> Result<Tokenizer, Error> {
    let mut writer = Writer::new();
    for (key, value) in entries {
        writer.value(*key, value.clone());
    }
    let file = writer.to_bytes().expect("can be written");
    let gguf = Gguf::read(&file.as_slice()).expect("is GGUF");
    Tokenizer::from_gguf(&gguf.metadata)
}

/// Reads the valid file with one value changed.
fn with(key: &'static str, value: Value) -> Result<Tokenizer, Error> {
    let mut entries = entries();
    entries.retain(|(each, _)| *each != key);
    entries.push((key, value));
    read(&entries)
}

fn without(key: &str) -> Result<Tokenizer, Error> {
    let mut entries = entries();
    entries.retain(|(each, _)| *each != key);
    read(&entries)
}

#[test]
fn a_valid_file_is_read() {
    let tokenizer = read(&entries()).expect("is valid");
    assert_eq!(tokenizer.encode(b"ab<s>", true, true), [3, 2, 3]);
    assert_eq!(tokenizer.end_of_generation(), [3]);
}

#[test]
fn the_tiny_model_of_the_fixtures_is_read() {
    let file = tiny_llama(&TinyLlama::with_matrices(TensorType::F32));
    let gguf = Gguf::read(&file.as_slice()).expect("is GGUF");
    let tokenizer = Tokenizer::from_gguf(&gguf.metadata).expect("is valid");
    let text = "<|im_start|>user\nthe ring 中<|im_end|>".as_bytes();
    let tokens = tokenizer.encode(text, false, true);
    assert_eq!(tokens.first(), Some(&Vocabulary::MESSAGE_START));
    assert_eq!(tokens.last(), Some(&Vocabulary::MESSAGE_END));
    let piece = |&token| tokenizer.token_bytes(token).expect("is in the vocabulary");
    assert_eq!(tokens.iter().flat_map(piece).copied().collect::<Vec<_>>(), text);
    assert!(tokenizer.end_of_generation().contains(&Vocabulary::MESSAGE_END));
}

/// A valid file of WordPiece, with entries in place of its own.
fn word_piece(changes: &[(&'static str, Value)]) -> Result<Tokenizer, Error> {
    let mut entries = vec![
        ("tokenizer.ggml.model", Value::from("bert")),
        ("tokenizer.ggml.tokens", strings(&["[UNK]", "[CLS]", "[SEP]", "\u{2581}a", "b"])),
        ("tokenizer.ggml.token_type", numbers(&[2, 3, 3, 1, 1])),
        ("tokenizer.ggml.unknown_token_id", Value::from(0_u32)),
        ("tokenizer.ggml.bos_token_id", Value::from(1_u32)),
        ("tokenizer.ggml.seperator_token_id", Value::from(2_u32)),
        // Both are ignored.
        ("tokenizer.ggml.add_bos_token", Value::from(false)),
        ("tokenizer.ggml.add_eos_token", Value::from(true)),
    ];
    for (key, value) in changes {
        entries.retain(|(each, _)| each != key);
        entries.push((key, value.clone()));
    }
    read(&entries)
}

#[test]
fn word_piece_puts_its_tokens_around_a_text() {
    let tokenizer = word_piece(&[]).expect("is valid");
    assert_eq!(tokenizer.encode(b"Ab b\n", true, false), [1, 3, 4, 0, 2]);
    assert_eq!(tokenizer.encode(b"a[SEP]A", false, true), [3, 2, 3]);
    assert_eq!(tokenizer.encode(b"a[SEP]A", false, false), [3, 0, 0, 0, 3]);
    assert_eq!(tokenizer.encode(b"", true, false), [1, 2]);
    assert_eq!((tokenizer.separator(), tokenizer.eos()), (Some(2), None));
    assert_eq!(tokenizer.token_bytes(3), Some(&b" a"[..]));
    let cased = [("tokenizer.ggml.normalizer.lowercase", Value::from(false))];
    let tokenizer = word_piece(&cased).expect("is valid");
    assert_eq!(tokenizer.encode(b"Ab ab", false, false), [0, 3, 4]);
}

#[test]
fn word_piece_needs_its_tokens_within_the_vocabulary() {
    let all = ["tokenizer.ggml.unknown_token_id", "tokenizer.ggml.bos_token_id"];
    for key in [&all[..], &["tokenizer.ggml.seperator_token_id"]].concat() {
        let error = word_piece(&[(key, Value::from(5_u32))]).expect_err("is beyond");
        assert_eq!(error, Error::NoSuchToken { key, token: 5, tokens: 5 });
        let error = word_piece(&[(key, Value::from("x"))]).expect_err("is no number");
        assert!(error.to_string().contains(key), "{error}");
    }
    // BERT's own vocabulary names none.
    let tokens: Vec<String> = (0..103).map(|token| format!("\u{2581}{token}")).collect();
    let entries = |count: usize| {
        let texts: Vec<&str> = tokens[..count].iter().map(String::as_str).collect();
        vec![
            ("tokenizer.ggml.model", Value::from("bert")),
            ("tokenizer.ggml.tokens", strings(&texts)),
        ]
    };
    let tokenizer = read(&entries(103)).expect("has BERT's tokens");
    assert_eq!(tokenizer.encode(b"7 zzz", true, false), [101, 7, 100, 102]);
    let error = read(&entries(102)).expect_err("has not all");
    let key = "tokenizer.ggml.seperator_token_id";
    assert_eq!(error, Error::NoWordPieceToken { key, default: 102, tokens: 102 });
}

#[test]
fn word_piece_limits_the_length_of_pieces() {
    let tokens = |bytes: usize| {
        let long = "b".repeat(bytes);
        let texts = ["[UNK]", "[CLS]", "[SEP]", "\u{2581}a", long.as_str()];
        ("tokenizer.ggml.tokens", strings(&texts))
    };
    assert!(word_piece(&[tokens(WORD_PIECE_BYTES_MAX)]).is_ok());
    let error = word_piece(&[tokens(WORD_PIECE_BYTES_MAX + 1)]).expect_err("is too long");
    assert_eq!(error, Error::WordPieceTooLong { token: 4, bytes: 257 });
}

#[test]
fn missing_keys_are_named() {
    for key in ["model", "pre", "tokens", "merges"] {
        let key = format!("tokenizer.ggml.{key}");
        let message = without(&key).expect_err("is missing").to_string();
        assert!(message.contains(&key), "{message}");
    }
}

#[test]
fn optional_keys_may_be_missing() {
    let plain = without("tokenizer.ggml.token_type").expect("all tokens are text then");
    assert!(!plain.is_special(3));
    assert!(!without("tokenizer.ggml.add_bos_token").expect("is valid").adds_bos());
    assert_eq!(without("tokenizer.ggml.eos_token_id").expect("is valid").eos(), None);
}

#[test]
fn unknown_kinds_are_refused_with_what_is_supported() {
    let error = with("tokenizer.ggml.model", "t5".into()).expect_err("is another kind");
    assert_eq!(error, Error::UnsupportedModel("t5".into()));
    for name in ["`t5`", "`gpt2`", "`llama`", "`bert`"] {
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = with("tokenizer.ggml.model", "llama".into()).expect_err("has no scores");
    assert!(error.to_string().contains("`tokenizer.ggml.scores`"), "{error}");
    let error = with("tokenizer.ggml.pre", "gemma4".into()).expect_err("is not in the table");
    assert_eq!(error, Error::UnsupportedPreTokenizer("gemma4".into()));
    let message = error.to_string();
    assert!(message.contains("`gemma4`") && message.contains("`gpt-2`, "), "{message}");
    assert!(message.contains("`smollm`"), "{message}");
}

#[test]
fn values_of_another_type_are_refused() {
    for key in ["model", "tokens", "merges", "token_type", "bos_token_id"] {
        let key = format!("tokenizer.ggml.{key}").leak();
        let message = with(key, Value::from(true)).expect_err("has another type").to_string();
        assert!(message.contains(&*key), "{message}");
    }
}

#[test]
fn types_must_be_as_many_as_tokens() {
    for types in [&[1, 1, 1][..], &[1, 1, 1, 3, 3], &[]] {
        let error = with("tokenizer.ggml.token_type", numbers(types)).expect_err("differs");
        assert_eq!(error, Error::TokenTypes { types: types.len(), tokens: 4 });
    }
}

#[test]
fn a_text_stands_for_one_token() {
    let error = with("tokenizer.ggml.tokens", strings(&["a", "ab", "b", "ab"])).expect_err("twice");
    assert_eq!(error, Error::DuplicateToken { text: "ab".into(), first: 1, second: 3 });
}

#[test]
fn empty_tokens_stand_for_nothing() {
    let tokenizer =
        with("tokenizer.ggml.tokens", strings(&["", "b", "", "<s>"])).expect("is valid");
    assert_eq!(tokenizer.token_bytes(0), Some(b"".as_slice()));
    assert_eq!(tokenizer.encode(b"ab", false, true), [1]);
}

#[test]
fn a_vocabulary_has_tokens() {
    let mut entries = entries();
    entries.retain(|(key, _)| !key.ends_with("token_type") && !key.ends_with("tokens"));
    entries.push(("tokenizer.ggml.tokens", strings(&[])));
    assert_eq!(read(&entries).expect_err("is empty"), Error::NoTokens);
}

#[test]
fn merges_are_two_texts() {
    for malformed in ["ab", "a ", " a", ""] {
        let error =
            with("tokenizer.ggml.merges", strings(&["a b", malformed])).expect_err("is malformed");
        assert_eq!(error, Error::MalformedMerge { index: 1, text: malformed.into() });
    }
}

#[test]
fn keys_name_tokens_that_exist() {
    for key in [
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.eos_token_id",
        "tokenizer.ggml.eot_token_id",
        "tokenizer.ggml.eom_token_id",
        "tokenizer.ggml.fim_pad_token_id",
        "tokenizer.ggml.fim_rep_token_id",
        "tokenizer.ggml.fim_sep_token_id",
    ] {
        let error = with(key, Value::from(4_u32)).expect_err("is beyond the vocabulary");
        assert_eq!(error, Error::NoSuchToken { key, token: 4, tokens: 4 });
        let tokenizer = with(key, Value::from(2_u32)).expect("is valid");
        assert!(tokenizer.bos() == Some(2) || tokenizer.end_of_generation().contains(&2), "{key}");
    }
}

#[test]
fn a_token_to_add_must_be_named() {
    let error = without("tokenizer.ggml.bos_token_id").expect_err("is not named");
    assert!(matches!(error, Error::NoTokenToAdd { key: "tokenizer.ggml.bos_token_id", .. }));
}

#[test]
fn special_tokens_have_a_limit() {
    let long = "x".repeat(SPECIAL_TOKEN_BYTES_MAX + 1);
    let texts = |long: &str| strings(&["a", "b", "ab", long]);
    let error = with("tokenizer.ggml.tokens", texts(&long)).expect_err("is too long");
    assert_eq!(error, Error::SpecialTokenTooLong { token: 3, bytes: long.len() });
    assert!(with("tokenizer.ggml.tokens", texts(&long[1..])).is_ok());
}

#[test]
fn tokens_by_name_end_whatever_their_type() {
    let tokenizer =
        with("tokenizer.ggml.tokens", strings(&["a", "b", "<|im_end|>", "<s>"])).expect("is valid");
    assert_eq!(tokenizer.end_of_generation(), [2, 3]);
    assert!(tokenizer.is_special(2));
    assert_eq!(tokenizer.encode(b"<|im_end|>a", false, true), [2, 0]);
}

#[test]
fn unused_tokens_stand_for_no_text() {
    let tokenizer = with("tokenizer.ggml.token_type", numbers(&[1, 5, 1, 3])).expect("is valid");
    assert_eq!(tokenizer.token_bytes(1), Some(b"".as_slice()));
    assert_eq!(TokenType::from_number(99), TokenType::Normal);
}
