use super::{Random, for_each_set};
use crate::Activations;
use crate::arch::Simd;
use crate::formats::SCALE_SHARE;

fn prepared<S: Simd>(x: &[f32], columns: usize) -> Activations {
    let mut activations = Activations::default();
    activations.prepare_with::<S>(x, columns);
    activations
}

#[test]
fn values_round_to_the_nearest_step_of_the_largest() {
    for_each_set!(S => {
        let mut x = [0.0; 32];
        (x[0], x[1], x[2], x[3], x[31]) = (-32767.0, 0.5, 1.5, -2.5, 32766.6);
        let activations = prepared::<S>(&x, 32);
        assert_eq!(activations.pairs[..2], [[-32767, 2], [0, -2]], "{}", S::NAME);
        assert_eq!(activations.pairs[15], [0, 32767], "{}", S::NAME);
        assert_eq!(activations.scales[0].sum, 0, "{}", S::NAME);
        assert_eq!(activations.scales[0].scale, SCALE_SHARE, "{}", S::NAME);
    });
}

#[test]
fn sets_that_need_bytes_round_to_them_and_others_have_none() {
    for_each_set!(S => {
        let mut x = [0.0; 32];
        (x[0], x[1], x[2], x[3], x[31]) = (-127.0, 0.5, 1.5, -2.5, 126.6);
        let activations = prepared::<S>(&x, 32);
        if S::ROUNDS_TO_BYTES {
            assert_eq!(activations.bytes[0], [-127, 0, 2, -2], "{}", S::NAME);
            assert_eq!(activations.bytes[7], [0, 0, 0, 127], "{}", S::NAME);
            assert_eq!(activations.byte_scales[0].sum, 0, "{}", S::NAME);
            assert_eq!(activations.byte_scales[0].scale, SCALE_SHARE, "{}", S::NAME);
        } else {
            assert!(activations.bytes.is_empty() && activations.byte_scales.is_empty());
        }
    });
}

#[test]
fn a_part_of_a_block_is_filled_up_with_zeros() {
    for_each_set!(S => {
        let activations = prepared::<S>(&[3.0; 2 * 35], 35);
        assert_eq!(activations.tokens(), 2);
        let filled = [[32767, 32767], [32767, 0], [0; 2], [0; 2]];
        assert_eq!(activations.pairs[16..20], filled, "{}", S::NAME);
        assert_eq!(activations.pairs[32..36], [[32767; 2]; 4], "{}", S::NAME);
        assert_eq!(activations.scales.iter().map(|scale| scale.sum).collect::<Vec<_>>(), [
            32 * 32767,
            3 * 32767,
            32 * 32767,
            3 * 32767
        ]);
    });
}

#[test]
fn preparing_again_leaves_nothing_behind() {
    for_each_set!(S => {
        let mut random = Random(5);
        let mut activations = prepared::<S>(&random.numbers(3 * 96), 96);
        let x = random.numbers(40);
        activations.prepare_with::<S>(&x, 40);
        let fresh = prepared::<S>(&x, 40);
        assert_eq!(activations.tokens(), 1);
        assert_eq!(activations.pairs, fresh.pairs, "{}", S::NAME);
        assert_eq!(activations.scales.len(), fresh.scales.len());
        assert_eq!(activations.bytes, fresh.bytes, "{}", S::NAME);
        assert_eq!(activations.byte_scales.len(), fresh.byte_scales.len());
    });
}

#[test]
fn blocks_of_zeros_tiny_and_huge_numbers_stay_finite() {
    for_each_set!(S => {
        for value in [0.0, 1e-44, 1e-31, 1e-20, 1e20, 3e38] {
            let activations = prepared::<S>(&[value; 32], 32);
            let expected = if value < 1e-30 { 0 } else { 32767 };
            assert_eq!(activations.pairs[0], [expected; 2], "{value} in {}", S::NAME);
        }
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            prepared::<S>(&[value; 32], 32);
        }
    });
}
