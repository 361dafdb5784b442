//! Numbers, texts and lists as bytes, little-endian, lists with their lengths before them.

use trefoil_contract::{Error, Result};

/// Appends what a [`Reader`] then takes.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u32(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    pub(super) fn f32(&mut self, number: f32) {
        self.u32(number.to_bits());
    }

    pub(super) fn f64(&mut self, number: f64) {
        self.u64(number.to_bits());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A list, each item by `put`.
    pub(super) fn list<T>(&mut self, items: &[T], mut put: impl FnMut(&mut Self, &T)) {
        self.length(items.len());
        items.iter().for_each(|item| put(self, item));
    }

    /// A value that may be missing.
    pub(super) fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.u32(u32::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
    }

    pub(super) fn tokens(&mut self, tokens: &[u32]) {
        self.list(tokens, |writer, token| writer.u32(*token));
    }

    /// No list of a snapshot comes near the limit: the whole head is below that.
    fn length(&mut self, length: usize) {
        self.u32(u32::try_from(length).unwrap_or(u32::MAX));
    }
}

/// Takes what a [`Writer`] has written. Any bytes will do: what is none of it is an error.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    taken: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, taken: 0 }
    }

    /// That what was taken last is not what it should be.
    pub(super) fn refuse(&self, expected: &str) -> Error {
        Error::InvalidArgument(format!(
            "the snapshot is damaged: there is no {expected} before byte {} of its head",
            self.taken
        ))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(*self.array("number")?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(*self.array("number")?))
    }

    pub(super) fn f32(&mut self) -> Result<f32> {
        self.u32().map(f32::from_bits)
    }

    pub(super) fn f64(&mut self) -> Result<f64> {
        self.u64().map(f64::from_bits)
    }

    pub(super) fn usize(&mut self) -> Result<usize> {
        let number = self.u64()?;
        usize::try_from(number).map_err(|_| self.refuse("number in range"))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.u32()? as usize;
        let Some((bytes, rest)) = self.bytes.split_at_checked(length) else {
            return Err(self.refuse("list as long as it says"));
        };
        self.bytes = rest;
        self.taken += length;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<String> {
        let text = std::str::from_utf8(self.bytes()?).map(str::to_owned);
        text.map_err(|_| self.refuse("UTF-8"))
    }

    /// A list, each item by `take`.
    pub(super) fn list<T>(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let length = self.u32()?;
        // Memory is taken for what there is, not for what the length says.
        (0..length).map(|_| take(self)).collect()
    }

    /// A value that may be missing.
    pub(super) fn option<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        match self.u32()? {
            0 => Ok(None),
            1 => take(self).map(Some),
            _ => Err(self.refuse("0 or 1")),
        }
    }

    pub(super) fn tokens(&mut self) -> Result<Vec<u32>> {
        self.list(Self::u32)
    }

    /// That nothing is left.
    pub(super) fn end(self) -> Result<()> {
        match self.bytes {
            [] => Ok(()),
            _ => Err(self.refuse("end")),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<&'a [u8; N]> {
        let Some((bytes, rest)) = self.bytes.split_first_chunk() else {
            return Err(self.refuse(what));
        };
        self.bytes = rest;
        self.taken += N;
        Ok(bytes)
    }
}
