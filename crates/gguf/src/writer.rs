use std::io::{self, Write};

use crate::{ALIGNMENT_DEFAULT, Array, MAGIC, TensorType, Value};

/// Builds a GGUF file in memory, little endian: for tests and small tools.
///
/// Nothing but the tensors' sizes is checked, so that files can be made that a reader must refuse.
#[derive(Debug, Clone)]
pub struct Writer {
    version: u32,
    alignment: u32,
    values: Vec<(String, Value)>,
    tensors: Vec<(String, Vec<u64>, TensorType, Vec<u8>)>,
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A tensor's data have another size than its type and dimensions ask for.
    #[error(
        "tensor `{tensor}`: {found} bytes of data, expected {} for {dimensions:?} in {}",
        .expected.map_or("another shape".into(), |bytes| bytes.to_string()),
        .tensor_type.name()
    )]
    DataSize {
        /// The tensor.
        tensor: String,
        /// Its dimensions.
        dimensions: Vec<u64>,
        /// Its type.
        tensor_type: TensorType,
        /// Bytes that the dimensions ask for; `None` if they are not possible with this type.
        expected: Option<u64>,
        /// Bytes given.
        found: u64,
    },
    /// The bytes could not be passed on.
    #[error("the file cannot be written")]
    Io(#[from] io::Error),
}

impl Default for Writer {
    fn default() -> Self {
        Writer::new()
    }
}

impl Writer {
    /// An empty file of version 3.
    pub fn new() -> Self {
        Writer { version: 3, alignment: ALIGNMENT_DEFAULT, values: Vec::new(), tensors: Vec::new() }
    }

    /// Writes another version number; the layout stays that of versions 2 and 3.
    pub fn version(&mut self, version: u32) -> &mut Self {
        self.version = version;
        self
    }

    /// Sets `general.alignment`, in bytes; 0 counts as 1 for the layout.
    pub fn alignment(&mut self, alignment: u32) -> &mut Self {
        self.alignment = alignment;
        self.value("general.alignment", alignment)
    }

    /// Adds a key with its value.
    pub fn value(&mut self, key: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        self.values.push((key.into(), value.into()));
        self
    }

    /// Adds a tensor. `dimensions` has the contiguous one first; `data` are its bytes in the
    /// type's blocks.
    pub fn tensor(
        &mut self,
        name: impl Into<String>,
        dimensions: &[u64],
        tensor_type: TensorType,
        data: Vec<u8>,
    ) -> &mut Self {
        self.tensors.push((name.into(), dimensions.into(), tensor_type, data));
        self
    }

    /// The file.
    ///
    /// # Errors
    /// [`WriteError::DataSize`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, WriteError> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn write(&self, output: &mut dyn Write) -> Result<(), WriteError> {
        let header = self.header()?;
        output.write_all(&header)?;
        let mut written = header.len();
        for (_, _, _, data) in &self.tensors {
            self.pad(output, &mut written)?;
            output.write_all(data)?;
            written += data.len();
        }
        Ok(())
    }

    fn pad(&self, output: &mut dyn Write, written: &mut usize) -> io::Result<()> {
        let end = written.next_multiple_of(self.alignment.max(1) as usize);
        output.write_all(&vec![0; end - *written])?;
        *written = end;
        Ok(())
    }

    fn header(&self) -> Result<Vec<u8>, WriteError> {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC);
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.values.len() as u64).to_le_bytes());
        for (key, value) in &self.values {
            push_key_value(key, value, &mut bytes);
        }
        let mut offset = 0u64;
        for (name, dimensions, tensor_type, data) in &self.tensors {
            let (expected, found) = (tensor_type.size_of(dimensions), data.len() as u64);
            if expected != Some(found) {
                let (tensor, dimensions) = (name.clone(), dimensions.clone());
                let tensor_type = *tensor_type;
                let error =
                    WriteError::DataSize { tensor, dimensions, tensor_type, expected, found };
                return Err(error);
            }
            string(&mut bytes, name.as_bytes());
            bytes.extend((dimensions.len() as u32).to_le_bytes());
            dimensions.iter().for_each(|size| bytes.extend(size.to_le_bytes()));
            bytes.extend(tensor_type.number().to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            offset = (offset + found).next_multiple_of(self.alignment.max(1).into());
        }
        Ok(bytes)
    }
}

/// Appends a key with its value as a file's metadata have it.
pub fn push_key_value(key: &str, value: &Value, bytes: &mut Vec<u8>) {
    string(bytes, key.as_bytes());
    bytes.extend(value.type_number().to_le_bytes());
    scalar_or_array(bytes, value);
}

fn string(bytes: &mut Vec<u8>, string: &[u8]) {
    bytes.extend((string.len() as u64).to_le_bytes());
    bytes.extend(string);
}

fn scalar_or_array(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(value) => bytes.extend(value.to_le_bytes()),
        Value::I8(value) => bytes.extend(value.to_le_bytes()),
        Value::U16(value) => bytes.extend(value.to_le_bytes()),
        Value::I16(value) => bytes.extend(value.to_le_bytes()),
        Value::U32(value) => bytes.extend(value.to_le_bytes()),
        Value::I32(value) => bytes.extend(value.to_le_bytes()),
        Value::U64(value) => bytes.extend(value.to_le_bytes()),
        Value::I64(value) => bytes.extend(value.to_le_bytes()),
        Value::F32(value) => bytes.extend(value.to_le_bytes()),
        Value::F64(value) => bytes.extend(value.to_le_bytes()),
        Value::Bool(value) => bytes.push(u8::from(*value)),
        Value::String(value) => string(bytes, value),
        Value::Array(value) => array(bytes, value),
    }
}

fn array(bytes: &mut Vec<u8>, array_value: &Array) {
    bytes.extend(array_value.type_number().to_le_bytes());
    bytes.extend((array_value.len() as u64).to_le_bytes());
    match array_value {
        Array::U8(list) => bytes.extend(list),
        Array::I8(list) => list.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
        Array::U16(list) => list.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
        Array::I16(list) => list.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
        Array::U32(list) => list.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
        Array::I32(list) => list.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
        Array::U64(list) => list.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
        Array::I64(list) => list.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
        Array::F32(list) => list.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
        Array::F64(list) => list.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
        Array::Bool(list) => bytes.extend(list.iter().map(|value| u8::from(*value))),
        Array::String(list) => list.iter().for_each(|value| string(bytes, value)),
        Array::Array(list) => list.iter().for_each(|value| array(bytes, value)),
    }
}
