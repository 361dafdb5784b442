mod constrained;
mod tool_calls;

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;
use trefoil_contract::{Done, Error, Event, FinishReason, Result, Usage};
use trefoil_settings::{RequestSettings, Settings};

use super::fake::{
    END, FakeForward, FakeVocabulary, SPECIAL, Seen, VOCABULARY_TOKENS, logits_behind,
};
use super::{GenerationId, GenerationOptions, Generations};
use crate::Vocabulary as _;

mod choices;
mod lookup;
mod saved;
mod shift;

type Fake = Generations<FakeForward, FakeVocabulary>;

fn generations(
    sequences: usize,
    context_tokens: u32,
    prefill_tokens: u32,
) -> (Fake, Rc<RefCell<Seen>>) {
    let forward = FakeForward::new(sequences, context_tokens);
    let seen = forward.seen.clone();
    (Generations::new(forward, FakeVocabulary, prefill_tokens), seen)
}

fn settings(change: impl FnOnce(&mut RequestSettings)) -> RequestSettings {
    let mut settings = RequestSettings { temperature: 1.5, ..Settings::default().request };
    change(&mut settings);
    settings
}

fn start(generations: &mut Fake, prompt: &[u32], settings: &RequestSettings) -> GenerationId {
    generations.start(prompt.to_vec(), settings, &GenerationOptions::default()).expect("started")
}

fn step(generations: &mut Fake, id: GenerationId) -> Result<Event> {
    let mut results = generations.step(&[id]);
    assert_eq!(results.len(), 1);
    results.remove(0)
}

/// What an answer has brought so far.
#[derive(Debug, Clone, Default, PartialEq)]
struct Answer {
    text: String,
    tokens: Vec<u32>,
    end: Option<(FinishReason, u32)>,
}

impl Answer {
    fn take(&mut self, event: Event) {
        assert_eq!(self.end, None, "an event behind the end");
        match event {
            Event::Delta(delta) => {
                self.text.push_str(&delta.text);
                self.tokens.extend(delta.tokens);
            }
            Event::Done(Done { reason, usage, .. }) => {
                self.end = Some((reason, usage.generated_tokens));
            }
            Event::PromptProgress(progress) => {
                assert!(self.tokens.is_empty(), "progress of a prompt behind its answer");
                assert!(progress.done_tokens < progress.total_tokens);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

fn run(generations: &mut Fake, id: GenerationId) -> Answer {
    let mut answer = Answer::default();
    while answer.end.is_none() {
        answer.take(step(generations, id).expect("event"));
    }
    assert_eq!(step(generations, id), Err(Error::Finished));
    answer
}

/// The answer to a request that has everything for itself.
fn single(prompt: &[u32], settings: &RequestSettings, context_tokens: u32) -> Answer {
    let (mut generations, _) = generations(1, context_tokens, u32::MAX);
    let id = start(&mut generations, prompt, settings);
    run(&mut generations, id)
}

fn usage(generations: &mut Fake, id: GenerationId) -> Usage {
    loop {
        if let Event::Done(done) = step(generations, id).expect("event") {
            return done.usage;
        }
    }
}

const ALL_LETTERS: &[u32] = &[6, 7, 8, 9, 10, 11, 12, 16, 17, 18];

fn never_ends() -> GenerationOptions {
    GenerationOptions {
        logit_bias: vec![(END, f32::NEG_INFINITY)],
        choice: 3,
        ..GenerationOptions::default()
    }
}

const CONTEXT_TOKENS: u32 = 40;

#[derive(Debug, Clone)]
struct Request {
    prompt: Vec<u32>,
    settings: RequestSettings,
}

fn request() -> impl Strategy<Value = Request> {
    // Few different tokens make prompts that begin alike.
    let prompt = prop::collection::vec(6u32..8, 1..CONTEXT_TOKENS as usize);
    let stop = prop::collection::vec("[a-c]{1,3}", 0..2);
    (prompt, 0u32..12, 0u64..5, stop, prop::sample::select(vec![0.0, 1.5, 5.0]), 0.8f64..1.3)
        .prop_map(|(prompt, max_tokens, seed, stop, temperature, penalty)| Request {
            prompt,
            settings: settings(|s| {
                (s.max_tokens, s.seed, s.stop) = (max_tokens, seed, stop);
                (s.temperature, s.repetition_penalty) = (temperature, penalty);
            }),
        })
}

/// What happens to the request of this number, where it applies.
#[derive(Debug, Clone)]
enum Action {
    Start(prop::sample::Index),
    Cancel(prop::sample::Index),
    Step(Vec<bool>),
    Score(Vec<u32>),
    Fail(usize, bool),
}

fn action() -> impl Strategy<Value = Action> {
    let tokens = prop::collection::vec(6u32..8, 1..20);
    prop_oneof![
        3 => any::<prop::sample::Index>().prop_map(Action::Start),
        1 => any::<prop::sample::Index>().prop_map(Action::Cancel),
        8 => prop::collection::vec(prop::bool::weighted(0.7), 8).prop_map(Action::Step),
        1 => tokens.prop_map(Action::Score),
        1 => (0usize..3, any::<bool>()).prop_map(|(sequence, memory)| Action::Fail(sequence, memory)),
    ]
}

proptest! {
    #[test]
    fn batches_answer_as_single_runs_whatever_joins_leaves_or_fails(
        requests in prop::collection::vec(request(), 1..8),
        actions in prop::collection::vec(action(), 1..120),
        prefill_tokens in 1u32..20,
        cut_tokens_max in prop::option::of(0usize..20),
    ) {
        let (mut generations, seen) = generations(3, CONTEXT_TOKENS, prefill_tokens);
        seen.borrow_mut().cut_tokens_max = cut_tokens_max;
        let expected: Vec<_> = requests
            .iter()
            .map(|request| single(&request.prompt, &request.settings, CONTEXT_TOKENS))
            .collect();
        let mut running: Vec<(usize, GenerationId, Answer)> = Vec::new();
        for action in actions {
            match action {
                Action::Start(index) => {
                    let number = index.index(requests.len());
                    let Request { prompt, settings } = &requests[number];
                    let started =
                        generations.start(prompt.clone(), settings, &GenerationOptions::default());
                    match started {
                        Err(Error::Busy(_)) => prop_assert_eq!(running.len(), 3),
                        // A prompt that fills the context.
                        other => running.push((number, other.expect("started"), Answer::default())),
                    }
                }
                Action::Cancel(index) if !running.is_empty() => {
                    let (number, id, answer) = running.remove(index.index(running.len()));
                    generations.cancel(id);
                    prop_assert_eq!(step(&mut generations, id), Err(Error::Finished));
                    prop_assert!(expected[number].tokens.starts_with(&answer.tokens));
                    prop_assert!(expected[number].text.starts_with(&answer.text));
                }
                Action::Cancel(_) => {}
                Action::Fail(sequence, memory) => {
                    let error = match memory {
                        true => Error::OutOfMemory { needed_bytes: 1, purpose: "test".into() },
                        false => Error::Io("test".into()),
                    };
                    let ids: Vec<_> = running.iter().map(|(_, id, _)| *id).collect();
                    seen.borrow_mut().failing = vec![(sequence, error.clone())];
                    let results = generations.step(&ids);
                    seen.borrow_mut().failing.clear();
                    let failed = results.iter().filter(|result| result.is_err()).count();
                    prop_assert!(!memory || failed <= 1, "one failure touched others");
                    let mut ended = Vec::new();
                    for (place, result) in results.into_iter().enumerate() {
                        match result {
                            Ok(event) => running[place].2.take(event),
                            Err(found) => prop_assert_eq!(&found, &error),
                        }
                        ended.push(running[place].2.end.is_some());
                    }
                    let mut ended = ended.into_iter();
                    for (number, _, answer) in running.iter().filter(|run| run.2.end.is_some()) {
                        prop_assert_eq!(answer, &expected[*number]);
                    }
                    running.retain(|_| !ended.next().unwrap_or_default());
                }
                Action::Score(tokens) => {
                    let scores = generations.score(&tokens);
                    if running.len() == 3 {
                        prop_assert!(matches!(scores, Err(Error::Busy(_))));
                    } else {
                        prop_assert_eq!(scores, Ok(naive_scores(&tokens)));
                        prop_assert_eq!(generations.logits(&tokens), Ok(logits_behind(&tokens)));
                    }
                }
                Action::Step(chosen) => {
                    let chosen: Vec<bool> =
                        chosen.into_iter().take(running.len()).collect();
                    let ids: Vec<_> = running
                        .iter()
                        .zip(&chosen)
                        .filter_map(|((_, id, _), chosen)| chosen.then_some(*id))
                        .collect();
                    let batches = seen.borrow().batches.len();
                    let results = generations.step(&ids);
                    prop_assert_eq!(results.len(), ids.len());
                    prop_assert!(seen.borrow().batches.len() <= batches + 1);
                    for (id, result) in ids.iter().zip(results) {
                        let place = running.iter().position(|run| run.1 == *id).expect("running");
                        running[place].2.take(result.expect("event"));
                        if running[place].2.end.is_some() {
                            let (number, _, answer) = running.remove(place);
                            prop_assert_eq!(&answer, &expected[number]);
                        }
                    }
                }
            }
            prop_assert_eq!(generations.active(), running.len());
            let longest = seen.borrow().batches.iter().flatten().max().copied().unwrap_or(0);
            prop_assert!(longest <= prefill_tokens as usize);
        }
        for (number, id, mut answer) in running {
            while answer.end.is_none() {
                answer.take(step(&mut generations, id).expect("event"));
            }
            prop_assert_eq!(&answer, &expected[number]);
        }
    }
}

fn naive_scores(tokens: &[u32]) -> Vec<f32> {
    (1..tokens.len())
        .map(|place| {
            let logits = logits_behind(&tokens[..place]);
            let max = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
            let sum: f64 = logits.iter().map(|&logit| libm::exp(f64::from(logit) - max)).sum();
            (f64::from(logits[tokens[place] as usize]) - max - libm::log(sum)) as f32
        })
        .collect()
}

#[test]
fn prompts_come_in_chunks_and_then_one_token_a_step() {
    let (mut generations, seen) = generations(1, 100, 4);
    let id = generations
        .start(vec![6; 10], &settings(|s| s.max_tokens = 2), &never_ends())
        .expect("started");
    assert!(seen.borrow().batches.is_empty());
    let mut kinds = Vec::new();
    for _ in 0..5 {
        kinds.push(match step(&mut generations, id).expect("event") {
            Event::PromptProgress(progress) => {
                assert_eq!((progress.choice, progress.total_tokens), (3, 10));
                format!("prompt {}", progress.done_tokens)
            }
            Event::Delta(delta) => format!("delta {} {}", delta.choice, delta.tokens.len()),
            Event::Done(done) => {
                let usage = Usage { prompt_tokens: 10, generated_tokens: 2, ..Usage::default() };
                assert_eq!(done, Done { choice: 3, reason: FinishReason::Length, usage });
                "done".into()
            }
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(kinds, ["prompt 4", "prompt 8", "delta 3 1", "delta 3 1", "done"]);
    assert_eq!(seen.borrow().batches, [[4], [4], [2], [1]]);
    assert_eq!(step(&mut generations, id), Err(Error::Finished));
}

#[test]
fn a_batch_holds_all_generations() {
    let (mut generations, seen) = generations(3, 100, 4);
    let ids: Vec<_> = [1, 6, 3]
        .map(|length| {
            generations.start(vec![6; length], &settings(|_| ()), &never_ends()).expect("started")
        })
        .into();
    generations.step(&ids);
    generations.step(&[ids[2], ids[0]]);
    assert_eq!(seen.borrow().batches, [vec![1, 4, 3], vec![1, 1]]);
}

#[test]
fn a_dialogues_next_prompt_computes_only_what_is_new() {
    let (mut generations, seen) = generations(2, 100, 8);
    let settings = settings(|s| s.max_tokens = 5);
    let mut prompt = ALL_LETTERS.to_vec();
    let id = generations.start(prompt.clone(), &settings, &never_ends()).expect("started");
    let answer = run(&mut generations, id);
    assert_eq!(seen.borrow().computed_tokens, 10 + 4);
    prompt.extend(&answer.tokens);
    prompt.extend([7, 7, 7]);
    let id = generations.start(prompt.clone(), &settings, &never_ends()).expect("started");
    let usage = usage(&mut generations, id);
    assert_eq!((usage.prompt_tokens, usage.cached_tokens), (18, 14));
    assert_eq!(seen.borrow().computed_tokens, 14 + (1 + 3) + 4);
    // The same prompt again: its last token has to be computed for its logits.
    let id = generations.start(prompt, &settings, &never_ends()).expect("started");
    generations.step(&[id]);
    assert_eq!(seen.borrow().computed_tokens, 22 + 1);
}

#[test]
fn what_windows_have_left_behind_is_computed_again() {
    let (mut generations, seen) = generations(2, 100, 100);
    seen.borrow_mut().cut_tokens_max = Some(5);
    let one = settings(|s| s.max_tokens = 1);
    let mut ask = |prompt: &[u32]| {
        let id = start(&mut generations, prompt, &one);
        usage(&mut generations, id).cached_tokens
    };
    assert_eq!(ask(&[6; 20]), 0);
    assert_eq!(ask(&[&[6; 15][..], &[7; 5]].concat()), 15);
    // Six tokens back: a slot that shares more than half is of no use, an empty one is taken.
    assert_eq!(ask(&[&[6; 14][..], &[8; 5]].concat()), 0);
    assert_eq!(seen.borrow().caches.iter().map(Vec::len).collect::<Vec<_>>(), [20, 19]);
    assert_eq!(ask(&[&[6; 15][..], &[7; 6]].concat()), 20);
    assert_eq!(ask(&[9; 3]), 0);
    assert_eq!(seen.borrow().caches[1], [9; 3]);
}

#[test]
fn free_slots_are_chosen_by_what_they_share_and_then_by_age() {
    let (mut generations, seen) = generations(3, 100, 100);
    let one = settings(|s| s.max_tokens = 1);
    let mut ask = |prompt: &[u32]| {
        let id = start(&mut generations, prompt, &one);
        usage(&mut generations, id).cached_tokens
    };
    let first: Vec<u32> = [vec![6; 4], vec![7; 20]].concat();
    let second: Vec<u32> = [vec![6; 4], vec![8; 20]].concat();
    assert_eq!(ask(&first), 0);
    // Four tokens in common are not worth the other twenty while a slot is empty.
    assert_eq!(ask(&second), 0);
    assert_eq!(ask(&[first.as_slice(), &[9]].concat()), 24);
    assert_eq!(ask(&[second.as_slice(), &[9]].concat()), 24);
    assert_eq!(ask(&[10, 10]), 0);
    // None shares anything: the least recently used is given up, the first dialogue.
    assert_eq!(ask(&[11, 11]), 0);
    let caches = &seen.borrow().caches;
    assert_eq!(caches[0], [11, 11]);
    assert_eq!(caches[1].len(), 25);
    assert_eq!(caches[2], [10, 10]);
}

#[test]
fn the_end_tokens_text_is_not_output() {
    let (mut generations, _) = generations(1, 100, 100);
    let mut ends = 0;
    for seed in 0..50 {
        let id = start(&mut generations, &[6, 7], &settings(|s| s.seed = seed));
        let answer = run(&mut generations, id);
        if answer.end == Some((FinishReason::Stop, answer.tokens.len() as u32)) {
            ends += 1;
            assert_eq!(answer.tokens.last(), Some(&END));
        }
        let text: Vec<u8> = answer
            .tokens
            .iter()
            .filter(|&&token| token != END && token != SPECIAL)
            .flat_map(|&token| FakeVocabulary.token_bytes(token).unwrap_or_default().to_vec())
            .collect();
        assert_eq!(answer.text, String::from_utf8_lossy(&text));
    }
    assert!(ends > 25, "{ends}");
}

#[test]
fn stop_texts_end_the_answer_before_them() {
    let (mut generations, _) = generations(1, 200, 100);
    let plain = settings(|s| s.max_tokens = 100);
    let id = generations.start(vec![6], &plain, &never_ends()).expect("started");
    let whole = run(&mut generations, id).text;
    let stop = whole.get(20..23).expect("ASCII").to_owned();
    let stopping = RequestSettings { stop: vec![stop.clone()], ..plain };
    let id = generations.start(vec![6], &stopping, &never_ends()).expect("started");
    let answer = run(&mut generations, id);
    assert_eq!(Some(answer.text.as_str()), whole.split(&stop).next());
    assert!(matches!(answer.end, Some((FinishReason::StopText, _))));
}

#[test]
fn a_full_context_ends_the_answer() {
    let (mut generations, seen) = generations(1, 10, 100);
    let id = generations.start(vec![6; 9], &settings(|_| ()), &never_ends()).expect("started");
    let answer = run(&mut generations, id);
    // The tenth token is computed; the one that it predicts has no place.
    assert_eq!(answer.end, Some((FinishReason::ContextFull, 2)));
    assert_eq!(seen.borrow().caches[0].len(), 10);
}

#[test]
fn unusable_prompts_are_refused() {
    let (mut generations, _) = generations(1, 10, 100);
    let mut refused = |prompt: Vec<u32>, options: &GenerationOptions| {
        generations.start(prompt, &settings(|_| ()), options).expect_err("refused")
    };
    let plain = GenerationOptions::default();
    assert!(matches!(refused(vec![], &plain), Error::InvalidArgument(_)));
    assert_eq!(
        refused(vec![6; 10], &plain),
        Error::ContextOverflow { needed_tokens: 11, available_tokens: 10 }
    );
    let Error::InvalidArgument(text) = refused(vec![6, VOCABULARY_TOKENS as u32], &plain) else {
        panic!("accepted")
    };
    assert!(text.contains("token 24 at place 1"), "{text}");
    let bias = GenerationOptions { logit_bias: vec![(99, 1.0)], ..plain.clone() };
    assert!(matches!(refused(vec![6], &bias), Error::InvalidArgument(_)));
    assert!(matches!(generations.score(&[]), Err(Error::InvalidArgument(_))));
    assert!(matches!(generations.score(&[6; 11]), Err(Error::ContextOverflow { .. })));
    assert_eq!(generations.active(), 0);
}

#[test]
fn without_a_free_slot_the_error_names_the_setting() {
    let (mut generations, _) = generations(1, 10, 100);
    let id = start(&mut generations, &[6], &settings(|_| ()));
    let again = generations.start(vec![6], &settings(|_| ()), &GenerationOptions::default());
    let Err(Error::Busy(text)) = again else { panic!("{again:?}") };
    assert!(text.contains("`sequences-max`"), "{text}");
    assert!(matches!(generations.logits(&[6]), Err(Error::Busy(_))));
    generations.cancel(id);
    start(&mut generations, &[6], &settings(|_| ()));
}

#[test]
fn duplicates_and_strangers_get_errors_of_their_own() {
    let (mut generations, seen) = generations(2, 100, 100);
    let [a, b] = [7, 8].map(|token| {
        generations
            .start(vec![token], &settings(|s| s.max_tokens = 1), &never_ends())
            .expect("started")
    });
    let results = generations.step(&[a, a, GenerationId(99), b]);
    assert!(matches!(results[0], Ok(Event::Delta(_))));
    assert_eq!(results[1], Err(Error::Duplicate));
    assert!(matches!(results[2], Err(Error::InvalidArgument(_))));
    assert!(matches!(results[3], Ok(Event::Delta(_))));
    let results = generations.step(&[a, a]);
    assert!(matches!(results[0], Ok(Event::Done(_))));
    assert_eq!(results[1], Err(Error::Duplicate));
    assert_eq!(seen.borrow().batches.len(), 1);
}

#[test]
fn free_caches_are_given_up_before_memory_runs_out() {
    let (mut generations, seen) = generations(2, 100, 100);
    let one = settings(|s| s.max_tokens = 1);
    let id = start(&mut generations, &[6; 30], &one);
    usage(&mut generations, id);
    seen.borrow_mut().cached_tokens_max = Some(40);
    let id = start(&mut generations, &[7; 20], &one);
    assert!(matches!(step(&mut generations, id), Ok(Event::Delta(_))));
    assert!(seen.borrow().caches[0].is_empty());
    generations.cancel(id);
    // What was given up is not taken for cached.
    let id = start(&mut generations, &[6; 20], &one);
    assert_eq!(usage(&mut generations, id).cached_tokens, 0);
    let id = start(&mut generations, &[8; 41], &one);
    assert!(matches!(step(&mut generations, id), Err(Error::OutOfMemory { .. })));
}

#[test]
fn an_emptied_slot_is_taken_before_one_that_holds_something() {
    let (mut generations, seen) = generations(3, 100, 100);
    let one = settings(|s| s.max_tokens = 1);
    let oldest = start(&mut generations, &[6; 10], &one);
    generations.step(&[oldest]);
    let emptied = start(&mut generations, &[7; 10], &one);
    usage(&mut generations, emptied);
    seen.borrow_mut().cached_tokens_max = Some(25);
    let last = start(&mut generations, &[8; 10], &one);
    usage(&mut generations, last);
    generations.cancel(oldest);
    let next = start(&mut generations, &[9; 2], &one);
    generations.step(&[next]);
    assert_eq!(seen.borrow().caches[1], [9, 9]);
}

#[test]
fn damaged_logits_are_errors_and_leave_the_generation_usable() {
    let (mut generations, seen) = generations(2, 100, 100);
    let one = settings(|s| s.max_tokens = 1);
    let id = start(&mut generations, &[6; 5], &one);
    seen.borrow_mut().damaged = true;
    assert!(matches!(step(&mut generations, id), Err(Error::Other { .. })));
    assert!(matches!(generations.score(&[6, 7]), Err(Error::InvalidModel(_))));
    let reporting = GenerationOptions { log_probabilities: Some(1), ..Default::default() };
    let reporting = generations.start(vec![7; 5], &one, &reporting).expect("started");
    assert!(matches!(step(&mut generations, reporting), Err(Error::InvalidModel(_))));
    seen.borrow_mut().damaged = false;
    assert!(matches!(step(&mut generations, id), Ok(Event::Delta(_))));
    assert!(matches!(step(&mut generations, reporting), Ok(Event::Delta(_))));
}

#[test]
fn scores_come_in_bounded_chunks() {
    let (mut generations, seen) = generations(1, 300, 200);
    let tokens = [6u32, 7, 8, 9, 10].repeat(40);
    assert_eq!(generations.score(&tokens), Ok(naive_scores(&tokens)));
    assert_eq!(seen.borrow().batches, [[64], [64], [64], [7]]);
    assert_eq!(generations.score(&[6]), Ok(vec![]));
}
