//! Rotary position embedding: the angles of each position (Su et al., 2021, arXiv:2104.09864).

use std::f64::consts::TAU;

use trefoil_contract::{Error, Result};

use crate::config::{RopeConfig, RopeScaling};

/// Angles by position. The turning itself is a kernel.
pub(crate) struct Rope {
    /// Radians per position, one for each pair. In f64: at position 100,000 an f32 product would
    /// be off by a hundredth of a radian.
    frequencies: Vec<f64>,
    /// What cosines and sines are multiplied with.
    magnitude: f64,
}

impl Rope {
    /// Frequencies of heads of which `length` elements are turned. `factors`, those of the tensor
    /// `name`, divide them one by one where they are not empty.
    ///
    /// # Errors
    /// `invalid-model` if a factor is not a positive number.
    pub(crate) fn new(
        config: &RopeConfig,
        length: usize,
        (name, factors): (&str, &[f32]),
    ) -> Result<Rope> {
        let is_usable = |factor: &f32| factor.is_finite() && *factor > 0.0;
        if let Some(index) = factors.iter().position(|factor| !is_usable(factor)) {
            return Err(Error::InvalidModel(format!(
                "tensor `{name}` holds {} at index {index}: expected a positive number",
                factors[index]
            )));
        }
        let frequency = |pair: usize| {
            let exponent = -2.0 * pair as f64 / length as f64;
            let frequency = f64::from(config.freq_base).powf(exponent);
            let factor = f64::from(factors.get(pair).copied().unwrap_or(1.0));
            frequency * scale(config, length, pair) / factor
        };
        let magnitude = match config.scaling {
            RopeScaling::Linear(_) => 1.0,
            RopeScaling::Yarn { factor, .. } => 1.0 + 0.1 * f64::from(factor).ln(),
        };
        Ok(Rope {
            frequencies: (0..length / 2).map(frequency).collect(),
            magnitude: magnitude * f64::from(config.magnitude),
        })
    }

    /// Cosines and sines of one position, one for each pair.
    pub(crate) fn angles(&self, position: u32, cos: &mut [f32], sin: &mut [f32]) {
        for ((frequency, cos), sin) in self.frequencies.iter().zip(cos).zip(sin) {
            let (s, c) = (frequency * f64::from(position)).sin_cos();
            (*cos, *sin) = ((c * self.magnitude) as f32, (s * self.magnitude) as f32);
        }
    }
}

/// What the scaling multiplies a pair's frequency with.
fn scale(config: &RopeConfig, length: usize, pair: usize) -> f64 {
    match config.scaling {
        RopeScaling::Linear(factor) => 1.0 / f64::from(factor),
        RopeScaling::Yarn { factor, beta_fast, beta_slow } => {
            // The pair that turns so often over the original context.
            let pair_turning = |turns: f32| {
                let context = f64::from(config.original_context_tokens);
                let base = f64::from(config.freq_base).ln();
                length as f64 * (context / (f64::from(turns) * TAU)).ln() / (2.0 * base)
            };
            let first = pair_turning(beta_fast).floor().max(0.0);
            let last = pair_turning(beta_slow).ceil().min(length as f64 - 1.0);
            let interpolated = ((pair as f64 - first) / (last - first).max(1e-3)).clamp(0.0, 1.0);
            interpolated / f64::from(factor) + (1.0 - interpolated)
        }
    }
}
