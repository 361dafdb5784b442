//! Temperature, fixed or by entropy.

use trefoil_settings::RequestSettings;

use super::candidates::Candidates;

/// Divides logits. The dynamic temperature (llama.cpp's `temp_ext`) lies between `fixed - range`, at
/// least 0, and `fixed + range`: the higher, the nearer the entropy of the candidates is to the
/// largest that so many can have.
#[derive(Debug, Clone)]
pub(super) struct Temperature {
    fixed: f64,
    range: f64,
    exponent: f64,
}

impl Temperature {
    pub(super) fn new(settings: &RequestSettings) -> Self {
        Temperature {
            fixed: settings.temperature,
            range: settings.dynamic_temperature_range,
            exponent: settings.dynamic_temperature_exponent,
        }
    }

    /// Whether the likeliest token is always chosen.
    pub(super) fn is_greedy(&self) -> bool {
        self.fixed <= 0.0
    }

    pub(super) fn fixed(&self) -> f64 {
        self.fixed
    }

    /// What divides the logits of these candidates: above 0.
    pub(super) fn of(&self, candidates: &mut Candidates) -> f64 {
        if self.range <= 0.0 || candidates.len() <= 1 {
            return self.fixed;
        }
        let share = candidates.entropy() / libm::log(candidates.len() as f64);
        let (min, max) = ((self.fixed - self.range).max(0.0), self.fixed + self.range);
        let temperature = min + (max - min) * libm::pow(share.clamp(0.0, 1.0), self.exponent);
        temperature.max(f64::MIN_POSITIVE)
    }
}
