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
        (x[0], x[1], x[2], x[3], x[31]) = (-127.0, 0.5, 1.5, -2.5, 126.6);
        let activations = prepared::<S>(&x, 32);
        assert_eq!(activations.bytes[0], [-127, 0, 2, -2], "{}", S::NAME);
        assert_eq!(activations.bytes[7], [0, 0, 0, 127], "{}", S::NAME);
        assert_eq!(activations.pairs[..2], [[-127, 2], [0, -2]], "{}", S::NAME);
        assert_eq!(activations.scales[0].sum, 0, "{}", S::NAME);
        assert_eq!(activations.scales[0].scale, SCALE_SHARE, "{}", S::NAME);
    });
}

#[test]
fn a_part_of_a_block_is_filled_up_with_zeros() {
    for_each_set!(S => {
        let activations = prepared::<S>(&[3.0; 2 * 35], 35);
        assert_eq!(activations.tokens(), 2);
        assert_eq!(activations.bytes[8..10], [[127, 127, 127, 0], [0; 4]], "{}", S::NAME);
        assert_eq!(activations.bytes[16..18], [[127; 4]; 2], "{}", S::NAME);
        assert_eq!(activations.scales.iter().map(|scale| scale.sum).collect::<Vec<_>>(), [
            32 * 127,
            3 * 127,
            32 * 127,
            3 * 127
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
        assert_eq!(activations.bytes, fresh.bytes, "{}", S::NAME);
        assert_eq!(activations.scales.len(), fresh.scales.len());
    });
}

#[test]
fn blocks_of_zeros_tiny_and_huge_numbers_stay_finite() {
    for_each_set!(S => {
        for value in [0.0, 1e-44, 1e-31, 1e-20, 1e20, 3e38] {
            let activations = prepared::<S>(&[value; 32], 32);
            let expected = if value < 1e-30 { 0 } else { 127 };
            assert_eq!(activations.bytes[0], [expected; 4], "{value} in {}", S::NAME);
        }
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            prepared::<S>(&[value; 32], 32);
        }
    });
}
