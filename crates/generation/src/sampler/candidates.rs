//! The tokens that a choice is made from.

use std::cmp::Ordering;

/// Candidates that the first step of top-p sorts; each further one sorts four times as many.
const SORTED_MIN: usize = 256;
/// Least candidates that are gathered before the smallest are dropped.
const GATHERED_MIN: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Candidate {
    token: u32,
    logit: f32,
}

/// Tokens with their logits: in order of tokens, or, once top-k or top-p have cut them, by falling
/// logits and, among equals, rising tokens. Sums run in this order, and so does the choice.
#[derive(Debug, Clone, Default)]
pub(super) struct Candidates {
    kept: Vec<Candidate>,
    sorted: bool,
    /// Unnormalised probabilities; kept for its memory.
    weights: Vec<f64>,
}

/// Larger logits first, lower tokens among equals: a total order, as no logit here is NaN.
fn falling(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

impl Candidates {
    /// Takes the `top_k` largest logits, or all if `top_k` is 0 or not below their number.
    pub(super) fn select(&mut self, logits: &[f32], top_k: usize) {
        self.kept.clear();
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
                    self.kept.select_nth_unstable_by(top_k - 1, falling);
                    self.kept.truncate(top_k);
                    threshold = self.kept[top_k - 1].logit;
                }
            }
        }
        if self.sorted {
            if self.kept.len() > top_k {
                self.kept.select_nth_unstable_by(top_k - 1, falling);
                self.kept.truncate(top_k);
            }
            self.kept.sort_unstable_by(falling);
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
                rest.select_nth_unstable_by(more - 1, falling);
                rest[..more].sort_unstable_by(falling);
                done += more;
            } else {
                rest.sort_unstable_by(falling);
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

    /// Chooses with a number from 0 to below 1. `None` if there is nothing to choose from.
    pub(super) fn choose(&mut self, temperature: f64, draw: f64) -> Option<u32> {
        let last = self.kept.last()?.token;
        let max = self.max();
        self.weights.clear();
        let weight =
            |candidate: &Candidate| libm::exp((f64::from(candidate.logit) - max) / temperature);
        self.weights.extend(self.kept.iter().map(weight));
        let wanted = draw * self.weights.iter().sum::<f64>();
        let mut sum = 0.0;
        for (candidate, weight) in self.kept.iter().zip(&self.weights) {
            sum += weight;
            if sum > wanted {
                return Some(candidate.token);
            }
        }
        // Rounding can keep the sum from exceeding a draw just below 1.
        Some(last)
    }

    fn max(&self) -> f64 {
        let logits = self.kept.iter().map(|candidate| candidate.logit);
        f64::from(match (self.sorted, self.kept.first()) {
            (true, Some(first)) => first.logit,
            _ => logits.fold(f32::NEG_INFINITY, f32::max),
        })
    }
}
