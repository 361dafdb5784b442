//! SmolLM2's tokenizer against llama.cpp's tokens (`tests/reference/README.md`).
#![allow(missing_docs)]

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use trefoil_gguf::Gguf;
use trefoil_tokenizer::Tokenizer;

/// The tokenizer's keys lie in the first bytes of the file; the weights need not be read.
struct ModelFile(File);

impl trefoil_gguf::Source for ModelFile {
    fn size(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        use std::io::{Seek, SeekFrom};
        let mut file = &self.0;
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(buffer))
            .map_err(|error| error.to_string())
    }
}

fn tokenizer() -> Tokenizer {
    let path = std::env::var_os("TREFOIL_SMOLLM2")
        .expect("run `cargo xtask test`, which fetches the model and sets TREFOIL_SMOLLM2");
    let file = File::open(path).expect("the model of TREFOIL_SMOLLM2 can be opened");
    let gguf = Gguf::read(&ModelFile(file)).expect("the model is GGUF");
    Tokenizer::from_gguf(&gguf.metadata).expect("the tokenizer is supported")
}

fn reference() -> Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/smollm2-135m.json");
    let text = std::fs::read(path).expect("the reference is in the repository");
    serde_json::from_slice(&text).expect("the reference is JSON")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("`{key}` is a list in {value}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("`{key}` is text in {value}"))
}

fn ids(value: &Value, key: &str) -> Vec<u32> {
    let ids = list(value, key).iter();
    ids.map(|id| u32::try_from(id.as_u64().expect("is an id")).expect("is an id")).collect()
}

/// Text, or `{"hex": ..}` where the bytes are not UTF-8.
fn bytes(value: &Value) -> Vec<u8> {
    let Some(hex) = value["hex"].as_str() else {
        return value.as_str().expect("is text or hex").as_bytes().to_vec();
    };
    hex.as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).expect("is ASCII"))
        .map(|pair| u8::from_str_radix(pair, 16).expect("is hexadecimal"))
        .collect()
}

fn pieces(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<Vec<u8>> {
    let piece = |&token| tokenizer.token_bytes(token).expect("is in the vocabulary").to_vec();
    tokens.iter().map(piece).collect()
}

#[test]
fn tokens_are_llama_cpps_in_all_modes() {
    let (tokenizer, reference) = (tokenizer(), reference());
    let cases = list(&reference, "tokenization");
    assert!(!cases.is_empty());
    for case in cases {
        let text = bytes(&case["text"]);
        for (key, add_special, parse_special) in [
            ("ids_plain", false, false),
            ("ids_special", false, true),
            ("ids_addspecial_plain", true, false),
            ("ids_addspecial_special", true, true),
        ] {
            let tokens = tokenizer.encode(&text, add_special, parse_special);
            assert_eq!(tokens, ids(case, key), "{key} of {:?}", case["text"]);
        }
    }
}

#[test]
fn token_bytes_are_llama_cpps() {
    let (tokenizer, reference) = (tokenizer(), reference());
    for case in list(&reference, "tokenization") {
        let found = pieces(&tokenizer, &ids(case, "ids_special"));
        let expected: Vec<_> = list(case, "pieces_special").iter().map(bytes).collect();
        assert_eq!(found, expected, "{:?}", case["text"]);
        assert_eq!(found.concat(), bytes(&case["detok_special"]), "{:?}", case["text"]);
    }
}

#[test]
fn prompts_have_llama_cpps_tokens() {
    let (tokenizer, reference) = (tokenizer(), reference());
    for case in list(&reference, "greedy") {
        let tokens = tokenizer.encode(text(case, "prompt").as_bytes(), true, false);
        for engine in ["llama_cpp", "oracle"] {
            assert_eq!(tokens, ids(&case[engine], "prompt_ids"), "{}", case["prompt"]);
        }
    }
    let chats = list(&reference, "chat");
    for chat in chats {
        let tokens = tokenizer.encode(text(chat, "rendered_jinja").as_bytes(), true, true);
        assert_eq!(tokens, ids(chat, "prompt_ids"), "{}", chat["messages"]);
    }
    for (reply, chat) in list(&reference, "chat_replies").iter().zip(chats) {
        for engine in ["llama_cpp", "oracle"] {
            assert_eq!(ids(&reply[engine], "prompt_ids"), ids(chat, "prompt_ids"));
        }
    }
}

#[test]
fn a_page_of_text_comes_back() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/text8k.txt");
    let text = std::fs::read(path).expect("the reference is in the repository");
    let tokenizer = tokenizer();
    let tokens = tokenizer.encode(&text, false, false);
    assert_eq!(pieces(&tokenizer, &tokens).concat(), text);
    // The reference's windows of 512 tokens, of which the first is not scored, fill the text.
    let windows = &reference()["perplexity"]["llama_cpp"];
    let count = windows["n_windows"].as_u64().expect("is a number");
    assert_eq!(tokens.len() as u64 / 512, count);
}

#[test]
fn special_tokens_are_as_the_file_says() {
    let (tokenizer, reference) = (tokenizer(), reference());
    assert_eq!(tokenizer.end_of_generation(), ids(&reference, "eog_ids"));
    assert_eq!(u64::from(tokenizer.vocabulary_tokens()), reference["n_vocab"]);
    assert_eq!(tokenizer.bos().map(u64::from), reference["bos"].as_u64());
    assert_eq!(tokenizer.eos().map(u64::from), reference["eos"].as_u64());
    assert_eq!(Some(tokenizer.adds_bos()), reference["add_bos"].as_bool());
    let special: Vec<u32> =
        (0..tokenizer.vocabulary_tokens()).filter(|&token| tokenizer.is_special(token)).collect();
    assert_eq!(special, (0..17).collect::<Vec<_>>());
}
