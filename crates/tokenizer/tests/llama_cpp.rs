//! SentencePiece and every kind of pre-tokenizer against llama.cpp's tokens of varied texts: prose and
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

#[test]
fn words_are_llama_cpps() {
    let file = read("bpe.gguf");
    let gguf = Gguf::read(&file).expect("a GGUF file");
    let mut differing = BTreeMap::new();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("the data") {
        let name = entry.expect("a file").file_name().into_string().expect("a name");
        let others = ["texts", "sentence-piece"];
        let pre_tokenizer = name.strip_suffix(".json").filter(|name| !others.contains(name));
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
