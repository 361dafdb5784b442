//! Answers that must have a form.

use trefoil_contract::{Error, FinishReason, ResponseFormat};
use trefoil_settings::RequestSettings;

use super::super::GenerationOptions;
use super::{Answer, END, Fake, SPECIAL, generations, never_ends, run, settings, step, usage};

fn form(expression: &str) -> GenerationOptions {
    let response_format = ResponseFormat::Regex(expression.into());
    GenerationOptions { response_format, ..GenerationOptions::default() }
}

fn answer(
    generations: &mut Fake,
    settings: &RequestSettings,
    options: &GenerationOptions,
) -> Answer {
    let id = generations.start(vec![6, 7, 8], settings, options).expect("started");
    run(generations, id)
}

fn single(settings: &RequestSettings, options: &GenerationOptions) -> Answer {
    answer(&mut generations(1, 200, 100).0, settings, options)
}

/// `(ab|c){2,5}d?`
fn has_form(text: &str) -> bool {
    let rest = text.strip_suffix('d').unwrap_or(text);
    let parts = rest.replace("ab", "c");
    (2..=5).contains(&parts.len()) && parts.chars().all(|c| c == 'c')
}

#[test]
fn hot_answers_have_their_form_whatever_is_computed_beside_them() {
    let options = form("(ab|c){2,5}d?");
    let mut texts = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let hot = settings(|s| (s.temperature, s.seed) = (1.5, seed));
        let alone = single(&hot, &options);
        assert!(has_form(&alone.text), "{alone:?}");
        assert!(matches!(alone.end, Some((FinishReason::Stop, _))), "{alone:?}");
        // A free answer in the same batches.
        let (mut generations, _) = generations(2, 200, 100);
        let free = settings(|s| (s.max_tokens, s.seed) = (30, seed));
        let ids = [(&hot, &options), (&free, &GenerationOptions::default())].map(
            |(settings, options)| {
                generations.start(vec![6, 7, 8], settings, options).expect("started")
            },
        );
        let mut answers = [Answer::default(), Answer::default()];
        while answers.iter().any(|answer| answer.end.is_none()) {
            for (answer, event) in answers.iter_mut().zip(generations.step(&ids)) {
                match event {
                    Ok(event) => answer.take(event),
                    Err(error) => {
                        assert_eq!((error, answer.end.is_some()), (Error::Finished, true))
                    }
                }
            }
        }
        assert_eq!(answers[0], alone);
        assert_eq!(answers[1], single(&free, &GenerationOptions::default()));
        texts.insert(alone.text);
    }
    assert!(texts.len() > 10, "{texts:?}");
}

#[test]
fn an_answer_that_has_the_form_anyway_stays_the_same() {
    // Letters, spaces and line breaks; what is no text and bytes that make none are left out.
    let bias = [SPECIAL, END, 2, 3, 4, 5, 14, 15, 23].map(|token| (token, f32::NEG_INFINITY));
    for (temperature, seed) in [(0.0, 0), (1.5, 1), (1.5, 2)] {
        let settings = settings(|s| {
            (s.temperature, s.seed, s.max_tokens) = (temperature, seed, 50);
            s.repetition_penalty = 1.2;
        });
        let free = GenerationOptions { logit_bias: bias.to_vec(), ..GenerationOptions::default() };
        let formed =
            GenerationOptions { response_format: form(r"(?s:.)*").response_format, ..free.clone() };
        assert_eq!(single(&settings, &formed), single(&settings, &free));
    }
}

#[test]
fn a_whole_answer_ends_by_itself_or_by_the_token_for_that() {
    let greedy = settings(|s| s.temperature = 0.0);
    let answer = single(&greedy, &form("def?"));
    // Nothing can follow the last letter; behind the second one the end might come.
    assert!(["de", "def"].contains(&answer.text.as_str()));
    assert!(matches!(answer.end, Some((FinishReason::Stop, _))));
    let forced = GenerationOptions { logit_bias: vec![(END, 100.0)], ..form("(ab)+") };
    let answer = single(&greedy, &forced);
    assert_eq!((answer.text.as_str(), answer.tokens.last()), ("ab", Some(&END)));
    // Without it, the answer goes on as long as it may, and is cut where it stands.
    let endless =
        GenerationOptions { response_format: form("(ab)+").response_format, ..never_ends() };
    let cut = single(&settings(|s| s.max_tokens = 9), &endless);
    assert!(matches!(cut.end, Some((FinishReason::Length, 9))));
    assert!("ab".repeat(9).starts_with(&cut.text), "{cut:?}");
}

#[test]
fn stop_texts_end_answers_of_a_form_too() {
    let stopping = settings(|s| (s.stop, s.temperature) = (vec!["bb".into()], 0.0));
    let answer = single(&stopping, &form("ab{20}"));
    assert_eq!(
        (answer.text.as_str(), answer.end.map(|end| end.0)),
        ("a", Some(FinishReason::StopText))
    );
}

#[test]
fn what_the_bias_and_the_form_exclude_together_is_an_error() {
    let (mut generations, _) = generations(1, 200, 100);
    let options = GenerationOptions { logit_bias: vec![(6, f32::NEG_INFINITY)], ..form("a") };
    let id = generations.start(vec![6], &settings(|_| ()), &options).expect("started");
    for _ in 0..2 {
        let Err(Error::Other { code, .. }) = step(&mut generations, id) else { panic!("a token") };
        assert_eq!(code, "no-candidate");
    }
    generations.cancel(id);
    let id = generations.start(vec![6], &settings(|_| ()), &form("g")).expect("started");
    let Err(Error::Other { code, .. }) = step(&mut generations, id) else { panic!("a token") };
    assert_eq!(code, "constraint-dead-end");
}

#[test]
fn forms_that_are_refused_take_no_slot_and_prompts_stay_cached() {
    let (mut generations, _) = generations(1, 200, 100);
    let id = generations.start(vec![6; 20], &settings(|s| s.max_tokens = 1), &never_ends());
    usage(&mut generations, id.expect("started"));
    let refused = generations.start(vec![6; 20], &settings(|_| ()), &form("("));
    assert!(matches!(refused, Err(Error::InvalidArgument(_))), "{refused:?}");
    assert_eq!(generations.active(), 0);
    let id = generations.start(vec![6; 20], &settings(|_| ()), &form("ab")).expect("started");
    assert_eq!(usage(&mut generations, id).cached_tokens, 19);
}
