//! SentencePiece, WordPiece and every kind of pre-tokenizer against llama.cpp's tokens of varied texts: prose and
//! code, all Unicode blocks, runs of spaces and signs, characters in random order, invalid UTF-8. The
//! vocabularies have a token for almost every pair of neighbours, so that cuts show.
//! `cargo xtask golden` makes the data.
#![allow(missing_docs, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use trefoil_fixtures::golden::{self, Bytes};
use trefoil_gguf::Gguf;
use trefoil_tokenizer::{Tokenizer, Vocabulary};

fn folder() -> PathBuf {
    golden::directory().join("tokenizers")
}

fn read(name: &str) -> Vec<u8> {
    let path = folder().join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Where tokens first differ from llama.cpp's: how many texts, and some of their tokens, ours and
/// llama.cpp's.
fn differences(tokenizer: &Tokenizer, name: &str) -> (usize, Vec<[Vec<String>; 2]>) {
    let texts: Vec<Bytes> = serde_json::from_slice(&read("texts.json")).expect("texts");
    let expected: Vec<Vec<u32>> = serde_json::from_slice(&read(name)).expect("tokens");
    assert_eq!(expected.len(), texts.len());
    let mut differing = Vec::new();
    for (text, expected) in texts.iter().zip(&expected) {
        let found = tokenizer.encode(&text.0, false, false);
        let same = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
        if found != *expected {
            differing.push([&found, expected].map(|tokens| {
                let piece = |token: &u32| tokenizer.token_bytes(*token).unwrap_or_default();
                let part = &tokens[same.saturating_sub(2)..tokens.len().min(same + 6)];
                part.iter().map(|token| String::from_utf8_lossy(piece(token)).into()).collect()
            }));
        }
    }
    let count = differing.len();
    differing.truncate(6);
    (count, differing)
}

#[test]
fn sentence_pieces_are_llama_cpps() {
    let file = read("sentence-piece.gguf");
    let gguf = Gguf::read(&file).expect("a GGUF file");
    let tokenizer = Tokenizer::from_gguf(&gguf.metadata).expect("a tokenizer");
    let differences = differences(&tokenizer, "sentence-piece.json");
    assert!(differences.0 == 0, "{differences:#?}");
}

/// The ways in which WordPiece normalises: name, whether it lower-cases, whether it strips accents.
const WORD_PIECES: [(&str, bool, bool); 4] = [
    ("word-piece", true, true),
    ("word-piece-cased", false, false),
    ("word-piece-accents", true, false),
    ("word-piece-stripped", false, true),
];

#[test]
fn pieces_of_words_are_llama_cpps() {
    let file = read("word-piece.gguf");
    let gguf = Gguf::read(&file).expect("a GGUF file");
    for (name, lowercases, strips_accents) in WORD_PIECES {
        let vocabulary = Vocabulary::from_gguf(&gguf.metadata).expect("a vocabulary");
        let vocabulary = Vocabulary { lowercases, strips_accents, ..vocabulary };
        let tokenizer = Tokenizer::new(&vocabulary).expect("a tokenizer");
        let differences = differences(&tokenizer, &format!("{name}.json"));
        assert!(differences.0 == 0, "{name}: {differences:#?}");
    }
}

/// What becomes of each character alone and between x and y: the first of characters of which the
/// same becomes, and tokens; none for what Unicode 14 does not have.
type Runs = Vec<(u32, Option<[Vec<u32>; 2]>)>;

#[test]
fn every_character_is_normalised_as_by_llama_cpp() {
    let file = read("characters.gguf");
    let gguf = Gguf::read(&file).expect("a GGUF file");
    for (name, lowercases, strips_accents) in &WORD_PIECES[..2] {
        let vocabulary = Vocabulary::from_gguf(&gguf.metadata).expect("a vocabulary");
        let vocabulary =
            Vocabulary { lowercases: *lowercases, strips_accents: *strips_accents, ..vocabulary };
        let tokenizer = Tokenizer::new(&vocabulary).expect("a tokenizer");
        let runs = read(&format!("{name}-characters.json"));
        let runs: Runs = serde_json::from_slice(&runs).expect("runs");
        let mut count = 0;
        for pair in runs.windows(2) {
            let [(first, Some(expected)), (end, _)] = pair else { continue };
            for character in (*first..*end).filter_map(char::from_u32) {
                let texts = [character.to_string(), format!("x{character}y")];
                let found = texts.map(|text| tokenizer.encode(text.as_bytes(), false, false));
                assert_eq!(&found, expected, "{name}: {character:?}");
                count += 1;
            }
        }
        assert!(count > 280_000, "{count}");
    }
}

#[test]
fn words_are_llama_cpps() {
    let file = read("bpe.gguf");
    let gguf = Gguf::read(&file).expect("a GGUF file");
    let mut differing = BTreeMap::new();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("the data") {
        let name = entry.expect("a file").file_name().into_string().expect("a name");
        let is_other = |name: &str| name == "texts" || name.contains("-piece");
        let pre_tokenizer = name.strip_suffix(".json").filter(|name| !is_other(name));
        let Some(pre_tokenizer) = pre_tokenizer else { continue };
        let vocabulary = Vocabulary::from_gguf(&gguf.metadata).expect("a vocabulary");
        let tokenizer = Tokenizer::new(&Vocabulary { pre_tokenizer, ..vocabulary });
        let found = differences(&tokenizer.expect("a known pre-tokenizer"), &name);
        if found.0 > 0 {
            differing.insert(pre_tokenizer.to_owned(), found);
        }
        names.push(pre_tokenizer.to_owned());
    }
    assert!(differing.is_empty(), "{differing:#?}");
    assert!(names.len() >= 12, "{names:?}");
}
