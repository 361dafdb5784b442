use super::element::{Element, Half};
use crate::OutOfMemory;

/// Tokens side by side: the lanes of a vector.
pub(super) const TILE_TOKENS: usize = 4;

/// Tiles whose values of two elements lie together: what one element's sum over tokens reads at a
/// stretch, while the weights of these tokens stay in the first-level cache.
pub(super) const CHUNK_TILES: usize = 16;

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheType {
    /// Half precision, rounded to nearest; values beyond 65504 become that.
    #[default]
    F16,
    /// Single precision.
    F32,
}

impl CacheType {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            CacheType::F16 => 2,
            CacheType::F32 => 4,
        }
    }
}

/// Keys and values of one head, in one layer, for one sequence.
#[derive(Debug, Clone)]
pub struct HeadCache {
    pub(super) head_size: usize,
    tokens: usize,
    pub(super) elements: Elements,
}

#[derive(Debug, Clone)]
pub(super) enum Elements {
    F16(Stored<Half>),
    F32(Stored<f32>),
}

/// Runs an expression with `$stored` standing for the elements of either type.
macro_rules! with_stored {
    ($elements:expr, $stored:ident => $expression:expr) => {
        match $elements {
            Elements::F16($stored) => $expression,
            Elements::F32($stored) => $expression,
        }
    };
}
pub(super) use with_stored;

/// Keys of two tiles, or values of two elements, that are summed side by side.
pub(super) type Pair<E> = [[E; TILE_TOKENS]; 2];

#[derive(Debug, Clone, Default)]
pub(super) struct Stored<E> {
    /// Pairs of tiles, `[element][tile][token % 4]` each.
    pub(super) keys: Vec<Pair<E>>,
    /// Chunks of [`CHUNK_TILES`], `[element / 2][tile][element % 2][token % 4]` each. Zeros behind
    /// the last token.
    pub(super) values: Vec<Pair<E>>,
}

impl HeadCache {
    /// An empty cache.
    /// # Panics
    /// Unless `head_size` is a multiple of 4.
    pub fn new(head_size: usize, cache_type: CacheType) -> Self {
        assert!(head_size > 0 && head_size.is_multiple_of(4), "heads of {head_size}");
        let elements = match cache_type {
            CacheType::F16 => Elements::F16(Stored::default()),
            CacheType::F32 => Elements::F32(Stored::default()),
        };
        Self { head_size, tokens: 0, elements }
    }

    /// Tokens in the cache.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        with_stored!(&self.elements, stored => stored.bytes())
    }

    /// Makes room for so many tokens altogether.
    /// # Errors
    /// Memory does not suffice; the cache is as before.
    pub fn reserve(&mut self, tokens: usize) -> Result<(), OutOfMemory> {
        with_stored!(&mut self.elements, stored => stored.reserve(self.head_size, tokens))
    }

    /// Appends one token.
    /// # Errors
    /// Memory does not suffice; the cache is as before.
    /// # Panics
    /// Unless both have the head's size.
    pub fn append(&mut self, key: &[f32], value: &[f32]) -> Result<(), OutOfMemory> {
        assert!(key.len() == self.head_size && value.len() == self.head_size, "the head's size");
        self.reserve(self.tokens + 1)?;
        with_stored!(&mut self.elements, stored => stored.append(self.tokens, key, value));
        self.tokens += 1;
        Ok(())
    }

    /// Forgets the tokens behind the first `tokens`. Keeps the memory.
    pub fn truncate(&mut self, tokens: usize) {
        if tokens >= self.tokens {
            return;
        }
        self.tokens = tokens;
        with_stored!(&mut self.elements, stored => stored.truncate(self.head_size, self.tokens));
    }
}

impl<E: Element> Stored<E> {
    fn bytes(&self) -> usize {
        size_of::<Pair<E>>() * (self.keys.capacity() + self.values.capacity())
    }

    fn reserve(&mut self, head_size: usize, tokens: usize) -> Result<(), OutOfMemory> {
        reserve(&mut self.keys, tokens.div_ceil(2 * TILE_TOKENS).checked_mul(head_size))?;
        let chunks = tokens.div_ceil(CHUNK_TILES * TILE_TOKENS);
        reserve(&mut self.values, chunks.checked_mul(CHUNK_TILES * head_size / 2))
    }

    fn append(&mut self, token: usize, key: &[f32], value: &[f32]) {
        let (tile, lane) = (token / TILE_TOKENS, token % TILE_TOKENS);
        let start = tile / 2 * key.len();
        self.keys.resize(start + key.len(), Pair::default());
        for (pair, key) in self.keys[start..].iter_mut().zip(key) {
            pair[tile % 2][lane] = E::narrow(*key);
        }
        let chunk = CHUNK_TILES * value.len() / 2;
        let start = tile / CHUNK_TILES * chunk;
        self.values.resize(start + chunk, Pair::default());
        let pairs = self.values[start + tile % CHUNK_TILES..].iter_mut().step_by(CHUNK_TILES);
        for (pair, value) in pairs.zip(value.as_chunks::<2>().0) {
            for (place, value) in pair.iter_mut().zip(value) {
                place[lane] = E::narrow(*value);
            }
        }
    }

    fn truncate(&mut self, head_size: usize, tokens: usize) {
        self.keys.truncate(tokens.div_ceil(2 * TILE_TOKENS) * head_size);
        let (chunk_tokens, chunk) = (CHUNK_TILES * TILE_TOKENS, CHUNK_TILES * head_size / 2);
        self.values.truncate(tokens.div_ceil(chunk_tokens) * chunk);
        let (last, tokens) = (tokens / chunk_tokens, tokens % chunk_tokens);
        for pairs in self.values[last * chunk..].chunks_exact_mut(CHUNK_TILES) {
            for (tile, pair) in pairs.iter_mut().enumerate() {
                let kept = tokens.saturating_sub(tile * TILE_TOKENS).min(TILE_TOKENS);
                for lanes in pair {
                    lanes[kept..].fill(E::default());
                }
            }
        }
    }
}

/// Makes room for so many elements altogether.
fn reserve<T>(vector: &mut Vec<T>, count: Option<usize>) -> Result<(), OutOfMemory> {
    let count = count.ok_or(OutOfMemory(usize::MAX))?;
    vector
        .try_reserve(count.saturating_sub(vector.len()))
        .map_err(|_| OutOfMemory(count.saturating_mul(size_of::<T>())))
}
