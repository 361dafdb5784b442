use super::{Random, for_each_set};
use crate::Activations;
use crate::arch::Simd;
use crate::formats::SCALE_SHARE;

fn prepared<S: Simd>(x: &[f32], columns: usize) -> Activations {
    let mut activations = Activations::default();
    activations.prepare(x, columns);
    activations.round_to_pairs::<S>();
    activations.round_to_bytes::<S>();
    activations
}

#[test]
fn values_round_to_the_nearest_step_of_the_largest() {
    for_each_set!(S => {
        let mut x = [0.0; 32];
        (x[0], x[1], x[2], x[3], x[31]) = (-32767.0, 0.5, 1.5, -2.5, 32766.6);
        let activations = prepared::<S>(&x, 32);
        assert_eq!(activations.pairs.words[..2], [[-32767, 2], [0, -2]], "{}", S::NAME);
        assert_eq!(activations.pairs.words[15], [0, 32767], "{}", S::NAME);
        assert_eq!(activations.pairs.scales[0].sum, 0, "{}", S::NAME);
        assert_eq!(activations.pairs.scales[0].scale, SCALE_SHARE, "{}", S::NAME);
    });
}

#[test]
fn bytes_round_alike() {
    for_each_set!(S => {
        let mut x = [0.0; 32];
        (x[0], x[1], x[2], x[3], x[31]) = (-127.0, 0.5, 1.5, -2.5, 126.6);
        let bytes = prepared::<S>(&x, 32).bytes;
        assert_eq!(bytes.words[0], [-127, 0, 2, -2], "{}", S::NAME);
        assert_eq!(bytes.words[7], [0, 0, 0, 127], "{}", S::NAME);
        assert_eq!(bytes.scales[0].sum, 0, "{}", S::NAME);
        assert_eq!(bytes.scales[0].scale, SCALE_SHARE, "{}", S::NAME);
    });
}

#[test]
fn couples_lie_word_by_word_and_the_last_of_an_odd_number_alone() {
    for_each_set!(S => {
        let mut random = Random(11);
        let x = random.numbers(3 * 64);
        let together = prepared::<S>(&x, 64);
        let (words, scales) = together.bytes.tokens::<2>(0, together.blocks);
        let (last_words, last_scales) = together.bytes.tokens::<1>(2, together.blocks);
        for (token, x) in x.chunks(64).enumerate() {
            let alone = prepared::<S>(x, 64);
            let (alone_words, alone_scales) = alone.bytes.tokens::<1>(0, alone.blocks);
            for (index, [word]) in alone_words.iter().enumerate() {
                let found = if token < 2 { words[index][token] } else { last_words[index][0] };
                assert_eq!(found, *word, "token {token}, word {index} in {}", S::NAME);
            }
            for (index, [scale]) in alone_scales.iter().enumerate() {
                let found = if token < 2 { scales[index][token] } else { last_scales[index][0] };
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
        let (words, scales) = activations.pairs.tokens::<2>(0, 2);
        assert_eq!(words[..16], [[[32767; 2]; 2]; 16], "{}", S::NAME);
        assert_eq!(words[16..20], filled, "{}", S::NAME);
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
        assert_eq!(activations.pairs.words, fresh.pairs.words, "{}", S::NAME);
        assert_eq!(activations.pairs.scales, fresh.pairs.scales, "{}", S::NAME);
        assert_eq!(activations.bytes.words, fresh.bytes.words, "{}", S::NAME);
        assert_eq!(activations.bytes.scales, fresh.bytes.scales, "{}", S::NAME);
    });
}

#[test]
fn blocks_of_zeros_tiny_and_huge_numbers_stay_finite() {
    for_each_set!(S => {
        for value in [0.0, 1e-44, 1e-31, 1e-20, 1e20, 3e38] {
            let activations = prepared::<S>(&[value; 32], 32);
            let expected = if value < 1e-30 { 0 } else { 32767 };
            assert_eq!(activations.pairs.words[0], [expected; 2], "{value} in {}", S::NAME);
        }
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            prepared::<S>(&[value; 32], 32);
        }
    });
}
