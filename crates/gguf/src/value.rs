use crate::Strings;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// 8 bits without sign.
    U8(u8),
    /// 8 bits with sign.
    I8(i8),
    /// 16 bits without sign.
    U16(u16),
    /// 16 bits with sign.
    I16(i16),
    /// 32 bits without sign.
    U32(u32),
    /// 32 bits with sign.
    I32(i32),
    /// 64 bits without sign.
    U64(u64),
    /// 64 bits with sign.
    I64(i64),
    /// A float of 32 bits.
    F32(f32),
    /// A float of 64 bits.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// A text; GGUF means UTF-8 but files do not always keep to it.
    String(Vec<u8>),
    /// A list.
    Array(Array),
}

/// A list of metadata values of one type.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Array {
    /// 8 bits without sign.
    U8(Vec<u8>),
    /// 8 bits with sign.
    I8(Vec<i8>),
    /// 16 bits without sign.
    U16(Vec<u16>),
    /// 16 bits with sign.
    I16(Vec<i16>),
    /// 32 bits without sign.
    U32(Vec<u32>),
    /// 32 bits with sign.
    I32(Vec<i32>),
    /// 64 bits without sign.
    U64(Vec<u64>),
    /// 64 bits with sign.
    I64(Vec<i64>),
    /// Floats of 32 bits.
    F32(Vec<f32>),
    /// Floats of 64 bits.
    F64(Vec<f64>),
    /// True or false.
    Bool(Vec<bool>),
    /// Texts.
    String(Strings),
    /// Lists.
    Array(Vec<Array>),
}

/// The format's numbers for value types (`enum gguf_type`).
pub(crate) mod number {
    pub(crate) const U8: u32 = 0;
    pub(crate) const I8: u32 = 1;
    pub(crate) const U16: u32 = 2;
    pub(crate) const I16: u32 = 3;
    pub(crate) const U32: u32 = 4;
    pub(crate) const I32: u32 = 5;
    pub(crate) const F32: u32 = 6;
    pub(crate) const BOOL: u32 = 7;
    pub(crate) const STRING: u32 = 8;
    pub(crate) const ARRAY: u32 = 9;
    pub(crate) const U64: u32 = 10;
    pub(crate) const I64: u32 = 11;
    pub(crate) const F64: u32 = 12;
}

impl Value {
    /// What it is, for messages: `a 32-bit integer without sign`.
    pub fn describe(&self) -> String {
        match self {
            Value::U8(value) => format!("the integer {value}"),
            Value::I8(value) => format!("the integer {value}"),
            Value::U16(value) => format!("the integer {value}"),
            Value::I16(value) => format!("the integer {value}"),
            Value::U32(value) => format!("the integer {value}"),
            Value::I32(value) => format!("the integer {value}"),
            Value::U64(value) => format!("the integer {value}"),
            Value::I64(value) => format!("the integer {value}"),
            Value::F32(value) => format!("the number {value}"),
            Value::F64(value) => format!("the number {value}"),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::String(bytes) => format!("a text of {} bytes", bytes.len()),
            Value::Array(array) => format!("a list of {} {}", array.len(), array.element_name()),
        }
    }

    /// The value of any integer type.
    pub fn as_integer(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(value) => value.into(),
            Value::I8(value) => value.into(),
            Value::U16(value) => value.into(),
            Value::I16(value) => value.into(),
            Value::U32(value) => value.into(),
            Value::I32(value) => value.into(),
            Value::U64(value) => value.into(),
            Value::I64(value) => value.into(),
            _ => return None,
        })
    }

    /// The value of any float or integer type.
    pub fn as_number(&self) -> Option<f64> {
        match *self {
            Value::F32(value) => Some(value.into()),
            Value::F64(value) => Some(value),
            _ => self.as_integer().map(|value| value as f64),
        }
    }

    /// The text, where it is one and UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(bytes) => str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub(crate) fn type_number(&self) -> u32 {
        match self {
            Value::U8(_) => number::U8,
            Value::I8(_) => number::I8,
            Value::U16(_) => number::U16,
            Value::I16(_) => number::I16,
            Value::U32(_) => number::U32,
            Value::I32(_) => number::I32,
            Value::U64(_) => number::U64,
            Value::I64(_) => number::I64,
            Value::F32(_) => number::F32,
            Value::F64(_) => number::F64,
            Value::Bool(_) => number::BOOL,
            Value::String(_) => number::STRING,
            Value::Array(_) => number::ARRAY,
        }
    }
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(list) => list.len(),
            Array::I8(list) => list.len(),
            Array::U16(list) => list.len(),
            Array::I16(list) => list.len(),
            Array::U32(list) => list.len(),
            Array::I32(list) => list.len(),
            Array::U64(list) => list.len(),
            Array::I64(list) => list.len(),
            Array::F32(list) => list.len(),
            Array::F64(list) => list.len(),
            Array::Bool(list) => list.len(),
            Array::String(list) => list.len(),
            Array::Array(list) => list.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Converts the elements, where they are integers: the first that does not fit is the error.
    pub(crate) fn integers<T: TryFrom<i128>>(&self) -> Option<Result<Vec<T>, i128>> {
        fn convert<T: TryFrom<i128>, E: Copy + Into<i128>>(list: &[E]) -> Result<Vec<T>, i128> {
            let element = |&element: &E| T::try_from(element.into()).map_err(|_| element.into());
            list.iter().map(element).collect()
        }
        Some(match self {
            Array::U8(list) => convert(list),
            Array::I8(list) => convert(list),
            Array::U16(list) => convert(list),
            Array::I16(list) => convert(list),
            Array::U32(list) => convert(list),
            Array::I32(list) => convert(list),
            Array::U64(list) => convert(list),
            Array::I64(list) => convert(list),
            _ => return None,
        })
    }

    fn element_name(&self) -> &'static str {
        match self {
            Array::F32(_) | Array::F64(_) => "numbers",
            Array::Bool(_) => "booleans",
            Array::String(_) => "texts",
            Array::Array(_) => "lists",
            _ => "integers",
        }
    }

    pub(crate) fn type_number(&self) -> u32 {
        match self {
            Array::U8(_) => number::U8,
            Array::I8(_) => number::I8,
            Array::U16(_) => number::U16,
            Array::I16(_) => number::I16,
            Array::U32(_) => number::U32,
            Array::I32(_) => number::I32,
            Array::U64(_) => number::U64,
            Array::I64(_) => number::I64,
            Array::F32(_) => number::F32,
            Array::F64(_) => number::F64,
            Array::Bool(_) => number::BOOL,
            Array::String(_) => number::STRING,
            Array::Array(_) => number::ARRAY,
        }
    }
}

macro_rules! from {
    ($($source:ty => |$value:ident| $target:expr;)*) => {
        $(impl From<$source> for Value {
            fn from($value: $source) -> Value {
                $target
            }
        })*
    };
}

from! {
    u32 => |value| Value::U32(value);
    i32 => |value| Value::I32(value);
    u64 => |value| Value::U64(value);
    f32 => |value| Value::F32(value);
    bool => |value| Value::Bool(value);
    &str => |value| Value::String(value.into());
    String => |value| Value::String(value.into());
    Strings => |value| Value::Array(Array::String(value));
    Vec<i32> => |value| Value::Array(Array::I32(value));
    Vec<u32> => |value| Value::Array(Array::U32(value));
    Vec<f32> => |value| Value::Array(Array::F32(value));
    Array => |value| Value::Array(value);
}
