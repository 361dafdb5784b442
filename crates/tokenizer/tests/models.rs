//! The tokenizers of SmolLM2 and Gemma 3 against llama.cpp's tokens (`tests/reference/README.md`).
#![allow(missing_docs)]

use trefoil_fixtures::ModelFile;
use trefoil_fixtures::golden::{Both, Bytes, Golden, gemma3, smollm2, text8k};
use trefoil_tokenizer::Tokenizer;

fn models() -> [(Tokenizer, Golden); 2] {
    [(tokenizer("TREFOIL_SMOLLM2"), smollm2()), (tokenizer("TREFOIL_GEMMA3"), gemma3())]
}

/// The tokenizer of the model that a variable names.
fn tokenizer(variable: &str) -> Tokenizer {
    let metadata = ModelFile::named_by(variable).metadata();
    Tokenizer::from_gguf(&metadata).expect("the tokenizer is supported")
}

fn pieces(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<Bytes> {
    let piece = |&token| tokenizer.token_bytes(token).expect("is in the vocabulary").to_vec();
    tokens.iter().map(piece).map(Bytes).collect()
}

fn concat(pieces: &[Bytes]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| &piece.0).copied().collect()
}

#[test]
fn tokens_are_llama_cpps_in_all_modes() {
    for (tokenizer, golden) in models() {
        assert!(!golden.tokenization.is_empty());
        for case in &golden.tokenization {
            for (expected, add_special, parse_special) in [
                (&case.ids_plain, false, false),
                (&case.ids_special, false, true),
                (&case.ids_addspecial_plain, true, false),
                (&case.ids_addspecial_special, true, true),
            ] {
                let tokens = tokenizer.encode(&case.text.0, add_special, parse_special);
                assert_eq!(&tokens, expected, "{add_special} {parse_special} {:?}", case.text);
            }
        }
    }
}

#[test]
fn token_bytes_are_llama_cpps() {
    for (tokenizer, golden) in models() {
        for case in &golden.tokenization {
            let found = pieces(&tokenizer, &case.ids_special);
            assert_eq!(found, case.pieces_special, "{:?}", case.text);
            assert_eq!(concat(&found), case.detok_special.0, "{:?}", case.text);
        }
    }
}

#[test]
fn prompts_have_llama_cpps_tokens() {
    for (tokenizer, golden) in models() {
        for Both { llama_cpp, oracle } in &golden.greedy {
            let prompt = llama_cpp.prompt.as_deref().or(oracle.prompt.as_deref());
            let tokens = tokenizer.encode(prompt.expect("has a prompt").as_bytes(), true, false);
            assert_eq!((&tokens, &tokens), (&llama_cpp.prompt_ids, &oracle.prompt_ids));
        }
        for Both { llama_cpp, oracle } in &golden.logits {
            let tokens = tokenizer.encode(llama_cpp.prompt.as_bytes(), true, false);
            assert_eq!((&tokens, &tokens), (&llama_cpp.prompt_ids, &oracle.prompt_ids));
        }
        assert_eq!(golden.chat.len(), golden.chat_replies.len());
        for (chat, Both { llama_cpp, oracle }) in golden.chat.iter().zip(&golden.chat_replies) {
            let tokens = tokenizer.encode(chat.rendered_jinja.as_bytes(), true, true);
            assert_eq!(tokens, chat.prompt_ids, "{}", chat.rendered_jinja);
            assert_eq!((&tokens, &tokens), (&llama_cpp.prompt_ids, &oracle.prompt_ids));
        }
    }
}

#[test]
fn answers_have_llama_cpps_text() {
    for (tokenizer, golden) in models() {
        for Both { llama_cpp, .. } in golden.greedy.iter().chain(&golden.chat_replies) {
            // llama.cpp's text was read as UTF-8; the last token may end inside a character.
            let text = |tokens: &[u32]| {
                String::from_utf8_lossy(&concat(&pieces(&tokenizer, tokens))).into_owned()
            };
            assert_eq!(text(&llama_cpp.ids), llama_cpp.text);
            let mut visible = llama_cpp.ids.clone();
            visible.retain(|&token| !tokenizer.is_special(token));
            assert_eq!(text(&visible), llama_cpp.text_no_special);
            let last = llama_cpp.ids.last().expect("has tokens");
            let ended = tokenizer.end_of_generation().contains(last);
            assert_eq!(ended, llama_cpp.ended_with_eog);
        }
    }
}

#[test]
fn a_page_of_text_comes_back() {
    let text = text8k();
    for (tokenizer, golden) in models() {
        let tokens = tokenizer.encode(text.as_bytes(), false, false);
        assert_eq!(concat(&pieces(&tokenizer, &tokens)), text.as_bytes());
        let windows = golden.perplexity.llama_cpp;
        assert_eq!(tokens.len() / windows.window, windows.n_windows);
    }
}

#[test]
fn special_tokens_are_as_the_file_says() {
    for (tokenizer, golden) in models() {
        assert_eq!(tokenizer.end_of_generation(), golden.eog_ids);
        assert_eq!(tokenizer.vocabulary_tokens(), golden.n_vocab);
        assert_eq!(tokenizer.bos(), Some(golden.bos));
        assert_eq!(tokenizer.eos(), Some(golden.eos));
        assert_eq!(tokenizer.adds_bos(), golden.add_bos);
    }
}

#[test]
fn tokens_that_text_leaves_out_are_special() {
    let [(smollm2, _), (gemma3, _)] = models();
    let special = |tokenizer: &Tokenizer| -> Vec<u32> {
        (0..tokenizer.vocabulary_tokens()).filter(|token| tokenizer.is_special(*token)).collect()
    };
    assert_eq!(special(&smollm2), (0..17).collect::<Vec<_>>());
    // Padding, end, begin, unknown; begin and end of a turn. `[multimodal]` is text.
    let special = special(&gemma3);
    for (token, is_special) in [(0, true), (1, true), (2, true), (3, true), (5, false)] {
        assert_eq!(special.contains(&token), is_special, "{token}");
    }
    assert!(special.contains(&105) && special.contains(&106));
}
