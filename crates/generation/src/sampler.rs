//! The choice of a token from logits.

mod candidates;

use rand_core::{Rng as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;
use trefoil_contract::{Error, Result};
use trefoil_settings::RequestSettings;

use candidates::Candidates;

/// Chooses tokens as a request's settings say. The steps, in llama.cpp's default order:
///
/// 1. logit bias: added;
/// 2. penalties for tokens among the last `penalty_tokens`, the prompt's included: a positive logit
///    is divided by the repetition penalty, another multiplied; then the presence penalty and, for
///    each occurrence, the frequency penalty are subtracted;
/// 3. at temperature 0 the largest logit wins, the lowest token among equals. Otherwise:
/// 4. top-k: keeps the `k` largest logits, lower tokens among equals;
/// 5. top-p: keeps the fewest largest whose probabilities reach `p` together;
/// 6. min-p: keeps those with at least that share of the largest probability;
/// 7. temperature divides the logits, and one number from the generator chooses.
///
/// Each token takes exactly one number from the generator (none at temperature 0). Probabilities
/// are `f64` sums in a fixed order over `libm`'s `exp`, so that the same seed gives the same tokens
/// on every platform. A logit that is NaN or -infinity is never chosen; +infinity counts as the
/// largest finite one.
#[derive(Debug, Clone)]
pub struct Sampler {
    temperature: f64,
    top_k: usize,
    top_p: f64,
    min_p: f64,
    penalties: Penalties,
    bias: Vec<(u32, f32)>,
    generator: Xoshiro256PlusPlus,
    candidates: Candidates,
}

#[derive(Debug, Clone)]
struct Penalties {
    repetition: f64,
    presence: f64,
    frequency: f64,
    tokens: usize,
    /// The last tokens, sorted; kept for its memory.
    window: Vec<u32>,
}

impl Sampler {
    /// A sampler at the beginning of its random numbers. `bias` is added to the logits of single
    /// tokens; entries for the same token add up.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a bias that is NaN or +infinity.
    pub fn new(settings: &RequestSettings, bias: &[(u32, f32)]) -> Result<Self> {
        if let Some((token, value)) =
            bias.iter().find(|(_, value)| value.is_nan() || *value == f32::INFINITY)
        {
            return Err(Error::InvalidArgument(format!(
                "the logit bias of token {token} is {value}; expected a finite number, or \
                 -infinity to exclude the token"
            )));
        }
        // The settings' table keeps values in their ranges; what else comes here is harmless.
        Ok(Sampler {
            temperature: settings.temperature,
            top_k: usize::try_from(settings.top_k).unwrap_or(usize::MAX),
            top_p: settings.top_p,
            min_p: settings.min_p,
            penalties: Penalties {
                repetition: settings.repetition_penalty,
                presence: settings.presence_penalty,
                frequency: settings.frequency_penalty,
                tokens: usize::try_from(settings.penalty_tokens).unwrap_or(usize::MAX),
                window: Vec::new(),
            },
            bias: bias.to_vec(),
            generator: Xoshiro256PlusPlus::seed_from_u64(settings.seed),
            candidates: Candidates::default(),
        })
    }

    /// Chooses the token behind `history` (the prompt and what was generated). Changes `logits`,
    /// one for each token of the vocabulary.
    ///
    /// # Errors
    /// [`Error::Other`] `no-candidate` if no token can be chosen: every logit is NaN or -infinity.
    pub fn sample(&mut self, logits: &mut [f32], history: &[u32]) -> Result<u32> {
        for (token, bias) in &self.bias {
            if let Some(logit) = logit_of(logits, *token) {
                *logit += bias;
            }
        }
        self.penalties.apply(logits, history);
        let chosen = if self.temperature > 0.0 {
            // Drawn even where it decides nothing: the next token's draw must not depend on that.
            let draw = unit(self.generator.next_u64());
            self.candidates.select(logits, self.top_k);
            self.candidates.keep_top_p(self.top_p);
            self.candidates.keep_min_p(self.min_p);
            self.candidates.choose(self.temperature, draw)
        } else {
            greedy(logits)
        };
        chosen.ok_or_else(|| Error::Other {
            code: "no-candidate".into(),
            message: "no token can be chosen: every logit is NaN or -infinity. Either the logit \
                      bias excludes all tokens, or the model's weights are damaged"
                .into(),
        })
    }
}

impl Penalties {
    fn apply(&mut self, logits: &mut [f32], history: &[u32]) {
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

fn logit_of(logits: &mut [f32], token: u32) -> Option<&mut f32> {
    logits.get_mut(usize::try_from(token).ok()?)
}

/// The lowest of the tokens with the largest logit.
fn greedy(logits: &[f32]) -> Option<u32> {
    let mut best = f32::NEG_INFINITY;
    let mut chosen = None;
    for (token, &logit) in (0..).zip(logits) {
        if logit > best {
            best = logit;
            chosen = Some(token);
        }
    }
    chosen
}

/// A number from 0 to below 1 from the upper 53 bits, as xoshiro's authors advise
/// (https://prng.di.unimi.it, "Generating uniform doubles in the unit interval").
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests;
