use crate::cursor::Cursor;
use crate::error::{Place, shown};
use crate::metadata::Entry;
use crate::names::Names;
use crate::value::number;
use crate::{
    ALIGNMENT_DEFAULT, ALIGNMENT_MAX, ARRAY_DEPTH_MAX, Array, DIMENSIONS_MAX, Error, Gguf,
    KEY_BYTES_MAX, KEYS_MAX, Layout, MAGIC, Metadata, NESTED_ARRAYS_MAX, Source,
    TENSOR_NAME_BYTES_MAX, TENSORS_MAX, Tensor, TensorType, Value,
};

/// Length of a key's name, type, and a value of one byte.
const KEY_BYTES_MIN: u64 = 8 + 4 + 1;
/// Length of the name, number of dimensions, one dimension, type, offset.
const TENSOR_BYTES_MIN: u64 = 8 + 4 + 8 + 4 + 8;
/// `general.alignment` must be a multiple of this, says the specification.
const ALIGNMENT_MIN: u32 = 8;
const ALIGNMENT_KEY: &str = "general.alignment";

const DAMAGED: &str = "the file is damaged, download it again";
const CONVERT: &str = "make the file again with a current converter";

pub(crate) fn read(source: &dyn Source) -> Result<Gguf, Error> {
    let mut cursor = Cursor::new(source);
    let version = preamble(&mut cursor)?;

    let tensors_at = cursor.position();
    let tensor_count = cursor.u64()?;
    let keys_at = cursor.position();
    let key_count = cursor.u64()?;
    cursor.limit(tensors_at, tensor_count, "tensors", TENSORS_MAX)?;
    cursor.limit(keys_at, key_count, "keys", KEYS_MAX)?;
    cursor.expect_many(key_count, KEY_BYTES_MIN)?;

    let metadata_start = cursor.position();
    let metadata = metadata(&mut cursor, key_count)?;
    let alignment = alignment(&metadata)?;

    let tensors_start = cursor.position();
    cursor.place = Place::Header;
    cursor.expect_many(tensor_count, TENSOR_BYTES_MIN)?;
    let mut records = Vec::new();
    for number in 0..tensor_count {
        records.push(tensor_record(&mut cursor, number)?);
    }
    let tensors_end = cursor.position();

    // Without tensors, nothing needs to follow: vocabularies alone are files like that.
    let data_start = if records.is_empty() {
        tensors_end
    } else {
        tensors_end.checked_next_multiple_of(alignment.into()).unwrap_or(u64::MAX)
    };
    let named: Vec<(&str, u64)> =
        records.iter().map(|record| (record.tensor.name.as_str(), record.at)).collect();
    let names = Names::new("tensor", &named)?;
    let tensors = place_data(records, data_start, alignment, cursor.size())?;
    let data_end = tensors.iter().map(|tensor| tensor.offset + tensor.size).max();
    let layout = Layout {
        metadata: metadata_start..tensors_start,
        tensors: tensors_start..tensors_end,
        data: data_start..data_end.unwrap_or(data_start),
        alignment,
    };
    Ok(Gguf { version, metadata, tensors, layout, names })
}

/// Magic and version.
fn preamble(cursor: &mut Cursor<'_>) -> Result<u32, Error> {
    let found: [u8; 4] = cursor.take()?;
    if found != MAGIC {
        let cure = match &found {
            b"lmgg" | b"tjgg" | b"fmgg" | b"algg" => {
                "it is in a format older than GGUF: convert it or download a GGUF file"
            }
            b"PK\x03\x04" => "it is an archive (a PyTorch file?): convert it to GGUF",
            b"vers" => "it may be a Git LFS pointer: run `git lfs pull`",
            b"<!DO" | b"<!do" | b"<htm" | b"<HTM" => {
                "it is a web page: download the file itself, not the page about it"
            }
            _ => "choose a file in GGUF format, or download it again if it is meant to be one",
        };
        return Err(Error::NotGguf { found: found.escape_ascii().to_string(), cure });
    }
    let version = cursor.u32()?;
    match version {
        2 | 3 => Ok(version),
        1 => Err(Error::Version {
            version,
            cure: "version 1 was replaced in 2023; convert the model again or download a newer file",
        }),
        _ if version.swap_bytes() <= 0xffff && version > 0xffff => {
            Err(Error::ByteSwapped { version: version.swap_bytes() })
        }
        _ => Err(Error::Version {
            version,
            cure: "use a newer Trefoil, or download the file again if it is damaged",
        }),
    }
}

fn metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<Metadata, Error> {
    let mut entries = Vec::new();
    let mut nested_arrays = 0;
    for number in 0..count {
        cursor.place = Place::KeyNumber(number);
        let offset = cursor.position();
        let key = name(cursor, "bytes of a key", KEY_BYTES_MAX)?;
        cursor.place = Place::Key(key.clone());
        let value = value(cursor, &mut nested_arrays)?;
        entries.push(Entry { key, offset, value });
    }
    Metadata::new(entries)
}

fn name(cursor: &mut Cursor<'_>, unit: &'static str, limit: u64) -> Result<String, Error> {
    let offset = cursor.position();
    String::from_utf8(cursor.string(unit, limit)?).map_err(|error| Error::Invalid {
        place: cursor.place.to_string(),
        what: "name",
        found: format!("`{}`", shown(&String::from_utf8_lossy(error.as_bytes()))),
        offset,
        expected: "UTF-8".into(),
        cure: DAMAGED,
    })
}

fn value(cursor: &mut Cursor<'_>, nested_arrays: &mut u64) -> Result<Value, Error> {
    let offset = cursor.position();
    Ok(match cursor.u32()? {
        number::U8 => Value::U8(u8::from_le_bytes(cursor.take()?)),
        number::I8 => Value::I8(i8::from_le_bytes(cursor.take()?)),
        number::U16 => Value::U16(u16::from_le_bytes(cursor.take()?)),
        number::I16 => Value::I16(i16::from_le_bytes(cursor.take()?)),
        number::U32 => Value::U32(cursor.u32()?),
        number::I32 => Value::I32(i32::from_le_bytes(cursor.take()?)),
        number::U64 => Value::U64(cursor.u64()?),
        number::I64 => Value::I64(i64::from_le_bytes(cursor.take()?)),
        number::F32 => Value::F32(f32::from_le_bytes(cursor.take()?)),
        number::F64 => Value::F64(f64::from_le_bytes(cursor.take()?)),
        number::BOOL => Value::Bool(boolean(cursor)?),
        number::STRING => Value::String(cursor.string("bytes of a text", u64::MAX)?),
        number::ARRAY => Value::Array(array(cursor, 1, nested_arrays)?),
        other => return Err(unknown_value_type(cursor, offset, other)),
    })
}

fn boolean(cursor: &mut Cursor<'_>) -> Result<bool, Error> {
    let offset = cursor.position();
    match cursor.take()? {
        [0] => Ok(false),
        [1] => Ok(true),
        [other] => Err(not_boolean(cursor, offset, other)),
    }
}

fn not_boolean(cursor: &Cursor<'_>, offset: u64, found: u8) -> Error {
    Error::Invalid {
        place: cursor.place.to_string(),
        what: "boolean",
        found: found.to_string(),
        offset,
        expected: "0 or 1".into(),
        cure: DAMAGED,
    }
}

fn unknown_value_type(cursor: &Cursor<'_>, offset: u64, found: u32) -> Error {
    Error::Invalid {
        place: cursor.place.to_string(),
        what: "value type",
        found: found.to_string(),
        offset,
        expected: "0 to 12".into(),
        cure: DAMAGED,
    }
}

/// Reads a list that is inside `depth - 1` others.
fn array(cursor: &mut Cursor<'_>, depth: u32, nested_arrays: &mut u64) -> Result<Array, Error> {
    let offset = cursor.position();
    cursor.limit(offset, depth.into(), "lists inside one another", ARRAY_DEPTH_MAX.into())?;
    let element_type = cursor.u32()?;
    let count_at = cursor.position();
    let count = cursor.u64()?;
    Ok(match element_type {
        number::U8 => Array::U8(cursor.elements(count, u8::from_le_bytes)?),
        number::I8 => Array::I8(cursor.elements(count, i8::from_le_bytes)?),
        number::U16 => Array::U16(cursor.elements(count, u16::from_le_bytes)?),
        number::I16 => Array::I16(cursor.elements(count, i16::from_le_bytes)?),
        number::U32 => Array::U32(cursor.elements(count, u32::from_le_bytes)?),
        number::I32 => Array::I32(cursor.elements(count, i32::from_le_bytes)?),
        number::U64 => Array::U64(cursor.elements(count, u64::from_le_bytes)?),
        number::I64 => Array::I64(cursor.elements(count, i64::from_le_bytes)?),
        number::F32 => Array::F32(cursor.elements(count, f32::from_le_bytes)?),
        number::F64 => Array::F64(cursor.elements(count, f64::from_le_bytes)?),
        number::BOOL => {
            let start = cursor.position();
            let bytes = cursor.elements(count, u8::from_le_bytes)?;
            if let Some(index) = bytes.iter().position(|byte| *byte > 1) {
                return Err(not_boolean(cursor, start + index as u64, bytes[index]));
            }
            Array::Bool(bytes.into_iter().map(|byte| byte == 1).collect())
        }
        number::STRING => Array::String(cursor.strings(count)?),
        number::ARRAY => {
            const ARRAY_BYTES_MIN: u64 = 4 + 8;
            cursor.expect_many(count, ARRAY_BYTES_MIN)?;
            *nested_arrays = nested_arrays.saturating_add(count);
            cursor.limit(count_at, *nested_arrays, "lists inside lists", NESTED_ARRAYS_MAX)?;
            let mut arrays = Vec::new();
            for _ in 0..count {
                arrays.push(array(cursor, depth + 1, nested_arrays)?);
            }
            Array::Array(arrays)
        }
        other => return Err(unknown_value_type(cursor, offset, other)),
    })
}

fn alignment(metadata: &Metadata) -> Result<u32, Error> {
    let alignment = metadata.u32(ALIGNMENT_KEY)?.unwrap_or(ALIGNMENT_DEFAULT);
    if alignment.is_power_of_two() && (ALIGNMENT_MIN..=ALIGNMENT_MAX).contains(&alignment) {
        return Ok(alignment);
    }
    Err(Error::Invalid {
        place: Place::Key(ALIGNMENT_KEY.into()).to_string(),
        what: "alignment",
        found: alignment.to_string(),
        offset: metadata.offset(ALIGNMENT_KEY).unwrap_or_default(),
        expected: format!("a power of two from {ALIGNMENT_MIN} to {ALIGNMENT_MAX}"),
        cure: CONVERT,
    })
}

/// A tensor with its data's place as the file has it, relative to the data section.
struct Record {
    tensor: Tensor,
    /// Where the record begins.
    at: u64,
    /// Where the record states the place of the data.
    offset_at: u64,
}

fn tensor_record(cursor: &mut Cursor<'_>, number: u64) -> Result<Record, Error> {
    cursor.place = Place::TensorNumber(number);
    let at = cursor.position();
    let name = name(cursor, "bytes of a tensor's name", TENSOR_NAME_BYTES_MAX)?;
    cursor.place = Place::Tensor(name.clone());
    let invalid = |cursor: &Cursor<'_>, what, found: String, offset, expected: &str, cure| {
        let place = cursor.place.to_string();
        Error::Invalid { place, what, found, offset, expected: expected.into(), cure }
    };

    let count_at = cursor.position();
    let count = cursor.u32()?;
    if !(1..=DIMENSIONS_MAX).contains(&count) {
        let (found, expected) = (count.to_string(), "1 to 4");
        return Err(invalid(cursor, "number of dimensions", found, count_at, expected, DAMAGED));
    }
    let dimensions_at = cursor.position();
    let dimensions = cursor.elements(count.into(), u64::from_le_bytes)?;
    if let Some(index) = dimensions.iter().position(|size| *size == 0) {
        let offset = dimensions_at + 8 * index as u64;
        return Err(invalid(cursor, "dimension", "0".into(), offset, "1 or more", DAMAGED));
    }

    let type_at = cursor.position();
    let type_number = cursor.u32()?;
    let tensor_type = TensorType::from_number(type_number).ok_or_else(|| {
        let cure = match type_number {
            4 | 5 | 31..=33 | 36..=38 => "ggml has withdrawn this type; quantise the model again",
            _ => "use a newer Trefoil, or download the file again if it is damaged",
        };
        let expected = "one of ggml's types";
        invalid(cursor, "tensor type", type_number.to_string(), type_at, expected, cure)
    })?;

    let shape = || format!("{dimensions:?}");
    let columns = dimensions.first().copied().unwrap_or_default();
    if !columns.is_multiple_of(tensor_type.block_elements()) {
        let (block, name) = (tensor_type.block_elements(), tensor_type.name());
        let expected = format!("a first dimension that is a multiple of {block} for {name}");
        return Err(invalid(cursor, "dimensions", shape(), dimensions_at, &expected, DAMAGED));
    }
    // The number of elements, too, must fit: others compute with it.
    let elements = dimensions.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
    let (Some(size), Some(_)) = (tensor_type.size_of(&dimensions), elements) else {
        let expected = "a product below 2^64";
        return Err(invalid(cursor, "dimensions", shape(), dimensions_at, expected, DAMAGED));
    };

    let offset_at = cursor.position();
    let offset = cursor.u64()?;
    Ok(Record { tensor: Tensor { name, dimensions, tensor_type, offset, size }, at, offset_at })
}

/// Makes the tensors' offsets absolute and checks that their data lie aligned, inside the file
/// and apart from one another.
fn place_data(
    records: Vec<Record>,
    data_start: u64,
    alignment: u32,
    size: u64,
) -> Result<Vec<Tensor>, Error> {
    let mut tensors = Vec::with_capacity(records.len());
    for Record { mut tensor, offset_at, .. } in records {
        if !tensor.offset.is_multiple_of(alignment.into()) {
            return Err(Error::Invalid {
                place: Place::Tensor(tensor.name).to_string(),
                what: "offset",
                found: tensor.offset.to_string(),
                offset: offset_at,
                expected: format!("a multiple of the alignment {alignment}"),
                cure: DAMAGED,
            });
        }
        tensor.offset = tensor.offset.saturating_add(data_start);
        match tensor.offset.checked_add(tensor.size) {
            Some(end) if end <= size => tensors.push(tensor),
            end => {
                return Err(Error::DataBeyondEnd {
                    tensor: shown(&tensor.name),
                    start: tensor.offset,
                    end: end.unwrap_or(u64::MAX),
                    size,
                });
            }
        }
    }
    let mut by_offset: Vec<&Tensor> = tensors.iter().collect();
    by_offset.sort_by_key(|tensor| tensor.offset);
    for pair in by_offset.windows(2) {
        let &[first, second] = pair else { continue };
        let end = first.offset + first.size;
        if end > second.offset {
            return Err(Error::Overlap {
                first: shown(&first.name),
                second: shown(&second.name),
                end,
                start: second.offset,
            });
        }
    }
    Ok(tensors)
}
