//! One kernel a given number of times, for counting instructions: `cargo xtask bench
//! --instructions` runs it for 1 and for more calls, and the difference is the kernel's.
//!
//! `kernel_work` alone lists the kernels; `kernel_work NAME CALLS` runs one.

mod support;

use std::hint::black_box;
use std::process::ExitCode;

use trefoil_kernels::{
    Activations, AttentionScratch, CacheType, HeadCache, Matrix, Rows, WeightsType, rms_norm,
    silu_mul,
};

use support::{Random, SCORING};

const ROWS: usize = 192;
const COLUMNS: usize = 768;

/// Of the attention: what is cached, and query heads of 64 elements that share it.
const CACHED_TOKENS: usize = 1024;
const HEADS: usize = 3;

/// Tokens at a time: decoding, a small batch, a prompt.
const TOKENS: [usize; 3] = [1, 4, 32];

#[derive(Clone, Copy)]
enum Kernel {
    Store(WeightsType),
    Multiply(WeightsType, usize),
    Attend(CacheType, usize),
    Round,
    RmsNorm,
    SiluMul,
}

impl Kernel {
    fn all() -> Vec<Kernel> {
        let multiply = WeightsType::ALL
            .into_iter()
            .flat_map(|it| TOKENS.map(|tokens| Kernel::Multiply(it, tokens)));
        let attend = CacheType::ALL
            .into_iter()
            .flat_map(|it| [1, 32].map(|tokens| Kernel::Attend(it, tokens)));
        let store = WeightsType::ALL.into_iter().map(Kernel::Store);
        store
            .chain(multiply)
            .chain(attend)
            .chain([Kernel::Round, Kernel::RmsNorm, Kernel::SiluMul])
            .collect()
    }

    fn name(self) -> String {
        match self {
            Kernel::Store(it) => format!("store {it:?}"),
            Kernel::Multiply(it, tokens) => format!("multiply {it:?} x{tokens}"),
            Kernel::Attend(it, tokens) => format!("attend {it:?} x{tokens}"),
            Kernel::Round => "round".into(),
            Kernel::RmsNorm => "rms_norm".into(),
            Kernel::SiluMul => "silu_mul".into(),
        }
    }

    fn run(self, calls: usize) {
        let mut random = Random(88_172_645_463_325_252);
        match self {
            Kernel::Store(weights_type) => {
                let gguf = random.gguf(weights_type, ROWS * COLUMNS);
                for _ in 0..calls {
                    let builder = Matrix::builder(weights_type, ROWS, COLUMNS);
                    let mut builder = builder.expect("enough memory");
                    builder.push(black_box(&gguf));
                    black_box(builder.finish());
                }
            }
            Kernel::Multiply(weights_type, tokens) => {
                let matrix = random.matrix(weights_type, ROWS, COLUMNS);
                let mut activations = Activations::default();
                activations.prepare(&random.numbers(tokens * COLUMNS), COLUMNS);
                activations.round();
                let mut out = vec![0.0; tokens * ROWS];
                for _ in 0..calls {
                    black_box(&matrix).multiply(&mut activations, black_box(&mut out));
                }
            }
            Kernel::Attend(cache_type, tokens) => {
                let mut cache = HeadCache::new(64, cache_type);
                for _ in 0..CACHED_TOKENS {
                    let (key, value) = (random.numbers(64), random.numbers(64));
                    cache.append(&key, &value).expect("enough memory");
                }
                let rows = Rows { length: HEADS * 64, group: 0..HEADS * 64 };
                let queries = random.numbers(tokens * HEADS * 64);
                let mut out = vec![0.0; queries.len()];
                let mut scratch = AttentionScratch::default();
                let visible = |token| 0..CACHED_TOKENS - tokens + token + 1;
                for _ in 0..calls {
                    let out = black_box(&mut out);
                    cache
                        .attend(&queries, &rows, &visible, SCORING, &mut scratch, out)
                        .expect("enough memory");
                }
            }
            Kernel::Round => {
                let x = random.numbers(16 * COLUMNS);
                let mut activations = Activations::default();
                for _ in 0..calls {
                    activations.prepare(black_box(&x), COLUMNS);
                    activations.round();
                }
            }
            Kernel::RmsNorm => {
                let (x, mut out) = (random.numbers(COLUMNS), [0.0; COLUMNS]);
                for _ in 0..calls {
                    rms_norm(black_box(&x), &x, 1e-5, black_box(&mut out));
                }
            }
            Kernel::SiluMul => {
                let (mut gate, up) = (random.numbers(COLUMNS), random.numbers(COLUMNS));
                for _ in 0..calls {
                    silu_mul(black_box(&mut gate), &up);
                }
            }
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let kernels = Kernel::all();
    match arguments.as_slice() {
        [] => {
            for kernel in kernels {
                println!("{}", kernel.name());
            }
        }
        [name, calls] => {
            let kernel = kernels.into_iter().find(|kernel| kernel.name() == *name);
            let (Some(kernel), Ok(calls)) = (kernel, calls.parse()) else {
                eprintln!("no kernel `{name}`, or `{calls}` is no number");
                return ExitCode::FAILURE;
            };
            kernel.run(calls);
        }
        _ => {
            eprintln!("usage: kernel_work [NAME CALLS]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
