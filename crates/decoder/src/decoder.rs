//! The decoder, which encodes as well: weights, KV cache, and the order of the computation.

use trefoil_contract::{Error, Result};
use trefoil_generation::{Forward, SavedCache, Span, not_ranking};
use trefoil_gguf::{Gguf, Source};
use trefoil_kernels::{CacheType, add, soft_cap};

use crate::adapter::Adapter;
use crate::batch::{self, Bounds};
use crate::cache::Cache;
use crate::config::Config;
use crate::encoding::Encoding;
use crate::exchange::{Alone, Exchange};
use crate::memory::resize;
use crate::partition::Partition;
use crate::pass::{Pass, norm_in_place, scale_unless_one};
use crate::peers::Peers;
use crate::rope::Rope;
use crate::scratch::{Angles, Scratch};
use crate::tensor;
use crate::weights::Weights;

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
    pub(crate) config: Config,
    context_tokens: u32,
    pub(crate) partition: Partition,
    pub(crate) peers: Peers<E>,
    weights: Weights,
    rope: Rope,
    local_rope: Option<Rope>,
    pub(crate) cache: Cache,
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
    /// [`Exchange`]. All then have to compute the same batches, and truncate the same. Exchanges
    /// nothing itself. Logits are given at rank 0 alone.
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

    /// Whether the angles of positions are those of a long context.
    pub(crate) fn has_long_factors(&self) -> bool {
        let (name, factors) = rope_factors(&self.config, &self.weights, self.context_tokens);
        name == tensor::ROPE_FACTORS_LONG && !factors.is_empty()
    }

    /// # Errors
    /// `unsupported` for an encoder.
    pub(crate) fn check_decodes(&self) -> Result<()> {
        if !self.is_encoder() {
            return Ok(());
        }
        Err(Error::unsupported(format_args!(
            "logits of architecture `{}`, an encoder; use `embed`",
            self.config.architecture.name
        )))
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
        self.check_decodes().inspect_err(|_| logits.clear())?;
        self.run(batch, Head::Logits, logits)
    }

    fn embed(&mut self, batch: &[Span<'_>], vectors: &mut Vec<f32>) -> Result<()> {
        self.run(batch, Head::None, vectors)
    }

    fn relevance(&mut self, vector: &[f32]) -> Result<f32> {
        let ranking = self.weights.ranking.as_ref().ok_or_else(not_ranking)?;
        Ok(ranking.score(vector, &mut self.scratch.activations))
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

    fn copy(&mut self, from: usize, to: usize) -> Result<()> {
        let copied = self.cache.copy(from, to);
        // What one instance cannot hold, all have to give up.
        self.peers.agree(copied).inspect_err(|_| self.cache.truncate(to, 0))
    }

    fn saved(&self, sequence: usize) -> Result<SavedCache> {
        self.describe(sequence)
    }

    fn save_page(&mut self, sequence: usize, page: u64, bytes: &mut Vec<u8>) -> Result<()> {
        self.page(sequence, page, bytes)
    }

    fn restore(&mut self, sequence: usize, saved: &SavedCache) -> Result<()> {
        self.cache.truncate(sequence, 0);
        self.check_saved(sequence, saved)?;
        self.make_room(sequence, saved.first, saved.tokens)
    }

    fn restore_page(&mut self, sequence: usize, page: u64, bytes: &[u8]) -> Result<()> {
        self.put_page(sequence, page, bytes)
    }
}
