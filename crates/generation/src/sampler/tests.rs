use proptest::prelude::*;
use rand_core::SeedableRng as _;
use rand_xoshiro::Xoshiro256PlusPlus;
use trefoil_contract::Error;
use trefoil_settings::{RequestSettings, Settings};

use super::{Sampler, unit};
use crate::Vocabulary;

mod golden;
mod naive;
mod repetition;

/// Tokens whose texts are letters, digits and signs.
struct Letters;

impl Vocabulary for Letters {
    fn token_bytes(&self, token: u32) -> Option<&[u8]> {
        let place = usize::try_from(token).ok()?;
        b"abcdefghijklmnopqrstuvwxyz0123456789.:;\n".chunks(1).nth(place)
    }

    fn is_special(&self, _: u32) -> bool {
        false
    }

    fn ends_generation(&self, _: u32) -> bool {
        false
    }
}

fn settings(change: impl FnOnce(&mut RequestSettings)) -> RequestSettings {
    let mut settings = RequestSettings {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        ..Settings::default().request
    };
    change(&mut settings);
    settings
}

fn sampler(settings: &RequestSettings) -> Sampler {
    Sampler::new(settings, &[]).expect("sampler")
}

fn logits() -> impl Strategy<Value = Vec<f32>> {
    // Whole numbers make ties; the long ones exceed every partial selection's first step.
    prop_oneof![
        prop::collection::vec(-20.0f32..20.0, 1..50),
        prop::collection::vec((-4i8..4).prop_map(f32::from), 1..2000),
        prop::collection::vec(-3.0f32..3.0, 600..3000),
    ]
}

/// Settings of the steps that few use.
fn rarer() -> impl Strategy<Value = RequestSettings> {
    let or_none = |values: std::ops::Range<f64>, none: f64| prop_oneof![Just(none), values];
    (
        or_none(0.3..3.0, 0.0),
        or_none(0.01..1.0, 1.0),
        or_none(0.1..1.0, 0.0),
        0.0f64..0.6,
        or_none(0.1..2.0, 0.0),
        0.2f64..3.0,
    )
        .prop_map(|(sigma, typical, probability, threshold, range, exponent)| {
            settings(|s| {
                (s.top_n_sigma, s.typical_p) = (sigma, typical);
                (s.xtc_probability, s.xtc_threshold) = (probability, threshold);
                s.dynamic_temperature_range = range;
                s.dynamic_temperature_exponent = exponent;
            })
        })
}

proptest! {
    #[test]
    fn partial_selection_chooses_what_a_full_sort_does(
        logits in logits(),
        history in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
        bias in prop::collection::vec((any::<prop::sample::Index>(), -5.0f32..5.0), 0..3),
        temperature in prop_oneof![Just(0.0), 0.05f64..3.0],
        top_k in prop_oneof![Just(0u32), 1u32..50, 100u32..3000],
        top_p in prop_oneof![Just(1.0), Just(0.0), 0.01f64..1.0],
        min_p in prop_oneof![Just(0.0), Just(1.0), 0.001f64..0.9],
        penalties in (0.5f64..2.0, -1.0f64..1.0, -1.0f64..1.0, 0u32..100),
        has_penalties in any::<bool>(),
        rarer in rarer(),
        seed in 0u64..1 << 62,
    ) {
        let token = |index: &prop::sample::Index| index.index(logits.len()) as u32;
        let history: Vec<u32> = history.iter().map(token).collect();
        let bias: Vec<(u32, f32)> = bias.iter().map(|(index, value)| (token(index), *value)).collect();
        let settings = settings(|s| {
            (s.temperature, s.top_k, s.top_p, s.min_p, s.seed) = (temperature, top_k, top_p, min_p, seed);
            (s.top_n_sigma, s.typical_p, s.xtc_probability, s.xtc_threshold) =
                (rarer.top_n_sigma, rarer.typical_p, rarer.xtc_probability, rarer.xtc_threshold);
            s.dynamic_temperature_range = rarer.dynamic_temperature_range;
            s.dynamic_temperature_exponent = rarer.dynamic_temperature_exponent;
            if has_penalties {
                (s.repetition_penalty, s.presence_penalty, s.frequency_penalty, s.penalty_tokens) = penalties;
            }
        });
        let mut sampler = Sampler::new(&settings, &bias).expect("sampler");
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
        // Twice, as the second choice uses what the first left behind.
        for _ in 0..2 {
            let mut draw = || unit(generator.next_u64());
            let chosen = sampler.sample(&mut logits.clone(), &history, &Letters).expect("chosen");
            prop_assert_eq!(chosen, naive::choose(&settings, &bias, &logits, &history, &mut draw));
        }
    }

    #[test]
    fn no_logits_panic(
        bits in prop::collection::vec(any::<u32>(), 0..600),
        top_k in 0u32..700,
        top_p in 0.0f64..1.1,
        temperature in prop_oneof![Just(0.0), Just(1e-300), 0.01f64..10.0],
    ) {
        let settings = settings(|s| (s.temperature, s.top_k, s.top_p) = (temperature, top_k, top_p));
        let mut logits: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
        let possible = |logit: &f32| *logit > f32::NEG_INFINITY;
        match sampler(&settings).sample(&mut logits, &[], &Letters) {
            Ok(token) => prop_assert!(possible(&logits[token as usize])),
            Err(_) => prop_assert!(!logits.iter().any(possible)),
        }
    }
}

#[test]
fn greedy_takes_the_lowest_of_equal_tokens() {
    let settings = settings(|s| s.temperature = 0.0);
    let chosen = sampler(&settings).sample(&mut [1.0, 3.0, f32::NAN, 3.0], &[], &Letters);
    assert_eq!(chosen, Ok(1));
}

#[test]
fn impossible_logits_are_never_chosen_and_infinite_ones_win() {
    let settings = settings(|_| ());
    let mut sampler = sampler(&settings);
    for _ in 0..100 {
        let mut logits = [f32::NAN, f32::NEG_INFINITY, 0.0, f32::NAN];
        assert_eq!(sampler.sample(&mut logits, &[], &Letters), Ok(2));
        assert_eq!(sampler.sample(&mut [0.0, f32::INFINITY, 5.0], &[], &Letters), Ok(1));
    }
    let error = sampler
        .sample(&mut [f32::NAN, f32::NEG_INFINITY], &[], &Letters)
        .expect_err("no candidate");
    assert!(matches!(error, Error::Other { code, .. } if code == "no-candidate"));
}

#[test]
fn a_bias_of_minus_infinity_excludes_and_others_are_refused() {
    let settings = settings(|s| s.temperature = 0.0);
    let mut banned = Sampler::new(&settings, &[(1, f32::NEG_INFINITY)]).expect("sampler");
    assert_eq!(banned.sample(&mut [1.0, 3.0, 2.0], &[], &Letters), Ok(2));
    for bias in [f32::NAN, f32::INFINITY] {
        assert!(Sampler::new(&settings, &[(1, bias)]).is_err());
    }
}

/// Frequencies of 20,000 choices lie within five standard deviations of the probabilities.
fn check_frequencies(settings: &RequestSettings, logits: &[f32], probabilities: &[f64]) {
    const CHOICES: usize = 20_000;
    let mut sampler = sampler(settings);
    let mut counts = vec![0usize; logits.len()];
    for _ in 0..CHOICES {
        let token = sampler.sample(&mut logits.to_vec(), &[], &Letters).expect("chosen");
        counts[token as usize] += 1;
    }
    for (count, p) in counts.iter().zip(probabilities) {
        let expected = p * CHOICES as f64;
        let deviation = (expected * (1.0 - p)).sqrt();
        assert!(
            (*count as f64 - expected).abs() <= 5.0 * deviation,
            "{counts:?} {probabilities:?}"
        );
    }
}

#[test]
fn choices_follow_the_probabilities() {
    let logits = [0.6f64, 0.2, 0.15, 0.05].map(|p| p.ln() as f32);
    for seed in [0, 1, 42] {
        check_frequencies(&settings(|s| s.seed = seed), &logits, &[0.6, 0.2, 0.15, 0.05]);
        let top_k = settings(|s| (s.seed, s.top_k) = (seed, 2));
        check_frequencies(&top_k, &logits, &[0.75, 0.25, 0.0, 0.0]);
        let top_p = settings(|s| (s.seed, s.top_p) = (seed, 0.79));
        check_frequencies(&top_p, &logits, &[0.75, 0.25, 0.0, 0.0]);
        let min_p = settings(|s| (s.seed, s.min_p) = (seed, 0.2));
        check_frequencies(&min_p, &logits, &[12.0 / 19.0, 4.0 / 19.0, 3.0 / 19.0, 0.0]);
        let hot = settings(|s| (s.seed, s.temperature) = (seed, 0.5));
        let sum = 0.36 + 0.04 + 0.0225 + 0.0025;
        check_frequencies(&hot, &logits, &[0.36, 0.04, 0.0225, 0.0025].map(|square| square / sum));
        // Three times in four the first of the two tokens from 0.19 on is dropped.
        let xtc = settings(|s| {
            (s.seed, s.xtc_probability, s.xtc_threshold) = (seed, 0.75, 0.19);
        });
        let left = |p: f64| 0.25 * p + 0.75 * p / 0.4;
        check_frequencies(&xtc, &logits, &[0.25 * 0.6, left(0.2), left(0.15), left(0.05)]);
    }
}

#[test]
fn typical_tokens_are_those_near_the_expected_information() {
    // 1, 2, 3 and 3 bits, of which 1.75 are expected: distances 0.75, 0.25, 1.25 and 1.25.
    let logits = [0.5f64, 0.25, 0.125, 0.125].map(|p| p.ln() as f32);
    for (p, expected) in [
        (0.2, [0.0, 1.0, 0.0, 0.0]),
        (0.7, [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]),
        (0.8, [4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0, 0.0]),
        (0.9, [0.5, 0.25, 0.125, 0.125]),
    ] {
        check_frequencies(&settings(|s| s.typical_p = p), &logits, &expected);
    }
}

#[test]
fn mirostat_bounds_surprise_and_learns_from_it() {
    // 1, 2, 3 and 3 bits.
    let logits = [0.5f64, 0.25, 0.125, 0.125].map(|p| p.ln() as f32);
    let fixed = |tau| settings(|s| (s.mirostat, s.mirostat_tau, s.mirostat_eta) = (2, tau, 0.0));
    check_frequencies(&fixed(0.4), &logits, &[1.0, 0.0, 0.0, 0.0]);
    check_frequencies(&fixed(1.1), &logits, &[2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]);
    check_frequencies(&fixed(1.6), &logits, &[0.5, 0.25, 0.125, 0.125]);
    // In 1000 choices among 1000 tokens the mean surprise comes near the target.
    let logits: Vec<f32> = (1..=1000).map(|rank| -1.1 * f64::from(rank).ln() as f32).collect();
    let total: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
    for (version, tau) in [(1, 3.0), (2, 3.0), (1, 5.0), (2, 5.0)] {
        let settings = settings(|s| (s.mirostat, s.mirostat_tau) = (version, tau));
        let mut sampler = sampler(&settings);
        let surprise = (0..1000).map(|_| {
            let token = sampler.sample(&mut logits.clone(), &[], &Letters).expect("chosen");
            (total.ln() - f64::from(logits[token as usize])) / std::f64::consts::LN_2
        });
        let mean = surprise.sum::<f64>() / 1000.0;
        // Mirostat counts among the tokens that it keeps, where each surprises a little less.
        assert!(mean > tau - 0.2 && mean < tau + 1.0, "version {version}: {mean} is not {tau}");
    }
}

#[test]
fn a_seed_gives_the_same_tokens_on_every_platform() {
    let settings = settings(|s| (s.seed, s.temperature, s.top_p) = (7, 1.3, 0.9));
    let mut sampler = sampler(&settings);
    let logits: Vec<f32> =
        (0..100).map(|token| ((token * 37 % 101) as f32 - 50.0) / 20.0).collect();
    let tokens: Vec<u32> = (0..12)
        .map(|_| sampler.sample(&mut logits.clone(), &[], &Letters).expect("chosen"))
        .collect();
    // Made with a Python program of its own (xoshiro256++ seeded by SplitMix64).
    assert_eq!(tokens, [60, 19, 13, 57, 48, 87, 13, 68, 7, 60, 90, 19]);
}
