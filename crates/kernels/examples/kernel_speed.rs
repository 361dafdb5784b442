//! Speed of the kernels in this build's instruction set, results checked.
//!
//! Native: `cargo run --release -p trefoil-kernels --example kernel_speed`. For WebAssembly build
//! it for `wasm32-wasip1` with `RUSTFLAGS=-C target-feature=+simd128` (or
//! `+simd128,+relaxed-simd`) and give it to a runtime. Names of types as arguments: only these.

mod support;

use std::hint::black_box;
use std::time::Instant;

use trefoil_kernels::{
    Activations, AttentionScratch, CacheType, HeadCache, INSTRUCTION_SET, Matrix, Rows,
    WeightsType, rms_norm, silu_mul, softmax,
};

use support::{Random, SCORING};

/// Share of the products' root of squares by which 8-bit activations may miss.
const TOLERANCE: f64 = 0.02;

/// Seconds of the fastest and the median of many runs.
fn time(mut run: impl FnMut()) -> (f64, f64) {
    run();
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < 5 || begin.elapsed().as_secs_f64() < 0.3 {
        let start = Instant::now();
        run();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    (times[0], times[times.len() / 2])
}

/// Compares some outputs with f64 sums over the widened rows.
fn check(matrix: &Matrix, x: &[f32], out: &[f32]) {
    let mut weights = vec![0.0; matrix.columns()];
    for row in (0..matrix.rows()).step_by(matrix.rows() / 7 + 1) {
        matrix.row(row, &mut weights);
        for (token, x) in x.chunks(matrix.columns()).enumerate() {
            let products = weights.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
            let scale = products.clone().map(|product| product * product).sum::<f64>().sqrt();
            let error = f64::from(out[token * matrix.rows() + row]) - products.sum::<f64>();
            let kind = matrix.weights_type();
            assert!(error.abs() <= TOLERANCE * scale, "{kind:?}, row {row}: {error} of {scale}");
        }
    }
}

fn matrices(random: &mut Random, types: &[WeightsType]) {
    println!("{:6} {:>15} {:>15} {:>17}", "", "GB/s, in cache", "GB/s, 32 MB", "GOP/s, 32 tokens");
    println!("{:6} {:>15} {:>15} {:>17}", "", "best median", "best median", "best median");
    for &weights_type in types {
        let mut activations = Activations::default();
        let mut figures = Vec::new();
        let columns = 768;
        let small = random.matrix(weights_type, 512, columns);
        let large_rows = (32 << 20) / (small.bytes() / 512) / 16 * 16;
        let large = random.matrix(weights_type, large_rows, columns);
        for (matrix, tokens) in [(&small, 1), (&large, 1), (&small, 32)] {
            let x = random.numbers(tokens * columns);
            let mut out = vec![0.0; tokens * matrix.rows()];
            activations.prepare(&x, columns);
            let (best, median) = time(|| {
                for _ in 0..if tokens == 1 && matrix.rows() == 512 { 20 } else { 1 } {
                    black_box(matrix).multiply(&mut activations, black_box(&mut out));
                }
            });
            check(matrix, &x, &out);
            let work = match tokens {
                1 if matrix.rows() == 512 => 20 * matrix.bytes(),
                1 => matrix.bytes(),
                _ => 2 * tokens * matrix.rows() * columns,
            };
            figures.push(format!(
                "{:7.1} {:7.1}",
                work as f64 / best / 1e9,
                work as f64 / median / 1e9
            ));
        }
        println!(
            "{:6} {} {} {:>17}",
            format!("{weights_type:?}"),
            figures[0],
            figures[1],
            figures[2]
        );
    }
}

struct Layer {
    /// Query, key, value, output.
    attention: [Matrix; 4],
    /// Gate, up.
    up: [Matrix; 2],
    down: Matrix,
}

/// The matrices of SmolLM2-135M in Q4_1, with its tied Q8_0 head.
fn smollm2(random: &mut Random) {
    let mut layer = || {
        let mut matrix = |rows, columns| random.matrix(WeightsType::Q4_1, rows, columns);
        Layer {
            attention: [matrix(576, 576), matrix(192, 576), matrix(192, 576), matrix(576, 576)],
            up: [matrix(1536, 576), matrix(1536, 576)],
            down: matrix(576, 1536),
        }
    };
    let layers: Vec<Layer> = (0..30).map(|_| layer()).collect();
    let head = random.matrix(WeightsType::Q8_0, 49_152, 576);
    for tokens in [1, 2, 8, 16] {
        let (x, wide) = (random.numbers(tokens * 576), random.numbers(tokens * 1536));
        let mut out = vec![0.0; tokens * 1536];
        let mut logits = vec![0.0; head.rows()];
        let mut activations = Activations::default();
        // The fastest of each part: on a busy machine hardly any run is undisturbed as a whole.
        let mut best = vec![f64::INFINITY; layers.len() + 1];
        for _ in 0..20 {
            for (layer, best) in layers.iter().zip(&mut best) {
                let start = Instant::now();
                activations.prepare(&x, 576);
                for matrix in &layer.attention[..3] {
                    matrix.multiply(&mut activations, &mut out[..tokens * matrix.rows()]);
                }
                activations.prepare(&x, 576);
                layer.attention[3].multiply(&mut activations, &mut out[..tokens * 576]);
                activations.prepare(&x, 576);
                for matrix in &layer.up {
                    matrix.multiply(&mut activations, &mut out);
                }
                activations.prepare(&wide, 1536);
                layer.down.multiply(&mut activations, &mut out[..tokens * 576]);
                *best = best.min(start.elapsed().as_secs_f64());
            }
            let start = Instant::now();
            activations.prepare(&x[..576], 576);
            head.multiply(&mut activations, &mut logits);
            best[layers.len()] = best[layers.len()].min(start.elapsed().as_secs_f64());
        }
        check(&layers[29].down, &wide, &out[..tokens * 576]);
        check(&head, &x[..576], &logits);
        let (all, head) = (best.iter().sum::<f64>(), best[layers.len()]);
        println!(
            "SmolLM2's matrices, {tokens:2} tokens at once: {:6.1} tokens/s, {:6.1} without the head",
            tokens as f64 / all,
            tokens as f64 / (all - head)
        );
    }
}

fn rest(random: &mut Random) {
    let report = |what: &str, (best, median): (f64, f64)| {
        println!("{what}: best {:.2} us, median {:.2} us", best * 1e6, median * 1e6);
    };
    for cache_type in CacheType::ALL {
        let mut cache = HeadCache::new(64, cache_type);
        for _ in 0..2048 {
            cache.append(&random.numbers(64), &random.numbers(64)).expect("enough memory");
        }
        let rows = Rows { length: 3 * 64, group: 0..3 * 64 };
        let mut scratch = AttentionScratch::default();
        for (tokens, visible) in [(1, 2048), (128, 512)] {
            let queries = random.numbers(tokens * 3 * 64);
            let mut out = vec![0.0; queries.len()];
            let times = time(|| {
                let out = black_box(&mut out);
                cache
                    .attend(&queries, &rows, &|_| 0..visible, SCORING, &mut scratch, out)
                    .expect("enough memory");
            });
            let what =
                format!("attention in {cache_type:?}: {tokens} tokens to {visible}, 3 heads of 64");
            report(&what, times);
        }
    }
    let mut x = random.numbers(2048);
    let times = time(|| softmax(black_box(&mut x)));
    report("softmax of 2048", times);
    let (mut gate, up) = (random.numbers(1536), random.numbers(1536));
    let times = time(|| {
        silu_mul(black_box(&mut gate), &up);
        gate.copy_from_slice(&up);
    });
    report("silu_mul of 1536", times);
    let (x, mut out) = (random.numbers(576), [0.0; 576]);
    report("rms_norm of 576", time(|| rms_norm(&x, &x, 1e-5, black_box(&mut out))));
    let mut activations = Activations::default();
    report(
        "prepare of 576",
        time(|| {
            activations.prepare(black_box(&x), 576);
            activations.round();
        }),
    );
}

fn main() {
    println!("instruction set: {INSTRUCTION_SET}");
    let mut random = Random(88_172_645_463_325_252);
    let names: Vec<String> = std::env::args().skip(1).collect();
    let mut types = WeightsType::ALL.to_vec();
    types.retain(|it| names.is_empty() || names.contains(&format!("{it:?}")));
    matrices(&mut random, &types);
    if names.is_empty() {
        smollm2(&mut random);
        rest(&mut random);
    }
}
