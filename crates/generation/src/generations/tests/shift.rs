//! Contexts that make room for more.

use proptest::prelude::*;
use trefoil_contract::{Event, FinishReason};

use super::super::GenerationOptions;
use super::super::fake::{END, logits_behind};
use super::{generations, never_ends, run, settings, single, step};

/// The likeliest tokens behind a prompt, those left out that a shift gives up, and the tokens that
/// the context holds in the end.
fn naive(prompt: &[u32], count: usize, context: usize, keep: usize) -> (Vec<u32>, Vec<u32>) {
    let (mut tokens, mut answer) = (prompt.to_vec(), Vec::new());
    for _ in 0..count {
        if tokens.len() > context {
            let kept = keep.min(context / 2);
            let behind = tokens.split_off(kept);
            tokens.extend(&behind[behind.len().div_ceil(2)..]);
        }
        let logits = logits_behind(&tokens);
        let next = (0..logits.len())
            .filter(|token| *token != END as usize)
            .max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a)))
            .expect("a vocabulary");
        tokens.push(next as u32);
        answer.push(next as u32);
    }
    (answer, tokens)
}

proptest! {
    #[test]
    fn an_answer_goes_on_as_behind_a_prompt_of_the_tokens_that_stay(
        prompt in prop::collection::vec(6u32..9, 1..12),
        more_context in 1usize..20,
        keep_tokens in 0u32..40,
        max_tokens in 1u32..80,
        prefill_tokens in 1u32..12,
        cut_tokens_max in prop::option::of(0usize..20),
    ) {
        let context = prompt.len() + more_context;
        let (mut generations, seen) = generations(2, context as u32, prefill_tokens);
        seen.borrow_mut().cut_tokens_max = cut_tokens_max;
        let settings = settings(|s| {
            (s.temperature, s.max_tokens) = (0.0, max_tokens);
            (s.shifts_context, s.keep_tokens) = (true, keep_tokens);
        });
        let (expected, held) =
            naive(&prompt, max_tokens as usize, context, keep_tokens as usize);
        let id = generations.start(prompt.clone(), &settings, &never_ends()).expect("started");
        let mut answer = super::Answer::default();
        while answer.end.is_none() {
            match step(&mut generations, id).expect("event") {
                Event::Idle(3) => prop_assert!(!answer.tokens.is_empty()),
                event => answer.take(event),
            }
        }
        prop_assert_eq!(&answer.tokens, &expected);
        prop_assert_eq!(answer.end, Some((FinishReason::Length, max_tokens)));
        // What is left in the cache serves a prompt that begins with it.
        let cached = held.len() - 1;
        let fits = held.len() < context;
        if fits {
            let id = generations.start(held, &settings, &never_ends()).expect("started");
            let usage = super::usage(&mut generations, id);
            prop_assert_eq!(usage.cached_tokens as usize, cached);
        }
    }
}

#[test]
fn the_first_token_behind_a_shift_is_that_of_a_fresh_request() {
    let greedy = |max_tokens| {
        settings(|s| {
            (s.temperature, s.max_tokens) = (0.0, max_tokens);
            (s.shifts_context, s.keep_tokens) = (true, 3);
        })
    };
    let prompt = [6, 7, 8, 6, 7, 8, 8];
    let (mut generations, seen) = generations(1, 10, 4);
    let id = generations.start(prompt.to_vec(), &greedy(5), &never_ends()).expect("started");
    let mut tokens = run(&mut generations, id).tokens;
    let last = tokens.pop().expect("an answer");
    // 11 tokens: 3 stay, and 4 of the 8 behind them.
    let whole = [&prompt[..], &tokens].concat();
    let held = [&whole[..3], &whole[7..]].concat();
    assert_eq!(single(&held, &greedy(1), 10).tokens, [last]);
    // The 3 are cached, and 4 tokens a step: what is left takes one.
    assert_eq!(seen.borrow().batches, [[4], [3], [1], [1], [1], [4]]);
}

#[test]
fn other_answers_go_on_while_one_shifts() {
    let (mut generations, _) = generations(2, 12, 2);
    let settings = settings(|s| {
        (s.max_tokens, s.shifts_context, s.keep_tokens) = (8, true, 0);
    });
    let options = GenerationOptions { choice: 0, ..never_ends() };
    let long = generations.start(vec![6; 9], &settings, &options).expect("started");
    let short = generations.start(vec![7; 2], &settings, &options).expect("started");
    let mut idle = 0;
    let mut ends = 0;
    while ends < 2 {
        let results = generations.step(&[long, short]);
        idle += results.iter().filter(|it| matches!(it, Ok(Event::Idle(0)))).count();
        ends += results.iter().filter(|it| matches!(it, Ok(Event::Done(_)))).count();
        assert!(results.iter().any(Result::is_ok), "{results:?}");
    }
    // 13 tokens shift to 6, of which 2 a step are computed.
    assert_eq!(idle, 2);
}
