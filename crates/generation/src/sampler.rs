//! The choice of a token from logits.

mod candidates;
mod dry;
mod mirostat;
mod penalties;
mod temperature;
mod typical;
mod xtc;

use rand_core::{Rng as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;
use trefoil_contract::{Error, Result};
use trefoil_settings::RequestSettings;

use crate::Vocabulary;
use candidates::Candidates;
use dry::Dry;
use mirostat::Mirostat;
use penalties::Penalties;
use temperature::Temperature;
use xtc::Xtc;

/// Chooses tokens as a request's settings say. The steps, in llama.cpp's default order:
///
/// 1. logit bias: added;
/// 2. penalties for tokens among the last `penalty_tokens`, the prompt's included: a positive logit
///    is divided by the repetition penalty, another multiplied; then the presence penalty and, for
///    each occurrence, the frequency penalty are subtracted;
/// 3. DRY: subtracts from the logits of tokens that would go on with a repetition, the more the
///    longer that is;
/// 4. at temperature 0 the largest logit wins, the lowest token among equals. Otherwise:
/// 5. top-n-sigma: keeps the logits at most `n` standard deviations below the largest;
/// 6. top-k: keeps the `k` largest logits, lower tokens among equals;
/// 7. typical-p: keeps the fewest whose information is nearest to the expected one and whose
///    probabilities reach `p` together;
/// 8. top-p: keeps the fewest largest whose probabilities reach `p` together;
/// 9. min-p: keeps those with at least that share of the largest probability;
/// 10. XTC: with its probability drops all that reach the threshold but the least likely of these;
/// 11. temperature divides the logits, the dynamic one by how even the probabilities are, and one
///     number from the generator chooses.
///
/// Mirostat takes the place of 5 to 10, and of the dynamic temperature: temperature divides the
/// logits, Mirostat keeps the likeliest, one number chooses, and Mirostat learns from how much that
/// token surprised.
///
/// Probabilities are those among the tokens that are left, and each step leaves at least one. They
/// are `f64` sums in a fixed order over `libm`'s functions. Each token takes exactly one number from
/// the generator, and with XTC one more before that; none at temperature 0. So the same seed gives
/// the same tokens on every platform. A logit that is NaN or -infinity is never chosen; +infinity
/// counts as the largest finite one.
#[derive(Debug, Clone)]
pub struct Sampler {
    temperature: Temperature,
    top_n_sigma: f64,
    top_k: usize,
    typical_p: f64,
    top_p: f64,
    min_p: f64,
    xtc: Option<Xtc>,
    mirostat: Option<Mirostat>,
    penalties: Penalties,
    dry: Option<Dry>,
    bias: Vec<(u32, f32)>,
    generator: Xoshiro256PlusPlus,
    candidates: Candidates,
}

/// How far a sampler has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SamplerState {
    /// `None` begins with the seed.
    pub(crate) generator: Option<Xoshiro256PlusPlus>,
    /// Mirostat's `mu`; `None` begins anew.
    pub(crate) surprise: Option<f64>,
}

impl SamplerState {
    /// The generator's state, empty without one.
    pub(crate) fn generator_bytes(&self) -> Vec<u8> {
        let bytes = self.generator.as_ref().and_then(|it| serde_json::to_vec(it).ok());
        bytes.unwrap_or_default()
    }

    /// The reverse of [`generator_bytes`](Self::generator_bytes); `None` for bytes that are no state.
    pub(crate) fn generator_from(bytes: &[u8]) -> Option<Option<Xoshiro256PlusPlus>> {
        match bytes {
            [] => Some(None),
            bytes => serde_json::from_slice(bytes).ok().map(Some),
        }
    }
}

impl Sampler {
    /// A sampler at the beginning of its random numbers. `bias` is added to the logits of single
    /// tokens; entries for the same token add up.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a bias that is NaN or +infinity; [`Error::InvalidSetting`] for
    /// more than 64 sequence breakers of DRY.
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
            temperature: Temperature::new(settings),
            top_n_sigma: settings.top_n_sigma,
            top_k: usize::try_from(settings.top_k).unwrap_or(usize::MAX),
            typical_p: settings.typical_p,
            top_p: settings.top_p,
            min_p: settings.min_p,
            xtc: Xtc::new(settings),
            mirostat: Mirostat::new(settings),
            penalties: Penalties::new(settings),
            dry: Dry::new(settings)?,
            bias: bias.to_vec(),
            generator: Xoshiro256PlusPlus::seed_from_u64(settings.seed),
            candidates: Candidates::default(),
        })
    }

    /// What it has learnt and drawn so far.
    pub(crate) fn state(&self) -> SamplerState {
        let generator = Some(self.generator.clone());
        let surprise = self.mirostat.as_ref().map(Mirostat::bound);
        SamplerState { generator, surprise }
    }

    /// Goes on from where another one stood.
    pub(crate) fn restore(&mut self, state: &SamplerState) {
        if let Some(generator) = &state.generator {
            self.generator = generator.clone();
        }
        if let (Some(mirostat), Some(surprise)) = (&mut self.mirostat, state.surprise) {
            mirostat.set_bound(surprise);
        }
    }

    /// Chooses the token behind `history` (the prompt and what was generated). Changes `logits`,
    /// one for each token of the vocabulary.
    ///
    /// # Errors
    /// [`Error::Other`] `no-candidate` if no token can be chosen: every logit is NaN or -infinity.
    pub fn sample(
        &mut self,
        logits: &mut [f32],
        history: &[u32],
        vocabulary: &impl Vocabulary,
    ) -> Result<u32> {
        for (token, bias) in &self.bias {
            if let Some(logit) = logit_of(logits, *token) {
                *logit += bias;
            }
        }
        self.penalties.apply(logits, history);
        if let Some(dry) = &mut self.dry {
            dry.apply(logits, history, vocabulary);
        }
        let chosen = if self.temperature.is_greedy() { greedy(logits) } else { self.draw(logits) };
        chosen.ok_or_else(|| Error::Other {
            code: "no-candidate".into(),
            message: "no token can be chosen: every logit is NaN or -infinity. Either the logit \
                      bias excludes all tokens that the response format leaves, or the model's \
                      weights are damaged"
                .into(),
        })
    }

    fn draw(&mut self, logits: &[f32]) -> Option<u32> {
        let candidates = &mut self.candidates;
        // Drawn even where they decide nothing: the next token's draws must not depend on that.
        let mut number = || unit(self.generator.next_u64());
        let xtc = self.xtc.as_ref().map(|xtc| (xtc, number()));
        let draw = number();
        if let Some(mirostat) = &mut self.mirostat {
            candidates.select(logits, 0.0, 0);
            return mirostat.choose(candidates, self.temperature.fixed(), draw);
        }
        candidates.select(logits, self.top_n_sigma, self.top_k);
        candidates.keep_typical(self.typical_p);
        candidates.keep_top_p(self.top_p);
        candidates.keep_min_p(self.min_p);
        if let Some((xtc, draw)) = xtc {
            xtc.apply(candidates, draw);
        }
        let temperature = self.temperature.of(candidates);
        let total = candidates.weigh(temperature);
        candidates.pick(draw * total).map(|index| candidates.token(index))
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
