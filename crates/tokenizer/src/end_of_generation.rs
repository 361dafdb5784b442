//! Which tokens end a generation.
//!
//! Files name one such token, models use several. llama.cpp finds the others by their texts
//! (`llama-vocab.cpp`, `llama_vocab::impl::load`); the names and rules here are the same.

use std::collections::BTreeSet;

use crate::token_texts::TokenIndex;
use crate::vocabulary::{Ids, TokenType};

/// Tokens with these texts end a generation and are control tokens, whatever the file says.
const NAMES: [&str; 22] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Tokens for filling in the middle of a text that a model goes over to when the text is done:
/// padding, the next repository, the next file. The first name that the vocabulary has counts,
/// where no key names the token.
const FILL_IN_PADDING: &[&str] = &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"];
const FILL_IN_REPOSITORY: &[&str] =
    &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"];
const FILL_IN_FILE: &[&str] = &["<|file_sep|>"];

/// Tokens that end a generation, ascending. Corrects the types of tokens that are found by name.
pub(crate) fn find(ids: &Ids, index: &TokenIndex<'_>, types: &mut [TokenType]) -> Vec<u32> {
    let named = |name: &str| index.find(name.as_bytes());
    let mut set_type = |token: u32, new: TokenType| {
        if let Some(token_type) = types.get_mut(token as usize) {
            *token_type = new;
        }
    };
    let mut ends = BTreeSet::new();
    for (id, names) in [
        (ids.fill_in_padding, FILL_IN_PADDING),
        (ids.fill_in_repository, FILL_IN_REPOSITORY),
        (ids.fill_in_file, FILL_IN_FILE),
    ] {
        let found = || names.iter().find_map(|name| named(name));
        if let Some(token) = id.or_else(found) {
            if id.is_none() {
                set_type(token, TokenType::Control);
            }
            ends.insert(token);
        }
    }
    for token in NAMES.iter().filter_map(|name| named(name)) {
        set_type(token, TokenType::Control);
        ends.insert(token);
    }
    ends.extend([ids.eos, ids.end_of_turn, ids.end_of_message].into_iter().flatten());

    let has = |name: &str| named(name).is_some_and(|token| ends.contains(&token));
    // Models with these tokens use `<|end|>` between the parts of one answer (gpt-oss, Solar).
    let end_is_inside =
        (has("<|call|>") || has("<|calls|>")) && (has("<|return|>") || has("<|flush|>"));
    // Models with these tokens have `</s>` as ordinary text, an HTML tag (Gemma 4, PLaMo).
    let tag_is_text = has("<|tool_response>") || has("<|plamo:eos|>");
    for (applies, name, token_type) in [
        (end_is_inside, "<|end|>", TokenType::UserDefined),
        (tag_is_text, "</s>", TokenType::Normal),
    ] {
        if applies
            && let Some(token) = named(name)
            && ends.remove(&token)
        {
            set_type(token, token_type);
        }
    }
    ends.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(names: &[&str], ids: Ids) -> (Vec<u32>, Vec<TokenType>) {
        let texts: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let index = TokenIndex::new(&texts).expect("no duplicates");
        let mut types = vec![TokenType::Normal; names.len()];
        (find(&ids, &index, &mut types), types)
    }

    #[test]
    fn named_tokens_end_and_become_control_tokens() {
        let (ends, types) = ends(&["a", "<|im_end|>", "b", "<|endoftext|>"], Ids::default());
        assert_eq!(ends, [1, 3]);
        assert_eq!(
            types,
            [TokenType::Normal, TokenType::Control, TokenType::Normal, TokenType::Control]
        );
    }

    #[test]
    fn tokens_of_the_keys_end_without_a_name() {
        let ids = Ids { eos: Some(2), end_of_turn: Some(0), ..Ids::default() };
        assert_eq!(ends(&["a", "b", "c"], ids), (vec![0, 2], vec![TokenType::Normal; 3]));
    }

    #[test]
    fn the_key_of_a_fill_in_token_goes_before_its_names() {
        let names = ["<reponame>", "<|repo_name|>", "x"];
        assert_eq!(ends(&names, Ids::default()).0, [1]);
        let ids = Ids { fill_in_repository: Some(2), ..Ids::default() };
        assert_eq!(ends(&names, ids).0, [2]);
    }

    #[test]
    fn end_does_not_end_beside_return_and_call() {
        let (found, types) = ends(&["<|end|>", "<|return|>", "<|call|>"], Ids::default());
        assert_eq!((found, types[0]), (vec![1, 2], TokenType::UserDefined));
        assert_eq!(ends(&["<|end|>", "<|return|>"], Ids::default()).0, [0, 1]);
        assert_eq!(ends(&["<|end|>", "<|calls|>", "<|flush|>"], Ids::default()).0, [1, 2]);
    }

    #[test]
    fn the_tag_s_is_text_where_another_token_ends() {
        let (found, types) = ends(&["</s>", "<|tool_response>"], Ids::default());
        assert_eq!((found, types[0]), (vec![1], TokenType::Normal));
        assert_eq!(ends(&["</s>"], Ids::default()).0, [0]);
    }
}
