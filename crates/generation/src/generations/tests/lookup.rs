//! Guesses change how much is computed, and nothing else.

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;
use trefoil_contract::{Error, Event, ResponseFormat, Result, Usage};
use trefoil_settings::RequestSettings;

use super::super::fake::Seen;
use super::super::{GenerationId, GenerationOptions};
use super::{Fake, generations, never_ends, settings, step, usage};

/// What happens to a request, beside its settings.
#[derive(Debug, Clone)]
pub(super) struct Course {
    pub(super) prompt: Vec<u32>,
    pub(super) options: GenerationOptions,
    pub(super) choices: u32,
    pub(super) context_tokens: u32,
    pub(super) prefill_tokens: u32,
    pub(super) memory_tokens: usize,
    pub(super) cut_tokens_max: Option<usize>,
    pub(super) cached_tokens_max: Option<usize>,
}

pub(super) fn course() -> impl Strategy<Value = Course> {
    let options = (prop::option::of(0u32..3), prop::sample::select(vec!["", "(ab|c|de){2,30}f?"]))
        .prop_map(|(log_probabilities, expression)| GenerationOptions {
            log_probabilities,
            response_format: match expression {
                "" => ResponseFormat::Text,
                expression => ResponseFormat::Regex(expression.into()),
            },
            ..never_ends()
        });
    let prompt = prop::collection::vec(6u32..9, 1..20);
    let limits = (1u32..40, 1u32..12, prop::option::of(0usize..12), prop::option::of(60usize..200));
    (prompt, options, 1u32..4, limits, 1usize..4).prop_map(
        |(prompt, options, choices, limits, memory_tokens)| {
            let (more_context, prefill_tokens, cut_tokens_max, cached_tokens_max) = limits;
            Course {
                context_tokens: prompt.len() as u32 + more_context,
                prompt,
                options,
                choices,
                prefill_tokens,
                memory_tokens,
                cut_tokens_max,
                cached_tokens_max,
            }
        },
    )
}

pub(super) fn wishes() -> impl Strategy<Value = RequestSettings> {
    let stop = prop::collection::vec("[a-f]{1,4}", 0..2);
    let numbers = (0u32..60, 0u64..5, 0u32..20);
    let temperature = prop::sample::select(vec![0.0, 0.3, 1.5]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (numbers, stop, temperature, 0.9f64..1.2, flags).prop_map(
        |((max_tokens, seed, keep_tokens), stop, temperature, penalty, (shifts, xtc, mirostat))| {
            settings(|s| {
                (s.max_tokens, s.seed, s.stop) = (max_tokens, seed, stop);
                // An answer that shifts and never ends needs an end.
                s.max_tokens = if shifts { max_tokens.max(1) } else { max_tokens };
                (s.temperature, s.repetition_penalty) = (temperature, penalty);
                (s.shifts_context, s.keep_tokens) = (shifts, keep_tokens);
                s.xtc_probability = if xtc { 0.5 } else { 0.0 };
                s.mirostat = if mirostat { 2 } else { 0 };
            })
        },
    )
}

impl Course {
    /// Where it happens.
    pub(super) fn place(&self) -> (Fake, Rc<RefCell<Seen>>) {
        let (generations, seen) = generations(3, self.context_tokens, self.prefill_tokens);
        {
            let mut seen = seen.borrow_mut();
            seen.memory_tokens = Some(self.memory_tokens);
            seen.cut_tokens_max = self.cut_tokens_max;
            seen.cached_tokens_max = self.cached_tokens_max;
        }
        (generations, seen)
    }

    pub(super) fn begin(
        &self,
        settings: &RequestSettings,
    ) -> (Fake, Rc<RefCell<Seen>>, Vec<GenerationId>) {
        let (mut generations, seen) = self.place();
        let ids = generations
            .start_choices(self.prompt.clone(), settings, &self.options, self.choices)
            .expect("started");
        (generations, seen, ids)
    }

    /// The events of each answer, without what says how much was computed. An answer that fails is
    /// stepped once more and then left.
    fn events(&self, settings: &RequestSettings) -> Vec<Vec<Result<Event>>> {
        let (mut generations, _, ids) = self.begin(settings);
        let mut answers = vec![Vec::new(); ids.len()];
        for (id, answer) in ids.into_iter().zip(&mut answers) {
            let mut failures = 0;
            while failures < 2 {
                let mut event = step(&mut generations, id);
                if let Ok(Event::Done(done)) = &mut event {
                    done.usage = Usage { drafted_tokens: 0, accepted_tokens: 0, ..done.usage };
                }
                failures += u32::from(event.is_err());
                if !matches!(event, Ok(Event::Idle(_))) {
                    answer.push(event);
                }
            }
            generations.cancel(id);
        }
        answers
    }
}

pub(super) fn with_lookup(settings: &RequestSettings, tokens: u32, ngram: u32) -> RequestSettings {
    RequestSettings { lookup_tokens: tokens, lookup_ngram: ngram, ..settings.clone() }
}

proptest! {
    #[test]
    fn events_are_those_without_guesses(
        course in course(),
        wishes in wishes(),
        tokens in 1u32..20,
        ngram in 1u32..5,
    ) {
        let expected = course.events(&wishes);
        prop_assert_eq!(course.events(&with_lookup(&wishes, tokens, ngram)), expected);
    }

    #[test]
    fn batches_stay_within_what_was_promised(
        course in course(),
        wishes in wishes(),
        tokens in 1u32..20,
    ) {
        let (mut generations, seen, ids) = course.begin(&with_lookup(&wishes, tokens, 1));
        let mut open = ids.clone();
        while !open.is_empty() {
            let batches = seen.borrow().batches.len();
            let results = generations.step(&open);
            if course.cached_tokens_max.is_none() {
                prop_assert!(seen.borrow().batches.len() <= batches + 1);
            }
            let ended = |result: &Result<Event>| matches!(result, Err(_) | Ok(Event::Done(_)));
            let mut results = results.iter();
            open.retain(|_| !results.next().is_some_and(ended));
        }
        let longest = seen.borrow().batches.iter().flatten().max().copied().unwrap_or(0);
        prop_assert!(longest <= course.prefill_tokens as usize);
    }
}

#[test]
fn an_answer_that_repeats_itself_takes_fewer_batches() {
    let greedy = settings(|s| (s.temperature, s.max_tokens) = (0.0, 60));
    let course = Course {
        prompt: vec![6, 7, 8],
        options: never_ends(),
        choices: 1,
        context_tokens: 100,
        prefill_tokens: 100,
        memory_tokens: 1,
        cut_tokens_max: None,
        cached_tokens_max: None,
    };
    let count = |settings: &RequestSettings| {
        let (mut generations, seen, ids) = course.begin(settings);
        let usage = usage(&mut generations, ids[0]);
        assert_eq!(usage.generated_tokens, 60);
        let batches = seen.borrow().batches.len();
        // All tokens but the last are in the cache, and guesses that were wrong are not.
        assert_eq!(seen.borrow().caches[0].len(), 62);
        (batches, usage.drafted_tokens, usage.accepted_tokens)
    };
    assert_eq!(count(&greedy), (60, 0, 0));
    let (batches, drafted, accepted) = count(&with_lookup(&greedy, 7, 2));
    assert!(batches <= 25 && accepted >= 35 && drafted >= accepted, "{batches} {drafted}");
    assert_eq!(60, batches as u32 + accepted);
}

#[test]
fn memory_that_suffices_without_guesses_suffices_with_them() {
    let greedy = settings(|s| (s.temperature, s.max_tokens) = (0.0, 30));
    let (mut generations, seen) = generations(2, 100, 100);
    {
        let mut seen = seen.borrow_mut();
        (seen.memory_tokens, seen.cached_tokens_max) = (Some(1), Some(3 + 29));
    }
    let settings = with_lookup(&greedy, 9, 1);
    let id = generations.start(vec![6, 7, 8], &settings, &never_ends()).expect("started");
    assert_eq!(usage(&mut generations, id).generated_tokens, 30);
    assert!(seen.borrow().batches.iter().any(|batch| batch[0] > 1 && batch[0] != 3));
}

#[test]
fn a_choice_that_fails_behind_a_guess_is_reported_behind_the_tokens_before_it() {
    // A constraint that only "ab" and "ba" can go on with, and a text that repeats both.
    let bias = (6..24).filter(|token| ![6, 7].contains(token));
    let options = GenerationOptions {
        logit_bias: bias.map(|token| (token, f32::NEG_INFINITY)).collect(),
        response_format: ResponseFormat::Regex("(ab){6}c".into()),
        ..GenerationOptions::default()
    };
    let run = |lookup_tokens| {
        let (mut generations, seen) = generations(1, 100, 100);
        let settings = with_lookup(&settings(|_| ()), lookup_tokens, 2);
        let prompt = [6, 7, 6, 7, 6, 7].to_vec();
        let id = generations.start(prompt, &settings, &options).expect("started");
        let events: Vec<_> = (0..14).map(|_| step(&mut generations, id)).collect();
        let batches = seen.borrow().batches.len();
        (events, batches)
    };
    let (expected, batches) = run(0);
    assert!(expected[..12].iter().all(Result::is_ok), "{expected:?}");
    assert!(matches!(&expected[12], Err(Error::Other { code, .. }) if code == "no-candidate"));
    assert_eq!(batches, 14);
    let (events, batches) = run(8);
    assert_eq!(events, expected);
    assert!(batches < 8, "{batches}");
}
