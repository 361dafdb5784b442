//! What an answer reports beside its text, on a tiny generated model.

mod support;

use std::rc::Rc;

use trefoil_contract::{Error, Event, Prompt, Setting, TokenChoice, Value};
use trefoil_engine::{Model, Request};

use support::{greedy, integer, message, start, tiny};

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
