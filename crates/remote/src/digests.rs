use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
pub type Sha256Bytes = [u8; 32];

/// Bytes of a chunk, unless the file is so large that it would have too many.
const CHUNK_BYTES_MIN: u64 = 1 << 20;

/// Most chunks of a file: their digests are part of the model component.
pub(crate) const CHUNKS_MAX: u64 = 4096;

/// The largest file, in bytes. Its chunks, which a 32-bit guest holds two of, have 64 MiB.
pub const SIZE_MAX: u64 = CHUNKS_MAX * (64 << 20);

/// Bytes of the chunks of a file of `size` bytes: a power of two, at least 1 MiB.
pub fn chunk_bytes(size: u64) -> u64 {
    size.min(SIZE_MAX).div_ceil(CHUNKS_MAX).next_power_of_two().max(CHUNK_BYTES_MIN)
}

/// The digest of a whole file and those of its chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// Bytes of the file.
    pub size: u64,
    /// Of the file.
    pub sha256: Sha256Bytes,
    /// Of every [`chunk_bytes`] of it, the last one shorter.
    pub chunks: Vec<Sha256Bytes>,
}

/// Computes [`Digests`] of a file of which the size is known.
pub struct Digester {
    size: u64,
    chunk_bytes: u64,
    whole: Sha256,
    chunk: Sha256,
    /// Bytes of the current chunk so far.
    filled: u64,
    done: u64,
    chunks: Vec<Sha256Bytes>,
}

impl Digester {
    /// For a file of `size` bytes, at most [`SIZE_MAX`].
    pub fn new(size: u64) -> Digester {
        Digester {
            size,
            chunk_bytes: chunk_bytes(size),
            whole: Sha256::new(),
            chunk: Sha256::new(),
            filled: 0,
            done: 0,
            chunks: Vec::new(),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        self.done += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = usize::try_from(self.chunk_bytes - self.filled).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(bytes.len().min(room));
            self.chunk.update(now);
            self.filled += now.len() as u64;
            if self.filled == self.chunk_bytes {
                self.end_chunk();
            }
            bytes = rest;
        }
    }

    fn end_chunk(&mut self) {
        self.chunks.push(std::mem::take(&mut self.chunk).finalize().into());
        self.filled = 0;
    }

    /// The digests, if as many bytes came as the file should have.
    pub fn finish(mut self) -> Option<Digests> {
        if self.done != self.size || self.size > SIZE_MAX {
            return None;
        }
        if self.filled > 0 {
            self.end_chunk();
        }
        let Digester { size, whole, chunks, .. } = self;
        Some(Digests { size, sha256: whole.finalize().into(), chunks })
    }
}

/// The digest of bytes that are at hand.
pub(crate) fn sha256(bytes: &[u8]) -> Sha256Bytes {
    Sha256::digest(bytes).into()
}

/// A digest in lower-case hexadecimal.
pub fn hex(digest: &Sha256Bytes) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_with_the_file_and_stay_few() {
        const MIB: u64 = 1 << 20;
        let cases = [
            (0, MIB),
            (1, MIB),
            (4096 * MIB, MIB),
            (4096 * MIB + 1, 2 * MIB),
            (40 << 30, 16 * MIB),
            (SIZE_MAX, 64 * MIB),
        ];
        for (size, chunk) in cases {
            assert_eq!(chunk_bytes(size), chunk, "{size}");
            assert!(size.div_ceil(chunk) <= CHUNKS_MAX, "{size}");
        }
    }

    #[test]
    fn digests_do_not_depend_on_how_the_bytes_come() {
        let bytes: Vec<u8> = (0..(5 << 19) + 7).map(|index| (index % 251) as u8).collect();
        let all_at_once = |piece: usize| {
            let mut digester = Digester::new(bytes.len() as u64);
            bytes.chunks(piece).for_each(|piece| digester.update(piece));
            digester.finish().expect("all bytes came")
        };
        let digests = all_at_once(bytes.len());
        assert_eq!(digests.chunks.len(), 3);
        assert_eq!(digests.sha256, sha256(&bytes));
        assert_eq!(digests.chunks[2], sha256(&bytes[2 << 20..]));
        for piece in [1000, 1 << 20, (1 << 20) + 1] {
            assert_eq!(all_at_once(piece), digests, "{piece}");
        }
        let mut digester = Digester::new(3);
        digester.update(b"ab");
        assert!(digester.finish().is_none(), "a byte is missing");
    }

    #[test]
    fn an_empty_file_has_no_chunks() {
        let digests = Digester::new(0).finish().expect("nothing is missing");
        assert!(digests.chunks.is_empty());
        // FIPS 180-4's digest of no bytes.
        assert!(hex(&digests.sha256).starts_with("e3b0c44298fc1c149afbf4c8996fb924"));
    }
}
