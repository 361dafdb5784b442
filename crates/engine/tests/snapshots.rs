//! Answers that are saved, restored, and go on twice, with tiny models.
#![allow(clippy::expect_used)]

mod support;

use std::rc::Rc;

use support::{engine, finish, greedy, integer, memory, message, start, text};
use trefoil_contract::{
    Conversation, Error, Event, Message, Prompt, ResponseFormat, Result, Setting, ToolChoice, Value,
};
use trefoil_engine::{Engine, Generation, Model, Request, Restoration};
use trefoil_fixtures::TinyLlama;
use trefoil_gguf::TensorType;

fn open(options: &TinyLlama, settings: &[Setting]) -> Result<Rc<Model>> {
    let engine = engine(memory(std::slice::from_ref(options)));
    engine.configure(settings.to_vec())?;
    engine.open(None)
}

fn tiny() -> TinyLlama {
    TinyLlama::with_matrices(TensorType::Q4_1)
}

fn save(generation: &Generation) -> Vec<u8> {
    let snapshot = generation.snapshot().expect("a snapshot");
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < snapshot.size() {
        bytes.extend(snapshot.read(bytes.len() as u64, 5000).expect("bytes"));
    }
    bytes
}

fn restore(model: &Rc<Model>, bytes: &[u8]) -> Result<Request> {
    let restoration = Restoration::begin(Rc::clone(model), bytes.len() as u64)?;
    for piece in bytes.chunks(1 << 20) {
        restoration.write(piece)?;
    }
    restoration.finish()
}

/// All events that are left.
fn rest(generation: &Generation) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match generation.next() {
            Ok(event) => events.push(event),
            Err(error) => {
                assert_eq!(error, Error::Finished);
                return events;
            }
        }
    }
}

const STORY: &str = "Once upon a time there was a model that remembered what it had been told, and \
                     told it again, and again";

#[test]
fn an_answer_goes_on_elsewhere_bit_for_bit() {
    let window = ("llama.attention.sliding_window".to_owned(), 20u32.into());
    let windowed = TinyLlama { values: vec![window], ..tiny() };
    let long = TinyLlama { context_tokens: 160, ..tiny() };
    let number = |key: &str, value: f64| Setting::new(key, Value::Number(value));
    let name = |key: &str, value: &str| Setting::new(key, Value::Text(value.into()));
    for options in [tiny(), windowed, long] {
        for kv_cache_type in ["f16", "f32", "q8"] {
            let settings =
                [name("cpu.kv-cache-type", kv_cache_type), integer("prefill-tokens", 32)];
            let model = open(&options, &settings).expect("opens");
            let wishes = [
                integer("max-tokens", 90),
                integer("seed", 5),
                integer("lookup-tokens", 3),
                number("repetition-penalty", 1.1),
                integer("mirostat", 2),
                name("context-full", "shift"),
            ];
            for steps in [0, 1, 2, 5, 70] {
                let begin = || {
                    let mut request = Request::new(Rc::clone(&model), text(STORY));
                    wishes.iter().cloned().for_each(|setting| request.set(setting));
                    request.set_log_probabilities(2);
                    let ends = model.info().end_of_generation.iter();
                    request.set_logit_bias(ends.map(|end| (*end, f32::NEG_INFINITY)).collect());
                    request.start().expect("starts")
                };
                let generation = begin();
                (0..steps).for_each(|_| drop(generation.next().expect("steps")));
                let bytes = save(&generation);
                let forked = generation.fork().expect("a place").start().expect("starts");
                // In another engine, which has had others.
                let other = open(&options, &settings).expect("opens");
                finish(&start(&other, text("Twice"), &greedy(5)).expect("starts"));
                let resumed = restore(&other, &bytes).expect("restored").start().expect("starts");
                let expected = rest(&generation);
                assert!(expected.len() > 1);
                assert!(rest(&resumed) == expected, "{kv_cache_type}, {steps} steps");
                assert!(rest(&forked) == expected, "{kv_cache_type}, {steps} steps");
            }
        }
    }
}

#[test]
fn forms_and_calls_are_followed_again() {
    let options = TinyLlama { context_tokens: 1000, ..tiny() };
    let model = open(&options, &[]).expect("opens");
    let begin = |format: ResponseFormat| {
        let mut request = Request::new(Rc::clone(&model), text("x"));
        request.set(integer("max-tokens", 30));
        request.set_response_format(format);
        request.start().expect("starts")
    };
    let schema = r#"{"type": "array", "items": {"enum": ["one", "two"]}, "minItems": 3}"#;
    let formats = [
        ResponseFormat::JsonSchema(schema.into()),
        ResponseFormat::Regex("(ab|cd){4,20}".into()),
        ResponseFormat::Grammar("root ::= \"x\" [a-f]{8,20}".into()),
    ];
    for format in formats {
        let generation = begin(format);
        (0..5).for_each(|_| drop(generation.next().expect("steps")));
        let resumed = restore(&model, &save(&generation)).expect("restored");
        let resumed = resumed.start().expect("starts");
        assert_eq!(rest(&resumed), rest(&generation));
    }
    // A call that is required: its events come after its tokens.
    let tools = r#"[{"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"a": {"enum": ["xx"]}}, "required": ["a"]}}}]"#;
    let mut request = Request::new(
        Rc::clone(&model),
        Prompt::Chat(Conversation {
            messages: vec![Message::text("user", "call")],
            tools: Some(tools.into()),
            variables: None,
            add_generation_prompt: true,
        }),
    );
    request.set_tool_choice(ToolChoice::Required);
    let generation = request.start().expect("starts");
    let (mut snapshots, mut events) = (Vec::new(), Vec::new());
    while let Ok(event) = {
        if events.len() < 60 {
            snapshots.push(save(&generation));
        }
        generation.next()
    } {
        events.push(event);
        if matches!(events.last(), Some(Event::Done(_))) {
            break;
        }
    }
    assert!(events.iter().any(|event| matches!(event, Event::ToolCallDelta(_))), "{events:?}");
    for (index, bytes) in snapshots.iter().enumerate() {
        let resumed = restore(&model, bytes).expect("restored").start().expect("starts");
        assert_eq!(rest(&resumed), events[index..]);
    }
}

#[test]
fn what_was_saved_of_another_model_engine_or_precision_is_refused_by_name() {
    let begin = |model: &Rc<Model>| {
        let generation = start(model, text(STORY), &greedy(20)).expect("starts");
        (0..3).for_each(|_| drop(generation.next().expect("steps")));
        generation
    };
    let model = open(&tiny(), &[]).expect("opens");
    let generation = begin(&model);
    let bytes = save(&generation);
    let refused = |model: &Rc<Model>| {
        let refused = message(restore(model, &bytes));
        // No place is lost.
        for _ in 0..4 {
            assert!(restore(model, &bytes).is_err());
        }
        let others: Vec<_> =
            (0..4).map(|_| start(model, text("x"), &greedy(2)).expect("a place")).collect();
        drop(others);
        refused
    };
    let other = open(&TinyLlama { seed: 2, ..tiny() }, &[]).expect("opens");
    assert!(refused(&other).contains("made with another model"), "{}", refused(&other));
    let precision = [Setting::new("cpu.kv-cache-type", Value::Text("q8".into()))];
    let other = open(&tiny(), &precision).expect("opens");
    assert!(refused(&other).contains("`cpu.kv-cache-type`"), "{}", refused(&other));
    let short = open(&tiny(), &[integer("context-tokens", 64)]).expect("opens");
    assert!(matches!(restore(&short, &bytes), Err(Error::ContextOverflow { .. })));
    let relaxed = Engine::new("cpu-relaxed", Rc::new(memory(&[tiny()])));
    let relaxed = relaxed.open(None).expect("opens");
    let error = message(restore(&relaxed, &bytes));
    assert!(error.contains("another engine") && error.contains("`cpu-relaxed "), "{error}");
    let same = open(&tiny(), &[]).expect("opens");
    let resumed = restore(&same, &bytes).expect("restored").start().expect("starts");
    assert_eq!(rest(&resumed), rest(&generation));
    // The digest that a part says counts, whatever the file is.
    let named = |sha256: &str| {
        let mut imports = memory(&[tiny()]);
        imports.models[0].0.sha256 = sha256.into();
        engine(imports).open(None).expect("opens")
    };
    let bytes = save(&begin(&named("abc")));
    assert!(restore(&named("abc"), &bytes).is_ok());
    let error = message(restore(&named("abd"), &bytes));
    assert!(error.contains("`sha256:abc`") && error.contains("`sha256:abd`"), "{error}");
}

#[test]
fn a_request_that_goes_on_takes_settings_and_keeps_its_form() {
    let model = open(&tiny(), &[integer("sequences-max", 2)]).expect("opens");
    let hot = [integer("max-tokens", 30), Setting::new("temperature", Value::Number(2.0))];
    let generation = start(&model, text(STORY), &hot).expect("starts");
    (0..5).for_each(|_| drop(generation.next().expect("steps")));
    let go_on = |change: &dyn Fn(&mut Request)| {
        let mut request = generation.fork().expect("a place");
        change(&mut request);
        request.start().map(|generation| finish(&generation))
    };
    let same = go_on(&|_| ()).expect("goes on");
    assert_eq!(
        go_on(&|request| request.set(integer("seed", 8))).map(|it| it.1 == same.1),
        Ok(false)
    );
    let short = go_on(&|request| request.set(integer("max-tokens", 8))).expect("goes on");
    assert_eq!(short.1, same.1[..short.1.len()]);
    let token = same.1[0];
    let biased = go_on(&|request| request.set_logit_bias(vec![(token, f32::NEG_INFINITY)]));
    assert!(!biased.expect("goes on").1.contains(&token));
    let refusals: [&dyn Fn(&mut Request); 4] = [
        &|request| request.set_choices(2),
        &|request| request.set_tool_choice(ToolChoice::None),
        &|request| request.set_response_format(ResponseFormat::Regex("a".into())),
        &|request| request.set(integer("top-k", -1)),
    ];
    for refusal in refusals {
        assert!(go_on(refusal).is_err());
    }
    // Forks, restorations and what comes of them hold a place until they are dropped.
    let bytes = save(&generation);
    let fork = generation.fork().expect("a place");
    assert!(matches!(generation.fork(), Err(Error::Busy(_))));
    assert!(matches!(restore(&model, &bytes), Err(Error::Busy(_))));
    drop(fork);
    let restoration = Restoration::begin(Rc::clone(&model), bytes.len() as u64).expect("begins");
    restoration.write(&bytes).expect("good");
    assert!(matches!(generation.fork(), Err(Error::Busy(_))));
    drop(restoration);
    drop(restore(&model, &bytes).expect("restored"));
    assert_eq!(
        rest(&generation).len(),
        rest(&restore(&model, &bytes).expect("restored").start().expect("starts")).len()
    );
    assert!(matches!(generation.snapshot().err(), Some(Error::Finished)));
    assert!(matches!(generation.fork().err(), Some(Error::Finished)));
    let mut several = Request::new(Rc::clone(&model), text("x"));
    several.set_choices(2);
    let several = several.start().expect("starts");
    assert!(message(several.snapshot()).starts_with("unsupported: a snapshot of 2 answers"));
    assert!(matches!(several.fork().err(), Some(Error::Unsupported(_))));
}
