//! From a conversation to an answer's text with SmolLM2's own template and tokenizer; the forward
//! pass plays llama.cpp's tokens back (`tests/reference/README.md`).
#![allow(clippy::expect_used)]

use trefoil_contract::{Conversation, Event, FinishReason, Message, Result};
use trefoil_fixtures::ModelFile;
use trefoil_fixtures::golden::{Chat, smollm2};
use trefoil_generation::{ChatTemplate, Forward, GenerationOptions, Generations, Logits, Span};
use trefoil_gguf::Metadata;
use trefoil_settings::{RequestSettings, Settings};
use trefoil_tokenizer::Tokenizer;

fn metadata() -> Metadata {
    ModelFile::named_by("TREFOIL_SMOLLM2").metadata()
}

fn template(metadata: &Metadata) -> ChatTemplate {
    let source = metadata.string("tokenizer.chat_template").expect("a text").expect("a template");
    ChatTemplate::new(source).expect("the template is supported")
}

fn prompt(template: &ChatTemplate, tokenizer: &Tokenizer, chat: &Chat) -> Vec<u32> {
    let messages = chat
        .messages
        .iter()
        .map(|message| Message::text(message.role.as_str(), message.content.as_str()));
    let conversation = Conversation {
        messages: messages.collect(),
        tools: None,
        variables: None,
        add_generation_prompt: true,
    };
    let text = template.render(&conversation, "<|im_start|>", "<|im_end|>").expect("rendered");
    assert_eq!(text, chat.rendered_jinja);
    tokenizer.encode(text.as_bytes(), true, true)
}

/// Makes the tokens of `scripts` the likeliest, one after another, for each sequence.
struct Playback {
    vocabulary_tokens: usize,
    scripts: Vec<Vec<u32>>,
}

impl Forward for Playback {
    fn vocabulary_tokens(&self) -> usize {
        self.vocabulary_tokens
    }

    fn context_tokens(&self) -> u32 {
        2048
    }

    fn sequences_max(&self) -> usize {
        self.scripts.len()
    }

    fn forward(&mut self, batch: &[Span<'_>], logits: &mut Vec<f32>) -> Result<()> {
        logits.clear();
        for span in batch.iter().filter(|span| span.logits == Logits::Last) {
            let row = logits.len();
            logits.resize(row + self.vocabulary_tokens, 0.0);
            let next = span.position as usize + span.tokens.len();
            logits[row + self.scripts[span.sequence][next] as usize] = 1.0;
        }
        Ok(())
    }

    fn reusable(&self, _: usize, tokens: u32) -> u32 {
        tokens
    }

    fn truncate(&mut self, _sequence: usize, _tokens: u32) {}
}

#[test]
fn conversations_become_llama_cpps_prompts() {
    let metadata = metadata();
    let tokenizer = Tokenizer::from_gguf(&metadata).expect("the tokenizer is supported");
    for chat in &smollm2().chat {
        assert_eq!(prompt(&template(&metadata), &tokenizer, chat), chat.prompt_ids);
    }
}

#[test]
fn answers_have_llama_cpps_text() {
    let metadata = metadata();
    let tokenizer = Tokenizer::from_gguf(&metadata).expect("the tokenizer is supported");
    let replies: Vec<_> = smollm2().chat_replies.into_iter().map(|both| both.llama_cpp).collect();
    let scripts = replies.iter().map(|reply| [&*reply.prompt_ids, &*reply.ids].concat()).collect();
    let vocabulary_tokens = tokenizer.vocabulary_tokens() as usize;
    let forward = Playback { vocabulary_tokens, scripts };
    let mut generations = Generations::new(forward, tokenizer, 16);
    let settings =
        RequestSettings { temperature: 0.0, max_tokens: 48, ..Settings::default().request };
    let ids: Vec<_> = replies
        .iter()
        .map(|reply| {
            let options = GenerationOptions::default();
            generations.start(reply.prompt_ids.clone(), &settings, &options).expect("started")
        })
        .collect();
    let mut texts = vec![String::new(); ids.len()];
    let mut open: Vec<usize> = (0..ids.len()).collect();
    while !open.is_empty() {
        let stepped: Vec<_> = open.iter().map(|&place| ids[place]).collect();
        for (place, result) in std::mem::take(&mut open).into_iter().zip(generations.step(&stepped))
        {
            match result.expect("event") {
                Event::Delta(delta) => texts[place].push_str(&delta.text),
                Event::Done(done) => {
                    let expected = match replies[place].ended_with_eog {
                        true => FinishReason::Stop,
                        false => FinishReason::Length,
                    };
                    assert_eq!(done.reason, expected);
                    assert_eq!(done.usage.generated_tokens as usize, replies[place].ids.len());
                    assert_eq!(texts[place], replies[place].text_no_special);
                    continue;
                }
                _ => {}
            }
            open.push(place);
        }
    }
}
