//! What a model that ranks texts has behind its blocks.

use trefoil_kernels::{Activations, soft_cap};

use crate::weights::Linear;

/// Says of two texts, which the model sees as one, how well they go together (a classifier of one
/// class, as in BERT and RoBERTa). Rank 0 holds all of it, the others nothing.
pub(crate) struct RankingHead {
    /// A layer before the last one; some models have none.
    pub(crate) dense: Option<Linear>,
    pub(crate) output: Linear,
}

impl RankingHead {
    /// The score of texts whose first token has this vector.
    pub(crate) fn score(&self, vector: &[f32], activations: &mut Activations) -> f32 {
        let mut hidden = vector.to_vec();
        if let Some(dense) = &self.dense {
            activations.prepare(vector, vector.len());
            dense.multiply(activations, &mut hidden);
            // Capped at 1, which is the hyperbolic tangent.
            soft_cap(&mut hidden, 1.0);
        }
        activations.prepare(&hidden, hidden.len());
        let mut score = [0.0];
        self.output.multiply(activations, &mut score);
        score[0]
    }
}
