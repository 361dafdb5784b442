//! Locally typical sampling (Meister, Pimentel, Wiher and Cotterell, "Locally Typical Sampling", 2022).

use super::candidates::Candidates;

impl Candidates {
    /// Keeps the fewest whose information, the negative logarithm of their probability, is nearest
    /// to its expectation and whose probabilities reach `p` together, at least one. Among those
    /// equally near the likelier ones come first, and then lower tokens.
    pub(super) fn keep_typical(&mut self, p: f64) {
        if p >= 1.0 || self.is_empty() {
            return;
        }
        let entropy = self.entropy();
        let total = self.weigh(1.0);
        let wanted = p * total;
        let (log_total, max) = (libm::log(total), self.max());
        self.ranked.clear();
        for (index, candidate) in self.kept.iter().enumerate() {
            let information = log_total - (f64::from(candidate.logit) - max);
            self.ranked.push(((information - entropy).abs(), index));
        }
        let (kept, ranked) = (&mut self.kept, &mut self.ranked);
        ranked.sort_unstable_by(|a, b| {
            a.0.total_cmp(&b.0).then_with(|| kept[a.1].falling(&kept[b.1]))
        });
        let mut sum = 0.0;
        let reached = ranked.iter().position(|(_, index)| {
            sum += self.weights[*index];
            sum >= wanted
        });
        ranked.truncate(reached.map_or(ranked.len(), |last| last + 1));
        // Back in the order that they had.
        ranked.sort_unstable_by_key(|(_, index)| *index);
        for (place, (_, index)) in ranked.iter().enumerate() {
            kept[place] = kept[*index];
        }
        kept.truncate(ranked.len());
    }
}
