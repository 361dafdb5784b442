//! Mixtures of experts.

use trefoil_contract::Result;
use trefoil_kernels::{add, scale, softmax};

use crate::config::ExpertsConfig;
use crate::exchange::Exchange;
use crate::partition::Partition;
use crate::pass::Pass;
use crate::scratch::{MixtureScratch, Scratch};
use crate::weights::{Expert, OwnRows};

impl<E: Exchange> Pass<'_, E> {
    /// `branch = sum over the chosen experts of weight * expert(branch)`
    ///
    /// A token's sum has the order of its experts' weights, so that it does not depend on the
    /// batch.
    pub(crate) fn mixture(
        &mut self,
        router: &OwnRows,
        experts: &[Expert],
        sizes: &ExpertsConfig,
    ) -> Result<()> {
        let Scratch { branch, activations, mixture, .. } = &mut *self.scratch;
        let Partition { expert, embedding, .. } = self.partition;
        let MixtureScratch { scores, chosen, places, gathered, gate, up, inner, outer } = mixture;
        let width = self.config.embedding_length;
        let activation = self.config.architecture.activation;
        activations.prepare(branch, width);
        router.multiply(activations, scores);
        choose(scores, sizes, chosen);
        places.sort(chosen);

        let own = expert.own().len();
        self.peers.all_gather(expert, inner, |inner| {
            if own == 0 {
                return Ok(());
            }
            for (network, places) in experts.iter().zip(places.of_experts()) {
                let rows = places.iter().map(|place| place / sizes.used);
                let count = gather(branch, width, rows, gathered);
                if count == 0 {
                    continue;
                }
                activations.prepare(&gathered[..count * width], width);
                let gate = &mut gate[..count * own];
                network.inner(activation, activations, gate, &mut up[..count * own]);
                scatter(gate, own, places, inner);
            }
            Ok(())
        })?;
        let (length, own) = (sizes.feed_forward_length, embedding.own().len());
        self.peers.all_gather(embedding, outer, |outer| {
            if own == 0 {
                return Ok(());
            }
            for (network, places) in experts.iter().zip(places.of_experts()) {
                let count = gather(inner, length, places.iter().copied(), gathered);
                if count == 0 {
                    continue;
                }
                activations.prepare(&gathered[..count * length], length);
                let down = &mut up[..count * own];
                network.down.multiply(activations, down);
                scatter(down, own, places, outer);
            }
            Ok(())
        })?;
        let tokens = outer.chunks_exact_mut(sizes.used * width).zip(chosen.chunks(sizes.used));
        for ((outer, chosen), branch) in tokens.zip(branch.chunks_exact_mut(width)) {
            branch.fill(0.0);
            for (row, (_, weight)) in outer.chunks_exact_mut(width).zip(chosen) {
                scale(row, *weight);
                add(branch, row);
            }
        }
        Ok(())
    }
}

/// For each token the experts with the largest scores, of equal ones the first; their weights are
/// the scores' softmax among them.
fn choose(scores: &mut [f32], sizes: &ExpertsConfig, chosen: &mut [(u32, f32)]) {
    for (scores, chosen) in scores.chunks_exact_mut(sizes.count).zip(chosen.chunks_mut(sizes.used))
    {
        let mut filled = 0;
        for (expert, score) in (0..).zip(&*scores) {
            let place = chosen[..filled].partition_point(|(_, other)| *other >= *score);
            if place < chosen.len() {
                filled = (filled + 1).min(chosen.len());
                chosen[place..filled].rotate_right(1);
                chosen[place] = (expert, *score);
            }
        }
        let weights = &mut scores[..sizes.used];
        for (weight, (_, score)) in weights.iter_mut().zip(&*chosen) {
            *weight = *score;
        }
        softmax(weights);
        for ((_, score), weight) in chosen.iter_mut().zip(weights) {
            *score = *weight;
        }
    }
}

/// Puts rows of `width` one behind another; returns their number.
fn gather(
    from: &[f32],
    width: usize,
    rows: impl Iterator<Item = usize>,
    gathered: &mut [f32],
) -> usize {
    let mut count = 0;
    for (row, out) in rows.zip(gathered.chunks_exact_mut(width)) {
        out.copy_from_slice(&from[row * width..][..width]);
        count += 1;
    }
    count
}

/// Puts each row of `width` where it belongs.
fn scatter(rows: &[f32], width: usize, places: &[usize], out: &mut [f32]) {
    for (row, place) in rows.chunks_exact(width).zip(places) {
        out[place * width..][..width].copy_from_slice(row);
    }
}
