//! Results as a table, CSV or JSON.

use std::fmt::Write;

use serde_json::{Value, json};

/// Measured values of one test, in the order of the runs.
pub(crate) struct Series(pub(crate) Vec<f64>);

impl Series {
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match (sorted.len() / 2, sorted.len() % 2) {
            (_, _) if sorted.is_empty() => f64::NAN,
            (middle, 1) => sorted[middle],
            (middle, _) => (sorted[middle - 1] + sorted[middle]) / 2.0,
        }
    }

    fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }
}

/// Everything that was measured.
pub(crate) struct Report {
    pub(crate) model: String,
    pub(crate) engine: String,
    pub(crate) instances: u32,
    /// Tokens per second, or why a test was not run.
    pub(crate) speeds: Vec<(String, Result<Series, String>)>,
    pub(crate) load_ms: Series,
    pub(crate) first_token_ms: Option<Series>,
    pub(crate) first_token_prompt_tokens: u32,
    pub(crate) guest_memory_bytes: u64,
    pub(crate) anonymous_memory_bytes: Option<u64>,
    pub(crate) model_bytes: u64,
    pub(crate) token_bytes: u64,
    pub(crate) memory_read_bytes_per_s: f64,
}

impl Report {
    /// Share of the memory's speed that decoding one sequence at depth 0 reaches.
    fn bandwidth_share(&self) -> Option<f64> {
        let decode = self
            .speeds
            .iter()
            .find(|(name, _)| name.starts_with("tg") && !name.contains(['@', 'x']))?;
        let tokens_per_s = decode.1.as_ref().ok()?.median();
        Some(tokens_per_s * self.token_bytes as f64 / self.memory_read_bytes_per_s)
    }

    pub(crate) fn json(&self) -> Value {
        let results: Vec<_> = self
            .speeds
            .iter()
            .filter_map(|(name, series)| {
                let series = series.as_ref().ok()?;
                Some(json!({
                    "test": name,
                    "tokens_per_s": series.median(),
                    "tokens_per_s_best": series.most(),
                    "runs_tokens_per_s": series.0,
                }))
            })
            .collect();
        let skipped: Vec<_> = self
            .speeds
            .iter()
            .filter_map(|(name, series)| {
                Some(json!({ "test": name, "reason": series.as_ref().err()? }))
            })
            .collect();
        let times = |series: &Series| json!({ "median": series.median(), "best": series.least(), "runs": series.0 });
        json!({
            "model": self.model,
            "engine": self.engine,
            "instances": self.instances,
            "results": results,
            "skipped": skipped,
            "load_ms": times(&self.load_ms),
            "first_token_ms": self.first_token_ms.as_ref().map(times),
            "first_token_prompt_tokens": self.first_token_prompt_tokens,
            "guest_memory_bytes": self.guest_memory_bytes,
            "anonymous_memory_bytes": self.anonymous_memory_bytes,
            "model_bytes": self.model_bytes,
            "weight_bytes_per_token": self.token_bytes,
            "memory_read_bytes_per_s": self.memory_read_bytes_per_s,
            "memory_read_share": self.bandwidth_share(),
        })
    }

    /// A line for each value; units in the second column.
    pub(crate) fn csv(&self) -> String {
        let mut text = String::from("test,unit,median,best,runs\n");
        let mut line = |name: &str, unit: &str, series: &Series, best: f64| {
            let runs: Vec<_> = series.0.iter().map(f64::to_string).collect();
            let (median, runs) = (series.median(), runs.join(" "));
            let _ = writeln!(text, "{name},{unit},{median},{best},{runs}");
        };
        for (name, series) in &self.speeds {
            if let Ok(series) = series {
                line(name, "tokens/s", series, series.most());
            }
        }
        line("load", "ms", &self.load_ms, self.load_ms.least());
        if let Some(series) = &self.first_token_ms {
            line("first-token", "ms", series, series.least());
        }
        let mut value = |name: &str, unit: &str, value: f64| {
            let _ = writeln!(text, "{name},{unit},{value},{value},{value}");
        };
        value("guest-memory", "bytes", self.guest_memory_bytes as f64);
        if let Some(bytes) = self.anonymous_memory_bytes {
            value("anonymous-memory", "bytes", bytes as f64);
        }
        value("memory-read", "bytes/s", self.memory_read_bytes_per_s);
        if let Some(share) = self.bandwidth_share() {
            value("memory-read-share", "1", share);
        }
        text
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let instances = match self.instances {
            1 => "1 instance".to_owned(),
            count => format!("{count} instances"),
        };
        let mut text = format!("{}, engine {}, {instances}\n\n", self.model, self.engine);
        let _ = writeln!(text, "{:<14} {:>12} {:>12}", "test", "median", "best");
        for (name, series) in &self.speeds {
            let _ = match series {
                Ok(series) => writeln!(
                    text,
                    "{name:<14} {:>12.1} {:>12.1} tokens/s",
                    series.median(),
                    series.most()
                ),
                Err(reason) => writeln!(text, "{name:<14} not run: {reason}"),
            };
        }
        let mut times = |name: &str, series: &Series| {
            let (median, least) = (series.median(), series.least());
            let _ = writeln!(text, "{name:<14} {median:>12.1} {least:>12.1} ms");
        };
        times("load", &self.load_ms);
        if let Some(series) = &self.first_token_ms {
            times("first token", series);
        }
        let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
        let _ = writeln!(
            text,
            "\nmemory: guest {:.1} MiB{}; model {:.1} MiB",
            mib(self.guest_memory_bytes),
            match self.anonymous_memory_bytes {
                Some(bytes) => format!(", `trefoil chat` (anonymous) {:.1} MiB", mib(bytes)),
                None => String::new(),
            },
            mib(self.model_bytes)
        );
        let _ = write!(
            text,
            "memory read by one thread: {:.1} GB/s{}",
            self.memory_read_bytes_per_s / 1e9,
            match self.bandwidth_share() {
                Some(share) => format!("; decoding reaches {:.0} % of it", share * 100.0),
                None => String::new(),
            }
        );
        if self.first_token_ms.is_some() {
            let _ = write!(
                text,
                "\nfirst token: from the start of a process, prompt of {} tokens, all in the cache",
                self.first_token_prompt_tokens
            );
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_ones() {
        assert_eq!(Series(vec![3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Series(vec![4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!((Series(vec![1.0, 2.0]).most(), Series(vec![1.0, 2.0]).least()), (2.0, 1.0));
    }
}
