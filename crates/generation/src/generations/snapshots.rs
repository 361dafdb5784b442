//! Generations as streams of bytes, out and in again. Keys and values are never held twice.

use sha2::{Digest as _, Sha256};
use trefoil_contract::{Error, Result};

use super::{GenerationId, Generations, ReservedSlot, SavedGeneration};
use crate::snapshot::{self, DIGEST_BYTES, Identity, START_BYTES};
use crate::{Forward, SavedCache, Vocabulary};

/// Most bytes of one read or write.
pub const READ_BYTES_MAX: usize = 1 << 20;

/// Bytes that are digested at a time where nobody reads them.
const DIGESTED_BYTES: usize = 64 << 10;

/// A generation as bytes. Keys and values stay in the cache until they are read, so the generation
/// has to stay as it is.
#[derive(Debug)]
pub struct Snapshot {
    id: GenerationId,
    slot: usize,
    /// When the slot was computed last.
    used: u64,
    /// What stands before the pages.
    head: Vec<u8>,
    cache: SavedCache,
    digest: Sha256,
    /// How many bytes are in it.
    digested: u64,
    /// The page that was read last.
    page: Option<u64>,
    page_bytes: Vec<u8>,
}

impl Snapshot {
    /// Bytes of the whole.
    pub fn size(&self) -> u64 {
        self.digested_size() + DIGEST_BYTES as u64
    }

    /// Bytes before the digest.
    fn digested_size(&self) -> u64 {
        self.head.len() as u64 + self.cache.pages * u64::from(self.cache.page_bytes)
    }
}

/// A snapshot on its way back.
#[derive(Debug)]
pub struct Restoration {
    identity: Vec<(&'static str, String)>,
    size: u64,
    /// Bytes that have come.
    written: u64,
    /// Those that are not used yet.
    bytes: Vec<u8>,
    digest: Sha256,
    stage: Stage,
}

/// What comes next.
#[derive(Debug)]
enum Stage {
    Start,
    Head {
        length: usize,
    },
    Pages {
        saved: Box<SavedGeneration>,
        slot: ReservedSlot,
        cache: SavedCache,
        next: u64,
    },
    Digest {
        saved: Box<SavedGeneration>,
        slot: ReservedSlot,
    },
    /// Nothing: it has failed.
    Failed(Error),
}

fn refuse<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::InvalidArgument(text.into()))
}

impl<F: Forward, V: Vocabulary> Generations<F, V> {
    /// Begins to save a generation, which belongs to `identity`: to what has the same names with the
    /// same values.
    ///
    /// # Errors
    /// As [`save`](Self::save), and [`Forward::saved`].
    pub fn snapshot(&self, id: GenerationId, identity: &Identity) -> Result<Snapshot> {
        let saved = self.save(id)?;
        let slot = self.slot_of(id)?;
        let cache = self.forward.saved(slot)?;
        Ok(Snapshot {
            id,
            slot,
            used: self.slots[slot].used,
            head: snapshot::encode(identity, &saved, &cache)?,
            cache,
            digest: Sha256::new(),
            digested: 0,
            page: None,
            page_bytes: Vec::new(),
        })
    }

    /// At most `length` bytes from `offset` on; fewer only at the end. Cheapest in order.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than [`READ_BYTES_MAX`], and when the generation has gone
    /// on or ended meanwhile; what [`Forward::save_page`] answers.
    pub fn read_snapshot(
        &mut self,
        snapshot: &mut Snapshot,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>> {
        if length > READ_BYTES_MAX {
            return refuse(format!(
                "{length} bytes of a snapshot at once; at most {READ_BYTES_MAX} are read"
            ));
        }
        let is_unchanged = self.slot_of(snapshot.id) == Ok(snapshot.slot)
            && self.slots[snapshot.slot].used == snapshot.used;
        if !is_unchanged {
            return refuse(
                "the generation has gone on since the snapshot was taken: read a snapshot before the \
                 next step, or take another one",
            );
        }
        let length = snapshot.size().saturating_sub(offset).min(length as u64) as usize;
        let mut bytes = Vec::with_capacity(length);
        let wanted = offset..offset + length as u64;
        while (bytes.len() as u64) < wanted.end - wanted.start {
            let at = wanted.start + bytes.len() as u64;
            let more = (wanted.end - at) as usize;
            if at >= snapshot.digested_size() {
                self.digest_rest(snapshot)?;
                let digest = snapshot.digest.clone().finalize();
                let start = (at - snapshot.digested_size()) as usize;
                bytes.extend(digest.iter().skip(start).take(more));
                break;
            }
            let start = bytes.len();
            self.read_piece(snapshot, at, more, &mut bytes)?;
            let piece = &bytes[start..];
            // What comes in order is digested on the way.
            let known = snapshot.digested.checked_sub(at);
            if let Some(fresh) = known.and_then(|known| piece.get(known as usize..)) {
                snapshot.digest.update(fresh);
                snapshot.digested += fresh.len() as u64;
            }
        }
        Ok(bytes)
    }

    /// Appends bytes of the head, or of one page.
    fn read_piece(
        &mut self,
        snapshot: &mut Snapshot,
        offset: u64,
        length: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        let head_bytes = snapshot.head.len() as u64;
        let source = match offset.checked_sub(head_bytes) {
            None => &snapshot.head[offset as usize..],
            Some(offset) => {
                let page_bytes = u64::from(snapshot.cache.page_bytes);
                let page = offset / page_bytes;
                if snapshot.page != Some(page) {
                    snapshot.page = None;
                    self.forward.save_page(snapshot.slot, page, &mut snapshot.page_bytes)?;
                    if snapshot.page_bytes.len() as u64 != page_bytes {
                        return Err(Error::Other {
                            code: "engine-fault".into(),
                            message: format!(
                                "the forward pass gave {} bytes for a page of {page_bytes}",
                                snapshot.page_bytes.len()
                            ),
                        });
                    }
                    snapshot.page = Some(page);
                }
                &snapshot.page_bytes[(offset % page_bytes) as usize..]
            }
        };
        bytes.extend_from_slice(&source[..length.min(source.len())]);
        Ok(())
    }

    /// Digests what nobody has read yet.
    fn digest_rest(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        let mut bytes = Vec::new();
        while snapshot.digested < snapshot.digested_size() {
            bytes.clear();
            self.read_piece(snapshot, snapshot.digested, DIGESTED_BYTES, &mut bytes)?;
            snapshot.digest.update(&bytes);
            snapshot.digested += bytes.len() as u64;
        }
        Ok(())
    }

    /// Expects a snapshot of `size` bytes that belongs to `identity`. Give it back with
    /// [`finish_restoration`](Self::finish_restoration) or
    /// [`abandon_restoration`](Self::abandon_restoration): it holds a slot.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a size that no snapshot has.
    pub fn begin_restoration(&self, size: u64, identity: &Identity) -> Result<Restoration> {
        let least = START_BYTES + DIGEST_BYTES;
        if size < least as u64 {
            return refuse(format!("no snapshot has {size} bytes; all have more than {least}"));
        }
        Ok(Restoration {
            identity: identity.to_vec(),
            size,
            written: 0,
            bytes: Vec::new(),
            digest: Sha256::new(),
            stage: Stage::Start,
        })
    }

    /// Takes the next bytes. Keys and values go into the cache as they come.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than [`READ_BYTES_MAX`] at once, for more than were
    /// expected, and for a snapshot of another version, engine or model, or a damaged one;
    /// [`Error::Busy`]; what [`Forward::restore`] answers. All later calls answer the same.
    pub fn write_restoration(&mut self, restoration: &mut Restoration, bytes: &[u8]) -> Result<()> {
        if let Stage::Failed(error) = &restoration.stage {
            return Err(error.clone());
        }
        let result = self.take_bytes(restoration, bytes);
        if let Err(error) = &result {
            self.fail(restoration, error);
        }
        result
    }

    fn take_bytes(&mut self, restoration: &mut Restoration, bytes: &[u8]) -> Result<()> {
        if bytes.len() > READ_BYTES_MAX {
            return refuse(format!(
                "{} bytes of a snapshot at once; at most {READ_BYTES_MAX} are taken",
                bytes.len()
            ));
        }
        let (size, written) = (restoration.size, restoration.written);
        if bytes.len() as u64 > size - written {
            return refuse(format!("more bytes come than the {size} of the snapshot"));
        }
        let digested = (size - DIGEST_BYTES as u64).saturating_sub(written);
        let digested = digested.min(bytes.len() as u64) as usize;
        restoration.digest.update(&bytes[..digested]);
        restoration.written += bytes.len() as u64;
        restoration.bytes.extend_from_slice(bytes);
        let mut used = 0;
        while let Some(length) = self.take_stage(restoration, used)? {
            used += length;
        }
        restoration.bytes.drain(..used);
        Ok(())
    }

    /// Uses bytes from a place on, if there are as many as the stage needs. Answers how many.
    fn take_stage(&mut self, restoration: &mut Restoration, used: usize) -> Result<Option<usize>> {
        let bytes = restoration.bytes.get(used..).unwrap_or_default();
        match &mut restoration.stage {
            Stage::Start => {
                let Some(start) = bytes.first_chunk() else { return Ok(None) };
                restoration.stage = Stage::Head { length: snapshot::decode_start(start)? };
                Ok(Some(START_BYTES))
            }
            Stage::Head { length } => {
                let length = *length;
                let Some(head) = bytes.get(..length) else { return Ok(None) };
                let (saved, cache) = snapshot::decode_head(head, &restoration.identity)?;
                let pages = u64::from(cache.page_bytes).checked_mul(cache.pages);
                let others = (START_BYTES + length + DIGEST_BYTES) as u64;
                if pages.and_then(|pages| pages.checked_add(others)) != Some(restoration.size) {
                    return refuse(format!(
                        "the snapshot is damaged: it has {} bytes, and {} pages of {} in it, behind \
                         a head of {length}",
                        restoration.size, cache.pages, cache.page_bytes
                    ));
                }
                if saved.cached > cache.tokens as usize {
                    return refuse("the snapshot is damaged: it lacks keys and values of tokens");
                }
                // Refused before anything is given up for it.
                drop(self.revive(&saved)?);
                let slot = self.reserve()?;
                if let Err(error) = self.make_room(&slot, &cache) {
                    self.abandon(slot);
                    return Err(error);
                }
                restoration.stage = Stage::Pages { saved: Box::new(saved), slot, cache, next: 0 };
                Ok(Some(length))
            }
            Stage::Pages { slot, cache, next, .. } if *next < cache.pages => {
                let Some(page) = bytes.get(..cache.page_bytes as usize) else { return Ok(None) };
                self.forward.restore_page(slot.0, *next, page)?;
                *next += 1;
                Ok(Some(page.len()))
            }
            Stage::Pages { .. } => {
                let stage = std::mem::replace(&mut restoration.stage, Stage::Start);
                if let Stage::Pages { saved, slot, .. } = stage {
                    restoration.stage = Stage::Digest { saved, slot };
                }
                Ok(Some(0))
            }
            Stage::Digest { .. } => Ok(None),
            Stage::Failed(error) => Err(error.clone()),
        }
    }

    fn make_room(&mut self, slot: &ReservedSlot, cache: &SavedCache) -> Result<()> {
        match self.forward.restore(slot.0, cache) {
            Err(Error::OutOfMemory { .. }) if self.give_up_free_caches(&[]) => {
                self.forward.restore(slot.0, cache)
            }
            made => made,
        }
    }

    /// Checks the whole: the generation that it was, and the slot in which it can
    /// [go on](Self::resume).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a damaged snapshot, or one whose end has not come; what a
    /// write has answered before. The slot is free again then.
    pub fn finish_restoration(
        &mut self,
        mut restoration: Restoration,
    ) -> Result<(SavedGeneration, ReservedSlot)> {
        let Restoration { size, written, .. } = restoration;
        let is_whole = written == size;
        let is_sound = restoration.digest.clone().finalize()[..] == restoration.bytes[..];
        match std::mem::replace(&mut restoration.stage, Stage::Start) {
            Stage::Digest { saved, slot } if is_whole && is_sound => {
                self.fill(&slot, &saved);
                return Ok((*saved, slot));
            }
            Stage::Failed(error) => return Err(error),
            stage => restoration.stage = stage,
        }
        self.abandon_restoration(restoration);
        match is_whole {
            true => refuse("the snapshot is damaged: its SHA-256 is not the one at its end"),
            false => refuse(format!("only {written} of the {size} bytes of the snapshot came")),
        }
    }

    /// Gives up a restoration.
    pub fn abandon_restoration(&mut self, mut restoration: Restoration) {
        self.fail(&mut restoration, &Error::Finished);
    }

    fn fail(&mut self, restoration: &mut Restoration, error: &Error) {
        let stage = std::mem::replace(&mut restoration.stage, Stage::Failed(error.clone()));
        if let Stage::Pages { slot, .. } | Stage::Digest { slot, .. } = stage {
            self.abandon(slot);
        }
    }

    /// Frees a slot in whose cache there is nothing of use.
    fn abandon(&mut self, slot: ReservedSlot) {
        self.forward.truncate(slot.0, 0);
        self.slots[slot.0].clear();
        self.release(slot);
    }
}
