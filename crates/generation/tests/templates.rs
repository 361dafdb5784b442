//! Chat templates against llama.cpp's rendering of the same conversations.
#![allow(clippy::expect_used)]

use trefoil_contract::{Conversation, Message};
use trefoil_fixtures::golden::{Chat, smollm2};
use trefoil_generation::ChatTemplate;

fn check(template: &str, chats: &[Chat], eos: &str) {
    let template = ChatTemplate::new(template).expect("template");
    assert_eq!(chats.len(), 4);
    for chat in chats {
        let message = |message: &trefoil_fixtures::golden::Message| {
            Message::text(message.role.as_str(), message.content.as_str())
        };
        let mut conversation = Conversation {
            messages: chat.messages.iter().map(message).collect(),
            tools: None,
            variables: None,
            add_generation_prompt: true,
        };
        // The golden data have no BOS: llama.cpp leaves it to the tokenizer.
        let render = |conversation: &_| template.render(conversation, "", eos).expect("rendered");
        assert_eq!(render(&conversation), chat.rendered_jinja);
        conversation.add_generation_prompt = false;
        assert_eq!(render(&conversation), chat.rendered_jinja_no_generation_prompt);
    }
}

#[test]
fn smollm2_renders_as_llama_cpp_does() {
    check(include_str!("data/smollm2.jinja"), &smollm2().chat, "<|im_end|>");
}

#[test]
fn gemma3_renders_as_llama_cpp_does() {
    // From `common_chat` of llama.cpp commit 0c1e57098.
    let chats: Vec<Chat> =
        serde_json::from_str(include_str!("data/gemma3-chat.json")).expect("golden data");
    check(include_str!("data/gemma3.jinja"), &chats, "<eos>");
}
