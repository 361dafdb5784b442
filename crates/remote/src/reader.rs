use std::time::Duration;

use crate::digests::{Sha256Bytes, chunk_bytes, hex, sha256};
use crate::download::{Download, Trouble};
use crate::transport::Transport;
use crate::{Error, Manifest};

/// How often a request is sent again that brings nothing.
const ATTEMPTS_MAX: u32 = 5;

/// The pause before the second attempt; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// An attempt that brings so many bytes is none in vain.
const PROGRESS_BYTES: usize = 64 << 10;

/// Chunks that are held: a read touches two.
const CHUNKS_HELD: usize = 2;

/// A file on a server, by position. Holds two chunks.
pub struct Reader<T: Transport> {
    manifest: Manifest,
    download: Download<T>,
    /// Verified chunks with their numbers, the one that was used last at the end.
    held: Vec<(u64, Vec<u8>)>,
}

impl<T: Transport> Reader<T> {
    /// Asks nothing yet.
    pub fn new(manifest: Manifest, transport: T) -> Reader<T> {
        let download = Download::new(transport, manifest.url.clone(), manifest.digests.size);
        Reader { manifest, download, held: Vec::new() }
    }

    /// What is known about the file.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// `length` bytes from `offset` on; fewer only at the end of the file. Every byte belongs to a
    /// chunk whose digest was compared.
    ///
    /// # Errors
    /// [`Error`]
    pub fn read(&mut self, mut offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        let size = self.manifest.digests.size;
        let end = offset.saturating_add(length.into()).min(size);
        let mut bytes = Vec::with_capacity(end.saturating_sub(offset) as usize);
        let chunk_bytes = chunk_bytes(size);
        while offset < end {
            let (number, within) = (offset / chunk_bytes, (offset % chunk_bytes) as usize);
            let chunk = self.chunk(number)?;
            let until = ((end - number * chunk_bytes) as usize).min(chunk.len());
            bytes.extend_from_slice(&chunk[within..until]);
            offset += (until - within) as u64;
        }
        Ok(bytes)
    }

    fn chunk(&mut self, number: u64) -> Result<&[u8], Error> {
        match self.held.iter().position(|(held, _)| *held == number) {
            Some(at) => self.held[at..].rotate_left(1),
            None => {
                if self.held.len() == CHUNKS_HELD {
                    self.held.remove(0);
                }
                let bytes = self.fetch(number)?;
                self.held.push((number, bytes));
            }
        }
        let (_, bytes) = self.held.last().expect("the chunk was put there just now");
        Ok(bytes)
    }

    /// A chunk over the network. One whose digest is wrong is fetched a second time, from the
    /// address that the manifest names.
    fn fetch(&mut self, number: u64) -> Result<Vec<u8>, Error> {
        let size = self.manifest.digests.size;
        let start = number * chunk_bytes(size);
        let end = size.min(start + chunk_bytes(size));
        let expected = self.manifest.digests.chunks[number as usize];
        let bytes = self.download(start, end)?;
        if sha256(&bytes) == expected {
            return Ok(bytes);
        }
        drop(bytes);
        self.download.restart();
        let bytes = self.download(start, end)?;
        match sha256(&bytes) {
            found if found == expected => Ok(bytes),
            found => Err(self.mismatch(number, (start, end), found, expected)),
        }
    }

    fn download(&mut self, start: u64, end: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity((end - start) as usize);
        let mut attempts = 0;
        loop {
            let before = bytes.len();
            let (url, cause, wait) = match self.download.extend(&mut bytes, start, end) {
                Ok(()) => return Ok(bytes),
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Passing { url, cause, wait }) => (url, cause, wait),
            };
            attempts = if bytes.len() - before >= PROGRESS_BYTES { 1 } else { attempts + 1 };
            if attempts == ATTEMPTS_MAX {
                let offset = start + bytes.len() as u64;
                return Err(Error::Unreachable { url, offset, attempts, cause });
            }
            self.download.pause(wait.unwrap_or(PAUSE * (1 << (attempts - 1))));
        }
    }

    fn mismatch(
        &self,
        chunk: u64,
        (start, end): (u64, u64),
        found: Sha256Bytes,
        expected: Sha256Bytes,
    ) -> Error {
        let hint = match self.download.changed_etags() {
            Some((first, last)) => {
                format!("; its ETag went from {first} to {last} while it was read")
            }
            None => String::new(),
        };
        Error::Digest {
            url: self.download.source().shown(),
            chunk,
            first: start,
            last: end - 1,
            found: hex(&found),
            expected: hex(&expected),
            hint,
        }
    }
}
