//! Reads and writes GGUF model files. Does no I/O of its own: bytes come through [`Source`].
#![allow(unused_variables, clippy::todo)]

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
        let bytes = start.checked_add(buffer.len()).and_then(|end| self.get(start..end));
        buffer.copy_from_slice(bytes.ok_or("read past the end")?);
        Ok(())
    }
}

/// The header of a GGUF file: everything but the tensors' data.
#[derive(Debug)]
pub struct Gguf {
    /// Version of the format, 2 or 3.
    pub version: u32,
    /// Keys and values.
    pub metadata: Metadata,
    /// The tensors, in the file's order.
    pub tensors: Vec<Tensor>,
}

impl Gguf {
    /// Reads and checks the header.
    /// # Errors
    /// [`Error`] with place and cure.
    pub fn read(source: &dyn Source) -> Result<Gguf, Error> {
        todo!()
    }
    /// Finds a tensor by name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        todo!()
    }
}

/// Why a file is not a usable GGUF.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// placeholder
    #[error("{0}")]
    Placeholder(String),
}

/// Keys and values of the header.
#[derive(Debug, Default)]
pub struct Metadata {}

impl Metadata {
    /// Any value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        todo!()
    }
    /// All entries in the file's order.
    pub fn iter(&self) -> Box<dyn Iterator<Item = (&str, &Value)> + '_> {
        todo!()
    }
    /// A whole number of any integer type that fits.
    /// # Errors
    /// Wrong type or range.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, Error> {
        todo!()
    }
    /// A number of any float or integer type.
    /// # Errors
    /// Wrong type.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        todo!()
    }
    /// A boolean.
    /// # Errors
    /// Wrong type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        todo!()
    }
    /// A text.
    /// # Errors
    /// Wrong type.
    pub fn string(&self, key: &str) -> Result<Option<&str>, Error> {
        todo!()
    }
    /// A list of texts.
    /// # Errors
    /// Wrong type.
    pub fn strings(&self, key: &str) -> Result<Option<&Strings>, Error> {
        todo!()
    }
    /// A list of integers of any type that fit into i32 (token types).
    /// # Errors
    /// Wrong type or range.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>, Error> {
        todo!()
    }
    /// A list of floats (token scores).
    /// # Errors
    /// Wrong type.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>, Error> {
        todo!()
    }
    /// The error that says a needed key is missing: `metadata.u32(k)?.ok_or_else(|| metadata.missing(k))`.
    pub fn missing(&self, key: &str) -> Error {
        todo!()
    }
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// placeholder
    Bool(bool),
}

/// A list of byte strings in one buffer (a vocabulary has 50,000 to 300,000).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strings {}

impl Strings {
    /// Number of strings.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// One string; GGUF means UTF-8 but files do not always keep to it.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        todo!()
    }
    /// All in order.
    pub fn iter(&self) -> Box<dyn Iterator<Item = &[u8]> + '_> {
        todo!()
    }
}

/// A tensor's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// For example `blk.0.attn_q.weight`.
    pub name: String,
    /// Sizes, the contiguous one first (GGUF's order): a matrix is `[columns, rows]`.
    pub dimensions: Vec<u64>,
    /// How the elements are stored.
    pub tensor_type: TensorType,
    /// Where the data begin, in bytes from the start of the file.
    pub offset: u64,
    /// Bytes of data.
    pub size: u64,
}

/// How a tensor's elements are stored (ggml's numbering).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(non_camel_case_types)]
pub enum TensorType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 4 bits, scale per 32.
    Q4_0,
    /// 4 bits, scale and minimum per 32.
    Q4_1,
    /// 8 bits, scale per 32.
    Q8_0,
}

impl TensorType {
    /// As the field writes it: `Q4_1`.
    pub fn name(self) -> &'static str {
        todo!()
    }
    /// Elements of a block.
    pub fn block_elements(self) -> u64 {
        todo!()
    }
    /// Bytes of a block.
    pub fn block_bytes(self) -> u64 {
        todo!()
    }
}
