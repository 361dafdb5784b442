//! The sampler by its definition.

use trefoil_settings::RequestSettings;

type Candidate = (usize, f64);

fn falling(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.1.partial_cmp(&a.1).expect("numbers").then(a.0.cmp(&b.0))
}

fn sorted(kept: &[Candidate]) -> Vec<Candidate> {
    let mut kept = kept.to_vec();
    kept.sort_by(falling);
    kept
}

/// Unnormalised probabilities and their sum.
fn weights(kept: &[Candidate], temperature: f64) -> (Vec<f64>, f64) {
    let max = sorted(kept)[0].1;
    let weight = |(_, logit): &Candidate| libm::exp((logit - max) / temperature);
    let weights: Vec<f64> = kept.iter().map(weight).collect();
    let total = weights.iter().sum();
    (weights, total)
}

fn entropy(kept: &[Candidate]) -> f64 {
    let (weights, total) = weights(kept, 1.0);
    let max = sorted(kept)[0].1;
    let term = |((_, logit), weight): (&Candidate, &f64)| {
        weight / total * (libm::log(total) - (logit - max))
    };
    kept.iter().zip(&weights).map(term).sum()
}

/// The documented steps, each written out over a full sort. `draw` is asked for numbers.
pub(super) fn choose(
    settings: &RequestSettings,
    bias: &[(u32, f32)],
    logits: &[f32],
    history: &[u32],
    draw: &mut dyn FnMut() -> f64,
) -> u32 {
    let mut logits = logits.to_vec();
    for (token, value) in bias {
        logits[*token as usize] += value;
    }
    let start = history.len().saturating_sub(settings.penalty_tokens as usize);
    for (token, logit) in logits.iter_mut().enumerate() {
        let count = history[start..].iter().filter(|&&other| other as usize == token).count();
        if count > 0 {
            let value = f64::from(*logit);
            let value = if value > 0.0 {
                value / settings.repetition_penalty
            } else {
                value * settings.repetition_penalty
            };
            *logit = (value - settings.presence_penalty - settings.frequency_penalty * count as f64)
                as f32;
        }
    }
    let by_token: Vec<Candidate> =
        logits.iter().map(|&logit| f64::from(logit)).enumerate().collect();
    let all = sorted(&by_token);
    if settings.temperature == 0.0 {
        return all[0].0 as u32;
    }
    let excludes = settings.xtc_probability > 0.0 && draw() < settings.xtc_probability;
    let max = all[0].1;
    let top_k = settings.top_k as usize;
    let mut kept = match top_k {
        1.. if top_k < logits.len() => all[..top_k].to_vec(),
        _ => by_token.clone(),
    };
    if settings.top_n_sigma > 0.0 {
        let count = by_token.len() as f64;
        let mean = by_token.iter().map(|it| it.1).sum::<f64>() / count;
        let variance = by_token.iter().map(|it| (it.1 - mean).powi(2)).sum::<f64>() / count;
        kept.retain(|(_, logit)| *logit >= max - settings.top_n_sigma * variance.sqrt());
    }
    if settings.typical_p < 1.0 {
        let entropy = entropy(&kept);
        let (weights, total) = weights(&kept, 1.0);
        let mut ranked: Vec<_> = kept.iter().copied().zip(weights).collect();
        let far = |(candidate, _): &(Candidate, f64)| {
            (libm::log(total) - (candidate.1 - max) - entropy).abs()
        };
        ranked.sort_by(|a, b| {
            // Ties by rounding are none: equal logits give equal distances.
            far(a).partial_cmp(&far(b)).expect("numbers").then(falling(&a.0, &b.0))
        });
        let mut sum = 0.0;
        let mut typical = Vec::new();
        for (candidate, weight) in ranked {
            typical.push(candidate);
            sum += weight;
            if sum >= settings.typical_p * total {
                break;
            }
        }
        kept.retain(|candidate| typical.contains(candidate));
    }
    if settings.top_p < 1.0 {
        kept = sorted(&kept);
        let (weights, total) = {
            let max = kept[0].1;
            let weights: Vec<f64> = kept.iter().map(|it| libm::exp(it.1 - max)).collect();
            // In the order in which they are summed.
            (weights, total_in_order(&kept, settings, logits.len(), max))
        };
        let mut sum = 0.0;
        let mut count = 0;
        while count < kept.len() && (count == 0 || sum < settings.top_p * total) {
            sum += weights[count];
            count += 1;
        }
        kept.truncate(count);
    }
    if settings.min_p > 0.0 {
        let max = sorted(&kept)[0].1;
        kept.retain(|(_, logit)| *logit >= max + libm::log(settings.min_p));
    }
    if excludes {
        let (weights, total) = weights(&kept, 1.0);
        let likely: Vec<_> = kept
            .iter()
            .zip(weights)
            .filter(|(_, weight)| *weight >= settings.xtc_threshold * total)
            .map(|(candidate, _)| *candidate)
            .collect();
        let kept_one = sorted(&likely).last().copied();
        kept.retain(|candidate| !likely.contains(candidate) || Some(*candidate) == kept_one);
    }
    let (low, high) = (
        (settings.temperature - settings.dynamic_temperature_range).max(0.0),
        settings.temperature + settings.dynamic_temperature_range,
    );
    let temperature = match kept.len() > 1 && low < high {
        true => {
            let share = (entropy(&kept) / libm::log(kept.len() as f64)).clamp(0.0, 1.0);
            let share = libm::pow(share, settings.dynamic_temperature_exponent);
            (low + (high - low) * share).max(f64::MIN_POSITIVE)
        }
        false => settings.temperature,
    };
    let (weights, total) = weights(&kept, temperature);
    let wanted = draw() * total;
    let mut sum = 0.0;
    for ((token, _), weight) in kept.iter().zip(&weights) {
        sum += weight;
        if sum > wanted {
            return *token as u32;
        }
    }
    kept[kept.len() - 1].0 as u32
}

/// The sum of the candidates' weights as it stands before top-p sorts them.
fn total_in_order(
    kept: &[Candidate],
    settings: &RequestSettings,
    vocabulary_tokens: usize,
    max: f64,
) -> f64 {
    let mut kept = kept.to_vec();
    if settings.top_k == 0 || settings.top_k as usize >= vocabulary_tokens {
        kept.sort_by_key(|(token, _)| *token);
    }
    kept.iter().map(|it| libm::exp(it.1 - max)).sum()
}
