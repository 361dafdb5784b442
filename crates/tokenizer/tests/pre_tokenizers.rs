//! Every kind of pre-tokenizer against llama.cpp's tokens of varied texts: prose and code, all
//! Unicode blocks, runs of spaces and signs, characters in random order, invalid UTF-8. The
//! vocabulary has a merge for almost every pair of neighbours, so that cuts show.
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

#[test]
fn tokens_are_llama_cpps() {
    let file = read("bpe.gguf");
    let gguf = Gguf::read(&file).expect("a GGUF file");
    let texts: Vec<Bytes> = serde_json::from_slice(&read("texts.json")).expect("texts");
    let mut differing = BTreeMap::new();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("the data") {
        let name = entry.expect("a file").file_name().into_string().expect("a name");
        let Some(pre_tokenizer) = name.strip_suffix(".json").filter(|name| *name != "texts") else {
            continue;
        };
        names.push(pre_tokenizer.to_owned());
        let vocabulary = Vocabulary::from_gguf(&gguf.metadata).expect("a vocabulary");
        let tokenizer = Tokenizer::new(&Vocabulary { pre_tokenizer, ..vocabulary });
        let tokenizer = tokenizer.expect("a known pre-tokenizer");
        let expected: Vec<Vec<u32>> = serde_json::from_slice(&read(&name)).expect("tokens");
        assert_eq!(expected.len(), texts.len());
        for (text, expected) in texts.iter().zip(&expected) {
            let found = tokenizer.encode(&text.0, false, false);
            if found != *expected {
                let pieces = |tokens: &[u32]| -> Vec<String> {
                    let piece = |token: &u32| tokenizer.token_bytes(*token).unwrap_or_default();
                    let piece = |token| String::from_utf8_lossy(piece(token)).into_owned();
                    tokens.iter().map(piece).collect()
                };
                let same = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
                let part = |tokens: &[u32]| {
                    pieces(&tokens[same.saturating_sub(2)..tokens.len().min(same + 6)])
                };
                let entry = differing.entry(pre_tokenizer.to_owned()).or_insert((0, Vec::new()));
                entry.0 += 1;
                if entry.1.len() < 6 {
                    entry.1.push((part(&found), part(expected)));
                }
            }
        }
    }
    assert!(differing.is_empty(), "ours, llama.cpp's: {differing:#?}");
    assert!(names.len() >= 12, "{names:?}");
}
