//! Pages of keys and values as bytes, in the order in which they lie in memory.

use super::cache::{Elements, Page, Pair, Stored, TILE_TOKENS, with_stored};
use super::element::{BLOCK_ELEMENTS, Element, Half};
use crate::{HeadCache, OutOfMemory, PAGE_TOKENS};

/// Version of the bytes of pages: another one where keys and values lie otherwise.
pub const PAGE_VERSION: u32 = 1;

impl HeadCache {
    /// Pages that hold tokens.
    pub fn pages(&self) -> usize {
        self.held().div_ceil(PAGE_TOKENS)
    }

    /// Appends the bytes of a page, as many as [`HeadCache::bytes_of`] says, with zeros in the places
    /// of tokens that there are none of. Nothing for a page that does not exist.
    pub fn save_page(&self, page: usize, bytes: &mut Vec<u8>) {
        let tokens = self.held().saturating_sub(page * PAGE_TOKENS).min(PAGE_TOKENS);
        with_stored!(&self.elements, stored => {
            if let Some(page) = stored.pages.get(page).filter(|_| tokens > 0) {
                page.save(self.head_size, tokens, bytes);
            }
        });
    }

    /// Becomes a cache of so many tokens, of which those before `first` are forgotten: of pages full
    /// of zeros, to be [restored](HeadCache::restore_page).
    /// # Errors
    /// Memory does not suffice; the cache is empty then.
    /// # Panics
    /// Unless `first` is the beginning of a page, and not behind `tokens`.
    pub fn make_room(&mut self, first: usize, tokens: usize) -> Result<(), OutOfMemory> {
        assert!(first.is_multiple_of(PAGE_TOKENS) && first <= tokens, "{first} of {tokens}");
        self.truncate(0);
        let pages = (tokens - first).div_ceil(PAGE_TOKENS);
        with_stored!(&mut self.elements, stored => {
            if let Err(error) = stored.reserve(self.head_size, pages) {
                stored.pages.clear();
                return Err(error);
            }
        });
        self.hold(first, tokens);
        Ok(())
    }

    /// Puts the bytes of a page back. Answers whether there is such a page, and of that length.
    pub fn restore_page(&mut self, page: usize, bytes: &[u8]) -> bool {
        let tokens = self.held().saturating_sub(page * PAGE_TOKENS).min(PAGE_TOKENS);
        with_stored!(&mut self.elements, stored => restore(stored, page, tokens, bytes))
    }
}

fn restore<E: Element>(stored: &mut Stored<E>, page: usize, tokens: usize, bytes: &[u8]) -> bool {
    let Some(page) = stored.pages.get_mut(page).filter(|_| tokens > 0) else { return false };
    if bytes.len() != page.bytes() {
        return false;
    }
    page.restore(bytes);
    if tokens < PAGE_TOKENS {
        page.clear_behind(tokens);
    }
    true
}

impl<E: Element> Page<E> {
    fn save(&self, head_size: usize, tokens: usize, bytes: &mut Vec<u8>) {
        let blocks = head_size.div_ceil(BLOCK_ELEMENTS);
        put_keys(&self.keys, head_size, tokens, bytes);
        for lanes in self.values.iter().flatten().flatten() {
            // Zero already behind the last token.
            lanes.put(bytes);
        }
        put_keys(&self.key_scales, blocks, tokens, bytes);
        let tiles = PAGE_TOKENS / TILE_TOKENS;
        for (index, scales) in self.value_scales.iter().enumerate() {
            put_lanes(scales, index % tiles * TILE_TOKENS, tokens, bytes);
        }
    }

    fn restore(&mut self, mut bytes: &[u8]) {
        let keys = self.keys.iter_mut().chain(&mut self.values);
        keys.flatten().flatten().for_each(|element| *element = E::take(&mut bytes));
        let scales = self.key_scales.iter_mut().flatten().chain(&mut self.value_scales);
        scales.flatten().for_each(|scale| *scale = Half::take(&mut bytes));
    }
}

/// `[tile / 2][element][tile % 2][token % 4]`
fn put_keys<E: Element>(keys: &[Pair<E>], elements: usize, tokens: usize, bytes: &mut Vec<u8>) {
    for (index, pair) in keys.iter().enumerate() {
        for (lanes, tile) in pair.iter().zip(index / elements * 2..) {
            put_lanes(lanes, tile * TILE_TOKENS, tokens, bytes);
        }
    }
}

/// Those of the first `tokens` tokens; zeros for others.
fn put_lanes<E: Element>(
    lanes: &[E; TILE_TOKENS],
    first: usize,
    tokens: usize,
    bytes: &mut Vec<u8>,
) {
    for (lane, token) in lanes.iter().zip(first..) {
        let lane = if token < tokens { *lane } else { E::default() };
        lane.put(bytes);
    }
}
