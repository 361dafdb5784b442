//! One block of the model applied to one batch.

use std::ops::Range;

use trefoil_contract::{Error, Result};
use trefoil_generation::Span;
use trefoil_kernels::{
    Activations, OutOfMemory, Scoring, add, gelu, gelu_mul, rms_norm_in_place, rope, scale,
    silu_mul,
};

use crate::architecture::{Activation, NormPlaces, QueryKeyNorm};
use crate::batch;
use crate::cache::Cache;
use crate::config::{Config, RopeKind};
use crate::encoding::Encoding;
use crate::exchange::Exchange;
use crate::partition::Partition;
use crate::peers::Peers;
use crate::scratch::{Angles, Scratch};
use crate::weights::{Block, Expert, FeedForward, Linear, Norm};

/// A block, a batch, and what computing it takes.
pub(crate) struct Pass<'a, E> {
    pub(crate) config: &'a Config,
    pub(crate) partition: &'a Partition,
    pub(crate) batch: &'a [Span<'a>],
    pub(crate) block: &'a Block,
    pub(crate) index: usize,
    pub(crate) peers: &'a mut Peers<E>,
    pub(crate) cache: &'a mut Cache,
    pub(crate) encoding: Option<&'a mut Encoding>,
    pub(crate) scratch: &'a mut Scratch,
}

impl<E: Exchange> Pass<'_, E> {
    /// `stream += attention(norm(stream))`, or `stream = norm(stream + attention(stream))`
    pub(crate) fn attention(&mut self) -> Result<()> {
        let block = self.block;
        self.norm_before(block.attn_norm.as_ref());
        let Scratch {
            branch,
            query,
            key,
            value,
            attended,
            angles,
            local_angles,
            attention,
            activations,
            whole,
            ..
        } = &mut *self.scratch;
        let (config, batch, index) = (self.config, self.batch, self.index);
        let Partition { query: heads, embedding, kv, .. } = self.partition;
        let (cache, mut encoding) = (&mut *self.cache, self.encoding.as_deref_mut());
        let angles = config.rope_of(index).map(|kind| match kind {
            RopeKind::Global => &*angles,
            RopeKind::Local => &*local_angles,
        });
        let scoring =
            Scoring { scale: config.attention_scale, soft_cap: config.attention_soft_cap };
        activations.prepare(branch, config.embedding_length);
        self.peers.all_gather(heads, attended, |attended| {
            let (query_length, kv_length) = (heads.own().len(), kv.len());
            if query_length == 0 {
                return Ok(());
            }
            let query_norm = block.attn_q_norm.as_deref().map(|weight| (config, weight));
            normed(
                &block.attn_q,
                query_norm,
                (heads.own(), config.query_length()),
                activations,
                whole,
                query,
            );
            let key_norm = block.attn_k_norm.as_deref().map(|weight| (config, weight));
            normed(
                &block.attn_k,
                key_norm,
                (kv.clone(), config.kv_length()),
                activations,
                whole,
                key,
            );
            block.attn_v.multiply(activations, value);

            if let Some(Angles { cos, sin }) = angles {
                let pairs = config.rope_length / 2;
                let angles = cos.chunks_exact(pairs).zip(sin.chunks_exact(pairs));
                let rows =
                    query.chunks_exact_mut(query_length).zip(key.chunks_exact_mut(kv_length));
                for ((query, key), (cos, sin)) in rows.zip(angles) {
                    let layout = config.architecture.rope_layout;
                    rope(query, config.head_length, cos, sin, layout);
                    rope(key, config.head_length, cos, sin, layout);
                }
            }

            for (start, span) in batch::with_starts(batch) {
                let end = start + span.tokens.len();
                let of_kv = start * kv_length..end * kv_length;
                let of_query = start * query_length..end * query_length;
                let out = &mut attended[of_query.clone()];
                let (query, key, value) = (&query[of_query], &key[of_kv.clone()], &value[of_kv]);
                let done = match &mut encoding {
                    Some(encoding) => encoding.attend((key, value), scoring, query, attention, out),
                    None => {
                        let mut layer = cache.layer(span.sequence, index);
                        let (position, window) = (span.position as usize, config.window_of(index));
                        layer.append(key, value).and_then(|()| {
                            layer.attend(position, (window, scoring), query, attention, out)
                        })
                    }
                };
                done.map_err(|OutOfMemory(bytes)| Error::OutOfMemory {
                    needed_bytes: bytes as u64,
                    purpose: "attention; lower `context-tokens`".to_owned(),
                })?;
            }
            Ok(())
        })?;
        activations.prepare(attended, config.query_length());
        self.peers.all_gather(embedding, branch, |branch| {
            block.attn_output.multiply(activations, branch);
            Ok(())
        })?;
        self.add_branch(block.attn_post_norm.as_deref());
        self.norm_sum(block.attn_norm.as_ref());
        Ok(())
    }

    /// `stream += feed_forward(norm(stream))`, or `stream = norm(stream + feed_forward(stream))`
    pub(crate) fn feed_forward(&mut self) -> Result<()> {
        let block = self.block;
        self.norm_before(block.ffn_norm.as_ref());
        match &block.feed_forward {
            FeedForward::Mixture { router, experts, sizes } => {
                self.mixture(router, experts, sizes)?;
            }
            FeedForward::Dense(network) => self.dense(network)?,
        }
        self.add_branch(block.ffn_post_norm.as_deref());
        self.norm_sum(block.ffn_norm.as_ref());
        Ok(())
    }

    /// `branch = down(activation(gate(branch)) * up(branch))`
    fn dense(&mut self, network: &Expert) -> Result<()> {
        let Scratch { branch, gate, up, activations, .. } = &mut *self.scratch;
        let Partition { feed_forward, embedding, .. } = self.partition;
        let activation = self.config.architecture.activation;
        activations.prepare(branch, self.config.embedding_length);
        self.peers.all_gather(feed_forward, gate, |gate| {
            network.inner(activation, activations, gate, up);
            Ok(())
        })?;
        activations.prepare(gate, self.config.feed_forward_length);
        self.peers.all_gather(embedding, branch, |branch| {
            network.down.multiply(activations, branch);
            Ok(())
        })
    }

    /// `branch = norm(stream)`, unless sums are normed
    fn norm_before(&mut self, norm: Option<&Norm>) {
        let width = self.config.embedding_length;
        let norms_sums = self.config.architecture.norm_places == NormPlaces::Sums;
        let Scratch { stream, branch, .. } = &mut *self.scratch;
        let Some(norm) = norm.filter(|_| !norms_sums) else {
            branch.copy_from_slice(stream);
            return;
        };
        for (row, out) in stream.chunks_exact(width).zip(branch.chunks_exact_mut(width)) {
            norm.apply(row, self.config.norm_epsilon, out);
        }
    }

    /// `stream = norm(stream)` where sums are normed
    fn norm_sum(&mut self, norm: Option<&Norm>) {
        let norms_sums = self.config.architecture.norm_places == NormPlaces::Sums;
        if let Some(norm) = norm.filter(|_| norms_sums) {
            let Scratch { stream, branch, .. } = &mut *self.scratch;
            norm_in_place(norm, self.config.norm_epsilon, stream, branch);
        }
    }

    /// `stream += scale * norm(branch)`
    fn add_branch(&mut self, norm: Option<&[f32]>) {
        let Scratch { stream, branch, .. } = &mut *self.scratch;
        if let Some(weight) = norm {
            for row in branch.chunks_exact_mut(weight.len()) {
                rms_norm_in_place(row, weight, self.config.norm_epsilon);
            }
        }
        scale_unless_one(branch, self.config.residual_scale);
        add(stream, branch);
    }
}

impl Expert {
    /// `gate = activation(gate(x)) * up(x)`, the rows that this instance holds.
    pub(crate) fn inner(
        &self,
        activation: Activation,
        activations: &mut Activations,
        gate: &mut [f32],
        up: &mut [f32],
    ) {
        let Some(gate_rows) = &self.gate else {
            self.up.multiply(activations, gate);
            gelu(gate);
            return;
        };
        gate_rows.multiply(activations, gate);
        self.up.multiply(activations, up);
        match activation {
            Activation::SiluGated => silu_mul(gate, up),
            Activation::GeluGated | Activation::Gelu => gelu_mul(gate, up),
        }
    }
}

/// Queries or keys of the heads that this instance holds, `own` of `length`, normed if there is a
/// norm. `whole` has room for those of all heads.
fn normed(
    linear: &Linear,
    norm: Option<(&Config, &[f32])>,
    (own, length): (Range<usize>, usize),
    activations: &mut Activations,
    whole: &mut [f32],
    out: &mut [f32],
) {
    let Some((config, weight)) = norm else {
        linear.multiply(activations, out);
        return;
    };
    if config.architecture.query_key_norm == QueryKeyNorm::Heads {
        linear.multiply(activations, out);
        for head in out.chunks_exact_mut(config.head_length) {
            rms_norm_in_place(head, weight, config.norm_epsilon);
        }
        return;
    }
    let tokens = out.len() / own.len();
    let whole = &mut whole[..tokens * length];
    linear.multiply(activations, whole);
    for (row, out) in whole.chunks_exact_mut(length).zip(out.chunks_exact_mut(own.len())) {
        rms_norm_in_place(row, weight, config.norm_epsilon);
        out.copy_from_slice(&row[own.clone()]);
    }
}

/// `stream = norm(stream)`; `other` has its length and any content.
pub(crate) fn norm_in_place(
    norm: &Norm,
    epsilon: f32,
    stream: &mut Vec<f32>,
    other: &mut Vec<f32>,
) {
    let width = norm.width();
    for (row, out) in stream.chunks_exact(width).zip(other.chunks_exact_mut(width)) {
        norm.apply(row, epsilon, out);
    }
    std::mem::swap(stream, other);
}

/// Most models scale nothing.
pub(crate) fn scale_unless_one(x: &mut [f32], factor: f32) {
    if factor != 1.0 {
        scale(x, factor);
    }
}
