//! Tools and reasoning through the engine, natively.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod support;

use std::rc::Rc;

use support::{engine, holding, integer, message};
use trefoil_contract::{
    Conversation, Delta, Error, Event, FinishReason, Message, MessagePart, Prompt, ResponseFormat,
    Result, Setting, TokenizeOptions, ToolCall, ToolChoice, ToolResult, Value,
};
use trefoil_engine::{Model, Request};
use trefoil_fixtures::{ModelFile, TinyLlama, tiny_llama};
use trefoil_gguf::Source;

fn opened(file: Vec<u8>, settings: &[Setting]) -> Result<Rc<Model>> {
    let engine = engine(holding([("model".to_owned(), file)].into_iter()));
    engine.configure(settings.to_vec())?;
    engine.open(None)
}

fn tiny(settings: &[Setting]) -> Result<Rc<Model>> {
    opened(tiny_llama(&TinyLlama::default()), settings)
}

fn text(key: &str, value: &str) -> Setting {
    Setting::new(key, Value::Text(value.into()))
}

const WEATHER: &str = r#"[{"type": "function", "function": {"name": "weather", "parameters":
    {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}}}]"#;

fn with_tools(tools: &str) -> Conversation {
    Conversation {
        messages: vec![Message::text("user", "hi")],
        tools: Some(tools.into()),
        variables: None,
        add_generation_prompt: true,
    }
}

/// Tokens of a prompt.
fn prompt_tokens(model: &Rc<Model>, conversation: Conversation, choice: ToolChoice) -> u32 {
    let mut request = Request::new(Rc::clone(model), Prompt::Chat(conversation));
    request.set(integer("max-tokens", 1));
    request.set_tool_choice(choice);
    parts(request).prompt_tokens
}

#[test]
fn a_model_whose_template_knows_no_tools_is_told_of_them_unless_none_may_be_called() {
    let options = TinyLlama { context_tokens: 2000, ..TinyLlama::default() };
    let model = opened(tiny_llama(&options), &[]).unwrap();
    let text = model.render_chat(&with_tools(WEATHER)).unwrap();
    assert!(text.contains(r#"{"name":"weather","parameters":{"#), "{text}");
    assert!(text.contains("<tool_call>"), "{text}");
    let plain = Conversation { tools: None, ..with_tools("") };
    let tokens = |text: &str| model.tokenize(text.as_bytes(), TokenizeOptions::default()).len();
    let explained = prompt_tokens(&model, with_tools(WEATHER), ToolChoice::Auto);
    let without = prompt_tokens(&model, with_tools(WEATHER), ToolChoice::None);
    assert_eq!(without, prompt_tokens(&model, plain, ToolChoice::Auto));
    assert!(explained as usize > without as usize + tokens("weather parameters"));
}

#[test]
fn the_form_of_tool_calls_comes_from_the_template_or_a_setting() {
    let rendered = |settings: &[Setting]| tiny(settings)?.render_chat(&with_tools(WEATHER));
    let knows = text("chat-template", "{{ tools is none }}[TOOL_CALLS]{{ messages[0].content }}");
    assert_eq!(rendered(std::slice::from_ref(&knows)).as_deref(), Ok("False[TOOL_CALLS]hi"));
    let explained = rendered(&[knows.clone(), text("tool-format", "gemma")]).unwrap();
    assert!(explained.starts_with("True[TOOL_CALLS]You can call functions."), "{explained}");
    let refused = message(rendered(&[text("tool-format", "xml")]));
    assert!(refused.contains("`tool-format` cannot be `xml`"), "{refused}");
}

#[test]
fn unusable_tools_are_refused_before_anything_is_computed() {
    let model = tiny(&[]).unwrap();
    for (tools, expected) in [("{}", "expected a JSON array"), (r#"[{"name": 1}]"#, "tool 0")] {
        let request = with_choice(&model, with_tools(tools), ToolChoice::Auto);
        let error = message(request.start());
        assert!(error.contains(expected), "{error}");
    }
}

/// What an answer is made of.
#[derive(Debug, Default, PartialEq)]
struct Parts {
    text: String,
    reasoning: String,
    /// Id, name and arguments.
    calls: Vec<(String, String, String)>,
    tokens: usize,
    log_probabilities: usize,
    prompt_tokens: u32,
    reason: Option<FinishReason>,
}

impl Parts {
    fn take_tokens(&mut self, delta: &Delta) {
        self.tokens += delta.tokens.len();
        self.log_probabilities += delta.log_probabilities.len();
    }
}

fn parts(request: Request) -> Parts {
    let [parts] = answers(request);
    parts
}

/// Of a request with so many choices.
fn answers<const N: usize>(mut request: Request) -> [Parts; N] {
    request.set_choices(N as u32);
    let generation = request.start().expect("starts");
    let mut answers: [Parts; N] = std::array::from_fn(|_| Parts::default());
    while answers.iter().any(|parts| parts.reason.is_none()) {
        match generation.next().expect("the step succeeds") {
            Event::Delta(delta) => {
                let parts = &mut answers[delta.choice as usize];
                parts.text += &delta.text;
                parts.take_tokens(&delta);
            }
            Event::Reasoning(delta) => {
                let parts = &mut answers[delta.choice as usize];
                parts.reasoning += &delta.text;
                parts.take_tokens(&delta);
            }
            Event::ToolCallDelta(delta) => {
                let parts = &mut answers[delta.choice as usize];
                if let (Some(id), Some(name)) = (delta.id, delta.name) {
                    assert_eq!(delta.index as usize, parts.calls.len());
                    parts.calls.push((id, name, String::new()));
                }
                parts.calls[delta.index as usize].2 += &delta.arguments;
            }
            Event::Done(done) => {
                let parts = &mut answers[done.choice as usize];
                assert_eq!(done.usage.generated_tokens as usize, parts.tokens);
                parts.prompt_tokens = done.usage.prompt_tokens;
                parts.reason = Some(done.reason);
            }
            Event::PromptProgress(_) | Event::Idle(_) => {}
        }
    }
    assert_eq!(generation.next(), Err(Error::Finished));
    answers
}

const TWO_TOOLS: &str = r##"[
    {"type": "function", "function": {"name": "weather", "description": "Weather at a place",
        "parameters": {"type": "object", "properties": {
            "place": {"type": "string", "maxLength": 12}, "unit": {"$ref": "#/$defs/unit"}},
            "required": ["place", "unit"], "additionalProperties": false,
            "$defs": {"unit": {"enum": ["celsius", "fahrenheit"]}}}}},
    {"type": "function", "function": {"name": "timer", "description": "Sets a timer",
        "parameters": {"type": "object", "properties": {
            "minutes": {"type": "integer", "minimum": 1, "maximum": 90}},
            "required": ["minutes"], "additionalProperties": false}}}]"##;

/// That a call of one of [`TWO_TOOLS`] has arguments that its schema allows.
fn check_call((_, name, arguments): &(String, String, String)) {
    let arguments: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(arguments).unwrap_or_else(|error| panic!("{arguments}: {error}"));
    match name.as_str() {
        "weather" => {
            assert_eq!(arguments.len(), 2, "{arguments:?}");
            let place = arguments["place"].as_str().expect("a text");
            assert!(place.chars().count() <= 12, "{place}");
            assert!(["celsius", "fahrenheit"].map(Some).contains(&arguments["unit"].as_str()));
        }
        "timer" => {
            assert_eq!(arguments.len(), 1, "{arguments:?}");
            let minutes = arguments["minutes"].as_u64().expect("a whole number");
            assert!((1..=90).contains(&minutes), "{minutes}");
        }
        other => panic!("no tool is called `{other}`"),
    }
}

fn with_choice(model: &Rc<Model>, conversation: Conversation, choice: ToolChoice) -> Request {
    let mut request = Request::new(Rc::clone(model), Prompt::Chat(conversation));
    request.set_tool_choice(choice);
    request
}

#[test]
fn a_required_call_is_made_whatever_the_model_would_say() {
    let options = TinyLlama { context_tokens: 3000, ..TinyLlama::default() };
    let model = opened(tiny_llama(&options), &[]).unwrap();
    let mut names = std::collections::BTreeSet::new();
    for seed in 0..12 {
        for choice in [ToolChoice::Required, ToolChoice::Named("timer".into())] {
            let mut request = with_choice(&model, with_tools(TWO_TOOLS), choice.clone());
            request.set(Setting::new("temperature", Value::Number(1.5)));
            request.set(integer("seed", seed));
            let answer = parts(request);
            assert_eq!(answer.reason, Some(FinishReason::ToolCalls), "{answer:?}");
            assert_eq!((answer.text.trim(), answer.reasoning.as_str()), ("", ""));
            let [call] = answer.calls.as_slice() else { panic!("{answer:?}") };
            check_call(call);
            match choice {
                ToolChoice::Required => drop(names.insert(call.1.clone())),
                _ => assert_eq!(call.1, "timer"),
            }
        }
    }
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn each_of_several_answers_makes_the_call_of_a_single_one_and_reports_its_tokens() {
    let options = TinyLlama { context_tokens: 3000, ..TinyLlama::default() };
    let model = opened(tiny_llama(&options), &[]).unwrap();
    let with_seed = |seed| {
        let mut request = with_choice(&model, with_tools(TWO_TOOLS), ToolChoice::Required);
        request.set(Setting::new("temperature", Value::Number(1.5)));
        request.set(integer("seed", seed));
        request.set_log_probabilities(1);
        request
    };
    let mut ids = std::collections::BTreeSet::new();
    for (seed, mut answer) in (5..).zip(answers::<3>(with_seed(5))) {
        assert_eq!(answer.reason, Some(FinishReason::ToolCalls), "{answer:?}");
        assert!(answer.tokens > 0 && answer.log_probabilities == answer.tokens, "{answer:?}");
        let [call] = answer.calls.as_mut_slice() else { panic!("{answer:?}") };
        check_call(call);
        let mut single = parts(with_seed(seed));
        // The number of a choice is part of its calls' ids.
        ids.insert(std::mem::take(&mut call.0));
        single.calls[0].0.clear();
        assert_eq!(answer, single);
    }
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_call_that_cannot_be_required_is_refused() {
    let model = tiny(&[]).unwrap();
    let none = Conversation { tools: None, ..with_tools("") };
    let named = || ToolChoice::Named("other".into());
    let mut formed = with_choice(&model, with_tools(WEATHER), ToolChoice::Required);
    formed.set_response_format(ResponseFormat::Regex("a".into()));
    let mut raw = Request::new(Rc::clone(&model), Prompt::Text(b"a".to_vec()));
    raw.set_tool_choice(ToolChoice::Required);
    for (request, expected) in [
        (with_choice(&model, none, ToolChoice::Required), "there are no tools"),
        (with_choice(&model, with_tools("[]"), ToolChoice::Required), "there are no tools"),
        (with_choice(&model, with_tools(WEATHER), named()), "called `other`; there are: `weather`"),
        (formed, "the response format"),
        (raw, "only a conversation has tools"),
    ] {
        let error = message(request.start());
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn reasoning_text_and_calls_of_one_answer_are_told_apart() {
    let model = tiny(&[text("chat-template", "{{ messages[0].content }}")]).unwrap();
    let form = r#"<think>\n[a-c]{2,4}\n</think>\n\n[d-f]{2}\.\n<tool_call>\n\{"name": "weather", "arguments": \{"place": "[a-c]{1,3}"\}\}\n</tool_call>"#;
    let answer = |seed: i64, settings: &[Setting]| {
        let mut request = with_choice(&model, with_tools(WEATHER), ToolChoice::Auto);
        request.set(integer("seed", seed));
        request.set(text("tool-format", "hermes"));
        request.set_response_format(ResponseFormat::Regex(form.into()));
        settings.iter().for_each(|setting| request.set(setting.clone()));
        parts(request)
    };
    for seed in 0..4 {
        let apart = answer(seed, &[]);
        assert_eq!(apart.reason, Some(FinishReason::ToolCalls), "{apart:?}");
        let is = |text: &str, letters: &str| {
            !text.is_empty() && text.chars().all(|c| letters.contains(c))
        };
        assert!(is(&apart.reasoning, "abc") && is(&apart.text, "def."), "{apart:?}");
        let [(id, name, arguments)] = apart.calls.as_slice() else { panic!("{apart:?}") };
        assert_eq!((id.len(), name.as_str()), (9, "weather"));
        let arguments: serde_json::Value = serde_json::from_str(arguments).expect("JSON");
        assert!(is(arguments["place"].as_str().expect("a text"), "abc"));
        // The same tokens, told apart less.
        let joined = answer(seed, &[text("reasoning", "text")]);
        assert_eq!((joined.tokens, &joined.calls), (apart.tokens, &apart.calls));
        let expected = format!("<think>\n{}\n</think>\n\n{}", apart.reasoning, apart.text);
        assert_eq!(joined.text, expected);
        // A stop text in reasoning or a call is none.
        let stop = |stop: &str| text("stop", stop);
        assert_eq!(answer(seed, &[stop("think"), stop("\"place\"")]), apart);
        let stopped = answer(seed, &[stop(".")]);
        assert_eq!(stopped.reason, Some(FinishReason::StopText));
        assert_eq!((stopped.text + ".", stopped.calls.len()), (apart.text.clone(), 0));
    }
}

#[test]
fn smollm2_calls_what_it_must_and_goes_on_from_the_result() {
    let file = ModelFile::named_by("TREFOIL_SMOLLM2");
    let mut bytes = vec![0; file.size() as usize];
    file.read_at(0, &mut bytes).expect("the file can be read");
    let model = opened(bytes, &[]).unwrap();
    let mut conversation = Conversation {
        messages: vec![Message::text("user", "Set a timer for 15 minutes, please.")],
        ..with_tools(TWO_TOOLS)
    };
    let seeds = [(0, 0.0), (1, 0.8), (2, 1.5)];
    for choice in [ToolChoice::Required, ToolChoice::Named("weather".into())] {
        for (seed, temperature) in seeds {
            let mut request = with_choice(&model, conversation.clone(), choice.clone());
            request.set(Setting::new("temperature", Value::Number(temperature)));
            request.set(integer("seed", seed));
            let answer = parts(request);
            assert_eq!(answer.reason, Some(FinishReason::ToolCalls), "{answer:?}");
            let [call] = answer.calls.as_slice() else { panic!("{answer:?}") };
            check_call(call);
            assert!(choice == ToolChoice::Required || call.1 == "weather", "{call:?}");
        }
    }
    let mut request = with_choice(&model, conversation.clone(), ToolChoice::Required);
    request.set(Setting::new("temperature", Value::Number(0.0)));
    let answer = parts(request);
    let [(id, name, arguments)] = answer.calls.as_slice() else { panic!("{answer:?}") };
    let (id, name, arguments) = (id.clone(), name.clone(), arguments.clone());
    let call = ToolCall { id: id.clone(), name, arguments };
    let result = ToolResult { id, texts: vec!["It is set.".into()] };
    let said = |role: &str, part| Message { role: role.into(), parts: vec![part], variables: None };
    conversation.messages.push(said("assistant", MessagePart::ToolCall(call)));
    conversation.messages.push(said("tool", MessagePart::ToolResult(result)));
    let mut request = with_choice(&model, conversation, ToolChoice::None);
    request.set(Setting::new("temperature", Value::Number(0.0)));
    request.set(integer("max-tokens", 40));
    let answer = parts(request);
    assert!(answer.calls.is_empty() && !answer.text.trim().is_empty(), "{answer:?}");
}
