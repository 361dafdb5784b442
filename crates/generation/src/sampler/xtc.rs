//! XTC ("exclude top choices"), by p-e-w, described in
//! https://github.com/oobabooga/text-generation-webui/pull/6335.

use trefoil_settings::RequestSettings;

use super::candidates::Candidates;

#[derive(Debug, Clone)]
pub(super) struct Xtc {
    probability: f64,
    threshold: f64,
}

impl Xtc {
    /// `None` where the settings do not ask for it.
    pub(super) fn new(settings: &RequestSettings) -> Option<Self> {
        let (probability, threshold) = (settings.xtc_probability, settings.xtc_threshold);
        (probability > 0.0).then_some(Xtc { probability, threshold })
    }

    /// If a number from 0 to below 1 is below the probability, drops all that are as likely as the
    /// threshold but the least likely of these. Nothing changes where only one is.
    pub(super) fn apply(&self, candidates: &mut Candidates, draw: f64) {
        if draw >= self.probability {
            return;
        }
        let least = candidates.weigh(1.0) * self.threshold;
        let likely = candidates.kept.iter().zip(&candidates.weights);
        let likely = likely.filter(|(_, weight)| **weight >= least).map(|(candidate, _)| candidate);
        let Some(last) = likely.max_by(|a, b| a.falling(b)).copied() else { return };
        candidates.kept.retain(|candidate| candidate.falling(&last).is_ge());
    }
}
