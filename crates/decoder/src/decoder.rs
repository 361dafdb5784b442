//! The decoder: weights, KV cache, and the order of the computation.

use trefoil_contract::{Error, Result};
use trefoil_generation::{Forward, Span};
use trefoil_gguf::{Gguf, Source};
use trefoil_kernels::{CacheType, OutOfMemory, add, rms_norm, rope, silu_mul};

use crate::batch::{self, Bounds};
use crate::cache::Cache;
use crate::config::Config;
use crate::memory::resize;
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

/// A model that is loaded, with its KV cache.
pub struct Decoder {
    config: Config,
    context_tokens: u32,
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
        let config = Config::from_gguf(gguf)?;
        let context_tokens = context_tokens(&config, options.context_tokens)?;
        if !(1..=SEQUENCES_MAX).contains(&options.sequences_max) {
            return Err(Error::InvalidSetting {
                key: "sequences-max".to_owned(),
                value: options.sequences_max.to_string(),
                expected: format!("a whole number from 1 to {SEQUENCES_MAX}"),
            });
        }
        let weights = Weights::load(gguf, source, &config)?;
        let rope = Rope::new(&config, &weights.rope_freqs)?;
        let Options { sequences_max, kv_cache_type, .. } = options;
        let cache = Cache::new(&config, sequences_max as usize, context_tokens, kv_cache_type);
        Ok(Decoder { config, context_tokens, weights, rope, cache, scratch: Scratch::default() })
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

    /// A batch that was checked. On errors the cache may hold parts of it.
    fn compute(&mut self, batch: &[Span<'_>], logits: &mut Vec<f32>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.scratch.fit(batch::tokens_count(batch), &self.config)?;
        for span in batch {
            self.cache.reserve(span.sequence, span.tokens.len())?;
        }
        self.embed(batch);
        for (index, block) in self.weights.blocks.iter().enumerate() {
            let mut pass = Pass {
                config: &self.config,
                batch,
                block,
                index,
                cache: &mut self.cache,
                scratch: &mut self.scratch,
            };
            pass.attention().map_err(|OutOfMemory(bytes)| Error::OutOfMemory {
                needed_bytes: bytes as u64,
                purpose: "attention; lower `context-tokens`".to_owned(),
            })?;
            pass.feed_forward();
        }
        self.head(batch, logits)?;
        for span in batch {
            self.cache.keep(span.sequence, span.tokens.len());
        }
        Ok(())
    }

    /// Fills the residual stream with the tokens' embeddings and the angles of their positions.
    fn embed(&mut self, batch: &[Span<'_>]) {
        let scratch = &mut self.scratch;
        let pairs = self.config.rope_length / 2;
        let tokens = batch.iter().flat_map(|span| (span.position..).zip(span.tokens));
        let rows = scratch.stream.chunks_exact_mut(self.config.embedding_length);
        let angles = scratch.cos.chunks_exact_mut(pairs).zip(scratch.sin.chunks_exact_mut(pairs));
        for (((position, token), row), (cos, sin)) in tokens.zip(rows).zip(angles) {
            self.weights.token_embd.row(*token as usize, row);
            self.rope.angles(position, cos, sin);
        }
    }

    /// Logits of the wanted tokens. Only their rows are multiplied.
    fn head(&mut self, batch: &[Span<'_>], logits: &mut Vec<f32>) -> Result<()> {
        let Scratch { stream, branch, activations, .. } = &mut self.scratch;
        let width = self.config.embedding_length;
        let mut count = 0;
        for (index, row) in batch::wanted(batch).zip(branch.chunks_exact_mut(width)) {
            let token = &stream[index * width..(index + 1) * width];
            rms_norm(token, &self.weights.output_norm, self.config.norm_epsilon, row);
            count += 1;
        }
        let length = self.config.vocabulary_tokens.saturating_mul(count);
        resize(logits, length, "logits; ask for fewer at a time")?;
        if count > 0 {
            activations.prepare(&branch[..count * width], width);
            self.weights.output().multiply(activations, logits);
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

impl Forward for Decoder {
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
///
/// Every product gives whole output rows and attention whole KV heads: an instance that holds a
/// share of them computes its part of `query`, `key`, `value`, `attended`, `gate` and of the two
/// outputs in the same order, and gathers the others' parts where a comment says so.
struct Pass<'a> {
    config: &'a Config,
    batch: &'a [Span<'a>],
    block: &'a Block,
    index: usize,
    cache: &'a mut Cache,
    scratch: &'a mut Scratch,
}

impl Pass<'_> {
    /// `stream += attention(norm(stream))`
    fn attention(&mut self) -> Result<(), OutOfMemory> {
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
        activations.prepare(branch, self.config.embedding_length);
        block.attn_q.multiply(activations, query);
        block.attn_k.multiply(activations, key);
        block.attn_v.multiply(activations, value);

        let head_length = self.config.head_length;
        let (query_length, kv_length) = (self.config.query_length(), self.config.kv_length());
        let layout = self.config.architecture.rope_layout;
        let pairs = self.config.rope_length / 2;
        let angles = cos.chunks_exact(pairs).zip(sin.chunks_exact(pairs));
        let rows = query.chunks_exact_mut(query_length).zip(key.chunks_exact_mut(kv_length));
        for ((query, key), (cos, sin)) in rows.zip(angles) {
            rope(query, head_length, cos, sin, layout);
            rope(key, head_length, cos, sin, layout);
        }

        for (start, span) in batch::with_starts(self.batch) {
            let end = start + span.tokens.len();
            let of_kv = start * kv_length..end * kv_length;
            let of_query = start * query_length..end * query_length;
            let mut layer = self.cache.layer(span.sequence, self.index);
            layer.append(&key[of_kv.clone()], &value[of_kv])?;
            let out = &mut attended[of_query.clone()];
            layer.attend(span.position as usize, &query[of_query], attention, out)?;
        }
        // Shares of `attended` are gathered here.
        activations.prepare(attended, query_length);
        block.attn_output.multiply(activations, branch);
        // And shares of the output here.
        add(stream, branch);
        Ok(())
    }

    /// `stream += down(silu(gate(norm(stream))) * up(norm(stream)))`
    fn feed_forward(&mut self) {
        let block = self.block;
        self.norm(&block.ffn_norm);
        let Scratch { stream, branch, gate, up, activations, .. } = &mut *self.scratch;
        activations.prepare(branch, self.config.embedding_length);
        block.ffn_gate.multiply(activations, gate);
        block.ffn_up.multiply(activations, up);
        silu_mul(gate, up);
        // Shares of `gate` are gathered here.
        activations.prepare(gate, self.config.feed_forward_length);
        block.ffn_down.multiply(activations, branch);
        // And shares of the output here.
        add(stream, branch);
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
