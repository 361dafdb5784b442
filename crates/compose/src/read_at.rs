//! Positional reading, and the pieces that make up a file that may not exist yet.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Random access to bytes that are too many to hold.
pub trait ReadAt: Send + Sync {
    /// Bytes in all.
    fn size(&self) -> u64;
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] behind the end; otherwise what the medium says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// All bytes, if they are in memory anyway.
    fn held(&self) -> Option<&[u8]> {
        None
    }
}

fn past_the_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file ended early; was it changed meanwhile?")
}

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| past_the_end())?;
        let bytes = start.checked_add(buffer.len()).and_then(|end| self.get(start..end));
        buffer.copy_from_slice(bytes.ok_or_else(past_the_end)?);
        Ok(())
    }
}

impl ReadAt for &[u8] {
    fn size(&self) -> u64 {
        (**self).size()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buffer)
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, buffer)
    }
    fn held(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn size(&self) -> u64 {
        (**self).size()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buffer)
    }
    fn held(&self) -> Option<&[u8]> {
        (**self).held()
    }
}

/// A file of which the size was taken when it was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    file: platform::Positional,
    size: u64,
}

impl Opened {
    pub(crate) fn open(path: &Path) -> io::Result<Opened> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        Ok(Opened { size: metadata.len(), file: platform::Positional::new(file) })
    }
}

impl ReadAt for Opened {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(offset, buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => past_the_end(),
            _ => error,
        })
    }
}

#[cfg(unix)]
mod platform {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    #[derive(Debug)]
    pub(super) struct Positional(File);

    impl Positional {
        pub(super) fn new(file: File) -> Self {
            Positional(file)
        }
        pub(super) fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            self.0.read_exact_at(buffer, offset)
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::fs::File;
    use std::io::{self, Read, Seek, SeekFrom};
    use std::sync::{Mutex, PoisonError};

    /// Seeking moves a shared cursor, hence the lock.
    #[derive(Debug)]
    pub(super) struct Positional(Mutex<File>);

    impl Positional {
        pub(super) fn new(file: File) -> Self {
            Positional(Mutex::new(file))
        }
        pub(super) fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(buffer)
        }
    }
}

/// A stretch of another source.
#[derive(Clone)]
pub(crate) struct Range {
    pub(crate) source: Arc<dyn ReadAt>,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl std::fmt::Debug for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Range({}+{})", self.offset, self.length)
    }
}

impl Range {
    /// All of a source.
    pub(crate) fn all(source: Arc<dyn ReadAt>) -> Range {
        Range { offset: 0, length: source.size(), source }
    }
}

/// The bytes of a file as stretches of other sources, in order. Small bytes are held, bulk stays
/// where it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    /// Each with the place where it begins.
    pieces: Vec<(u64, Range)>,
    size: u64,
}

impl Content {
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Content {
        let mut content = Content::default();
        content.push_bytes(bytes);
        content
    }

    pub(crate) fn push_bytes(&mut self, bytes: Vec<u8>) {
        self.push(Range::all(Arc::new(bytes)));
    }

    pub(crate) fn push(&mut self, range: Range) {
        if range.length > 0 {
            let begin = self.size;
            self.size = self.size.saturating_add(range.length);
            self.pieces.push((begin, range));
        }
    }

    /// Shows the bytes that are held in memory, in order.
    pub(crate) fn held(&self, mut show: impl FnMut(&[u8])) {
        for (_, range) in &self.pieces {
            let place = usize::try_from(range.offset).ok().zip(usize::try_from(range.length).ok());
            if let Some((bytes, (start, length))) = range.source.held().zip(place)
                && let Some(bytes) = bytes.get(start..start.saturating_add(length))
            {
                show(bytes);
            }
        }
    }

    pub(crate) fn append(&mut self, other: Content) {
        for (_, range) in other.pieces {
            self.push(range);
        }
    }

    /// Hands all bytes in order to `sink`, through one buffer.
    pub(crate) fn stream<E: From<io::Error>>(
        &self,
        buffer: &mut [u8],
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for (_, range) in &self.pieces {
            let mut done = 0;
            while done < range.length {
                let rest = usize::try_from(range.length - done).unwrap_or(usize::MAX);
                let chunk_bytes = rest.min(buffer.len());
                let chunk = &mut buffer[..chunk_bytes];
                range.source.read_at(range.offset.saturating_add(done), chunk)?;
                sink(chunk)?;
                done += chunk.len() as u64;
            }
        }
        Ok(())
    }
}

impl ReadAt for Content {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut index =
            self.pieces.partition_point(|(begin, _)| *begin <= offset).saturating_sub(1);
        let (mut offset, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let (begin, range) = self.pieces.get(index).ok_or_else(past_the_end)?;
            let within = offset - begin;
            let left = range.length.checked_sub(within).ok_or_else(past_the_end)?;
            let chunk_bytes = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let (chunk, tail) = rest.split_at_mut(chunk_bytes);
            range.source.read_at(range.offset.saturating_add(within), chunk)?;
            offset += chunk_bytes as u64;
            rest = tail;
            index += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn example() -> Content {
        let mut content = Content::from_bytes(b"abc".to_vec());
        content.push_bytes(Vec::new());
        let source: Arc<dyn ReadAt> = Arc::new(b"0123456789".to_vec());
        content.push(Range { source, offset: 2, length: 5 });
        content.push_bytes(b"xyz".to_vec());
        content
    }

    #[test]
    fn content_reads_across_its_pieces() {
        let content = example();
        let whole = b"abc23456xyz";
        assert_eq!(content.size(), whole.len() as u64);
        for start in 0..=whole.len() {
            for end in start..=whole.len() {
                let mut buffer = vec![0; end - start];
                content.read_at(start as u64, &mut buffer).unwrap();
                assert_eq!(buffer, whole[start..end]);
            }
        }
        assert!(content.read_at(9, &mut [0; 3]).is_err());
        assert!(content.read_at(u64::MAX, &mut [0; 1]).is_err());
    }

    #[test]
    fn content_streams_in_order_whatever_the_buffer() {
        for buffer_bytes in 1..12 {
            let mut bytes = Vec::new();
            let sink = |chunk: &[u8]| -> io::Result<()> {
                bytes.extend_from_slice(chunk);
                Ok(())
            };
            example().stream(&mut vec![0; buffer_bytes], sink).unwrap();
            assert_eq!(bytes, b"abc23456xyz");
        }
    }
}
