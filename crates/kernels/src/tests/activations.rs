use super::{Random, for_each_set};
use crate::Activations;
use crate::activations::{Entries, Lanes, Word};
use crate::arch::Simd;
use crate::formats::SCALE_SHARE;

fn prepared<S: Simd>(x: &[f32], columns: usize) -> Activations {
    let mut activations = Activations::default();
    activations.prepare(x, columns);
    activations.round_to_pairs::<S>();
    activations.round_to_bytes::<S>();
    activations
}

/// Words of N tokens as they are stored.
fn spread<W: Copy, const N: usize, const COUNT: usize>(
    words: [[W; N]; COUNT],
) -> [[Lanes<W>; N]; COUNT] {
    words.map(|words| words.map(Lanes::splat))
}

#[test]
fn values_round_to_the_nearest_step_of_the_largest() {
    for_each_set!(S => {
        let mut x = [0.0; 32];
        (x[0], x[1], x[2], x[3], x[31]) = (-32767.0, 0.5, 1.5, -2.5, 32766.6);
        let activations = prepared::<S>(&x, 32);
        let pairs = activations.pairs.tokens::<1>(0);
        assert_eq!(pairs.words[..2], spread([[[-32767, 2]], [[0, -2]]]), "{}", S::NAME);
        assert_eq!(pairs.words[15], [Lanes::splat([0, 32767])], "{}", S::NAME);
        assert_eq!(pairs.scales[0][0].sum, 0, "{}", S::NAME);
        assert_eq!(pairs.scales[0][0].scale, SCALE_SHARE, "{}", S::NAME);
    });
}

#[test]
fn bytes_round_alike() {
    for_each_set!(S => {
        let mut x = [0.0; 32];
        (x[0], x[1], x[2], x[3], x[31]) = (-127.0, 0.5, 1.5, -2.5, 126.6);
        let activations = prepared::<S>(&x, 32);
        let bytes = activations.bytes.tokens::<1>(0);
        assert_eq!(bytes.words[0], [Lanes::splat([-127, 0, 2, -2])], "{}", S::NAME);
        assert_eq!(bytes.words[7], [Lanes::splat([0, 0, 0, 127])], "{}", S::NAME);
        assert_eq!(bytes.scales[0][0].sum, 0, "{}", S::NAME);
        assert_eq!(bytes.scales[0][0].scale, SCALE_SHARE, "{}", S::NAME);
        assert_eq!(bytes.places, [0], "{}", S::NAME);
    });
}

/// The values that a token is multiplied with, from all of its entries.
fn values<W: Word, const N: usize>(
    entries: Entries<'_, W, N>,
    token: usize,
    columns: usize,
) -> Vec<f64> {
    let mut sums = vec![0.0; columns];
    let words = entries.words.chunks_exact(W::BLOCK);
    for ((words, scales), place) in words.zip(entries.scales).zip(entries.places) {
        let words: Vec<W> = words.iter().map(|words| words[token]).collect();
        let unit = f64::from(scales[token].scale / SCALE_SHARE);
        let values = W::values(&words).map(f64::from);
        let sum = f64::from(scales[token].scaled_sum / SCALE_SHARE);
        let expected = values.iter().sum::<f64>() * unit;
        assert!((sum - expected).abs() <= 1e-6 * expected.abs(), "{sum}, not {expected}");
        for (columns, found) in [0..32, 0..16, 16..32].into_iter().zip(scales[token].lanes) {
            let sum_of = |lane: usize| {
                let of_lane = columns.clone().filter(|column| column % 4 / 2 == lane);
                of_lane.map(|column| values[column] as i32).sum::<i32>() as i16
            };
            assert_eq!(found, [sum_of(0), sum_of(1)], "columns {columns:?}");
        }
        let block = &mut sums[*place as usize * 32..][..32];
        for (sum, value) in block.iter_mut().zip(values) {
            *sum += value * unit;
        }
    }
    sums
}

#[test]
fn what_8_bits_leave_of_a_block_with_an_outlier_is_kept() {
    for_each_set!(S => {
        let mut random = Random(7);
        let mut x = random.numbers(2 * 128);
        // In the first token alone: 9 times the root mean square of its values.
        x[70] = -25.0;
        let activations = prepared::<S>(&x, 128);
        let bytes = activations.bytes.tokens::<2>(0);
        assert_eq!(bytes.places, [0, 1, 2, 2, 3], "{}", S::NAME);
        assert_eq!(bytes.scales[3][1], Default::default(), "{}", S::NAME);
        assert!(bytes.words[24..32].iter().all(|words| words[1] == Lanes::splat([0; 4])), "{}", S::NAME);
        for token in 0..2 {
            let x = &x[token * 128..][..128];
            let found = values(bytes, token, 128);
            for (column, (found, x)) in found.iter().zip(x).enumerate() {
                let is_coarse = token == 0 && (64..96).contains(&column);
                let largest: f32 = if is_coarse { 25.0 / 254.0 } else { 1.0 };
                let error = (found - f64::from(*x)).abs();
                let what = format!("token {token}, column {column}: {found}, not {x}");
                assert!(error <= f64::from(largest / 254.0) * 1.001, "{what} in {}", S::NAME);
            }
        }
        let pairs = activations.pairs.tokens::<2>(0);
        assert_eq!(pairs.places, [0, 1, 2, 3], "{}", S::NAME);
        for (found, x) in values(pairs, 0, 128).iter().zip(&x) {
            assert!((found - f64::from(*x)).abs() <= 25.0 / 65534.0 * 1.001, "{}", S::NAME);
        }
    });
}

#[test]
fn couples_lie_word_by_word_and_the_last_of_an_odd_number_alone() {
    for_each_set!(S => {
        let mut random = Random(11);
        let x = random.numbers(3 * 64);
        let together = prepared::<S>(&x, 64);
        let (couple, last) = (together.bytes.tokens::<2>(0), together.bytes.tokens::<1>(2));
        for (token, x) in x.chunks(64).enumerate() {
            let alone = prepared::<S>(x, 64);
            let alone = alone.bytes.tokens::<1>(0);
            for (index, [word]) in alone.words.iter().enumerate() {
                let found =
                    if token < 2 { couple.words[index][token] } else { last.words[index][0] };
                assert_eq!(found, *word, "token {token}, word {index} in {}", S::NAME);
            }
            for (index, [scale]) in alone.scales.iter().enumerate() {
                let found =
                    if token < 2 { couple.scales[index][token] } else { last.scales[index][0] };
                assert_eq!(found, *scale, "token {token}, block {index} in {}", S::NAME);
            }
        }
    });
}

#[test]
fn a_part_of_a_block_is_filled_up_with_zeros() {
    for_each_set!(S => {
        let activations = prepared::<S>(&[3.0; 2 * 35], 35);
        assert_eq!(activations.tokens(), 2);
        let filled = [[[32767; 2]; 2], [[32767, 0]; 2], [[0; 2]; 2], [[0; 2]; 2]];
        let Entries { words, scales, .. } = activations.pairs.tokens::<2>(0);
        assert_eq!(words[..16], spread([[[32767; 2]; 2]; 16]), "{}", S::NAME);
        assert_eq!(words[16..20], spread(filled), "{}", S::NAME);
        let sums = scales.iter().map(|scales| scales.map(|scale| scale.sum));
        assert_eq!(sums.collect::<Vec<_>>(), [[32 * 32767; 2], [3 * 32767; 2]]);
    });
}

#[test]
fn preparing_again_leaves_nothing_behind() {
    for_each_set!(S => {
        let mut random = Random(5);
        let mut activations = prepared::<S>(&random.numbers(3 * 96), 96);
        let x = random.numbers(40);
        activations.prepare(&x, 40);
        activations.round_to_pairs::<S>();
        activations.round_to_bytes::<S>();
        let fresh = prepared::<S>(&x, 40);
        assert_eq!(activations.tokens(), 1);
        assert_eq!(activations.pairs.tokens::<1>(0).words, fresh.pairs.tokens::<1>(0).words, "{}", S::NAME);
        assert_eq!(activations.pairs.tokens::<1>(0).scales, fresh.pairs.tokens::<1>(0).scales, "{}", S::NAME);
        assert_eq!(activations.bytes.tokens::<1>(0).words, fresh.bytes.tokens::<1>(0).words, "{}", S::NAME);
        assert_eq!(activations.bytes.tokens::<1>(0).scales, fresh.bytes.tokens::<1>(0).scales, "{}", S::NAME);
    });
}

#[test]
fn blocks_of_zeros_tiny_and_huge_numbers_stay_finite() {
    for_each_set!(S => {
        for value in [0.0, 1e-44, 1e-31, 1e-20, 1e20, 3e38] {
            let activations = prepared::<S>(&[value; 32], 32);
            let expected = if value < 1e-30 { 0 } else { 32767 };
            assert_eq!(activations.pairs.tokens::<1>(0).words[0], [Lanes::splat([expected; 2])], "{value} in {}", S::NAME);
        }
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            prepared::<S>(&[value; 32], 32);
        }
    });
}
