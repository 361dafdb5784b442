use std::rc::Rc;

use trefoil_contract::{Error, Part, READ_LENGTH_MAX, Result, Setting};
use trefoil_gguf::Source;

/// What an engine imports: the model, the configuration and the collective.
pub trait Imports {
    /// `model.parts`
    ///
    /// # Errors
    /// What the model component reports.
    fn parts(&self) -> Result<Vec<Part>>;

    /// `model.read`: at most [`READ_LENGTH_MAX`] bytes, eight in a little-endian word.
    ///
    /// # Errors
    /// What the model component reports.
    fn read(&self, part: u32, offset: u64, length: u32) -> Result<Vec<u64>>;

    /// `configuration.configure`
    ///
    /// # Errors
    /// The user's own text.
    fn configure(&self, parts: &[Part]) -> Result<Vec<Setting>, String>;

    /// `collective.rank`
    fn collective_rank(&self) -> u32;

    /// `collective.size`
    fn collective_size(&self) -> u32;

    /// `collective.broadcast`
    ///
    /// # Errors
    /// An instance has failed.
    fn broadcast(&self, bytes: &[u8]) -> Result<Vec<u8>>;

    /// `collective.all-gather`
    ///
    /// # Errors
    /// An instance has failed.
    fn all_gather(&self, part: &[u8]) -> Result<Vec<u8>>;

    /// `collective.gather`
    ///
    /// # Errors
    /// An instance has failed.
    fn gather(&self, part: &[u8]) -> Result<Vec<u8>>;
}

/// One part of the model component as a positional source of bytes.
pub struct PartSource {
    imports: Rc<dyn Imports>,
    index: u32,
    size: u64,
}

impl PartSource {
    /// The part number `index`.
    pub fn new(imports: Rc<dyn Imports>, index: u32, part: &Part) -> PartSource {
        PartSource { imports, index, size: part.size }
    }
}

impl Source for PartSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> Result<(), String> {
        while !buffer.is_empty() {
            let length = u32::try_from(buffer.len()).unwrap_or(u32::MAX).min(READ_LENGTH_MAX);
            let words =
                self.imports.read(self.index, offset, length).map_err(|error| match error {
                    Error::Io(text) => text,
                    error => error.to_string(),
                })?;
            // The model component is not trusted either: it may answer with any length.
            if words.is_empty() || words.len() > length.div_ceil(8) as usize {
                return Err(format!(
                    "the model component returned {} words of 8 bytes for {length} bytes at byte \
                     {offset} of {}",
                    words.len(),
                    self.size
                ));
            }
            let read = buffer.len().min(words.len() * 8);
            let (head, tail) = buffer.split_at_mut(read);
            let (whole, last) = head.as_chunks_mut::<8>();
            for (bytes, word) in whole.iter_mut().zip(&words) {
                *bytes = word.to_le_bytes();
            }
            if let Some(word) = words.get(whole.len()) {
                last.copy_from_slice(&word.to_le_bytes()[..last.len()]);
            }
            offset += read as u64;
            buffer = tail;
        }
        Ok(())
    }
}
