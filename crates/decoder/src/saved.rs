//! Sequences as pages of bytes: those of each KV head of each block, `[block][KV head][page]`. They
//! are the same for any number of instances.

use trefoil_contract::{Error, Result};
use trefoil_generation::{Forward, SavedCache};
use trefoil_kernels::{CacheType, PAGE_VERSION};

use crate::Decoder;
use crate::exchange::{Exchange, out_of_step};

/// Where a page lies.
struct Place {
    block: usize,
    /// Among all KV heads.
    head: usize,
    page: usize,
}

impl<E: Exchange> Decoder<E> {
    /// What a sequence of so many tokens has, of which windows hold those from `first` on.
    fn described(&self, first: u32, tokens: u32) -> SavedCache {
        let pages = |block| self.cache.pages(block, first as usize, tokens as usize) as u64;
        let pages = (0..self.config.blocks).map(pages).sum::<u64>() * self.config.kv_heads as u64;
        let kind = match self.cache.cache_type() {
            CacheType::F16 => "f16",
            CacheType::F32 => "f32",
            CacheType::Q8 => "q8",
        };
        // Where a model has them, a longer context turns keys by other angles.
        let angles = if self.has_long_factors() { ", long RoPE factors" } else { "" };
        SavedCache {
            form: format!("{kind} (layout {PAGE_VERSION}{angles})"),
            tokens,
            first,
            pages,
            page_bytes: self.cache.page_bytes() as u32,
        }
    }

    /// See [`Forward::saved`].
    pub(crate) fn describe(&self, sequence: usize) -> Result<SavedCache> {
        self.check_decodes()?;
        let tokens = self.cache.tokens().get(sequence).copied().unwrap_or(0);
        Ok(self.described(self.cache.first(sequence) as u32, tokens))
    }

    /// Checks what [`make_room`](Self::make_room) relies on.
    ///
    /// # Errors
    /// As [`Forward::restore`].
    pub fn check_saved(&self, sequence: usize, saved: &SavedCache) -> Result<()> {
        self.check_decodes()?;
        let refuse = |text: String| Err(Error::InvalidArgument(text));
        let available_tokens = self.context_tokens();
        if saved.tokens > available_tokens {
            return Err(Error::ContextOverflow {
                needed_tokens: saved.tokens.into(),
                available_tokens: available_tokens.into(),
            });
        }
        if sequence >= self.sequences_max() {
            return refuse(format!("there is no sequence {sequence}"));
        }
        if !self.cache.can_hold(saved.first as usize, saved.tokens as usize) {
            let SavedCache { first, tokens, .. } = saved;
            return refuse(format!("no sequence of {tokens} tokens is cached from {first} on"));
        }
        let own = self.described(saved.first, saved.tokens);
        if saved.form != own.form {
            return refuse(format!(
                "keys and values were saved as `{}`, and this model caches them as `{}`: open it as \
                 it was then, with the same `cpu.kv-cache-type` and engine",
                saved.form, own.form
            ));
        }
        if *saved != own {
            return refuse(format!(
                "{} pages of {} bytes were saved, and {} tokens of this model have {} of {}",
                saved.pages, saved.page_bytes, own.tokens, own.pages, own.page_bytes
            ));
        }
        Ok(())
    }

    /// The second half of [`Forward::restore`], which all instances do.
    ///
    /// # Errors
    /// `out-of-memory`, on any instance.
    pub fn make_room(&mut self, sequence: usize, first: u32, tokens: u32) -> Result<()> {
        let own = self.described(first, tokens);
        let made = self.check_saved(sequence, &own);
        let made =
            made.and_then(|()| self.cache.make_room(sequence, first as usize, tokens as usize));
        self.peers.agree(made).inspect_err(|_| self.cache.truncate(sequence, 0))
    }

    /// See [`Forward::save_page`].
    pub(crate) fn page(&mut self, sequence: usize, page: u64, bytes: &mut Vec<u8>) -> Result<()> {
        let Place { block, head, page } = self.place(sequence, page)?;
        bytes.clear();
        let owner = self.owner(head);
        let (rank, _) = self.peers.rank_and_size();
        if owner == rank
            && let Some(head) = self.own_head(head)
            && let Some(head) = self.cache.head(sequence, block, head)
        {
            head.save_page(page, bytes);
        }
        self.peers.bytes_of(owner, bytes)?;
        if rank == 0 && bytes.len() != self.cache.page_bytes() {
            return Err(out_of_step());
        }
        Ok(())
    }

    /// See [`Forward::restore_page`].
    pub(crate) fn put_page(&mut self, sequence: usize, page: u64, bytes: &[u8]) -> Result<()> {
        let Place { block, head, page } = self.place(sequence, page)?;
        if bytes.len() != self.cache.page_bytes() {
            return Err(Error::InvalidArgument(format!(
                "{} bytes for a page of {}",
                bytes.len(),
                self.cache.page_bytes()
            )));
        }
        if let Some(head) = self.own_head(head)
            && let Some(head) = self.cache.head(sequence, block, head)
            && !head.restore_page(page, bytes)
        {
            return Err(out_of_step());
        }
        Ok(())
    }

    /// Where the page of this number lies.
    fn place(&self, sequence: usize, page: u64) -> Result<Place> {
        let SavedCache { first, tokens, pages, .. } = self.describe(sequence)?;
        let mut rest = page;
        for block in 0..self.config.blocks {
            let of_head = self.cache.pages(block, first as usize, tokens as usize) as u64;
            let of_block = of_head * self.config.kv_heads as u64;
            if rest < of_block {
                let (head, page) = (rest / of_head, rest % of_head);
                return Ok(Place { block, head: head as usize, page: page as usize });
            }
            rest -= of_block;
        }
        Err(Error::InvalidArgument(format!("there is no page {page}, but {pages}")))
    }

    /// The first instance that holds a KV head.
    fn owner(&self, head: usize) -> usize {
        let group = self.config.heads / self.config.kv_heads;
        self.partition.query.owner(head * group * self.config.head_length)
    }

    /// The number of a KV head among those that this instance holds.
    fn own_head(&self, head: usize) -> Option<usize> {
        let first = self.partition.kv.start / self.config.head_length;
        head.checked_sub(first).filter(|own| *own < self.partition.groups.len())
    }
}
