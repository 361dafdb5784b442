use super::element::{Element, Half};
use crate::OutOfMemory;

/// Tokens side by side in the keys.
pub(super) const TILE_TOKENS: usize = 4;

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

#[derive(Debug, Clone, Default)]
pub(super) struct Stored<E> {
    /// `[token / 4][element][token % 4]`: scores of four tokens are the lanes of a vector.
    pub(super) keys: Vec<[E; TILE_TOKENS]>,
    /// `[token / 4][element / 4][token % 4][element % 4]`: four tokens' elements lie together, so
    /// that a step of the sum over tokens reads them with one look at the bounds. Zeros behind the
    /// last token.
    pub(super) values: Vec<[[E; 4]; TILE_TOKENS]>,
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
        self.tokens = self.tokens.min(tokens);
        with_stored!(&mut self.elements, stored => stored.truncate(self.head_size, self.tokens));
    }
}

impl<E: Element> Stored<E> {
    fn bytes(&self) -> usize {
        size_of::<E>() * 4 * (self.keys.capacity() + TILE_TOKENS * self.values.capacity())
    }

    fn reserve(&mut self, head_size: usize, tokens: usize) -> Result<(), OutOfMemory> {
        let tiles = tokens.div_ceil(TILE_TOKENS);
        reserve(&mut self.keys, tiles.checked_mul(head_size))?;
        reserve(&mut self.values, tiles.checked_mul(head_size / 4))
    }

    fn append(&mut self, token: usize, key: &[f32], value: &[f32]) {
        let (tile, lane) = (token / TILE_TOKENS, token % TILE_TOKENS);
        self.keys.resize((tile + 1) * key.len(), [E::default(); TILE_TOKENS]);
        for (place, key) in self.keys[tile * key.len()..].iter_mut().zip(key) {
            place[lane] = E::narrow(*key);
        }
        let value = value.as_chunks::<4>().0;
        self.values.resize((tile + 1) * value.len(), [[E::default(); 4]; TILE_TOKENS]);
        for (place, value) in self.values[tile * value.len()..].iter_mut().zip(value) {
            place[lane] = value.map(E::narrow);
        }
    }

    fn truncate(&mut self, head_size: usize, tokens: usize) {
        let (tile, tokens_left) = (tokens / TILE_TOKENS, tokens % TILE_TOKENS);
        self.keys.truncate(tokens.div_ceil(TILE_TOKENS) * head_size);
        self.values.truncate(tokens.div_ceil(TILE_TOKENS) * (head_size / 4));
        for place in self.values.iter_mut().skip(tile * (head_size / 4)) {
            place[tokens_left..].fill([E::default(); 4]);
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
