//! Mirostat (Basu, Ramachandran, Keskar and Varshney, "Mirostat: A Neural Text Decoding Algorithm
//! that Directly Controls Perplexity", 2021).

use trefoil_settings::RequestSettings;

use super::candidates::Candidates;

/// Candidates from whose probabilities version 1 estimates Zipf's exponent.
const ESTIMATED_FROM: usize = 100;

/// Keeps surprise, which is measured in bits, near a target. Candidates are bounded by `mu`, which
/// begins at twice the target; behind each token it falls by `eta` times what the token surprised
/// more than the target.
#[derive(Debug, Clone)]
pub(super) struct Mirostat {
    estimates: bool,
    tau: f64,
    eta: f64,
    mu: f64,
}

impl Mirostat {
    /// `None` where the settings do not ask for it.
    pub(super) fn new(settings: &RequestSettings) -> Option<Self> {
        let (tau, eta) = (settings.mirostat_tau, settings.mirostat_eta);
        let estimates = settings.mirostat == 1;
        (settings.mirostat > 0).then_some(Mirostat { estimates, tau, eta, mu: 2.0 * tau })
    }

    /// `mu`
    pub(super) fn bound(&self) -> f64 {
        self.mu
    }

    /// Goes on with another `mu`.
    pub(super) fn set_bound(&mut self, mu: f64) {
        self.mu = mu;
    }

    /// Chooses among the whole vocabulary with a number from 0 to below 1.
    pub(super) fn choose(
        &mut self,
        candidates: &mut Candidates,
        temperature: f64,
        draw: f64,
    ) -> Option<u32> {
        self.keep(candidates, temperature);
        let total = candidates.weigh(temperature);
        let index = candidates.pick(draw * total)?;
        self.observe(candidates.weights[index] / total);
        Some(candidates.token(index))
    }

    /// Version 2 keeps what surprises at most `mu`. Version 1 keeps the `k` likeliest: as many as
    /// would give that surprise if probabilities fell by Zipf's law, whose exponent is estimated
    /// from the 100 likeliest (algorithm 1 of the paper, with the least squares of its section 4).
    pub(super) fn keep(&self, candidates: &mut Candidates, temperature: f64) {
        if candidates.is_empty() {
            return;
        }
        let total = candidates.weigh(temperature);
        if self.estimates {
            let vocabulary_tokens = candidates.vocabulary_tokens() as f64;
            candidates.sort();
            let exponent = exponent(candidates, temperature);
            let epsilon = exponent - 1.0;
            let bound = match epsilon == 0.0 {
                // The limit of what follows.
                true => libm::exp2(self.mu) / libm::log(vocabulary_tokens),
                false => {
                    epsilon * libm::exp2(self.mu) / (1.0 - libm::pow(vocabulary_tokens, -epsilon))
                }
            };
            // Saturates, and is 0 for what is no number.
            let k = libm::pow(bound, 1.0 / exponent) as usize;
            candidates.kept.truncate(k.max(1));
        } else {
            let (max, log_total) = (candidates.max(), libm::log(total));
            let surprise = |logit: f32| {
                (log_total - (f64::from(logit) - max) / temperature) / std::f64::consts::LN_2
            };
            let likeliest = candidates.kept.iter().min_by(|a, b| a.falling(b)).copied();
            let is_kept = |logit: f32| surprise(logit) <= self.mu;
            candidates.kept.retain(|candidate| is_kept(candidate.logit));
            if candidates.is_empty() {
                candidates.kept.extend(likeliest);
            }
        }
    }

    /// Learns from the probability that the chosen token had among those that were kept.
    pub(super) fn observe(&mut self, probability: f64) {
        self.mu -= self.eta * (-libm::log2(probability) - self.tau);
    }
}

/// Zipf's exponent of the likeliest candidates, which are sorted.
fn exponent(candidates: &Candidates, temperature: f64) -> f64 {
    let (mut products, mut squares) = (0.0, 0.0);
    let likeliest = candidates.kept.windows(2).take(ESTIMATED_FROM - 1);
    for (pair, place) in likeliest.zip(1u32..) {
        let ranks = libm::log(f64::from(place + 1) / f64::from(place));
        let logs = (f64::from(pair[0].logit) - f64::from(pair[1].logit)) / temperature;
        products += ranks * logs;
        squares += ranks * ranks;
    }
    products / squares
}
