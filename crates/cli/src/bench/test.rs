//! The names of tests, in the manner of llama-bench.

use std::fmt;
use std::str::FromStr;

/// Most tokens of a prompt, a depth or an answer.
const TOKENS_MAX: u32 = 1 << 20;

/// Most sequences of a batch, as for the setting `sequences-max`.
const BATCH_MAX: u32 = 256;

/// What is run when nobody asks for something else.
pub(crate) const DEFAULT: &[&str] =
    &["pp128", "pp512", "tg128", "tg128-json", "tg128@2048", "tg128x4", "tg128x8"];

/// One speed to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    /// `pp128`: processes a prompt of so many tokens.
    Prefill { tokens: u32 },
    /// `tg128@2048x8`: produces so many tokens behind so many others, in so many sequences.
    Decode { tokens: u32, depth: u32, batch: u32 },
    /// `tg128-json`: produces so many tokens of JSON that satisfies a schema.
    Json { tokens: u32 },
}

impl Test {
    /// Context that one sequence needs, in tokens.
    pub(crate) fn context_tokens(self) -> u32 {
        match self {
            Test::Prefill { tokens } => tokens + 1,
            // The prompt is at least one token, and a step is run before those that are timed.
            Test::Decode { tokens, depth, .. } => depth.max(1) + tokens + 1,
            Test::Json { tokens } => tokens + 2,
        }
    }

    pub(crate) fn batch(self) -> u32 {
        match self {
            Test::Prefill { .. } | Test::Json { .. } => 1,
            Test::Decode { batch, .. } => batch,
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Test::Prefill { tokens } => write!(f, "pp{tokens}"),
            Test::Json { tokens } => write!(f, "tg{tokens}-json"),
            Test::Decode { tokens, depth, batch } => {
                write!(f, "tg{tokens}")?;
                if depth > 0 {
                    write!(f, "@{depth}")?;
                }
                if batch > 1 {
                    write!(f, "x{batch}")?;
                }
                Ok(())
            }
        }
    }
}

impl FromStr for Test {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| {
            format!(
                "expected `ppN` (a prompt of N tokens), `tgN`, `tgN@D`, `tgN@DxB` (N tokens behind D \
                 others in B sequences) or `tgN-json` (N tokens of JSON under a schema), with N and \
                 D up to {TOKENS_MAX} and B up to {BATCH_MAX}"
            )
        })
    }
}

fn parse(text: &str) -> Option<Test> {
    let number = |text: &str, min: u32, max: u32| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| is_number && (min..=max).contains(number))
    };
    if let Some(tokens) = text.strip_prefix("pp") {
        return Some(Test::Prefill { tokens: number(tokens, 1, TOKENS_MAX)? });
    }
    let rest = text.strip_prefix("tg")?;
    if let Some(tokens) = rest.strip_suffix("-json") {
        return Some(Test::Json { tokens: number(tokens, 1, TOKENS_MAX)? });
    }
    let (rest, batch) = match rest.split_once('x') {
        Some((rest, batch)) => (rest, number(batch, 1, BATCH_MAX)?),
        None => (rest, 1),
    };
    let (tokens, depth) = match rest.split_once('@') {
        Some((tokens, depth)) => (tokens, number(depth, 0, TOKENS_MAX)?),
        None => (rest, 0),
    };
    Some(Test::Decode { tokens: number(tokens, 1, TOKENS_MAX)?, depth, batch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_they_are_written() {
        for text in DEFAULT.iter().copied().chain(["tg1@3x256", "pp1"]) {
            assert_eq!(text.parse::<Test>().map(|test| test.to_string()).as_deref(), Ok(text));
        }
        let decode = Test::Decode { tokens: 7, depth: 0, batch: 1 };
        assert_eq!("tg7@0x1".parse(), Ok(decode));
        assert_eq!((decode.context_tokens(), decode.batch()), (9, 1));
    }

    #[test]
    fn what_is_no_test_is_refused() {
        for text in [
            "",
            "pp",
            "pp0",
            "pp+1",
            "tg",
            "tg1x0",
            "tg1x257",
            "tg1@",
            "tgx2",
            "tg-json",
            "tg1@2-json",
            "pp9999999",
        ] {
            assert!(text.parse::<Test>().is_err(), "{text}");
        }
    }
}
