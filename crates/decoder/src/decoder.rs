//! The decoder, which encodes as well: weights, KV cache, and the order of the computation.

use std::ops::Range;

use trefoil_contract::{Error, Result};
use trefoil_generation::{Forward, Span};
use trefoil_gguf::{Gguf, Source};
use trefoil_kernels::{
    Activations, CacheType, OutOfMemory, Scoring, add, gelu, gelu_mul, rms_norm_in_place, rope,
    scale, silu_mul, soft_cap, softmax,
};

use crate::adapter::Adapter;
use crate::architecture::{Activation, NormPlaces, QueryKeyNorm};
use crate::batch::{self, Bounds};
use crate::cache::Cache;
use crate::config::{Config, ExpertsConfig, RopeKind};
use crate::encoding::Encoding;
use crate::exchange::{Alone, Exchange};
use crate::memory::resize;
use crate::partition::Partition;
use crate::peers::Peers;
use crate::rope::Rope;
use crate::scratch::{Angles, MixtureScratch, Scratch};
use crate::tensor;
use crate::weights::{Block, Expert, FeedForward, Linear, Norm, OwnRows, Weights};

/// Longest context that is taken without being asked for: a longer one costs memory that most
/// uses do not need.
pub const CONTEXT_TOKENS_DEFAULT_MAX: u32 = 8192;
/// Most sequences, as for the setting `sequences-max`.
pub const SEQUENCES_MAX: u32 = 256;

/// What the user chooses when a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Context of one sequence, in tokens. 0 takes what the model was trained for, at most
    /// [`CONTEXT_TOKENS_DEFAULT_MAX`].
    pub context_tokens: u32,
    /// Sequences that the cache can hold, 1 to [`SEQUENCES_MAX`].
    pub sequences_max: u32,
    /// Precision of cached keys and values.
    pub kv_cache_type: CacheType,
}

/// A model that is loaded, with its KV cache; the whole of it, or what one of several instances
/// holds.
pub struct Decoder<E = Alone> {
    config: Config,
    context_tokens: u32,
    partition: Partition,
    peers: Peers<E>,
    weights: Weights,
    rope: Rope,
    local_rope: Option<Rope>,
    cache: Cache,
    /// What an encoder has in place of the cache.
    encoding: Option<Encoding>,
    scratch: Scratch,
}

/// What is made of the wanted tokens' vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// Logits.
    Logits,
    /// Nothing: they are the result.
    None,
}

impl Decoder {
    /// Loads the model that `gguf` describes. Reads each tensor once, in the order of the file.
    ///
    /// # Errors
    /// `invalid-model` for metadata and tensors that contradict each other, `unsupported` for
    /// models that the decoder cannot compute, `invalid-setting` for `options`, `out-of-memory`,
    /// and `io`.
    pub fn load(gguf: &Gguf, source: &dyn Source, options: Options) -> Result<Decoder> {
        Decoder::load_share(gguf, source, &[], options, None)
    }
}

impl<E: Exchange> Decoder<E> {
    /// Loads what one of several instances holds of the model, changed by adapters: see
    /// [`Exchange`]. All then have to
    /// compute the same batches, and truncate the same. Exchanges nothing itself. Logits are given
    /// at rank 0 alone.
    ///
    /// # Errors
    /// As [`Decoder::load`].
    pub fn load_share(
        gguf: &Gguf,
        source: &dyn Source,
        adapters: &[Adapter<'_>],
        options: Options,
        exchange: Option<E>,
    ) -> Result<Decoder<E>> {
        let config = Config::from_gguf(gguf)?;
        let context_tokens = context_tokens(&config, options.context_tokens)?;
        if !(1..=SEQUENCES_MAX).contains(&options.sequences_max) {
            return Err(Error::InvalidSetting {
                key: "sequences-max".to_owned(),
                value: options.sequences_max.to_string(),
                expected: format!("a whole number from 1 to {SEQUENCES_MAX}"),
            });
        }
        let peers = Peers::new(exchange);
        let (rank, size) = peers.rank_and_size();
        let partition = Partition::new(&config, rank, size);
        let weights = Weights::load(gguf, source, adapters, &config, &partition)?;
        let factors = rope_factors(&config, &weights, context_tokens);
        let rope = Rope::new(&config.rope, config.rope_length, factors)?;
        let local_rope = config.local_rope.as_ref();
        let local_rope = local_rope.map(|rope| Rope::new(rope, config.rope_length, factors));
        let local_rope = local_rope.transpose()?;
        let Options { sequences_max, kv_cache_type, .. } = options;
        let sequences_max = sequences_max as usize;
        let cache = Cache::new(&config, &partition, sequences_max, kv_cache_type);
        let is_encoder = config.architecture.is_encoder();
        let encoding = is_encoder.then(|| Encoding::new(&config, &partition));
        Ok(Decoder {
            config,
            context_tokens,
            partition,
            peers,
            weights,
            rope,
            local_rope,
            cache,
            encoding,
            scratch: Scratch::default(),
        })
    }

    /// What the model's metadata say.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes of the weights in memory.
    pub fn weights_bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// Bytes of the KV cache in memory, or what an encoder has in its place.
    pub fn cache_bytes(&self) -> u64 {
        self.cache.bytes() + self.encoding.as_ref().map_or(0, Encoding::bytes)
    }

    /// A batch that was checked. On errors, which all instances have then, the cache may hold parts
    /// of it.
    fn compute(&mut self, batch: &[Span<'_>], head: Head, rows: &mut Vec<f32>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let reserved = self.reserve(batch, head, rows);
        self.peers.agree(reserved)?;
        self.embed(batch)?;
        for (index, block) in self.weights.blocks.iter().enumerate() {
            let mut pass = Pass {
                config: &self.config,
                partition: &self.partition,
                batch,
                block,
                index,
                peers: &mut self.peers,
                cache: &mut self.cache,
                encoding: self.encoding.as_mut(),
                scratch: &mut self.scratch,
            };
            pass.attention()?;
            pass.feed_forward()?;
        }
        self.head(batch, head, rows)?;
        if self.encoding.is_none() {
            for span in batch {
                self.cache.keep(span.sequence, span.tokens.len());
            }
        }
        Ok(())
    }

    /// Takes the memory for a batch, before any instance computes.
    fn reserve(&mut self, batch: &[Span<'_>], head: Head, rows: &mut Vec<f32>) -> Result<()> {
        self.scratch.fit(batch::tokens_count(batch), &self.config, &self.partition)?;
        for span in batch {
            match &mut self.encoding {
                Some(encoding) => encoding.reserve(span.tokens.len())?,
                None => self.cache.reserve(span.sequence, span.tokens.len())?,
            }
        }
        let (width, purpose) = match head {
            Head::Logits => (self.config.vocabulary_tokens, "logits; ask for fewer at a time"),
            Head::None => (self.config.embedding_length, "vectors; embed a shorter text"),
        };
        resize(rows, width.saturating_mul(batch::wanted(batch).count()), purpose)
    }

    /// Fills the residual stream with the tokens' embeddings and the angles of their positions.
    fn embed(&mut self, batch: &[Span<'_>]) -> Result<()> {
        let Scratch { tokens, stream, angles, local_angles, .. } = &mut self.scratch;
        let pairs = self.config.rope_length / 2;
        let places = || batch.iter().flat_map(|span| (span.position..).zip(span.tokens));
        for ((_, token), kept) in places().zip(&mut *tokens) {
            *kept = *token;
        }
        let ropes = [(Some(&self.rope), angles), (self.local_rope.as_ref(), local_angles)];
        for (rope, Angles { cos, sin }) in ropes {
            let Some(rope) = rope else { continue };
            let angles = cos.chunks_exact_mut(pairs).zip(sin.chunks_exact_mut(pairs));
            for ((position, _), (cos, sin)) in places().zip(angles) {
                rope.angles(position, cos, sin);
            }
        }
        let embedding = &self.weights.token_embd;
        let width = self.config.embedding_length;
        self.peers.rows(&self.partition.vocabulary, tokens, stream, width, |index, row| {
            embedding.row(index, row);
        })?;
        scale_unless_one(stream, self.config.embedding_scale);
        self.add_to_embeddings(batch);
        Ok(())
    }

    /// What encoders add to the embeddings, and the norm of the sum.
    fn add_to_embeddings(&mut self, batch: &[Span<'_>]) {
        let Scratch { stream, branch, .. } = &mut self.scratch;
        let Weights { token_types, position_embd, token_embd_norm, .. } = &self.weights;
        let width = self.config.embedding_length;
        if let Some(types) = token_types {
            let first = &mut branch[..width];
            types.row(0, first);
            stream.chunks_exact_mut(width).for_each(|token| add(token, first));
        }
        if let Some(positions) = position_embd {
            let places = batch.iter().flat_map(|span| (span.position..).zip(span.tokens));
            let row = &mut branch[..width];
            for ((position, _), token) in places.zip(stream.chunks_exact_mut(width)) {
                positions.row(position as usize, row);
                add(token, row);
            }
        }
        if let Some(norm) = token_embd_norm {
            norm_in_place(norm, self.config.norm_epsilon, stream, branch);
        }
    }

    /// Logits or vectors of the wanted tokens. Only their rows are multiplied.
    fn head(&mut self, batch: &[Span<'_>], head: Head, logits: &mut [f32]) -> Result<()> {
        let Scratch { stream, branch, activations, .. } = &mut self.scratch;
        let width = self.config.embedding_length;
        let mut count = 0;
        for (index, row) in batch::wanted(batch).zip(branch.chunks_exact_mut(width)) {
            let token = &stream[index * width..(index + 1) * width];
            match &self.weights.output_norm {
                Some(norm) => norm.apply(token, self.config.norm_epsilon, row),
                None => row.copy_from_slice(token),
            }
            count += 1;
        }
        if head == Head::None {
            logits.copy_from_slice(&branch[..count * width]);
        } else if count > 0 {
            activations.prepare(&branch[..count * width], width);
            let output = self.weights.output();
            self.peers.gather(&self.partition.vocabulary, logits, |own| {
                output.multiply(activations, own);
            })?;
            scale_unless_one(logits, 1.0 / self.config.logit_scale);
            if self.config.logits_soft_cap > 0.0 {
                soft_cap(logits, self.config.logits_soft_cap);
            }
        }
        Ok(())
    }
}

/// The divisors of RoPE's frequencies in a context, and the name of their tensor.
fn rope_factors<'a>(
    config: &Config,
    weights: &'a Weights,
    context_tokens: u32,
) -> (&'static str, &'a [f32]) {
    if !weights.rope_freqs.is_empty() {
        (tensor::ROPE_FREQS, &weights.rope_freqs)
    } else if context_tokens > config.rope.original_context_tokens {
        (tensor::ROPE_FACTORS_LONG, &weights.rope_factors_long)
    } else {
        (tensor::ROPE_FACTORS_SHORT, &weights.rope_factors_short)
    }
}

/// `stream = norm(stream)`; `other` has its length and any content.
fn norm_in_place(norm: &Norm, epsilon: f32, stream: &mut Vec<f32>, other: &mut Vec<f32>) {
    let width = norm.width();
    for (row, out) in stream.chunks_exact(width).zip(other.chunks_exact_mut(width)) {
        norm.apply(row, epsilon, out);
    }
    std::mem::swap(stream, other);
}

/// Most models scale nothing.
fn scale_unless_one(x: &mut [f32], factor: f32) {
    if factor != 1.0 {
        scale(x, factor);
    }
}

/// The context in force.
///
/// # Errors
/// `invalid-setting` for more than what the model was trained for.
pub(crate) fn context_tokens(config: &Config, asked_tokens: u32) -> Result<u32> {
    let trained_tokens = config.context_tokens_trained;
    match asked_tokens {
        0 => Ok(trained_tokens.min(CONTEXT_TOKENS_DEFAULT_MAX)),
        asked if asked <= trained_tokens => Ok(asked),
        asked => Err(Error::InvalidSetting {
            key: "context-tokens".to_owned(),
            value: asked.to_string(),
            expected: format!("at most {trained_tokens}, which the model was trained for"),
        }),
    }
}

impl<E: Exchange> Decoder<E> {
    /// Checks a batch and computes it.
    fn run(&mut self, batch: &[Span<'_>], head: Head, rows: &mut Vec<f32>) -> Result<()> {
        rows.clear();
        let bounds = Bounds {
            vocabulary_tokens: self.config.vocabulary_tokens,
            context_tokens: self.context_tokens,
            cache: &self.cache,
        };
        let checked = batch::check(batch, &bounds);
        for span in batch {
            self.cache.truncate(span.sequence, span.position);
        }
        checked?;
        let computed = self.compute(batch, head, rows);
        if computed.is_err() {
            // Blocks before the failing one hold the tokens already.
            for span in batch {
                self.cache.truncate(span.sequence, span.position);
            }
            rows.clear();
        }
        computed
    }
}

impl<E: Exchange> Forward for Decoder<E> {
    fn vocabulary_tokens(&self) -> usize {
        self.config.vocabulary_tokens
    }

    fn context_tokens(&self) -> u32 {
        self.context_tokens
    }

    fn sequences_max(&self) -> usize {
        self.cache.tokens().len()
    }

    fn forward(&mut self, batch: &[Span<'_>], logits: &mut Vec<f32>) -> Result<()> {
        if self.is_encoder() {
            logits.clear();
            return Err(Error::unsupported(format_args!(
                "logits of architecture `{}`, an encoder; use `embed`",
                self.config.architecture.name
            )));
        }
        self.run(batch, Head::Logits, logits)
    }

    fn embed(&mut self, batch: &[Span<'_>], vectors: &mut Vec<f32>) -> Result<()> {
        self.run(batch, Head::None, vectors)
    }

    fn is_encoder(&self) -> bool {
        self.encoding.is_some()
    }

    fn reusable(&self, sequence: usize, tokens: u32) -> u32 {
        self.cache.reusable(sequence, tokens)
    }

    fn truncate(&mut self, sequence: usize, tokens: u32) {
        self.cache.truncate(sequence, tokens);
    }
}

/// One block of the model applied to one batch.
struct Pass<'a, E> {
    config: &'a Config,
    partition: &'a Partition,
    batch: &'a [Span<'a>],
    block: &'a Block,
    index: usize,
    peers: &'a mut Peers<E>,
    cache: &'a mut Cache,
    encoding: Option<&'a mut Encoding>,
    scratch: &'a mut Scratch,
}

impl<E: Exchange> Pass<'_, E> {
    /// `stream += attention(norm(stream))`, or `stream = norm(stream + attention(stream))`
    fn attention(&mut self) -> Result<()> {
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
    fn feed_forward(&mut self) -> Result<()> {
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

    /// `branch = sum over the chosen experts of weight * expert(branch)`
    ///
    /// A token's sum has the order of its experts' weights, so that it does not depend on the
    /// batch.
    fn mixture(
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
    fn inner(
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
