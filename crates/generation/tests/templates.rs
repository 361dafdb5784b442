//! Chat templates against llama.cpp's rendering of the same conversations.
#![allow(clippy::expect_used)]

use serde_json::Value;
use trefoil_contract::{Conversation, Message};
use trefoil_generation::ChatTemplate;

fn check(template: &str, goldens: &str, eos: &str) {
    let template = ChatTemplate::new(template).expect("template");
    let goldens: Value = serde_json::from_str(goldens).expect("golden data");
    let chats = goldens["chat"].as_array().expect("chats");
    assert_eq!(chats.len(), 4);
    for chat in chats {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let messages = chat["messages"].as_array().expect("messages");
        let mut conversation = Conversation {
            messages: messages
                .iter()
                .map(|message| Message::text(text(&message["role"]), text(&message["content"])))
                .collect(),
            tools: None,
            variables: None,
            add_generation_prompt: true,
        };
        // The golden data have no BOS: llama.cpp leaves it to the tokenizer.
        let render = |conversation: &_| template.render(conversation, "", eos).expect("rendered");
        assert_eq!(render(&conversation), text(&chat["rendered_jinja"]));
        conversation.add_generation_prompt = false;
        assert_eq!(render(&conversation), text(&chat["rendered_jinja_no_generation_prompt"]));
    }
}

#[test]
fn smollm2_renders_as_llama_cpp_does() {
    check(include_str!("data/smollm2.jinja"), include_str!("data/smollm2-chat.json"), "<|im_end|>");
}

#[test]
fn gemma3_renders_as_llama_cpp_does() {
    check(include_str!("data/gemma3.jinja"), include_str!("data/gemma3-chat.json"), "<eos>");
}
