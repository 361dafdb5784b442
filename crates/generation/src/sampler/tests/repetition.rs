//! DRY against its definition.

use proptest::prelude::*;
use trefoil_settings::RequestSettings;

use super::super::dry::Dry;
use super::{Letters, settings};
use crate::Vocabulary as _;

/// What is subtracted from each of `tokens` logits, by looking at every place and every length.
fn naive(settings: &RequestSettings, history: &[u32], tokens: usize) -> Vec<f64> {
    let window = match settings.dry_penalty_tokens as usize {
        0 => history,
        last => &history[history.len().saturating_sub(last)..],
    };
    let mut text = Vec::new();
    // The token that each byte belongs to.
    let mut owners = Vec::new();
    for (place, token) in window.iter().enumerate() {
        let bytes = Letters.token_bytes(*token).unwrap_or_default();
        text.extend_from_slice(bytes);
        owners.extend(bytes.iter().map(|_| place));
    }
    let breakers = || settings.dry_sequence_breakers.iter();
    let ends = |end: &usize| breakers().any(|it| text[..*end].ends_with(it.as_bytes()));
    let behind = match (1..=text.len()).rev().find(ends) {
        Some(end) => window.len() - 1 - owners[end - 1],
        None => window.len(),
    };
    let mut subtracted = vec![0.0f64; tokens];
    for place in 1..window.len() {
        for length in settings.dry_allowed_length as usize..=place.min(behind) {
            if window[place - length..place] == window[window.len() - length..] {
                let excess = length as u32 - settings.dry_allowed_length;
                let penalty =
                    settings.dry_multiplier * libm::pow(settings.dry_base, f64::from(excess));
                let old = &mut subtracted[window[place] as usize];
                *old = old.max(penalty);
            }
        }
    }
    subtracted
}

proptest! {
    #[test]
    fn repetitions_cost_what_the_definition_says(
        history in prop::collection::vec(prop_oneof![8 => 0u32..2, 1 => 36u32..38], 0..40),
        allowed_length in 1u32..4,
        penalty_tokens in prop_oneof![Just(0u32), 1u32..30],
        breakers in prop::collection::vec("[ab.:]{1,3}", 0..3),
        multiplier in 0.1f64..2.0,
        base in 1.0f64..3.0,
    ) {
        let settings = settings(|s| {
            (s.dry_multiplier, s.dry_base) = (multiplier, base);
            (s.dry_allowed_length, s.dry_penalty_tokens) = (allowed_length, penalty_tokens);
            s.dry_sequence_breakers = breakers;
        });
        let mut dry = Dry::new(&settings).expect("valid").expect("has a multiplier");
        let expected: Vec<_> =
            naive(&settings, &history, 40).iter().map(|it| (1.0 - it) as f32).collect();
        // Twice, as the second use finds what the first left behind.
        for _ in 0..2 {
            let mut logits = vec![1.0; 40];
            dry.apply(&mut logits, &history, &Letters);
            prop_assert_eq!(&logits, &expected);
        }
    }
}

#[test]
fn long_repetitions_leave_tokens_that_can_be_chosen() {
    let settings = settings(|s| (s.dry_multiplier, s.dry_base) = (100.0, 10.0));
    let mut dry = Dry::new(&settings).expect("valid").expect("has a multiplier");
    let mut logits = vec![0.0, f32::NEG_INFINITY, f32::NAN];
    dry.apply(&mut logits, &[0; 5000], &Letters);
    assert_eq!((logits[0], logits[1]), (f32::MIN, f32::NEG_INFINITY));
}

#[test]
fn dry_is_off_by_default_and_takes_64_breakers() {
    assert!(Dry::new(&settings(|_| ())).expect("valid").is_none());
    let with =
        |count| Dry::new(&settings(|s| s.dry_sequence_breakers = vec!["x".to_owned(); count]));
    assert!(with(64).is_ok());
    let error = with(65).expect_err("too many").to_string();
    assert!(error.contains("`dry-sequence-breaker`") && error.contains("at most 64"), "{error}");
}
