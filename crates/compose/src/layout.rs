//! Values laid out in linear memory as the canonical ABI wants them, ahead of time.
//!
//! Layout: `CanonicalABI.md` of the component model, sections "Size", "Alignment" and "Storing".

use wit_parser::{Resolve, SizeAlign, Type, TypeDefKind};

use crate::contract::GenerateError;

/// A value of the contract. Its WIT type decides the width of numbers and the place of fields.
#[derive(Debug, Clone)]
pub(crate) enum Datum {
    Bool(bool),
    Integer(i128),
    Number(f64),
    Text(String),
    List(Vec<Datum>),
    /// Fields in the order of the record.
    Record(Vec<(&'static str, Datum)>),
    /// A case of a variant or enum.
    Case(&'static str, Option<Box<Datum>>),
    Ok(Box<Datum>),
    Err(Box<Datum>),
}

impl Datum {
    pub(crate) fn text(text: impl Into<String>) -> Datum {
        Datum::Text(text.into())
    }
    pub(crate) fn ok(value: Datum) -> Datum {
        Datum::Ok(Box::new(value))
    }
    pub(crate) fn error(case: &'static str, text: &str) -> Datum {
        Datum::Err(Box::new(Datum::Case(case, Some(Box::new(Datum::text(text))))))
    }
}

/// Memory from `base` on, being filled with values.
pub(crate) struct Memory<'a> {
    resolve: &'a Resolve,
    sizes: SizeAlign,
    base: u32,
    bytes: Vec<u8>,
}

type Result<T> = std::result::Result<T, GenerateError>;

fn mismatch<T>(ty: &Type, datum: &Datum) -> Result<T> {
    Err(GenerateError(format!("{datum:?} is not a value of {ty:?}")))
}

impl<'a> Memory<'a> {
    /// `base` is a multiple of 8, the largest alignment there is.
    pub(crate) fn new(resolve: &'a Resolve, base: u32) -> Result<Self> {
        let mut sizes = SizeAlign::default();
        sizes.fill(resolve).map_err(GenerateError::new)?;
        Ok(Memory { resolve, sizes, base, bytes: Vec::new() })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// First address behind the values.
    pub(crate) fn end(&self) -> Result<u32> {
        self.address(self.bytes.len())
    }

    fn address(&self, at: usize) -> Result<u32> {
        let address = u32::try_from(at).ok().and_then(|at| at.checked_add(self.base));
        address.ok_or_else(|| GenerateError("the values exceed 4 GiB".into()))
    }

    /// Places a value and returns its address.
    pub(crate) fn place(&mut self, ty: &Type, datum: &Datum) -> Result<u32> {
        let at = self.reserve(self.sizes.size(ty).size_wasm32(), self.align(ty));
        self.store(ty, datum, at)?;
        self.address(at)
    }

    /// The offset of the payload of `ok` in a result.
    pub(crate) fn ok_offset(&self, ty: &Type) -> Result<u32> {
        let (ok, err) = self.result(ty)?;
        let offset = self.sizes.payload_offset(wit_parser::Int::U8, [ok.as_ref(), err.as_ref()]);
        u32::try_from(offset.size_wasm32()).map_err(GenerateError::new)
    }

    /// Places a text and returns its address and its bytes.
    pub(crate) fn place_text(&mut self, text: &str) -> Result<(u32, u32)> {
        let at = self.reserve(text.len(), 1);
        self.write(at, text.as_bytes())?;
        Ok((self.address(at)?, u32::try_from(text.len()).map_err(GenerateError::new)?))
    }

    /// Bytes of an element of the list in `ok`.
    pub(crate) fn element_bytes(&self, ty: &Type) -> Result<u32> {
        let (ok, _) = self.result(ty)?;
        match ok.as_ref().and_then(|ok| self.kind(ok)) {
            Some(TypeDefKind::List(element)) => {
                u32::try_from(self.sizes.size(element).size_wasm32()).map_err(GenerateError::new)
            }
            _ => Err(GenerateError(format!("{ty:?} holds no list"))),
        }
    }

    fn align(&self, ty: &Type) -> usize {
        self.sizes.align(ty).align_wasm32()
    }

    fn result(&self, ty: &Type) -> Result<(Option<Type>, Option<Type>)> {
        match self.kind(ty) {
            Some(TypeDefKind::Result(result)) => Ok((result.ok, result.err)),
            _ => Err(GenerateError(format!("{ty:?} is not a result"))),
        }
    }

    fn reserve(&mut self, size: usize, align: usize) -> usize {
        let at = self.bytes.len().next_multiple_of(align.max(1));
        self.bytes.resize(at + size, 0);
        at
    }

    fn kind(&self, ty: &Type) -> Option<&'a TypeDefKind> {
        let mut ty = *ty;
        while let Type::Id(id) = ty {
            match &self.resolve.types[id].kind {
                TypeDefKind::Type(aliased) => ty = *aliased,
                kind => return Some(kind),
            }
        }
        None
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        let place = self.bytes.get_mut(at..at + bytes.len());
        place.ok_or_else(|| GenerateError("a value lies outside".into()))?.copy_from_slice(bytes);
        Ok(())
    }

    fn store_list(&mut self, at: usize, data: usize, count: usize) -> Result<()> {
        let count = u32::try_from(count).map_err(GenerateError::new)?;
        self.write(at, &self.address(data)?.to_le_bytes())?;
        self.write(at + 4, &count.to_le_bytes())
    }

    fn store(&mut self, ty: &Type, datum: &Datum, at: usize) -> Result<()> {
        let integer = |value: i128, bytes: usize, ok: bool| match ok {
            true => Ok(value.to_le_bytes()[..bytes].to_vec()),
            false => mismatch(ty, datum),
        };
        let bytes = match (ty, datum) {
            (Type::Bool, Datum::Bool(value)) => vec![u8::from(*value)],
            (Type::U32, Datum::Integer(value)) => {
                integer(*value, 4, u32::try_from(*value).is_ok())?
            }
            (Type::U64, Datum::Integer(value)) => {
                integer(*value, 8, u64::try_from(*value).is_ok())?
            }
            (Type::S64, Datum::Integer(value)) => {
                integer(*value, 8, i64::try_from(*value).is_ok())?
            }
            (Type::F64, Datum::Number(value)) => value.to_le_bytes().to_vec(),
            (Type::String, Datum::Text(text)) => {
                let data = self.reserve(text.len(), 1);
                self.write(data, text.as_bytes())?;
                return self.store_list(at, data, text.len());
            }
            (Type::Id(_), _) => return self.store_defined(ty, datum, at),
            _ => return mismatch(ty, datum),
        };
        self.write(at, &bytes)
    }

    fn store_defined(&mut self, ty: &Type, datum: &Datum, at: usize) -> Result<()> {
        let Some(kind) = self.kind(ty) else { return mismatch(ty, datum) };
        match (kind, datum) {
            (TypeDefKind::List(element), Datum::List(values)) => {
                let size = self.sizes.size(element).size_wasm32();
                let data = self.reserve(size * values.len(), self.align(element));
                for (index, value) in values.iter().enumerate() {
                    self.store(element, value, data + index * size)?;
                }
                self.store_list(at, data, values.len())
            }
            (TypeDefKind::Record(record), Datum::Record(fields)) => {
                let same = record.fields.len() == fields.len()
                    && record.fields.iter().zip(fields).all(|(a, b)| a.name == b.0);
                if !same {
                    return mismatch(ty, datum);
                }
                let types = record.fields.iter().map(|field| &field.ty);
                let offsets = self.sizes.field_offsets(types);
                for ((offset, ty), (_, value)) in offsets.into_iter().zip(fields) {
                    self.store(ty, value, at + offset.size_wasm32())?;
                }
                Ok(())
            }
            (TypeDefKind::Variant(variant), Datum::Case(name, payload)) => {
                let Some(index) = variant.cases.iter().position(|case| case.name == *name) else {
                    return mismatch(ty, datum);
                };
                self.store_tag(at, variant.tag(), index)?;
                let cases = variant.cases.iter().map(|case| case.ty.as_ref());
                let offset = self.sizes.payload_offset(variant.tag(), cases).size_wasm32();
                match (&variant.cases[index].ty, payload) {
                    (Some(ty), Some(value)) => self.store(ty, value, at + offset),
                    (None, None) => Ok(()),
                    _ => mismatch(ty, datum),
                }
            }
            (TypeDefKind::Enum(names), Datum::Case(name, None)) => {
                match names.cases.iter().position(|case| case.name == *name) {
                    Some(index) => self.store_tag(at, names.tag(), index),
                    None => mismatch(ty, datum),
                }
            }
            (TypeDefKind::Result(result), Datum::Ok(value) | Datum::Err(value)) => {
                let (index, payload) = match datum {
                    Datum::Ok(_) => (0, &result.ok),
                    _ => (1, &result.err),
                };
                self.store_tag(at, wit_parser::Int::U8, index)?;
                let cases = [result.ok.as_ref(), result.err.as_ref()];
                let offset = self.sizes.payload_offset(wit_parser::Int::U8, cases).size_wasm32();
                match payload {
                    Some(ty) => self.store(ty, value, at + offset),
                    None => mismatch(ty, datum),
                }
            }
            _ => mismatch(ty, datum),
        }
    }

    fn store_tag(&mut self, at: usize, tag: wit_parser::Int, index: usize) -> Result<()> {
        let width = match tag {
            wit_parser::Int::U8 => 1,
            wit_parser::Int::U16 => 2,
            wit_parser::Int::U32 => 4,
            wit_parser::Int::U64 => 8,
        };
        self.write(at, &(index as u64).to_le_bytes()[..width])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::contract::Contract;

    /// Offsets worked out by hand from `CanonicalABI.md`.
    #[test]
    fn a_list_of_settings_lies_where_the_canonical_abi_says() {
        let contract = Contract::parse().unwrap();
        let (ty, _) = contract.function("configuration", "configure").unwrap();
        let mut memory = Memory::new(&contract.resolve, 1024).unwrap();
        let value = Datum::Case("number", Some(Box::new(Datum::Number(0.5))));
        let setting = Datum::Record(vec![("key", Datum::text("top-p")), ("value", value)]);
        let address = memory.place(&ty, &Datum::ok(Datum::List(vec![setting]))).unwrap();
        assert_eq!(address, 1024);
        let mut expected = vec![0; 12]; // result: tag, padding to 4, then pointer and length
        expected[4..8].copy_from_slice(&1040u32.to_le_bytes());
        expected[8..12].copy_from_slice(&1u32.to_le_bytes());
        expected.resize(16, 0); // alignment of `setting` is 8, for `s64`
        expected.extend(1064u32.to_le_bytes()); // key: pointer, length
        expected.extend(5u32.to_le_bytes());
        expected.extend([2, 0, 0, 0, 0, 0, 0, 0]); // value: tag of `number`, padding to 8
        expected.extend(0.5f64.to_le_bytes());
        expected.extend(*b"top-p");
        assert_eq!(memory.bytes(), expected);
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let contract = Contract::parse().unwrap();
        let (ty, _) = contract.function("configuration", "configure").unwrap();
        let mut memory = Memory::new(&contract.resolve, 1024).unwrap();
        assert!(memory.place(&ty, &Datum::Bool(true)).is_err());
        assert!(memory.place(&ty, &Datum::ok(Datum::Integer(1))).is_err());
    }
}
