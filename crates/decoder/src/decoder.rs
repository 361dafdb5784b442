//! The decoder: weights, KV cache, and the order of the computation.

use trefoil_contract::{Error, Result};
use trefoil_generation::{Forward, Span};
use trefoil_gguf::{Gguf, Source};
use trefoil_kernels::{CacheType, OutOfMemory, add, rms_norm, rope, silu_mul};

use crate::batch::{self, Bounds};
use crate::cache::Cache;
use crate::config::Config;
use crate::exchange::{Alone, Exchange};
use crate::memory::resize;
use crate::partition::Partition;
use crate::peers::Peers;
use crate::rope::Rope;
use crate::scratch::Scratch;
use crate::weights::{Block, Weights};

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
    cache: Cache,
    scratch: Scratch,
}

impl Decoder {
    /// Loads the model that `gguf` describes. Reads each tensor once, in the order of the file.
    ///
    /// # Errors
    /// `invalid-model` for metadata and tensors that contradict each other, `unsupported` for
    /// models that the decoder cannot compute, `invalid-setting` for `options`, `out-of-memory`,
    /// and `io`.
    pub fn load(gguf: &Gguf, source: &dyn Source, options: Options) -> Result<Decoder> {
        Decoder::load_share(gguf, source, options, None)
    }
}

impl<E: Exchange> Decoder<E> {
    /// Loads what one of several instances holds of the model: see [`Exchange`]. All then have to
    /// compute the same batches, and truncate the same. Exchanges nothing itself. Logits are given
    /// at rank 0 alone.
    ///
    /// # Errors
    /// As [`Decoder::load`].
    pub fn load_share(
        gguf: &Gguf,
        source: &dyn Source,
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
        let weights = Weights::load(gguf, source, &config, &partition)?;
        let rope = Rope::new(&config, &weights.rope_freqs)?;
        let Options { sequences_max, kv_cache_type, .. } = options;
        let sequences_max = sequences_max as usize;
        let cache = Cache::new(&config, &partition, sequences_max, context_tokens, kv_cache_type);
        Ok(Decoder {
            config,
            context_tokens,
            partition,
            peers,
            weights,
            rope,
            cache,
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

    /// Bytes of the KV cache in memory.
    pub fn cache_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// A batch that was checked. On errors, which all instances have then, the cache may hold parts
    /// of it.
    fn compute(&mut self, batch: &[Span<'_>], logits: &mut Vec<f32>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let reserved = self.reserve(batch, logits);
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
                scratch: &mut self.scratch,
            };
            pass.attention()?;
            pass.feed_forward()?;
        }
        self.head(batch, logits)?;
        for span in batch {
            self.cache.keep(span.sequence, span.tokens.len());
        }
        Ok(())
    }

    /// Takes the memory for a batch, before any instance computes.
    fn reserve(&mut self, batch: &[Span<'_>], logits: &mut Vec<f32>) -> Result<()> {
        self.scratch.fit(batch::tokens_count(batch), &self.config, &self.partition)?;
        for span in batch {
            self.cache.reserve(span.sequence, span.tokens.len())?;
        }
        let rows = batch::wanted(batch).count();
        let length = self.config.vocabulary_tokens.saturating_mul(rows);
        resize(logits, length, "logits; ask for fewer at a time")
    }

    /// Fills the residual stream with the tokens' embeddings and the angles of their positions.
    fn embed(&mut self, batch: &[Span<'_>]) -> Result<()> {
        let Scratch { tokens, stream, cos, sin, .. } = &mut self.scratch;
        let pairs = self.config.rope_length / 2;
        let places = batch.iter().flat_map(|span| (span.position..).zip(span.tokens));
        let angles = cos.chunks_exact_mut(pairs).zip(sin.chunks_exact_mut(pairs));
        for (((position, token), kept), (cos, sin)) in places.zip(&mut *tokens).zip(angles) {
            *kept = *token;
            self.rope.angles(position, cos, sin);
        }
        let embedding = &self.weights.token_embd;
        let width = self.config.embedding_length;
        self.peers.rows(&self.partition.vocabulary, tokens, stream, width, |index, row| {
            embedding.row(index, row);
        })
    }

    /// Logits of the wanted tokens. Only their rows are multiplied.
    fn head(&mut self, batch: &[Span<'_>], logits: &mut [f32]) -> Result<()> {
        let Scratch { stream, branch, activations, .. } = &mut self.scratch;
        let width = self.config.embedding_length;
        let mut count = 0;
        for (index, row) in batch::wanted(batch).zip(branch.chunks_exact_mut(width)) {
            let token = &stream[index * width..(index + 1) * width];
            rms_norm(token, &self.weights.output_norm, self.config.norm_epsilon, row);
            count += 1;
        }
        if count > 0 {
            activations.prepare(&branch[..count * width], width);
            let output = self.weights.output();
            self.peers.gather(&self.partition.vocabulary, logits, |own| {
                output.multiply(activations, own);
            })?;
        }
        Ok(())
    }
}

/// The context in force.
fn context_tokens(config: &Config, asked_tokens: u32) -> Result<u32> {
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
        logits.clear();
        let bounds = Bounds {
            vocabulary_tokens: self.config.vocabulary_tokens,
            context_tokens: self.context_tokens,
            cached_tokens: self.cache.tokens(),
        };
        let checked = batch::check(batch, &bounds);
        for span in batch {
            self.cache.truncate(span.sequence, span.position);
        }
        checked?;
        let computed = self.compute(batch, logits);
        if computed.is_err() {
            // Blocks before the failing one hold the tokens already.
            for span in batch {
                self.cache.truncate(span.sequence, span.position);
            }
            logits.clear();
        }
        computed
    }

    fn truncate(&mut self, sequence: usize, tokens: u32) {
        self.cache.truncate(sequence, tokens);
        self.cache.free_if_empty(sequence);
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
    scratch: &'a mut Scratch,
}

impl<E: Exchange> Pass<'_, E> {
    /// `stream += attention(norm(stream))`
    fn attention(&mut self) -> Result<()> {
        let block = self.block;
        self.norm(&block.attn_norm);
        let Scratch {
            stream,
            branch,
            query,
            key,
            value,
            attended,
            cos,
            sin,
            attention,
            activations,
            ..
        } = &mut *self.scratch;
        let (config, batch, index) = (self.config, self.batch, self.index);
        let Partition { query: heads, embedding, kv, .. } = self.partition;
        let cache = &mut *self.cache;
        activations.prepare(branch, config.embedding_length);
        self.peers.all_gather(heads, attended, |attended| {
            let (query_length, kv_length) = (heads.own().len(), kv.len());
            if query_length == 0 {
                return Ok(());
            }
            block.attn_q.multiply(activations, query);
            block.attn_k.multiply(activations, key);
            block.attn_v.multiply(activations, value);

            let pairs = config.rope_length / 2;
            let angles = cos.chunks_exact(pairs).zip(sin.chunks_exact(pairs));
            let rows = query.chunks_exact_mut(query_length).zip(key.chunks_exact_mut(kv_length));
            for ((query, key), (cos, sin)) in rows.zip(angles) {
                let layout = config.architecture.rope_layout;
                rope(query, config.head_length, cos, sin, layout);
                rope(key, config.head_length, cos, sin, layout);
            }

            for (start, span) in batch::with_starts(batch) {
                let end = start + span.tokens.len();
                let of_kv = start * kv_length..end * kv_length;
                let of_query = start * query_length..end * query_length;
                let mut layer = cache.layer(span.sequence, index);
                let out = &mut attended[of_query.clone()];
                layer
                    .append(&key[of_kv.clone()], &value[of_kv])
                    .and_then(|()| {
                        let position = span.position as usize;
                        layer.attend(position, &query[of_query], attention, out)
                    })
                    .map_err(|OutOfMemory(bytes)| Error::OutOfMemory {
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
        add(stream, branch);
        Ok(())
    }

    /// `stream += down(silu(gate(norm(stream))) * up(norm(stream)))`
    fn feed_forward(&mut self) -> Result<()> {
        let block = self.block;
        self.norm(&block.ffn_norm);
        let Scratch { stream, branch, gate, up, activations, .. } = &mut *self.scratch;
        let Partition { feed_forward, embedding, .. } = self.partition;
        activations.prepare(branch, self.config.embedding_length);
        self.peers.all_gather(feed_forward, gate, |gate| {
            block.ffn_gate.multiply(activations, gate);
            block.ffn_up.multiply(activations, up);
            silu_mul(gate, up);
            Ok(())
        })?;
        activations.prepare(gate, self.config.feed_forward_length);
        self.peers.all_gather(embedding, branch, |branch| {
            block.ffn_down.multiply(activations, branch);
            Ok(())
        })?;
        add(stream, branch);
        Ok(())
    }

    /// `branch = norm(stream)`
    fn norm(&mut self, weight: &[f32]) {
        let width = self.config.embedding_length;
        let rows = self.scratch.stream.chunks_exact(width);
        for (row, out) in rows.zip(self.scratch.branch.chunks_exact_mut(width)) {
            rms_norm(row, weight, self.config.norm_epsilon, out);
        }
    }
}
