//! Models and inputs that pass the packer and that the engine refuses, through the command: the
//! message reaches the user, nothing panics and nothing is left behind.

mod support;

use support::{Place, run_with_input};
use trefoil_fixtures::{TinyLlama, tiny_llama};
use trefoil_gguf::{Strings, TensorType, Value};

fn with(key: &str, value: impl Into<Value>) -> TinyLlama {
    TinyLlama { values: vec![(key.into(), value.into())], ..TinyLlama::default() }
}

fn without(key: &str) -> TinyLlama {
    TinyLlama { omitted_keys: vec![key.into()], ..TinyLlama::default() }
}

fn strings(texts: &[&str]) -> Value {
    texts.iter().map(|text| text.as_bytes()).collect::<Strings>().into()
}

#[test]
fn models_that_the_engine_cannot_use_are_refused_by_name() {
    let unknown_tensor =
        TinyLlama { omitted_tensors: vec!["blk.1.ffn_up.weight".into()], ..TinyLlama::default() };
    let cases: &[(&str, TinyLlama, &[&str])] = &[
        ("unknown architecture", with("general.architecture", "mamba"), &["`mamba`", "llama"]),
        ("unsupported type", TinyLlama::with_matrices(TensorType::I8), &["I8", "Q4_1"]),
        ("missing key", without("llama.block_count"), &["llama.block_count"]),
        ("mistyped key", with("llama.block_count", "two"), &["llama.block_count", "found a text"]),
        ("no layers", with("llama.block_count", 0u32), &["llama.block_count"]),
        ("absurd heads", with("llama.attention.head_count", 7u32), &["head_count"]),
        ("missing tensor", unknown_tensor, &["blk.1.ffn_up.weight"]),
        ("unknown tokenizer", with("tokenizer.ggml.model", "t5"), &["`t5`", "`gpt2`", "`llama`"]),
        ("unknown pre-tokenizer", with("tokenizer.ggml.pre", "gemma4"), &["gemma4", "smollm"]),
        ("missing merges", without("tokenizer.ggml.merges"), &["tokenizer.ggml.merges"]),
        (
            "malformed merges",
            with("tokenizer.ggml.merges", strings(&["ab"])),
            &["tokenizer.ggml.merges"],
        ),
        ("end beyond the vocabulary", with("tokenizer.ggml.eos_token_id", 9999u32), &["9999"]),
        ("broken template", with("tokenizer.chat_template", "a\n{% if %}"), &["line 2"]),
    ];
    let place = Place::new();
    for (name, model, pieces) in cases {
        place.write("model.gguf", &tiny_llama(model));
        place.run(&["generate", "model.gguf", "-p", "a"]).failed(1, pieces);
        assert_eq!(place.files(), ["model.gguf"], "{name}");
    }
}

#[test]
fn a_chat_template_comes_from_a_file() {
    let place = Place::new();
    place.write("model.gguf", &tiny_llama(&without("tokenizer.chat_template")));
    place.write(
        "template.jinja",
        b"{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
    );
    place.write("settings.toml", b"context-tokens = 64\n");
    place.write("messages.json", br#"{"messages": [{"role": "user", "content": "hi"}]}"#);
    let render = ["render-chat", "model.gguf", "messages.json"];
    place.run(&render).failed(1, &["brings none", "--chat-template"]);
    let given = [&render[..], &["--chat-template", "template.jinja"]].concat();
    let shown = |arguments: &[&str]| place.run(arguments).text();
    assert_eq!(shown(&given), "<user>hi");
    assert_eq!(shown(&[&given[..], &["--config", "settings.toml"]].concat()), "<user>hi");
    let missing = [&render[..], &["--chat-template", "nowhere.jinja"]].concat();
    place.run(&missing).failed(1, &["nowhere.jinja"]);
    for (source, pieces) in [
        (&b"a\n{% if %}"[..], &["chat template", "line 2"][..]),
        (b"a\n{{ messages|beautify }}", &["beautify", "line 2"]),
        (b"{{ raise_exception('Only poems.') }}", &["Only poems."]),
        (b"caf\xe9", &["wrong.jinja", "UTF-8"]),
        (b" \n", &["wrong.jinja", "is empty"]),
        (&b"x".repeat(200_000), &["wrong.jinja", "131072"]),
    ] {
        place.write("wrong.jinja", source);
        let wrong = [&render[..], &["--chat-template", "wrong.jinja"]].concat();
        place.run(&wrong).failed(1, pieces);
    }
    // The app gets it by way of the composition.
    let chat = ["chat", "model.gguf", "-p", "hi", "-n", "2", "--chat-template", "template.jinja"];
    place.run(&chat).succeeded();
}

#[test]
fn templates_that_fail_or_loop_end_the_request_with_their_words() {
    let place = Place::new();
    let raising = "{{ raise_exception('Roles must alternate') }}";
    let looping = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}";
    for (template, piece) in [(raising, "Roles must alternate"), (looping, "chat template")] {
        place.write("model.gguf", &tiny_llama(&with("tokenizer.chat_template", template)));
        place.run(&["generate", "model.gguf", "-p", "a"]).failed(1, &[piece]);
    }
}

#[test]
fn the_longest_accepted_chain_fits_the_engines_stack() {
    let place = Place::new();
    for link in ["|abs", "+1", " if 1 else 1"] {
        let chain = |links: usize| format!("{{{{ 1{} }}}}", link.repeat(links));
        place.write(
            "model.gguf",
            &tiny_llama(&with("tokenizer.chat_template", chain(999).as_str())),
        );
        place.run(&["generate", "model.gguf", "-p", "a", "-n", "1"]).succeeded();
        place.write(
            "model.gguf",
            &tiny_llama(&with("tokenizer.chat_template", chain(5_000).as_str())),
        );
        place.run(&["generate", "model.gguf", "-p", "a"]).failed(1, &["at most 1000", "line 1"]);
    }
}

#[test]
fn prompts_longer_than_the_context_name_both_sizes() {
    let place = Place::with_model();
    let prompt = "many words ".repeat(200);
    let run = ["chat", "tiny.gguf", "--raw", "-p", &prompt];
    place.run(&run).failed(1, &["context of 256", "`context-tokens`"]);
}

#[test]
fn input_that_is_not_utf8_names_the_line() {
    let place = Place::with_model();
    let command = place.command(&["chat", "tiny.gguf", "-n", "2", "--temperature", "0"]);
    let ended = run_with_input(command, b"hello\nw\xffrld\n");
    assert!(!ended.stdout.is_empty(), "the first message is answered");
    ended.failed(1, &["not UTF-8", "line 2"]);
}
