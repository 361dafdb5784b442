//! How much memory a model takes, and which context fits.

use trefoil_contract::{Error, Result};
use trefoil_gguf::Gguf;
use trefoil_kernels::{CacheType, PAGE_TOKENS};

use crate::cache::Cache;
use crate::config::Config;
use crate::decoder::{Options, context_tokens};
use crate::encoding::Encoding;
use crate::partition::Partition;
use crate::tensor::{self, Planned};
use crate::weights::own_bytes;

/// Shortest context that is taken where the default does not fit; with less, few prompts fit.
pub const CONTEXT_TOKENS_FITTED_MIN: u32 = 512;

/// Most instances that an error proposes.
const INSTANCES_PROPOSED_MAX: usize = 64;

/// What a model takes of the memory of each instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// The options, with the context in force.
    pub options: Options,
    /// Bytes at most, by rank: of the weights, and of the keys and values of full contexts. Buffers
    /// of a batch are not in it.
    pub bytes: Vec<u64>,
}

/// Chooses the context of a model whose instances have so many bytes left, by rank, and compute at
/// most `prefill_tokens` of a sequence at a time: what was asked for, else as much of the default
/// as fits. What is computed for all ranks is the same on each.
///
/// # Errors
/// `out-of-memory` with what would fit; others as [`Decoder::load`](crate::Decoder::load).
pub fn fit(
    gguf: &Gguf,
    options: Options,
    prefill_tokens: u32,
    free_bytes: &[u64],
) -> Result<Fitted> {
    let config = Config::from_gguf(gguf)?;
    let default = context_tokens(&config, options.context_tokens)?;
    let model = Model { planned: tensor::plan(gguf, &config)?, config: &config, prefill_tokens };
    let shares = model.shares(free_bytes);
    let is_asked = options.context_tokens > 0;
    let mut options = Options { context_tokens: default, ..options };
    if !model.fits(&shares, options) {
        let largest = model.largest_context(&shares, options);
        let shortest = if is_asked { default } else { CONTEXT_TOKENS_FITTED_MIN.min(default) };
        if largest < shortest {
            let least = Options { context_tokens: shortest, ..options };
            return Err(model.refusal(&shares, least));
        }
        options.context_tokens = largest;
    }
    let bytes = shares.iter().map(|share| model.bytes(share, options)).collect();
    Ok(Fitted { options, bytes })
}

struct Model<'a> {
    config: &'a Config,
    planned: Vec<Planned<'a>>,
    prefill_tokens: u32,
}

/// What one instance holds.
struct Share {
    partition: Partition,
    weights_bytes: u64,
    free_bytes: u64,
}

impl Model<'_> {
    fn shares(&self, free_bytes: &[u64]) -> Vec<Share> {
        let share = |(rank, free): (usize, &u64)| {
            let partition = Partition::new(self.config, rank, free_bytes.len());
            let planned = self.planned.iter();
            let weights = planned.map(|planned| own_bytes(planned, self.config, &partition));
            Share { weights_bytes: weights.sum(), partition, free_bytes: *free }
        };
        free_bytes.iter().enumerate().map(share).collect()
    }

    /// Bytes that an instance needs.
    fn bytes(&self, share: &Share, options: Options) -> u64 {
        let Options { context_tokens, sequences_max, kv_cache_type } = options;
        if self.config.architecture.is_encoder() {
            let bytes = Encoding::bytes_of(self.config, &share.partition, context_tokens);
            return bytes.saturating_add(share.weights_bytes);
        }
        let sequence_bytes = Cache::bytes_of(
            self.config,
            &share.partition,
            kv_cache_type,
            context_tokens,
            self.prefill_tokens,
        );
        sequence_bytes.saturating_mul(u64::from(sequences_max)).saturating_add(share.weights_bytes)
    }

    fn fits(&self, shares: &[Share], options: Options) -> bool {
        shares.iter().all(|share| self.bytes(share, options) <= share.free_bytes)
    }

    /// The largest context up to that of `options` that fits, in whole pages; 0 for none.
    fn largest_context(&self, shares: &[Share], options: Options) -> u32 {
        let page_tokens = PAGE_TOKENS as u32;
        let (mut fitting, mut beyond) = (0, options.context_tokens / page_tokens + 1);
        while beyond - fitting > 1 {
            let pages = fitting + (beyond - fitting) / 2;
            let tried = Options { context_tokens: pages * page_tokens, ..options };
            match self.fits(shares, tried) {
                true => fitting = pages,
                false => beyond = pages,
            }
        }
        fitting * page_tokens
    }

    /// Says what is needed, and what would fit.
    fn refusal(&self, shares: &[Share], options: Options) -> Error {
        let Options { context_tokens, sequences_max, kv_cache_type } = options;
        let needs = shares.iter().map(|share| (self.bytes(share, options), share.free_bytes));
        let needs = needs.filter(|(needed, free)| needed > free);
        let (needed_bytes, free_bytes) = needs.max_by_key(|(needed, _)| *needed).unwrap_or((0, 0));
        let mut fitting = Vec::new();
        let mut propose_context = |options: Options, what: &str| {
            let whole = self.fits(shares, options);
            match self.largest_context(shares, options) {
                _ if whole => fitting.push(what.to_owned()),
                0 => {}
                tokens => fitting.push(match what {
                    "" => format!("`context-tokens` = {tokens}"),
                    what => format!("{what} with `context-tokens` = {tokens}"),
                }),
            }
        };
        propose_context(options, "");
        let is_encoder = self.config.architecture.is_encoder();
        if kv_cache_type != CacheType::Q8 && !is_encoder {
            let options = Options { kv_cache_type: CacheType::Q8, ..options };
            propose_context(options, "`cpu.kv-cache-type` = `q8`");
        }
        let fewer = (1..sequences_max).rev();
        let fewer = fewer.map(|sequences_max| Options { sequences_max, ..options });
        if let Some(options) = { fewer }.find(|options| self.fits(shares, *options)) {
            fitting.push(format!("`sequences-max` = {}", options.sequences_max));
        }
        let most_free = shares.iter().map(|share| share.free_bytes).max().unwrap_or(0);
        let more = shares.len() + 1..=INSTANCES_PROPOSED_MAX;
        let enough = |count: &usize| self.fits(&self.shares(&vec![most_free; *count]), options);
        if let Some(count) = { more }.find(enough) {
            fitting.push(format!("{count} instances (`--instances {count}`)"));
        }
        let fitting = match fitting.as_slice() {
            [] => "nothing smaller would fit".to_owned(),
            fitting => format!("what would fit: {}", fitting.join(", or ")),
        };
        let purpose = format!(
            "the weights, and keys and values of {context_tokens} tokens for `sequences-max` = \
             {sequences_max}, in an instance that has {free_bytes} left for them; {fitting}"
        );
        Error::OutOfMemory { needed_bytes, purpose }
    }
}
