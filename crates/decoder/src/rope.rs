//! Rotary position embedding: the angles of each position (Su et al., 2021, arXiv:2104.09864).

use trefoil_contract::{Error, Result};

use crate::config::Config;
use crate::tensor;

/// Angles by position. The turning itself is a kernel.
pub(crate) struct Rope {
    /// Radians per position, one for each pair. In f64: at position 100,000 an f32 product would
    /// be off by a hundredth of a radian.
    frequencies: Vec<f64>,
}

impl Rope {
    /// Frequencies of a model. `factors` divide them one by one where they are not empty.
    ///
    /// # Errors
    /// `invalid-model` if a factor is not a positive number.
    pub(crate) fn new(config: &Config, factors: &[f32]) -> Result<Rope> {
        let is_usable = |factor: &f32| factor.is_finite() && *factor > 0.0;
        if let Some(index) = factors.iter().position(|factor| !is_usable(factor)) {
            return Err(Error::InvalidModel(format!(
                "tensor `{}` holds {} at index {index}: expected a positive number",
                tensor::ROPE_FREQS,
                factors[index]
            )));
        }
        let length = config.rope_length as f64;
        let frequency = |pair: usize| {
            let exponent = -2.0 * pair as f64 / length;
            let frequency = f64::from(config.rope_freq_base).powf(exponent);
            let factor = factors.get(pair).copied().unwrap_or(1.0) * config.rope_scaling_factor;
            frequency / f64::from(factor)
        };
        Ok(Rope { frequencies: (0..config.rope_length / 2).map(frequency).collect() })
    }

    /// Cosines and sines of one position, one for each pair.
    pub(crate) fn angles(&self, position: u32, cos: &mut [f32], sin: &mut [f32]) {
        for ((frequency, cos), sin) in self.frequencies.iter().zip(cos).zip(sin) {
            let (s, c) = (frequency * f64::from(position)).sin_cos();
            (*cos, *sin) = (c as f32, s as f32);
        }
    }
}
