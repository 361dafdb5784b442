//! What Trefoil wants to reach: ratios of medians in one run.

use super::Measured;
use super::servers::{EIGHT_CLIENTS, LLAMA as LLAMA_SERVER, ONE_CLIENT, TREFOIL as SERVER};

/// A target with what was measured.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    /// Of the medians; NaN where something was not measured.
    pub(crate) ratio: f64,
    pub(crate) bound: Bound,
}

#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Row {
    pub(crate) fn is_reached(&self) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => self.ratio >= bound,
            Bound::AtMost(bound) => self.ratio <= bound,
        }
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

const ONE: &str = "Trefoil, 1 instance";
const TWO: &str = "Trefoil, 2 instances";
const LLAMA_ONE: &str = "llama.cpp, 1 thread";
const LLAMA_TWO: &str = "llama.cpp, 2 threads";

/// All targets. `model_bytes` is the size of the model's file.
pub(crate) fn rows(measured: &Measured, model_bytes: f64) -> Vec<Row> {
    use Bound::{AtLeast, AtMost};
    let value = |program: &str, test: &str| {
        let values = measured.get(&(program.to_owned(), test.to_owned()));
        median(values.map_or(&[], Vec::as_slice))
    };
    let ratio = |a: (&str, &str), b: (&str, &str)| value(a.0, a.1) / value(b.0, b.1);
    let same = |ours: &str, theirs: &str, test: &str| ratio((ours, test), (theirs, test));
    let row = |what, ratio, bound| Row { what, ratio, bound };
    vec![
        row("decode, 1 instance : llama.cpp 1 thread", same(ONE, LLAMA_ONE, "tg128"), AtLeast(1.8)),
        row(
            "prefill 128, 1 instance : llama.cpp 1 thread",
            same(ONE, LLAMA_ONE, "pp128"),
            AtLeast(1.8),
        ),
        row(
            "prefill 512, 1 instance : llama.cpp 1 thread",
            same(ONE, LLAMA_ONE, "pp512"),
            AtLeast(1.8),
        ),
        row(
            "decode, 2 instances : llama.cpp 2 threads",
            same(TWO, LLAMA_TWO, "tg128"),
            AtLeast(2.0),
        ),
        row(
            "prefill 128, 2 instances : llama.cpp 2 threads",
            same(TWO, LLAMA_TWO, "pp128"),
            AtLeast(1.5),
        ),
        row(
            "prefill 512, 2 instances : llama.cpp 2 threads",
            same(TWO, LLAMA_TWO, "pp512"),
            AtLeast(1.5),
        ),
        row(
            "decode at depth 2048, 1 instance : llama.cpp 1 thread",
            same(ONE, LLAMA_ONE, "tg128@2048"),
            AtLeast(1.5),
        ),
        row(
            "decode of 8 sequences, aggregate : 1 sequence",
            ratio((ONE, "tg128x8"), (ONE, "tg128")),
            AtLeast(3.0),
        ),
        row(
            "server, 8 clients, aggregate : 1 client",
            ratio((SERVER, EIGHT_CLIENTS), (SERVER, ONE_CLIENT)),
            AtLeast(2.0),
        ),
        row(
            "server, 8 clients, aggregate : llama-server's",
            same(SERVER, LLAMA_SERVER, EIGHT_CLIENTS),
            AtLeast(1.5),
        ),
        row(
            "time of a token, JSON under a schema : free",
            ratio((ONE, "tg128"), (ONE, "tg128-json")),
            AtMost(1.15),
        ),
        row(
            "start of process to first token : llama.cpp",
            same(ONE, LLAMA_ONE, "first_token_ms"),
            AtMost(0.6),
        ),
        row(
            "Gemma 3 270M, decode, 1 instance : llama.cpp 1 thread",
            same(ONE, LLAMA_ONE, "Gemma 3 270M, tg128"),
            AtLeast(1.4),
        ),
        row(
            "Gemma 3 270M, prefill 128, 1 instance : llama.cpp 1 thread",
            same(ONE, LLAMA_ONE, "Gemma 3 270M, pp128"),
            AtLeast(1.0),
        ),
        row(
            "weight bytes per second in decode : memory read, 1 thread",
            value(ONE, "tg128") * value(ONE, "weight_bytes_per_token")
                / value(ONE, "memory_read_bytes_per_s"),
            AtLeast(0.75),
        ),
        row(
            "peak anonymous memory : model file",
            value(ONE, "anonymous_memory_bytes") / model_bytes,
            AtMost(1.5),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_reached() {
        assert!(rows(&Measured::new(), 1.0).iter().all(|row| !row.is_reached()));
    }

    #[test]
    fn ratios_are_of_medians() {
        let mut measured = Measured::new();
        let mut put = |program: &str, values: &[f64]| {
            measured.insert((program.to_owned(), "tg128".to_owned()), values.to_vec());
        };
        put(ONE, &[9.0, 100.0, 8.0]);
        put(LLAMA_ONE, &[5.0, 4.0]);
        let rows = rows(&measured, 1.0);
        assert_eq!(rows[0].ratio, 2.0);
        assert!(rows[0].is_reached());
    }
}
