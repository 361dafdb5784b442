//! Penalties for tokens that occurred.

use trefoil_settings::RequestSettings;

use super::logit_of;

#[derive(Debug, Clone)]
pub(super) struct Penalties {
    repetition: f64,
    presence: f64,
    frequency: f64,
    tokens: usize,
    /// The last tokens, sorted; kept for its memory.
    window: Vec<u32>,
}

impl Penalties {
    pub(super) fn new(settings: &RequestSettings) -> Self {
        Penalties {
            repetition: settings.repetition_penalty,
            presence: settings.presence_penalty,
            frequency: settings.frequency_penalty,
            tokens: usize::try_from(settings.penalty_tokens).unwrap_or(usize::MAX),
            window: Vec::new(),
        }
    }

    pub(super) fn apply(&mut self, logits: &mut [f32], history: &[u32]) {
        if self.repetition == 1.0 && self.presence == 0.0 && self.frequency == 0.0 {
            return;
        }
        let start = history.len().saturating_sub(self.tokens);
        self.window.clear();
        self.window.extend_from_slice(&history[start..]);
        self.window.sort_unstable();
        for run in self.window.chunk_by(|a, b| a == b) {
            let Some(logit) = logit_of(logits, run[0]) else { continue };
            let value = f64::from(*logit);
            let value = if value > 0.0 { value / self.repetition } else { value * self.repetition };
            *logit = (value - self.presence - self.frequency * run.len() as f64) as f32;
        }
    }
}
