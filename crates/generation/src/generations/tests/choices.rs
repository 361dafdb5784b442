//! Several answers to one prompt.

use proptest::prelude::*;
use trefoil_contract::{Error, Event};
use trefoil_settings::RequestSettings;

use super::super::{GenerationId, GenerationOptions};
use super::{
    Answer, CONTEXT_TOKENS, Fake, Request, generations, never_ends, request, settings, single, step,
};

/// The answers of generations that are stepped together to their ends.
fn run(generations: &mut Fake, ids: &[GenerationId]) -> Vec<Answer> {
    let mut answers = vec![Answer::default(); ids.len()];
    while answers.iter().any(|answer| answer.end.is_none()) {
        for (answer, result) in answers.iter_mut().zip(generations.step(ids)) {
            match result {
                Ok(Event::Idle(_)) => assert!(answer.tokens.is_empty(), "idle behind a token"),
                Ok(event) => answer.take(event),
                Err(error) => assert!(error == Error::Finished && answer.end.is_some(), "{error}"),
            }
        }
    }
    answers
}

fn with_seed(settings: &RequestSettings, seed: u64) -> RequestSettings {
    RequestSettings { seed, ..settings.clone() }
}

fn plain() -> GenerationOptions {
    GenerationOptions::default()
}

proptest! {
    #[test]
    fn each_choice_is_the_answer_of_a_single_request_with_a_seed_of_its_own(
        Request { prompt, settings } in request(),
        before in request(),
        count in 1u32..4,
        prefill_tokens in 1u32..20,
        cut_tokens_max in prop::option::of(0usize..20),
        cached_tokens_max in prop::option::of(100usize..160),
        cannot_copy in any::<bool>(),
    ) {
        let (mut generations, seen) = generations(3, CONTEXT_TOKENS, prefill_tokens);
        let id = generations.start(before.prompt, &before.settings, &plain()).expect("started");
        run(&mut generations, &[id]);
        {
            let mut seen = seen.borrow_mut();
            (seen.cut_tokens_max, seen.cached_tokens_max) = (cut_tokens_max, cached_tokens_max);
            seen.cannot_copy = cannot_copy;
        }
        let ids = generations
            .start_choices(prompt.clone(), &settings, &plain(), count)
            .expect("started");
        let seeds = (0..count).map(|number| settings.seed + u64::from(number));
        let expected: Vec<_> = seeds
            .map(|seed| single(&prompt, &with_seed(&settings, seed), CONTEXT_TOKENS))
            .collect();
        // 120 tokens suffice for three sequences, and may not for another one's cache beside them.
        if cached_tokens_max.is_none_or(|max| max >= 120) {
            prop_assert_eq!(run(&mut generations, &ids), expected);
        }
        ids.into_iter().for_each(|id| generations.cancel(id));
        prop_assert_eq!(generations.active(), 0);
    }
}

#[test]
fn the_prompt_is_computed_once_and_copied() {
    let (mut generations, seen) = generations(4, 100, 8);
    let settings = settings(|s| s.max_tokens = 2);
    let options = never_ends();
    let ids = generations.start_choices(vec![6; 20], &settings, &options, 3).expect("started");
    let choices = |results: Vec<Result<Event, Error>>| -> Vec<String> {
        let name = |result| match result {
            Ok(Event::PromptProgress(progress)) => format!("prompt of {}", progress.choice),
            Ok(Event::Delta(delta)) => format!("delta of {}", delta.choice),
            Ok(Event::Idle(choice)) => format!("idle {choice}"),
            Ok(Event::Done(done)) => {
                assert_eq!((done.usage.prompt_tokens, done.usage.cached_tokens), (20, 0));
                format!("done {}", done.choice)
            }
            Err(Error::Finished) => "finished".into(),
            other => panic!("{other:?}"),
        };
        results.into_iter().map(name).collect()
    };
    let steps: Vec<_> = (0..6).map(|_| choices(generations.step(&ids)).join(", ")).collect();
    assert_eq!(
        steps,
        [
            "prompt of 3, idle 4, idle 5",
            "prompt of 3, idle 4, idle 5",
            "delta of 3, idle 4, idle 5",
            "delta of 3, delta of 4, delta of 5",
            "done 3, delta of 4, delta of 5",
            "finished, done 4, done 5",
        ]
    );
    // The others compute the last token of the prompt for its logits.
    assert_eq!(seen.borrow().batches, [vec![8], vec![8], vec![4], vec![1, 1, 1], vec![1, 1]]);
    assert_eq!(seen.borrow().copies, 2);
}

#[test]
fn a_choice_whose_prompt_nobody_computes_any_more_computes_it() {
    let (mut generations, seen) = generations(2, 100, 8);
    let settings = settings(|s| s.max_tokens = 3);
    let ids = generations.start_choices(vec![6; 20], &settings, &plain(), 2).expect("started");
    assert_eq!(step(&mut generations, ids[1]), Ok(Event::Idle(1)));
    assert!(matches!(step(&mut generations, ids[0]), Ok(Event::PromptProgress(_))));
    generations.cancel(ids[0]);
    let answers = run(&mut generations, &ids[1..]);
    assert_eq!(answers, [single(&[6; 20], &with_seed(&settings, settings.seed + 1), 100)]);
    assert_eq!(seen.borrow().copies, 0);
}

#[test]
fn seeds_begin_again_behind_the_largest() {
    let (mut generations, _) = generations(2, 100, 8);
    let last = settings(|s| (s.max_tokens, s.seed) = (8, i64::MAX as u64));
    let ids = generations.start_choices(vec![6; 3], &last, &plain(), 2).expect("started");
    let answers = run(&mut generations, &ids);
    assert_eq!(answers, [last.seed, 0].map(|seed| single(&[6; 3], &with_seed(&last, seed), 100)));
}

#[test]
fn more_choices_than_places_are_refused_and_take_none() {
    let (mut generations, _) = generations(3, 100, 8);
    let settings = settings(|_| ());
    let held = generations.start(vec![6], &settings, &plain()).expect("started");
    let mut refused = |count| {
        let error = generations.start_choices(vec![6], &settings, &plain(), count);
        assert_eq!(generations.active(), 1);
        error.expect_err("refused")
    };
    assert!(matches!(refused(0), Error::InvalidArgument(_)));
    let Error::InvalidArgument(text) = refused(4) else { panic!("accepted") };
    assert!(text.contains("3 places") && text.contains("`sequences-max`"), "{text}");
    let Error::Busy(text) = refused(3) else { panic!("accepted") };
    assert!(text.contains("2 of 3 are free"), "{text}");
    generations.cancel(held);
    assert_eq!(
        generations.start_choices(vec![6], &settings, &plain(), 3).map(|ids| ids.len()),
        Ok(3)
    );
}
