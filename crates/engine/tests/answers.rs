//! What an answer reports beside its text, on a tiny generated model.

mod support;

use std::rc::Rc;

use trefoil_contract::{Error, Event, FinishReason, Prompt, Setting, TokenChoice, Value};
use trefoil_engine::{Generation, Model, Request, advance};

use support::{finish, greedy, integer, message, start, text, tiny};

/// Tokens of an answer and what is reported on them.
fn reported(model: &Rc<Model>, prompt: &[u32], top: u32) -> (Vec<u32>, Vec<TokenChoice>) {
    let mut request = Request::new(Rc::clone(model), Prompt::Tokens(prompt.to_vec()));
    // All of these change the choice, and none of them what is reported.
    for setting in [
        integer("max-tokens", 20),
        integer("top-k", 5),
        integer("seed", 1),
        Setting::new("temperature", Value::Number(2.0)),
        Setting::new("repetition-penalty", Value::Number(1.5)),
    ] {
        request.set(setting);
    }
    request.set_logit_bias(vec![(prompt[0], 1.0)]);
    request.set_log_probabilities(top);
    let generation = request.start().expect("starts");
    let (mut tokens, mut choices) = (Vec::new(), Vec::new());
    loop {
        match generation.next().expect("an event") {
            Event::Delta(delta) => {
                assert_eq!(delta.tokens.len(), delta.log_probabilities.len());
                tokens.extend(delta.tokens);
                choices.extend(delta.log_probabilities);
            }
            Event::Done(_) => return (tokens, choices),
            _ => {}
        }
    }
}

#[test]
fn reported_log_probabilities_are_the_scores_of_the_text() {
    let model = tiny().open(None).unwrap();
    let prompt = model.tokenize(b"Once upon a time", Default::default());
    let (tokens, choices) = reported(&model, &prompt, 3);
    assert_eq!(tokens.len(), 20);
    let whole = [prompt.as_slice(), &tokens].concat();
    let scores = model.score(&whole).unwrap();
    let found: Vec<_> = choices.iter().map(|choice| choice.chosen.log_probability).collect();
    assert_eq!(found, scores[prompt.len() - 1..]);
    let mut has_other = false;
    for (place, choice) in choices.iter().enumerate() {
        let end = prompt.len() + place;
        assert_eq!(choice.chosen.token, whole[end]);
        assert_eq!(choice.top.len(), 3);
        let logits = model.logits(&whole[..end]).unwrap();
        let mut sorted: Vec<u32> = (0..logits.len() as u32).collect();
        sorted.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
        assert!(choice.top.iter().map(|top| top.token).eq(sorted[..3].iter().copied()));
        for report in choice.top.iter().chain([&choice.chosen]) {
            assert_eq!(report.bytes, model.detokenize(&[report.token], true).unwrap());
            let difference = logits[report.token as usize] - logits[choice.top[0].token as usize];
            let found = report.log_probability - choice.top[0].log_probability;
            assert!((found - difference).abs() < 1e-5, "{found} is not {difference}");
        }
        has_other |= choice.chosen.token != choice.top[0].token;
    }
    assert!(has_other, "every token was the likeliest: the settings did nothing");
}

#[test]
fn log_probabilities_come_only_where_they_are_asked_for() {
    let model = tiny().open(None).unwrap();
    let prompt = model.tokenize(b"Once", Default::default());
    let (_, choices) = reported(&model, &prompt, 0);
    assert!(choices.iter().all(|choice| choice.top.is_empty()));
    let (_, choices) = reported(&model, &prompt, 32);
    assert!(choices.iter().all(|choice| choice.top.len() == 32));
    let generation = start(&model, Prompt::Tokens(prompt.clone()), &greedy(1)).unwrap();
    let Ok(Event::Delta(delta)) = generation.next() else { panic!("no delta") };
    assert_eq!(delta.log_probabilities, []);
    let mut request = Request::new(Rc::clone(&model), Prompt::Tokens(prompt));
    request.set_log_probabilities(33);
    let error = request.start().err();
    assert!(matches!(error, Some(Error::InvalidArgument(_))), "{error:?}");
    assert!(message::<()>(Err(error.unwrap())).contains("at most 32"));
}

#[test]
fn a_bias_of_100_forces_a_token_and_one_of_minus_100_excludes_it() {
    let model = tiny().open(None).unwrap();
    let answer = |biases: &[(u32, f32)]| {
        let mut request = Request::new(Rc::clone(&model), Prompt::Text(b"Once".to_vec()));
        request.set(integer("max-tokens", 12));
        request.set(Setting::new("temperature", Value::Number(1.0)));
        request.set_logit_bias(biases.to_vec());
        support::finish(&request.start().unwrap()).1
    };
    assert_eq!(answer(&[(70, 100.0)]), [70; 12]);
    let plain = answer(&[]);
    for bias in [-100.0, f32::NEG_INFINITY] {
        let excluded: Vec<_> = plain.iter().map(|token| (*token, bias)).collect();
        let other = answer(&excluded);
        assert!(!other.is_empty() && !other.iter().any(|token| plain.contains(token)), "{other:?}");
    }
    // Exclusion outweighs any finite bias.
    let both = [(70, f32::NEG_INFINITY), (70, f32::MAX), (71, 100.0)];
    assert_eq!(answer(&both), [71; 12]);
}

fn start_choices(model: &Rc<Model>, prompt: &str, seed: i64, choices: u32) -> Generation {
    let mut request = Request::new(Rc::clone(model), text(prompt));
    let hot = Setting::new("temperature", Value::Number(3.0));
    for setting in [integer("max-tokens", 9), integer("seed", seed), integer("top-k", 0), hot] {
        request.set(setting);
    }
    request.set_choices(choices);
    request.start().expect("starts")
}

#[test]
fn choices_come_one_at_a_time_and_are_those_of_single_requests() {
    let engine = tiny();
    engine.configure(vec![integer("prefill-tokens", 4)]).unwrap();
    let model = engine.open(None).unwrap();
    let prompt = "Once upon a time there was";
    let expected: Vec<_> =
        [5, 6, 7].map(|seed| finish(&start_choices(&model, prompt, seed, 1)).1).into();
    let generation = start_choices(&model, prompt, 5, 3);
    let mut answers = vec![Vec::new(); 3];
    let mut ends = Vec::new();
    let mut last = (0, 0);
    while ends.len() < 3 {
        match generation.next().expect("an event") {
            Event::PromptProgress(progress) => assert_eq!(progress.choice, 0),
            Event::Delta(delta) => {
                let choice = delta.choice as usize;
                answers[choice].extend(delta.tokens);
                // By turns: within a step by choice.
                let next = (answers[choice].len() + usize::from(choice > 0), choice);
                assert!(next > last, "{next:?} behind {last:?}");
                last = next;
            }
            Event::Done(done) => ends.push((done.choice, done.reason)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answers, expected);
    assert!(answers[0] != answers[1] && answers[1] != answers[2], "{answers:?}");
    assert_eq!(ends, [0, 1, 2].map(|choice| (choice, FinishReason::Length)));
    assert_eq!(generation.next(), Err(Error::Finished));
}

#[test]
fn advance_gives_what_is_waiting_before_it_computes() {
    let model = tiny().open(None).unwrap();
    let several = start_choices(&model, "one", 1, 2);
    let single = start(&model, text("two"), &greedy(9)).unwrap();
    let choice = |event: &Result<Event, Error>| match event {
        Ok(Event::Delta(delta)) => delta.choice,
        other => panic!("{other:?}"),
    };
    let mut steps = Vec::new();
    for _ in 0..5 {
        let events = advance(&[&several, &single, &several]);
        assert_eq!(events[2], Err(Error::Duplicate));
        assert_eq!(choice(&events[1]), 0);
        steps.push(choice(&events[0]));
    }
    // The first step computes the prompt alone.
    assert_eq!(steps, [0, 0, 1, 0, 1]);
}

#[test]
fn choices_take_a_place_each_until_they_are_dropped() {
    let engine = tiny();
    engine.configure(vec![integer("sequences-max", 3)]).unwrap();
    let model = engine.open(None).unwrap();
    let generation = start_choices(&model, "a", 1, 3);
    assert!(matches!(start(&model, text("b"), &[]), Err(Error::Busy(_))));
    generation.next().expect("an event");
    drop(generation);
    drop(start_choices(&model, "a", 1, 3));
    let held = start(&model, text("b"), &[]).unwrap();
    let refused = |choices| {
        let mut request = Request::new(Rc::clone(&model), text("a"));
        request.set_choices(choices);
        request.start().err()
    };
    assert!(matches!(refused(3), Some(Error::Busy(_))));
    assert!(matches!(refused(4), Some(Error::InvalidArgument(_))));
    assert!(matches!(refused(0), Some(Error::InvalidArgument(_))));
    drop(held);
}

#[test]
fn a_shifted_context_goes_on_as_a_fresh_request_would() {
    let engine = tiny();
    let small = [integer("context-tokens", 16), integer("prefill-tokens", 4)];
    engine.configure(small.to_vec()).unwrap();
    let model = engine.open(None).unwrap();
    let mut held = model.tokenize(b"Once upon", Default::default());
    held.truncate(10);
    let shift = Setting::new("context-full", Value::Text("shift".into()));
    let settings = [greedy(40), vec![shift, integer("keep-tokens", 3)]].concat();
    let generation = start(&model, Prompt::Tokens(held.clone()), &settings).unwrap();
    let mut idle = 0;
    let mut count = 0;
    let usage = loop {
        match generation.next().expect("an event") {
            Event::Delta(delta) => {
                if held.len() > 16 {
                    let behind = held.split_off(3);
                    held.extend(&behind[behind.len().div_ceil(2)..]);
                }
                // The request's own cache is another one.
                let logits = model.logits(&held).unwrap();
                let best = (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
                assert_eq!(delta.tokens, [best.unwrap() as u32], "token {count}");
                held.extend(delta.tokens);
                count += 1;
            }
            Event::Done(done) => {
                assert_eq!(done.reason, FinishReason::Length);
                break done.usage;
            }
            Event::Idle(0) => idle += 1,
            _ => {}
        }
    };
    assert_eq!((count, usage.generated_tokens), (40, 40));
    assert!(idle > 0, "the context never shifted");
    let long = start(&model, Prompt::Tokens(vec![65; 17]), &settings).err();
    let expected = Error::ContextOverflow { needed_tokens: 18, available_tokens: 16 };
    assert_eq!(long, Some(expected), "a prompt has to fit");
}
