use crate::error::Place;
use crate::{Error, Source, Strings};

/// Bytes that one read of the source brings. The source may be another component: a read costs a
/// copy, and the header of a real model is some megabytes.
const WINDOW_BYTES: u64 = 256 << 10;

/// Reads a source from front to back.
pub(crate) struct Cursor<'a> {
    source: &'a dyn Source,
    size: u64,
    /// From the start of the file.
    position: u64,
    window: Vec<u8>,
    /// Where in `window` the next byte stands.
    next: usize,
    /// What is being read.
    pub(crate) place: Place,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(source: &'a dyn Source) -> Self {
        let (size, place) = (source.size(), Place::Header);
        Cursor { source, size, position: 0, window: Vec::new(), next: 0, place }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn remaining(&self) -> u64 {
        self.size.saturating_sub(self.position)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.expect(N as u64)?;
        let mut bytes = [0; N];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let chunk = self.chunk(rest.len())?;
            let (head, _) = rest.split_at_mut(chunk.len());
            head.copy_from_slice(chunk);
            filled += chunk.len();
        }
        Ok(bytes)
    }

    /// Fails where the file does not hold `needed` more bytes.
    pub(crate) fn expect(&self, needed: u64) -> Result<(), Error> {
        if needed <= self.remaining() {
            return Ok(());
        }
        Err(Error::Truncated {
            place: self.place.to_string(),
            offset: self.position,
            needed,
            size: self.size,
        })
    }

    /// Checks that the file can hold `count` things of at least `bytes_min` bytes each.
    pub(crate) fn expect_many(&self, count: u64, bytes_min: u64) -> Result<(), Error> {
        self.expect(count.saturating_mul(bytes_min))
    }

    /// Fails where a number that was read at `offset` exceeds its limit.
    pub(crate) fn limit(
        &self,
        offset: u64,
        found: u64,
        unit: &'static str,
        limit: u64,
    ) -> Result<(), Error> {
        if found <= limit {
            return Ok(());
        }
        Err(Error::Limit { place: self.place.to_string(), offset, found, unit, limit })
    }

    pub(crate) fn out_of_memory(&self, bytes: u64) -> Error {
        Error::OutOfMemory { place: self.place.to_string(), bytes }
    }

    /// A string's length and bytes.
    pub(crate) fn string(&mut self, unit: &'static str, limit: u64) -> Result<Vec<u8>, Error> {
        let offset = self.position;
        let length = self.u64()?;
        self.limit(offset, length, unit, limit)?;
        let mut bytes = Vec::new();
        self.append(length, &mut bytes)?;
        Ok(bytes)
    }

    /// `count` strings, each with its length.
    pub(crate) fn strings(&mut self, count: u64) -> Result<Strings, Error> {
        const LENGTH_BYTES: u64 = 8;
        self.expect_many(count, LENGTH_BYTES)?;
        let mut strings = Strings::default();
        let room = usize::try_from(count).is_ok_and(|count| strings.reserve(count));
        if !room {
            return Err(self.out_of_memory(count.saturating_mul(4)));
        }
        for _ in 0..count {
            let offset = self.position;
            let length = self.u64()?;
            let total = (strings.buffer().len() as u64).saturating_add(length);
            self.expect(length)?;
            self.limit(offset, total, "bytes of texts in one list", u32::MAX.into())?;
            self.append(length, strings.buffer())?;
            if !strings.end_string() {
                return Err(self.out_of_memory(total));
            }
        }
        Ok(strings)
    }

    /// `count` elements of `N` bytes each.
    pub(crate) fn elements<const N: usize, T>(
        &mut self,
        count: u64,
        element: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Error> {
        self.expect_many(count, N as u64)?;
        let mut elements = Vec::new();
        let room =
            usize::try_from(count).is_ok_and(|count| elements.try_reserve_exact(count).is_ok());
        if !room {
            return Err(self.out_of_memory(count.saturating_mul(N as u64)));
        }
        for _ in 0..count {
            elements.push(element(self.take()?));
        }
        Ok(elements)
    }

    /// Appends `length` bytes of the file.
    fn append(&mut self, length: u64, bytes: &mut Vec<u8>) -> Result<(), Error> {
        self.expect(length)?;
        let mut rest = match usize::try_from(length) {
            Ok(rest) if bytes.try_reserve(rest).is_ok() => rest,
            _ => return Err(self.out_of_memory(length)),
        };
        while rest > 0 {
            let chunk = self.chunk(rest)?;
            bytes.extend_from_slice(chunk);
            rest -= chunk.len();
        }
        Ok(())
    }

    /// The next bytes: at least one and at most `most`, which is not above [`Self::remaining`]
    /// and not zero.
    fn chunk(&mut self, most: usize) -> Result<&[u8], Error> {
        if self.next == self.window.len() {
            self.fill()?;
        }
        let end = self.window.len().min(self.next.saturating_add(most));
        let chunk = self.window.get(self.next..end).unwrap_or_default();
        self.position += chunk.len() as u64;
        self.next = end;
        Ok(chunk)
    }

    fn fill(&mut self) -> Result<(), Error> {
        let length = self.remaining().min(WINDOW_BYTES);
        self.window.resize(length as usize, 0);
        self.next = 0;
        self.source.read_at(self.position, &mut self.window).map_err(|message| Error::Read {
            place: self.place.to_string(),
            offset: self.position,
            length,
            message,
        })
    }
}
