//! The tokens that a choice is made from.

use std::cmp::Ordering;

/// Candidates that the first step of top-p sorts; each further one sorts four times as many.
const SORTED_MIN: usize = 256;
/// Least candidates that are gathered before the smallest are dropped.
const GATHERED_MIN: usize = 256;

#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) token: u32,
    pub(super) logit: f32,
}

/// Tokens with their logits: in order of tokens, or, once top-k or top-p have cut them, by falling
/// logits and, among equals, rising tokens. Sums run in this order, and so does the choice.
#[derive(Debug, Clone, Default)]
pub(super) struct Candidates {
    pub(super) kept: Vec<Candidate>,
    sorted: bool,
    vocabulary_tokens: usize,
    /// Unnormalised probabilities, as [`Candidates::weigh`] has left them.
    pub(super) weights: Vec<f64>,
    /// Candidates by a number of their own; kept for its memory.
    pub(super) ranked: Vec<(f64, usize)>,
}

impl Candidate {
    /// Larger logits first, lower tokens among equals: a total order, as no logit here is NaN.
    pub(super) fn falling(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.token.cmp(&other.token))
    }
}

impl Candidates {
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The number of logits that the candidates were selected from.
    pub(super) fn vocabulary_tokens(&self) -> usize {
        self.vocabulary_tokens
    }

    pub(super) fn token(&self, index: usize) -> u32 {
        self.kept[index].token
    }

    /// Takes the `top_k` largest logits, or all if `top_k` is 0 or not below their number; and of
    /// these only the ones that are at most `n_sigma` standard deviations of all logits below the
    /// largest, unless that is 0 (Tang et al., "Top-nσ: Not All Logits Are You Need", 2024).
    pub(super) fn select(&mut self, logits: &[f32], n_sigma: f64, top_k: usize) {
        self.kept.clear();
        self.vocabulary_tokens = logits.len();
        self.sorted = top_k > 0 && top_k < logits.len();
        let gathered_max =
            if self.sorted { top_k.saturating_mul(2).max(GATHERED_MIN) } else { usize::MAX };
        // A later token has to be larger than the smallest of `top_k` earlier ones.
        let mut threshold = f32::NEG_INFINITY;
        for (token, &logit) in (0..).zip(logits) {
            if logit > threshold {
                // Adding 0 turns -0 into 0: they are equal as logits, but not to `total_cmp`.
                self.kept.push(Candidate { token, logit: logit.min(f32::MAX) + 0.0 });
                if self.kept.len() >= gathered_max {
                    self.kept.select_nth_unstable_by(top_k - 1, Candidate::falling);
                    self.kept.truncate(top_k);
                    threshold = self.kept[top_k - 1].logit;
                }
            }
        }
        if self.sorted {
            if self.kept.len() > top_k {
                self.kept.select_nth_unstable_by(top_k - 1, Candidate::falling);
                self.kept.truncate(top_k);
            }
            self.kept.sort_unstable_by(Candidate::falling);
        }
        if n_sigma > 0.0 && !self.kept.is_empty() {
            let least = self.max() - n_sigma * standard_deviation(logits);
            self.kept.retain(|candidate| f64::from(candidate.logit) >= least);
        }
    }

    /// By falling logits, from now on.
    pub(super) fn sort(&mut self) {
        if !self.sorted {
            self.kept.sort_unstable_by(Candidate::falling);
            self.sorted = true;
        }
    }

    /// Keeps the fewest largest whose probabilities reach `p` together, at least one.
    pub(super) fn keep_top_p(&mut self, p: f64) {
        if p >= 1.0 || self.kept.is_empty() {
            return;
        }
        let max = self.max();
        let weight = |candidate: &Candidate| libm::exp(f64::from(candidate.logit) - max);
        let wanted = p * self.kept.iter().map(weight).sum::<f64>();
        let mut sum = 0.0;
        let mut done = if self.sorted { self.kept.len() } else { 0 };
        let mut summed = 0;
        loop {
            while summed < done {
                sum += weight(&self.kept[summed]);
                summed += 1;
                if sum >= wanted {
                    self.kept.truncate(summed);
                    self.sorted = true;
                    return;
                }
            }
            if done == self.kept.len() {
                self.sorted = true;
                return;
            }
            // Sorts so many more of the largest only, as the likeliest few mostly suffice.
            let more = (done * 3).max(SORTED_MIN);
            let rest = &mut self.kept[done..];
            if more < rest.len() {
                rest.select_nth_unstable_by(more - 1, Candidate::falling);
                rest[..more].sort_unstable_by(Candidate::falling);
                done += more;
            } else {
                rest.sort_unstable_by(Candidate::falling);
                done = self.kept.len();
            }
        }
    }

    /// Keeps those with at least `share` of the largest probability.
    pub(super) fn keep_min_p(&mut self, share: f64) {
        if share > 0.0 && !self.kept.is_empty() {
            let least = self.max() + libm::log(share.min(1.0));
            self.kept.retain(|candidate| f64::from(candidate.logit) >= least);
        }
    }

    /// Fills `weights`, of which the largest is 1; answers their sum.
    pub(super) fn weigh(&mut self, temperature: f64) -> f64 {
        let max = self.max();
        let weight =
            |candidate: &Candidate| libm::exp((f64::from(candidate.logit) - max) / temperature);
        self.weights.clear();
        self.weights.extend(self.kept.iter().map(weight));
        self.weights.iter().sum()
    }

    /// The place of the first candidate at which the sum of `weights` exceeds what is wanted of it.
    /// `None` if there is nothing to choose from.
    pub(super) fn pick(&self, wanted: f64) -> Option<usize> {
        let mut sum = 0.0;
        let exceeds = |weight: &f64| {
            sum += weight;
            sum > wanted
        };
        // Rounding can keep the sum from exceeding a draw just below 1.
        self.weights.iter().position(exceeds).or(self.kept.len().checked_sub(1))
    }

    /// Of the candidates' probabilities, in nats.
    pub(super) fn entropy(&mut self) -> f64 {
        let total = self.weigh(1.0);
        let (log_total, max) = (libm::log(total), self.max());
        let information = |candidate: &Candidate| log_total - (f64::from(candidate.logit) - max);
        let weighed = self.kept.iter().zip(&self.weights);
        weighed.map(|(candidate, weight)| weight / total * information(candidate)).sum()
    }

    pub(super) fn max(&self) -> f64 {
        let logits = self.kept.iter().map(|candidate| candidate.logit);
        f64::from(match (self.sorted, self.kept.first()) {
            (true, Some(first)) => first.logit,
            _ => logits.fold(f32::NEG_INFINITY, f32::max),
        })
    }
}

/// Of the logits that can be chosen.
fn standard_deviation(logits: &[f32]) -> f64 {
    let possible = || {
        let possible = logits.iter().filter(|logit| **logit > f32::NEG_INFINITY);
        possible.map(|logit| f64::from(logit.min(f32::MAX)))
    };
    let count = possible().count().max(1) as f64;
    let mean = possible().sum::<f64>() / count;
    libm::sqrt(possible().map(|logit| (logit - mean) * (logit - mean)).sum::<f64>() / count)
}
