//! Logarithms of tokens' probabilities under the softmax of logits.

use trefoil_contract::{Error, Result, TokenChoice, TokenProbability};

use crate::Vocabulary;

/// Most tokens that one place reports beside the chosen one.
const TOP_MAX: u32 = 32;

/// The softmax of a row of logits, as what turns a logit into a logarithm: sums are `f64`, in the
/// order of tokens, over `libm`'s functions, and so the same on every platform.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogSoftmax {
    max: f64,
    log_sum: f64,
}

impl LogSoftmax {
    /// `None` if the logits are no numbers.
    pub(crate) fn new(logits: &[f32]) -> Option<Self> {
        // Not `f32::max`, which passes over NaN.
        let max = logits.iter().copied().max_by(f32::total_cmp).map(f64::from)?;
        let sum: f64 = logits.iter().map(|&logit| libm::exp(f64::from(logit) - max)).sum();
        let log_sum = libm::log(sum);
        (max.is_finite() && !log_sum.is_nan()).then_some(LogSoftmax { max, log_sum })
    }

    /// Natural logarithm of the probability that belongs to one of the logits.
    pub(crate) fn log_probability(&self, logit: f32) -> f32 {
        (f64::from(logit) - self.max - self.log_sum) as f32
    }
}

/// Reports the log probabilities of an answer's tokens: those that the model itself gives, before
/// anything that a request asks for changes its logits.
#[derive(Debug)]
pub(crate) struct LogProbabilities {
    top: usize,
    /// The model's, which the sampler changes.
    logits: Vec<f32>,
    softmax: LogSoftmax,
}

impl LogProbabilities {
    /// Reports the chosen token and `top` likeliest ones.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 32 of them.
    pub(crate) fn new(top: u32) -> Result<Self> {
        if top > TOP_MAX {
            return Err(Error::InvalidArgument(format!(
                "log probabilities of the {top} likeliest tokens; at most {TOP_MAX} are reported"
            )));
        }
        Ok(LogProbabilities {
            top: top as usize,
            logits: Vec::new(),
            softmax: LogSoftmax::default(),
        })
    }

    /// Keeps what the model says about the next token.
    ///
    /// # Errors
    /// [`Error::InvalidModel`] for logits that are no numbers.
    pub(crate) fn keep(&mut self, logits: &[f32]) -> Result<()> {
        self.softmax = LogSoftmax::new(logits).ok_or_else(|| {
            Error::InvalidModel(
                "the logits of a token are no numbers; its weights are damaged".into(),
            )
        })?;
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        Ok(())
    }

    /// The report on the token that was chosen then, one of the vocabulary.
    pub(crate) fn choice(&self, token: u32, vocabulary: &impl Vocabulary) -> TokenChoice {
        let report = |token: u32, logit: f32| TokenProbability {
            token,
            bytes: vocabulary.token_bytes(token).unwrap_or_default().to_vec(),
            log_probability: self.softmax.log_probability(logit),
        };
        let chosen = self.logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let top = likeliest(&self.logits, self.top);
        TokenChoice {
            chosen: report(token, chosen),
            top: top.into_iter().map(|(token, logit)| report(token, logit)).collect(),
        }
    }
}

/// The `count` largest logits with their tokens, or all; falling, lower tokens first among equals.
fn likeliest(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut top: Vec<(u32, f32)> = Vec::with_capacity(count);
    for (token, &logit) in (0..).zip(logits) {
        if top.len() == count {
            if top.last().is_none_or(|(_, least)| logit <= *least) {
                continue;
            }
            top.pop();
        }
        let place = top.partition_point(|(_, other)| *other >= logit);
        top.insert(place, (token, logit));
    }
    top
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LogProbabilities, LogSoftmax, likeliest};

    proptest! {
        #[test]
        fn the_likeliest_are_the_first_of_a_full_sort(
            logits in prop::collection::vec((-4i8..4).prop_map(f32::from), 0..200),
            count in 0usize..40,
        ) {
            let mut sorted: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            sorted.truncate(count);
            prop_assert_eq!(likeliest(&logits, count), sorted);
        }

        #[test]
        fn probabilities_add_up_to_1(
            logits in prop::collection::vec(-1e4f32..1e4, 1..300), offset in -1e5f32..1e5,
        ) {
            let logits: Vec<_> = logits.iter().map(|logit| logit + offset).collect();
            let softmax = LogSoftmax::new(&logits).expect("numbers");
            let log = |logit: &f32| f64::from(softmax.log_probability(*logit));
            let sum: f64 = logits.iter().map(|logit| log(logit).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-5, "{}", sum);
            prop_assert!(logits.iter().all(|logit| log(logit) <= 0.0));
        }
    }

    #[test]
    fn halves_and_quarters_have_their_logarithms() {
        let logits = [2f32.ln(), 0.0, 0.0, f32::NEG_INFINITY];
        let softmax = LogSoftmax::new(&logits).expect("numbers");
        let logs = logits.map(|logit| softmax.log_probability(logit));
        let quarter = 0.25f32.ln();
        assert!(
            (logs[0] - 0.5f32.ln()).abs() < 1e-7 && (logs[1] - quarter).abs() < 1e-7,
            "{logs:?}"
        );
        assert_eq!((logs[2], logs[3]), (logs[1], f32::NEG_INFINITY));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let damaged = [f32::NAN, -f32::NAN, f32::INFINITY];
        for value in damaged {
            assert!(LogSoftmax::new(&[0.0, value, 1.0]).is_none(), "{value}");
        }
        assert!(LogSoftmax::new(&[f32::NEG_INFINITY; 3]).is_none());
        assert!(LogSoftmax::new(&[]).is_none());
        assert!(LogProbabilities::new(32).is_ok());
        let error = LogProbabilities::new(33).expect_err("too many").to_string();
        assert!(error.contains("33") && error.contains("at most 32"), "{error}");
    }
}
