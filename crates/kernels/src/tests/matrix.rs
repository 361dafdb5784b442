use super::{Random, assert_close, bits, for_each_set, is_exact};
use crate::arch::Simd;
use crate::arch::scalar::Scalar;
use crate::{Activations, GROUP_ROWS, LAYOUT_VERSION, Matrix, WeightsType};

/// Largest error as a share of the sum of the absolute products, for the types that multiply f32:
/// sums of up to 600 products.
const TOLERANCE_FLOATING: f64 = 3e-6;
/// The same for the quantised types: sums of up to 24 blocks (48 parts in Q6_K).
const TOLERANCE_QUANTISED: f64 = 5e-7;

fn tolerance(weights_type: WeightsType) -> f64 {
    match weights_type {
        WeightsType::F32 | WeightsType::F16 | WeightsType::BF16 => TOLERANCE_FLOATING,
        _ => TOLERANCE_QUANTISED,
    }
}

/// Where a GGUF block has f16 numbers (ggml-common.h).
fn halves(weights_type: WeightsType) -> &'static [usize] {
    match weights_type {
        WeightsType::F32 | WeightsType::BF16 | WeightsType::MXFP4 => &[],
        WeightsType::F16
        | WeightsType::Q4_0
        | WeightsType::Q5_0
        | WeightsType::Q8_0
        | WeightsType::IQ4_NL
        | WeightsType::IQ4_XS => &[0],
        WeightsType::Q2_K => &[80, 82],
        WeightsType::Q3_K => &[108],
        WeightsType::Q4_1 | WeightsType::Q5_1 | WeightsType::Q4_K | WeightsType::Q5_K => &[0, 2],
        WeightsType::Q6_K => &[208],
    }
}

fn half(bytes: &[u8]) -> f64 {
    let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(-24),
        _ => (1024.0 + mantissa) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// Widens a GGUF block, as ggml's `dequantize_row_*` describe it.
fn widen(weights_type: WeightsType, block: &[u8]) -> Vec<f64> {
    let nibbles = |bytes: &[u8], value: &dyn Fn(f64) -> f64| {
        let low = bytes.iter().map(|byte| value(f64::from(byte & 15)));
        low.chain(bytes.iter().map(|byte| value(f64::from(byte >> 4)))).collect()
    };
    match weights_type {
        WeightsType::F32 => vec![f64::from(f32::from_le_bytes(block.try_into().expect("4")))],
        WeightsType::F16 => vec![half(block)],
        WeightsType::BF16 => vec![f64::from(f32::from_le_bytes([0, 0, block[0], block[1]]))],
        WeightsType::IQ4_NL => nibbles(&block[2..], &|nibble| step(nibble) * half(block)),
        WeightsType::IQ4_XS => (0..8)
            .flat_map(|index| {
                let low = block[4 + index / 2] >> (4 * (index % 2)) & 15;
                let high = (block[2 + index / 4] >> (2 * (index % 4))) & 3;
                let scale = half(block) * (f64::from(low + 16 * high) - 32.0);
                nibbles(&block[8 + 16 * index..][..16], &|nibble| step(nibble) * scale)
            })
            .collect(),
        WeightsType::MXFP4 => {
            let scale = 2f64.powi(i32::from(block[0]) - 127);
            nibbles(&block[1..], &|nibble| {
                let (sign, magnitude) =
                    if nibble < 8.0 { (1.0, nibble) } else { (-1.0, nibble - 8.0) };
                let value = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][magnitude as usize];
                sign * value * scale
            })
        }
        WeightsType::Q2_K => widen_twos(block),
        WeightsType::Q3_K => widen_threes(block),
        WeightsType::Q4_0 => nibbles(&block[2..], &|nibble| (nibble - 8.0) * half(block)),
        WeightsType::Q4_1 => {
            nibbles(&block[4..], &|nibble| nibble * half(block) + half(&block[2..]))
        }
        WeightsType::Q5_0 => fives(block, 2).map(|weight| (weight - 16.0) * half(block)).collect(),
        WeightsType::Q5_1 => {
            fives(block, 4).map(|weight| weight * half(block) + half(&block[2..])).collect()
        }
        WeightsType::Q8_0 => {
            block[2..].iter().map(|byte| f64::from(*byte as i8) * half(block)).collect()
        }
        WeightsType::Q4_K | WeightsType::Q5_K => widen_with_minima(weights_type, block),
        WeightsType::Q6_K => widen_sixes(block),
    }
}

/// The unequal steps of IQ4_NL.
fn step(index: f64) -> f64 {
    let steps = [
        -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0,
        69.0, 89.0, 113.0,
    ];
    steps[index as usize]
}

/// `dequantize_row_q2_K`: 128 columns at a time, of which 32 columns share their bytes with those
/// 32, 64 and 96 columns later.
fn widen_twos(block: &[u8]) -> Vec<f64> {
    let (small, low) = (&block[..16], &block[16..80]);
    (0..256)
        .map(|column| {
            let (half_block, run, place) = (column / 128, column % 128 / 32, column % 32);
            let weight = low[32 * half_block + place] / 4u8.pow(run as u32) % 4;
            let small = small[column / 16];
            let minimum = half(&block[82..]) * f64::from(small / 16);
            half(&block[80..]) * f64::from(small % 16) * f64::from(weight) - minimum
        })
        .collect()
}

/// `dequantize_row_q3_K`: 128 columns at a time, of which 32 columns share their bytes with those
/// 32, 64 and 96 columns later.
fn widen_threes(block: &[u8]) -> Vec<f64> {
    let (mask, low, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let small = |index: usize| {
        let low = if index < 8 { packed[index] % 16 } else { packed[index - 8] / 16 };
        let high = packed[8 + index % 4] >> (2 * (index / 4)) & 3;
        f64::from(low + 16 * high) - 32.0
    };
    (0..256)
        .map(|column| {
            let (half_block, run, place) = (column / 128, column % 128 / 32, column % 32);
            let bits = low[32 * half_block + place] >> (2 * run) & 3;
            let is_set = mask[place] & 1 << (4 * half_block + run) != 0;
            let weight = f64::from(bits) - if is_set { 0.0 } else { 4.0 };
            half(&block[108..]) * small(column / 16) * weight
        })
        .collect()
}

/// The bits 0 to 3 of column `i` are the low nibble of byte `i`, or, from column 16 on, the high
/// nibble of byte `i - 16`; bit 4 is bit `i` of a 32-bit number before them.
fn fives(block: &[u8], at: usize) -> impl Iterator<Item = f64> {
    let high = u32::from_le_bytes(block[at..at + 4].try_into().expect("4"));
    let low = block[at + 4..].iter().map(|byte| byte & 15);
    let low = low.chain(block[at + 4..].iter().map(|byte| byte >> 4));
    low.enumerate().map(move |(i, low)| f64::from(u32::from(low) + 16 * (high >> i & 1)))
}

/// `dequantize_row_q4_K` and `dequantize_row_q5_K`: 64 columns at a time.
fn widen_with_minima(weights_type: WeightsType, block: &[u8]) -> Vec<f64> {
    let (scale, minimum, packed) = (half(block), half(&block[2..]), &block[4..16]);
    let (high, low) = match weights_type {
        WeightsType::Q4_K => (None, &block[16..]),
        _ => (Some(&block[16..48]), &block[48..]),
    };
    let mut out = Vec::new();
    for sub_block in 0..8 {
        let (small_scale, small_minimum) = if sub_block < 4 {
            (packed[sub_block] & 63, packed[sub_block + 4] & 63)
        } else {
            let (a, b, both) = (packed[sub_block - 4], packed[sub_block], packed[sub_block + 4]);
            (both % 16 + a / 64 * 16, both / 16 + b / 64 * 16)
        };
        for column in 0..32 {
            let byte = low[sub_block / 2 * 32 + column];
            let mut weight = if sub_block % 2 == 0 { byte % 16 } else { byte / 16 };
            if high.is_some_and(|high| high[column] & 1 << sub_block != 0) {
                weight += 16;
            }
            let offset = minimum * f64::from(small_minimum);
            out.push(scale * f64::from(small_scale) * f64::from(weight) - offset);
        }
    }
    out
}

/// `dequantize_row_q6_K`: 128 columns at a time, of which 32 columns share a byte of high bits
/// with those 32, 64 and 96 columns later.
fn widen_sixes(block: &[u8]) -> Vec<f64> {
    let mut out = vec![f64::NAN; 256];
    for half_block in 0..2 {
        let (low, high) = (&block[half_block * 64..], &block[128 + half_block * 32..]);
        let scales = &block[192 + half_block * 8..];
        for i in 0..32 {
            let weights = [
                low[i] % 16 + high[i] % 4 * 16,
                low[i + 32] % 16 + high[i] / 4 % 4 * 16,
                low[i] / 16 + high[i] / 16 % 4 * 16,
                low[i + 32] / 16 + high[i] / 64 * 16,
            ];
            for (run, weight) in weights.into_iter().enumerate() {
                let scale = f64::from(scales[i / 16 + 2 * run] as i8) * half(&block[208..]);
                out[half_block * 128 + run * 32 + i] = (f64::from(weight) - 32.0) * scale;
            }
        }
    }
    out
}

struct Case {
    weights_type: WeightsType,
    rows: usize,
    columns: usize,
    gguf: Vec<u8>,
}

impl Case {
    fn random(weights_type: WeightsType, rows: usize, columns: usize, random: &mut Random) -> Self {
        let blocks = rows * columns / weights_type.block_columns();
        let mut gguf = Vec::new();
        for _ in 0..blocks {
            let start = gguf.len();
            match weights_type {
                WeightsType::F32 => gguf.extend(random.number().to_le_bytes()),
                WeightsType::BF16 => gguf.extend(&random.number().to_le_bytes()[2..]),
                _ => gguf.extend((0..weights_type.block_bytes()).map(|_| random.next() as u8)),
            }
            if weights_type == WeightsType::MXFP4 {
                gguf[start] = 116 + (random.next() % 12) as u8;
            }
            // Scales (and F16 weights) from 2^-9 to 2^-1, of either sign; some subnormal.
            for place in halves(weights_type) {
                let exponent =
                    if random.next().is_multiple_of(50) { 0 } else { 6 + random.next() % 8 };
                let bits = (random.next() & 0x83ff) | exponent << 10;
                gguf[start + place..][..2].copy_from_slice(&(bits as u16).to_le_bytes());
            }
        }
        Self { weights_type, rows, columns, gguf }
    }

    fn row_bytes(&self) -> usize {
        self.gguf.len() / self.rows
    }

    fn matrix(&self) -> Matrix {
        self.slice(0, self.rows)
    }

    fn slice(&self, first: usize, rows: usize) -> Matrix {
        let mut builder =
            Matrix::builder(self.weights_type, rows, self.columns).expect("a small matrix");
        builder.push(&self.gguf[first * self.row_bytes()..][..rows * self.row_bytes()]);
        builder.finish()
    }

    fn widened(&self, row: usize) -> Vec<f64> {
        self.gguf[row * self.row_bytes()..][..self.row_bytes()]
            .chunks_exact(self.weights_type.block_bytes())
            .flat_map(|block| widen(self.weights_type, block))
            .collect()
    }
}

/// The activations that a set multiplies a type with, in f64.
fn rounded<S: Simd>(weights_type: WeightsType, x: &[f32]) -> Vec<f64> {
    if matches!(weights_type, WeightsType::F32 | WeightsType::F16 | WeightsType::BF16) {
        return x.iter().map(|x| f64::from(*x)).collect();
    }
    let eight_bits =
        matches!(weights_type, WeightsType::Q8_0 | WeightsType::IQ4_NL | WeightsType::IQ4_XS);
    let limit = if S::ROUNDS_TO_BYTES && !eight_bits { 127.0 } else { 32767.0 };
    let nearest = |block: &[f64]| -> Vec<f64> {
        let max = block.iter().fold(0f32, |max, x| max.max(x.abs() as f32));
        let (inverse, scale) = (limit / max, f64::from(max / limit));
        let round = |x: &f64| f64::from((*x as f32 * inverse).round_ties_even()) * scale;
        block.iter().map(round).collect()
    };
    let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    let mean_square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.chunks(32)
        .flat_map(|block| {
            let mut rounded = nearest(block);
            let largest = block.iter().fold(0f64, |max, x| max.max(x.abs()));
            if limit == 127.0 && largest > 6.0 * mean_square.sqrt() {
                let left: Vec<f64> = block.iter().zip(&rounded).map(|(x, y)| x - y).collect();
                for (rounded, left) in rounded.iter_mut().zip(nearest(&left)) {
                    *rounded += left;
                }
            }
            rounded
        })
        .collect()
}

/// Random activations. Where rows are long enough, some tokens have an outlier, which 8 bits are
/// too coarse beside.
fn inputs(random: &mut Random, tokens: usize, columns: usize) -> Vec<f32> {
    let mut x = random.numbers(tokens * columns);
    for x in x.chunks_mut(columns).skip(1).step_by(2) {
        if columns >= 256 {
            x[40 + random.next() as usize % 200] = 30.0;
        }
    }
    x
}

fn cases() -> Vec<Case> {
    let mut random = Random(20_260_729);
    let mut cases = Vec::new();
    for weights_type in WeightsType::ALL {
        let shapes = match weights_type.block_columns() {
            256 => [(1, 256), (16, 512), (37, 768), (3, 512), (48, 256)],
            _ => [(1, 32), (16, 64), (37, 576), (3, 608), (48, 96)],
        };
        for (rows, columns) in shapes {
            cases.push(Case::random(weights_type, rows, columns, &mut random));
        }
    }
    for weights_type in [WeightsType::F32, WeightsType::F16, WeightsType::BF16] {
        for (rows, columns) in [(5, 1), (17, 33), (20, 71)] {
            cases.push(Case::random(weights_type, rows, columns, &mut random));
        }
    }
    cases
}

fn multiply<S: Simd>(matrix: &Matrix, x: &[f32]) -> Vec<f32> {
    let mut activations = Activations::default();
    activations.prepare(x, matrix.columns());
    let mut out = vec![f32::NAN; activations.tokens() * matrix.rows()];
    matrix.multiply_with::<S>(&mut activations, &mut out);
    out
}

#[test]
fn every_type_has_a_kernel_in_every_set_that_agrees_with_the_reference() {
    let mut random = Random(1);
    for case in cases() {
        let matrix = case.matrix();
        for tokens in [1, 2, 5] {
            let x = inputs(&mut random, tokens, case.columns);
            type Rounded = fn(WeightsType, &[f32]) -> Vec<f64>;
            let mut results = Vec::new();
            for_each_set!(S => {
                results.push((S::NAME, rounded::<S> as Rounded, multiply::<S>(&matrix, &x)));
            });
            for row in 0..case.rows {
                let weights = case.widened(row);
                for token in 0..tokens {
                    let x = &x[token * case.columns..][..case.columns];
                    for (set, rounded, out) in &results {
                        let x = rounded(case.weights_type, x);
                        let products = weights.iter().zip(&x).map(|(w, x)| w * x);
                        let scale = products.clone().map(f64::abs).sum::<f64>().max(1e-30);
                        let expected = products.sum();
                        let what = format!(
                            "{:?} in {set}, {} x {}, row {row}, token {token} of {tokens}",
                            case.weights_type, case.rows, case.columns
                        );
                        let out = out[token * case.rows + row];
                        assert_close(out, expected, scale, tolerance(case.weights_type), &what);
                    }
                }
            }
        }
    }
}

#[test]
fn fixed_width_simd_gives_the_bits_of_scalar() {
    let mut random = Random(2);
    for case in cases() {
        let matrix = case.matrix();
        for tokens in [1, 4] {
            let x = inputs(&mut random, tokens, case.columns);
            let expected = bits(&multiply::<Scalar>(&matrix, &x));
            for_each_set!(S => {
                if is_exact::<S>() {
                    let out = bits(&multiply::<S>(&matrix, &x));
                    assert_eq!(out, expected, "{:?} in {}", case.weights_type, S::NAME);
                }
            });
        }
    }
}

#[test]
fn a_batch_gives_each_token_the_bits_that_it_has_alone() {
    let mut random = Random(3);
    for case in cases() {
        let matrix = case.matrix();
        // Enough for the kernels that unpack weights once for many tokens.
        let tokens = 29;
        let x = inputs(&mut random, tokens, case.columns);
        for_each_set!(S => {
            assert!(tokens >= S::PANEL_TOKENS_MIN, "{}", S::NAME);
            let together = multiply::<S>(&matrix, &x);
            let alone: Vec<f32> =
                x.chunks(case.columns).flat_map(|x| multiply::<S>(&matrix, x)).collect();
            assert_eq!(bits(&together), bits(&alone), "{:?} in {}", case.weights_type, S::NAME);
        });
    }
}

#[test]
fn dividing_the_rows_changes_no_bit() {
    let mut random = Random(4);
    for weights_type in WeightsType::ALL {
        let columns = 3 * weights_type.block_columns().max(32);
        let case = Case::random(weights_type, 40, columns, &mut random);
        for tokens in [1, 3] {
            let x = inputs(&mut random, tokens, case.columns);
            for_each_set!(S => {
                let whole = multiply::<S>(&case.matrix(), &x);
                for (first, rows) in [(0, 21), (21, 19), (39, 1)] {
                    let part = multiply::<S>(&case.slice(first, rows), &x);
                    for token in 0..tokens {
                        let expected = &whole[token * case.rows + first..][..rows];
                        let part = &part[token * rows..][..rows];
                        assert_eq!(bits(part), bits(expected), "{weights_type:?} in {}", S::NAME);
                    }
                }
            });
        }
    }
}

#[test]
fn the_largest_weights_and_activations_do_not_overflow() {
    for weights_type in WeightsType::ALL.into_iter().filter(|it| it.block_columns() > 1) {
        for (byte, sign) in [(0xff, 1.0f32), (0xff, -1.0), (0x00, 1.0), (0x80, 1.0), (0x7f, -1.0)] {
            let mut gguf = vec![byte; weights_type.block_bytes()];
            for (place, value) in halves(weights_type).iter().zip([0x3c00u16, 0]) {
                gguf[*place..][..2].copy_from_slice(&value.to_le_bytes());
            }
            if weights_type == WeightsType::MXFP4 {
                gguf[0] = 127;
            }
            let columns = weights_type.block_columns();
            let case = Case { weights_type, rows: 1, columns, gguf };
            let expected: f64 = case.widened(0).iter().map(|w| w * 127.0 * f64::from(sign)).sum();
            for_each_set!(S => {
                for tokens in [1, 2, 32] {
                    let out = multiply::<S>(&case.matrix(), &vec![127.0 * sign; tokens * columns]);
                    assert_eq!(out, vec![expected as f32; tokens], "{weights_type:?}, {}", S::NAME);
                }
            });
        }
    }
}

#[test]
fn huge_activations_overflow_no_earlier_than_the_result() {
    let gguf = [&0x1400u16.to_le_bytes()[..], &[1; 32]].concat(); // scale 2^-10
    let case = Case { weights_type: WeightsType::Q8_0, rows: 1, columns: 32, gguf };
    for_each_set!(S => {
        let out = multiply::<S>(&case.matrix(), &[1e12; 32]);
        assert_close(out[0], 32e12 / 1024.0, 32e12 / 1024.0, 1e-6, S::NAME);
    });
}

#[test]
fn rows_widen_to_what_was_pushed_in_pieces_of_any_size() {
    for case in cases() {
        for piece in [1, 7, 64, 1 << 20] {
            let mut builder = Matrix::builder(case.weights_type, case.rows, case.columns)
                .expect("a small matrix");
            for bytes in case.gguf.chunks(piece) {
                builder.push(bytes);
            }
            let matrix = builder.finish();
            let mut out = vec![f32::NAN; case.columns];
            for row in 0..case.rows {
                matrix.row(row, &mut out);
                for (out, expected) in out.iter().zip(case.widened(row)) {
                    let what = format!("{:?}, row {row}", case.weights_type);
                    assert_close(*out, expected, expected.abs().max(1.0), 1e-7, &what);
                }
            }
        }
    }
}

/// Another hash means another layout: raise [`LAYOUT_VERSION`], for model components hold tiles.
#[test]
fn the_layout_is_that_of_its_version() {
    // FNV-1a, 64 bits.
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for weights_type in WeightsType::ALL.into_iter().filter(|it| it.keeps_size()) {
        let columns = weights_type.block_columns() * 2;
        let case = Case::random(weights_type, GROUP_ROWS, columns, &mut Random(77));
        let mut tiles = vec![0; case.gguf.len()];
        for (lane, row) in case.gguf.chunks(case.row_bytes()).enumerate() {
            weights_type.store_row(&mut tiles, lane, row);
        }
        for byte in tiles {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    assert_eq!((LAYOUT_VERSION, hash), (2, 18_081_272_980_726_489_117));
}

#[test]
fn whole_groups_can_be_filled_in_without_being_pushed() {
    for case in cases().into_iter().filter(|case| case.weights_type.keeps_size()) {
        let expected = case.matrix();
        let mut builder =
            Matrix::builder(case.weights_type, case.rows, case.columns).expect("a small matrix");
        let group_bytes = GROUP_ROWS * case.row_bytes();
        let groups = builder.whole_groups();
        assert_eq!(groups.len(), case.rows / GROUP_ROWS * group_bytes);
        let mut rows = case.gguf.chunks_exact(group_bytes);
        for (tiles, rows) in groups.chunks_mut(group_bytes).zip(&mut rows) {
            for (lane, row) in rows.chunks(case.row_bytes()).enumerate() {
                case.weights_type.store_row(tiles, lane, row);
            }
        }
        builder.push(rows.remainder());
        let matrix = builder.finish();
        let (mut out, mut wanted) = (vec![0.0; case.columns], vec![0.0; case.columns]);
        for row in 0..case.rows {
            matrix.row(row, &mut out);
            expected.row(row, &mut wanted);
            assert_eq!(bits(&out), bits(&wanted), "{:?}, row {row}", case.weights_type);
        }
    }
}

#[test]
fn types_are_found_by_the_names_that_the_field_uses() {
    for weights_type in WeightsType::ALL {
        assert_eq!(WeightsType::named(&format!("{weights_type:?}")), Some(weights_type));
    }
    assert_eq!(WeightsType::named("Q4_K"), Some(WeightsType::Q4_K));
    assert_eq!(WeightsType::named("q4_k"), None);
}

#[test]
fn a_matrix_beyond_the_address_space_is_refused() {
    for weights_type in WeightsType::ALL {
        for rows in [usize::MAX / 64, usize::MAX / 4, usize::MAX] {
            assert!(Matrix::builder(weights_type, rows, 1 << 20).is_err(), "{weights_type:?}");
        }
    }
}

#[test]
fn all_lists_every_type() {
    for (index, weights_type) in WeightsType::ALL.into_iter().enumerate() {
        let expected = match weights_type {
            WeightsType::F32 => 0,
            WeightsType::F16 => 1,
            WeightsType::BF16 => 2,
            WeightsType::Q4_0 => 3,
            WeightsType::Q4_1 => 4,
            WeightsType::Q5_0 => 5,
            WeightsType::Q5_1 => 6,
            WeightsType::Q8_0 => 7,
            WeightsType::Q2_K => 8,
            WeightsType::Q3_K => 9,
            WeightsType::Q4_K => 10,
            WeightsType::Q5_K => 11,
            WeightsType::Q6_K => 12,
            WeightsType::IQ4_NL => 13,
            WeightsType::IQ4_XS => 14,
            WeightsType::MXFP4 => 15,
        };
        assert_eq!(index, expected);
    }
}

#[test]
fn memory_is_the_files_size_for_full_groups() {
    for (weights_type, bytes) in [
        (WeightsType::F32, 4 * 16 * 512),
        (WeightsType::F16, 2 * 16 * 512),
        (WeightsType::Q4_0, 18 * 16 * 16),
        (WeightsType::Q4_1, 20 * 16 * 16),
        (WeightsType::Q5_0, 22 * 16 * 16),
        (WeightsType::Q5_1, 24 * 16 * 16),
        (WeightsType::Q8_0, 34 * 16 * 16),
        (WeightsType::Q4_K, 144 * 16 * 2),
        (WeightsType::Q5_K, 176 * 16 * 2),
        (WeightsType::Q6_K, 210 * 16 * 2),
        (WeightsType::IQ4_NL, 18 * 16 * 16),
        (WeightsType::MXFP4, 17 * 16 * 16),
    ] {
        let matrix = Case::random(weights_type, 16, 512, &mut Random(9)).matrix();
        assert_eq!(matrix.bytes(), bytes, "{weights_type:?}");
    }
}

/// Where panics unwind, so that the test runner can catch them.
#[cfg(not(target_family = "wasm"))]
mod panics {
    use super::*;

    #[test]
    #[should_panic(expected = "not fewer")]
    fn finishing_early() {
        let mut builder = Matrix::builder(WeightsType::Q8_0, 2, 32).expect("a small matrix");
        builder.push(&[0; 67]);
        builder.finish();
    }

    #[test]
    #[should_panic(expected = "not more")]
    fn finishing_late() {
        let mut builder = Matrix::builder(WeightsType::Q8_0, 2, 32).expect("a small matrix");
        builder.push(&[0; 69]);
        builder.finish();
    }

    #[test]
    #[should_panic(expected = "activations of 64 columns for a matrix of 32")]
    fn activations_of_another_length() {
        let matrix = Case::random(WeightsType::Q4_0, 1, 32, &mut Random(9)).matrix();
        let mut activations = Activations::default();
        activations.prepare(&[0.0; 64], 64);
        matrix.multiply(&mut activations, &mut [0.0]);
    }
}
