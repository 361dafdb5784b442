use super::element::{BLOCK_ELEMENTS, Element, Half, block_scale};
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
    /// 8 bits with a scale in half precision for 32 elements of a token.
    Q8,
}

impl CacheType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F16, Self::F32, Self::Q8];

    /// Bytes of a token's key and value in one head.
    pub fn token_bytes(self, head_size: usize) -> usize {
        let bytes = match self {
            CacheType::F16 => head_size.saturating_mul(size_of::<Half>()),
            CacheType::F32 => head_size.saturating_mul(size_of::<f32>()),
            CacheType::Q8 => head_size + head_size.div_ceil(BLOCK_ELEMENTS) * size_of::<Half>(),
        };
        bytes.saturating_mul(2)
    }
}

/// Tokens whose keys and values lie together, and are kept or given up together.
pub const PAGE_TOKENS: usize = CHUNK_TILES * TILE_TOKENS;

/// Keys and values of one head, in one layer, for one sequence, in pages of [`PAGE_TOKENS`].
#[derive(Debug, Clone)]
pub struct HeadCache {
    pub(crate) head_size: usize,
    /// Tokens in front of the first page.
    forgotten: usize,
    /// Tokens in the pages.
    held: usize,
    pub(super) elements: Elements,
}

#[derive(Debug, Clone)]
pub(super) enum Elements {
    F16(Stored<Half>),
    F32(Stored<f32>),
    Q8(Stored<i8>),
}

/// Runs an expression with `$stored` standing for the elements of any type.
macro_rules! with_stored {
    ($elements:expr, $stored:ident => $expression:expr) => {
        match $elements {
            Elements::F16($stored) => $expression,
            Elements::F32($stored) => $expression,
            Elements::Q8($stored) => $expression,
        }
    };
}
pub(super) use with_stored;

/// Keys of two tiles, or values of two elements, that are summed side by side.
pub(super) type Pair<E> = [[E; TILE_TOKENS]; 2];

/// The pages of a head, at least those that its tokens need.
#[derive(Debug, Clone)]
pub(super) struct Stored<E> {
    pub(super) pages: Vec<Page<E>>,
}

/// Keys and values of [`PAGE_TOKENS`] tokens.
#[derive(Debug, Clone)]
pub(super) struct Page<E> {
    /// `[tile / 2][element][tile % 2][token % 4]`
    pub(super) keys: Vec<Pair<E>>,
    /// `[element / 2][tile][element % 2][token % 4]`. Zeros behind the last token.
    pub(super) values: Vec<Pair<E>>,
    /// Of keys, if elements have scales: `[tile / 2][block][tile % 2][token % 4]`.
    pub(super) key_scales: Vec<Pair<Half>>,
    /// Of values: `[block][tile][token % 4]`.
    pub(super) value_scales: Vec<[Half; TILE_TOKENS]>,
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
            CacheType::Q8 => Elements::Q8(Stored::default()),
        };
        Self { head_size, forgotten: 0, held: 0, elements }
    }

    /// Tokens that were appended, those included that were forgotten.
    pub fn tokens(&self) -> usize {
        self.forgotten + self.held
    }

    /// The first token that can be attended to: those before it were forgotten.
    pub fn first(&self) -> usize {
        self.forgotten
    }

    /// Tokens in memory.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Counts so many tokens, of which those before `first` are forgotten. There are pages for them.
    pub(super) fn hold(&mut self, first: usize, tokens: usize) {
        (self.forgotten, self.held) = (first, tokens - first);
    }

    /// Bytes of `pages` pages of keys and values.
    pub fn bytes_of(head_size: usize, cache_type: CacheType, pages: u64) -> u64 {
        let page_bytes = cache_type.token_bytes(head_size).saturating_mul(PAGE_TOKENS);
        pages.saturating_mul(page_bytes as u64)
    }

    /// Bytes of the keys and values in memory.
    pub fn bytes(&self) -> usize {
        with_stored!(&self.elements, stored => stored.bytes())
    }

    /// Makes room for so many tokens altogether.
    /// # Errors
    /// Memory does not suffice; the cache is as before, but for room that was made.
    pub fn reserve(&mut self, tokens: usize) -> Result<(), OutOfMemory> {
        let pages = tokens.saturating_sub(self.forgotten).div_ceil(PAGE_TOKENS);
        with_stored!(&mut self.elements, stored => stored.reserve(self.head_size, pages))
    }

    /// Appends one token.
    /// # Errors
    /// Memory does not suffice; the cache is as before.
    /// # Panics
    /// Unless both have the head's size.
    pub fn append(&mut self, key: &[f32], value: &[f32]) -> Result<(), OutOfMemory> {
        assert!(key.len() == self.head_size && value.len() == self.head_size, "the head's size");
        self.reserve(self.tokens() + 1)?;
        with_stored!(&mut self.elements, stored => {
            stored.pages[self.held / PAGE_TOKENS].put(self.held % PAGE_TOKENS, key, value);
        });
        self.held += 1;
        Ok(())
    }

    /// Becomes a copy of `other`.
    /// # Errors
    /// Memory does not suffice; the cache is empty then.
    /// # Panics
    /// Unless both have heads of the same size and elements of the same type.
    pub fn copy_from(&mut self, other: &HeadCache) -> Result<(), OutOfMemory> {
        assert!(self.head_size == other.head_size, "the head's size");
        self.truncate(0);
        let pages = other.held.div_ceil(PAGE_TOKENS);
        match (&mut self.elements, &other.elements) {
            (Elements::F16(to), Elements::F16(from)) => to.fill(self.head_size, from, pages)?,
            (Elements::F32(to), Elements::F32(from)) => to.fill(self.head_size, from, pages)?,
            (Elements::Q8(to), Elements::Q8(from)) => to.fill(self.head_size, from, pages)?,
            _ => panic!("elements of two types"),
        }
        (self.forgotten, self.held) = (other.forgotten, other.held);
        Ok(())
    }

    /// Forgets the tokens behind the first `tokens`, and gives the memory of whole pages back.
    /// # Panics
    /// If `tokens` ends before [`HeadCache::first`], unless it is 0.
    pub fn truncate(&mut self, tokens: usize) {
        assert!(tokens == 0 || tokens >= self.forgotten, "{tokens} tokens of {self:?}");
        let held = tokens.saturating_sub(self.forgotten).min(self.held);
        // Behind the last token all is clear already: every step of a generation comes here.
        let cuts = held < self.held;
        self.held = held;
        self.forgotten = if tokens == 0 { 0 } else { self.forgotten };
        with_stored!(&mut self.elements, stored => stored.truncate(held, cuts));
    }

    /// Gives the memory of whole pages of tokens before `first` back.
    pub fn forget(&mut self, first: usize) {
        let tokens = first.min(self.tokens()).saturating_sub(self.forgotten);
        let pages = tokens / PAGE_TOKENS;
        with_stored!(&mut self.elements, stored => drop(stored.pages.drain(..pages)));
        self.forgotten += pages * PAGE_TOKENS;
        self.held -= pages * PAGE_TOKENS;
    }
}

impl<E> Default for Stored<E> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<E: Element> Stored<E> {
    fn bytes(&self) -> usize {
        self.pages.iter().map(Page::bytes).sum()
    }

    /// Makes room for so many pages altogether.
    pub(super) fn reserve(&mut self, head_size: usize, pages: usize) -> Result<(), OutOfMemory> {
        let missing = pages.saturating_sub(self.pages.len());
        let bytes = |count: usize| count.saturating_mul(size_of::<Page<E>>());
        self.pages.try_reserve(missing).map_err(|_| OutOfMemory(bytes(missing)))?;
        for _ in 0..missing {
            self.pages.push(Page::zeroed(head_size)?);
        }
        Ok(())
    }

    /// Takes the first pages of another one, where it has none.
    fn fill(&mut self, head_size: usize, from: &Self, pages: usize) -> Result<(), OutOfMemory> {
        if let Err(error) = self.reserve(head_size, pages) {
            self.pages.clear();
            return Err(error);
        }
        for (page, from) in self.pages.iter_mut().zip(&from.pages) {
            page.keys.copy_from_slice(&from.keys);
            page.values.copy_from_slice(&from.values);
            page.key_scales.copy_from_slice(&from.key_scales);
            page.value_scales.copy_from_slice(&from.value_scales);
        }
        Ok(())
    }

    /// `cuts` says whether there were more tokens.
    fn truncate(&mut self, tokens: usize, cuts: bool) {
        self.pages.truncate(tokens.div_ceil(PAGE_TOKENS));
        if cuts
            && !tokens.is_multiple_of(PAGE_TOKENS)
            && let Some(page) = self.pages.last_mut()
        {
            page.clear_behind(tokens % PAGE_TOKENS);
        }
    }
}

impl<E: Element> Page<E> {
    fn zeroed(head_size: usize) -> Result<Self, OutOfMemory> {
        let pairs = CHUNK_TILES / 2 * head_size;
        let blocks = if E::HAS_SCALES { head_size.div_ceil(BLOCK_ELEMENTS) } else { 0 };
        Ok(Self {
            keys: zeroed(pairs)?,
            values: zeroed(pairs)?,
            key_scales: zeroed(CHUNK_TILES / 2 * blocks)?,
            value_scales: zeroed(CHUNK_TILES * blocks)?,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.keys.as_slice())
            + size_of_val(self.values.as_slice())
            + size_of_val(self.key_scales.as_slice())
            + size_of_val(self.value_scales.as_slice())
    }

    fn put(&mut self, token: usize, key: &[f32], value: &[f32]) {
        let (tile, lane) = (token / TILE_TOKENS, token % TILE_TOKENS);
        let blocks = key.len().div_ceil(BLOCK_ELEMENTS);
        let pairs = self.keys[tile / 2 * key.len()..].chunks_mut(BLOCK_ELEMENTS);
        for (block, (key, pairs)) in key.chunks(BLOCK_ELEMENTS).zip(pairs).enumerate() {
            let divisor = divisor::<E>(key, |scale| {
                self.key_scales[tile / 2 * blocks + block][tile % 2][lane] = scale;
            });
            for (pair, key) in pairs.iter_mut().zip(key) {
                pair[tile % 2][lane] = E::narrow(key / divisor);
            }
        }
        let mut pairs = self.values[tile..].iter_mut().step_by(CHUNK_TILES);
        for (block, value) in value.chunks(BLOCK_ELEMENTS).enumerate() {
            let divisor = divisor::<E>(value, |scale| {
                self.value_scales[block * CHUNK_TILES + tile][lane] = scale;
            });
            for (value, pair) in value.as_chunks::<2>().0.iter().zip(&mut pairs) {
                for (place, value) in pair.iter_mut().zip(value) {
                    place[lane] = E::narrow(value / divisor);
                }
            }
        }
    }

    /// Makes the values of all tokens but the first `tokens` zeros.
    pub(super) fn clear_behind(&mut self, tokens: usize) {
        for pairs in self.values.chunks_exact_mut(CHUNK_TILES) {
            for (tile, pair) in pairs.iter_mut().enumerate() {
                let kept = tokens.saturating_sub(tile * TILE_TOKENS).min(TILE_TOKENS);
                for lanes in pair {
                    lanes[kept..].fill(E::default());
                }
            }
        }
    }
}

/// What a block's values are divided by; `keep` gets it, if elements have scales.
fn divisor<E: Element>(values: &[f32], keep: impl FnOnce(Half)) -> f32 {
    if !E::HAS_SCALES {
        return 1.0;
    }
    let scale = block_scale(values);
    keep(scale);
    // Where all values are too small for a scale they become zeros.
    scale.to_f32().max(f32::MIN_POSITIVE)
}

fn zeroed<T: Clone + Default>(count: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut vector = Vec::new();
    let reserved = vector.try_reserve_exact(count);
    reserved.map_err(|_| OutOfMemory(count.saturating_mul(size_of::<T>())))?;
    vector.resize(count, T::default());
    Ok(vector)
}
