//! Reads and writes GGUF model files. Does no I/O of its own: bytes come through [`Source`].
//!
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. A file is a header
//! of 24 bytes, keys and values, one record for each tensor, padding, and the tensors' data. The
//! file is not trusted: everything that it claims is checked against its size before memory is
//! taken for it, and after [`Gguf::read`] every tensor lies inside the file, aligned, without
//! overlap.

#![deny(missing_docs)]

mod cursor;
mod error;
mod header;
mod metadata;
mod names;
mod split;
mod strings;
mod tensor;
mod value;
mod writer;

pub use error::Error;
pub use metadata::Metadata;
pub use split::{Joined, SPLIT_COUNT_KEY, SPLIT_FILES_MAX, SplitError, SplitName};
pub use strings::Strings;
pub use tensor::{Tensor, TensorType};
pub use value::{Array, Value};
pub use writer::{WriteError, Writer, push_key_value};

use std::ops::Range;

/// The first bytes of every GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// Alignment of tensor data where `general.alignment` is absent, in bytes.
pub const ALIGNMENT_DEFAULT: u32 = 32;
/// Greatest `general.alignment`, in bytes. Real files have 32; this is the largest memory page.
pub const ALIGNMENT_MAX: u32 = 1 << 16;
/// Most keys that a file may have. Real files have below 100.
pub const KEYS_MAX: u64 = 1 << 16;
/// Most bytes of a key, from the specification.
pub const KEY_BYTES_MAX: u64 = (1 << 16) - 1;
/// Most tensors that a file may have. The largest real models have some thousands.
pub const TENSORS_MAX: u64 = 1 << 17;
/// Most bytes of a tensor's name. The specification says 64; some converters exceed it.
pub const TENSOR_NAME_BYTES_MAX: u64 = 1024;
/// Most dimensions of a tensor.
pub const DIMENSIONS_MAX: u32 = 4;
/// Most arrays inside one another.
pub const ARRAY_DEPTH_MAX: u32 = 4;
/// Most arrays inside arrays, in the whole file: each takes more memory than file.
pub const NESTED_ARRAYS_MAX: u64 = 1 << 16;

/// Random access to the bytes of a file.
pub trait Source {
    /// Bytes in all.
    fn size(&self) -> u64;
    /// Fills `buffer` from `offset` on. Never called beyond `size`.
    ///
    /// # Errors
    /// A text for people where the bytes cannot be had.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String>;
}

impl Source for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        let start = usize::try_from(offset).map_err(|error| error.to_string())?;
        let bytes = start
            .checked_add(buffer.len())
            .and_then(|end| self.get(start..end))
            .ok_or_else(|| format!("{} bytes at {offset} are past the end", buffer.len()))?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

impl Source for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        self.as_slice().read_at(offset, buffer)
    }
}

impl<S: Source + ?Sized> Source for &S {
    fn size(&self) -> u64 {
        (**self).size()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        (**self).read_at(offset, buffer)
    }
}

/// The header of a GGUF file: everything but the tensors' data.
#[derive(Debug, Clone)]
pub struct Gguf {
    /// Version of the format, 2 or 3.
    pub version: u32,
    /// Keys and values.
    pub metadata: Metadata,
    /// The tensors, in the file's order.
    pub tensors: Vec<Tensor>,
    /// Where the sections of the file lie.
    pub layout: Layout,
    names: names::Names,
}

/// Where the sections of a file lie, in bytes from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Keys and values.
    pub metadata: Range<u64>,
    /// The tensors' records.
    pub tensors: Range<u64>,
    /// The tensors' data. Begins behind the padding; empty where there are no tensors.
    pub data: Range<u64>,
    /// Alignment of each tensor's data, relative to the start of `data`.
    pub alignment: u32,
}

impl Gguf {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// [`Error`] with place and cure.
    pub fn read(source: &dyn Source) -> Result<Gguf, Error> {
        header::read(source)
    }

    /// Finds a tensor by name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        let name_of = |number: usize| self.tensors.get(number).map(|tensor| tensor.name.as_str());
        self.names.find(name, name_of).and_then(|number| self.tensors.get(number))
    }
}
