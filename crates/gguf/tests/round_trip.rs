//! What the writer writes, the reader reads.

use std::cell::RefCell;

use trefoil_gguf::{Array, Gguf, Source, Strings, TensorType, Value, WriteError, Writer};

/// One value of every type.
fn values() -> Vec<(&'static str, Value)> {
    let strings: Strings = ["", "a", "Ġthe"].into_iter().collect();
    vec![
        ("u8", Value::U8(u8::MAX)),
        ("i8", Value::I8(i8::MIN)),
        ("u16", Value::U16(u16::MAX)),
        ("i16", Value::I16(i16::MIN)),
        ("u32", Value::U32(u32::MAX)),
        ("i32", Value::I32(i32::MIN)),
        ("u64", Value::U64(u64::MAX)),
        ("i64", Value::I64(i64::MIN)),
        ("f32", Value::F32(0.1)),
        ("f64", Value::F64(0.1)),
        ("bool", Value::Bool(true)),
        ("string", Value::String("grüße".into())),
        ("[u8]", Value::Array(Array::U8(vec![1, 2]))),
        ("[i8]", Value::Array(Array::I8(vec![-1, 2]))),
        ("[u16]", Value::Array(Array::U16(vec![1, 2]))),
        ("[i16]", Value::Array(Array::I16(vec![-1, 2]))),
        ("[u32]", Value::Array(Array::U32(vec![1, 2]))),
        ("[i32]", Value::Array(Array::I32(vec![-1, 2]))),
        ("[u64]", Value::Array(Array::U64(vec![1, 2]))),
        ("[i64]", Value::Array(Array::I64(vec![-1, 2]))),
        ("[f32]", Value::Array(Array::F32(vec![-0.0, 2.5]))),
        ("[f64]", Value::Array(Array::F64(vec![-0.0, 2.5]))),
        ("[bool]", Value::Array(Array::Bool(vec![true, false]))),
        ("[string]", Value::Array(Array::String(strings))),
        ("[]", Value::Array(Array::U32(vec![]))),
        (
            "[[u8], [string]]",
            Value::Array(Array::Array(vec![
                Array::U8(vec![1]),
                Array::String(["x"].into_iter().collect()),
            ])),
        ),
    ]
}

#[test]
fn values_of_every_type_come_back_in_order() {
    for version in [2, 3] {
        let mut writer = Writer::new();
        writer.version(version);
        for (key, value) in values() {
            writer.value(key, value);
        }
        let gguf = Gguf::read(&writer.to_bytes().expect("writes")).expect("reads");
        assert_eq!(gguf.version, version);
        let read: Vec<_> = gguf.metadata.iter().map(|(key, value)| (key, value.clone())).collect();
        assert_eq!(read, values());
        for (key, value) in values() {
            assert_eq!(gguf.metadata.get(key), Some(&value));
        }
        assert_eq!(gguf.metadata.get("absent"), None);
    }
}

#[test]
fn tensors_of_every_type_come_back_with_their_data() {
    for alignment in [8, 32, 4096] {
        let mut writer = Writer::new();
        writer.alignment(alignment);
        let mut data = Vec::new();
        for (number, tensor_type) in TensorType::ALL.iter().enumerate() {
            let dimensions = [tensor_type.block_elements() * 3, 5];
            let size = tensor_type.size_of(&dimensions).expect("whole blocks");
            assert_eq!(size, tensor_type.block_bytes() * 15);
            data.push(vec![number as u8 + 1; size as usize]);
            writer.tensor(tensor_type.name(), &dimensions, *tensor_type, data[number].clone());
        }
        let bytes = writer.to_bytes().expect("writes");
        let gguf = Gguf::read(&bytes).expect("reads");
        assert_eq!(gguf.layout.alignment, alignment);
        assert_eq!(gguf.layout.data.end, bytes.len() as u64);
        for (tensor_type, data) in TensorType::ALL.iter().zip(data) {
            let tensor = gguf.tensor(tensor_type.name()).expect("is there");
            assert_eq!(tensor.tensor_type, *tensor_type);
            assert!(tensor.offset.is_multiple_of(alignment.into()));
            let range = tensor.offset as usize..(tensor.offset + tensor.size) as usize;
            assert_eq!(bytes[range], data);
        }
        assert_eq!(gguf.tensor("absent"), None);
    }
}

#[test]
fn a_file_without_tensors_needs_no_padding() {
    let bytes = Writer::new().value("k", 1u32).to_bytes().expect("writes");
    let gguf = Gguf::read(&bytes).expect("reads");
    assert_eq!(gguf.tensors, []);
    assert_eq!(gguf.layout.data, bytes.len() as u64..bytes.len() as u64);
}

#[test]
fn numbers_are_had_from_every_type_that_fits() {
    let mut writer = Writer::new();
    for (key, value) in values() {
        writer.value(key, value);
    }
    let metadata = Gguf::read(&writer.to_bytes().expect("writes")).expect("reads").metadata;
    assert_eq!(metadata.u32("u8"), Ok(Some(255)));
    assert_eq!(metadata.u32("u16"), Ok(Some(65535)));
    assert_eq!(metadata.u32("u32"), Ok(Some(u32::MAX)));
    assert!(metadata.u32("u64").is_err() && metadata.u32("i8").is_err());
    assert_eq!(metadata.u64("u64"), Ok(Some(u64::MAX)));
    assert_eq!(metadata.f32("f32"), Ok(Some(0.1)));
    assert_eq!(metadata.f32("f64"), Ok(Some(0.1)));
    assert_eq!(metadata.f32("i8"), Ok(Some(-128.0)));
    assert_eq!(metadata.string("string"), Ok(Some("grüße")));
    for key in ["[u8]", "[u16]", "[u32]", "[u64]"] {
        assert_eq!(metadata.i32s(key), Ok(Some(vec![1, 2])), "{key}");
        assert_eq!(metadata.u32s(key), Ok(Some(vec![1, 2])), "{key}");
    }
    for key in ["[i8]", "[i16]", "[i32]", "[i64]"] {
        assert_eq!(metadata.i32s(key), Ok(Some(vec![-1, 2])), "{key}");
        assert!(metadata.u32s(key).is_err(), "{key}");
    }
    for key in ["[f32]", "[f64]"] {
        assert_eq!(metadata.f32s(key), Ok(Some(vec![0.0, 2.5])), "{key}");
    }
    assert_eq!(metadata.u32("absent"), Ok(None));
}

#[test]
fn lists_longer_than_the_window_come_back() {
    let numbers: Vec<u32> = (0..200_000).collect();
    let strings: Strings = numbers.iter().map(|number| format!("token {number}")).collect();
    let long = "x".repeat(600_000);
    let bytes = Writer::new()
        .value("odd", Value::U8(1))
        .value("numbers", numbers.clone())
        .value("strings", strings.clone())
        .value("long", long.as_str())
        .to_bytes()
        .expect("writes");
    let metadata = Gguf::read(&bytes).expect("reads").metadata;
    assert_eq!(metadata.u32s("numbers"), Ok(Some(numbers)));
    assert_eq!(metadata.strings("strings"), Ok(Some(&strings)));
    assert_eq!(metadata.string("long"), Ok(Some(long.as_str())));
}

#[test]
fn reads_go_forward_in_pieces_and_stay_inside() {
    struct Recording<'a>(&'a [u8], RefCell<Vec<(u64, usize)>>);
    impl Source for Recording<'_> {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
            self.1.borrow_mut().push((offset, buffer.len()));
            self.0.read_at(offset, buffer)
        }
    }
    let bytes = Writer::new()
        .value("numbers", (0..200_000).collect::<Vec<u32>>())
        .to_bytes()
        .expect("writes");
    let source = Recording(&bytes, RefCell::default());
    Gguf::read(&source).expect("reads");
    let mut expected = 0;
    for (offset, length) in source.1.into_inner() {
        assert_eq!(offset, expected);
        assert!(length <= 256 << 10);
        expected += length as u64;
    }
    assert_eq!(expected, bytes.len() as u64);
}

#[test]
fn the_writer_refuses_data_of_another_size() {
    let error = Writer::new()
        .tensor("a", &[32, 2], TensorType::Q4_0, vec![0; 35])
        .to_bytes()
        .expect_err("36 bytes are needed");
    assert!(matches!(error, WriteError::DataSize { expected: Some(36), found: 35, .. }));
    assert_eq!(error.to_string(), "tensor `a`: 35 bytes of data, expected 36 for [32, 2] in Q4_0");
}

#[test]
fn strings_can_be_walked_both_ways() {
    let strings: Strings = ["a", "", "bc"].into_iter().collect();
    assert_eq!(strings.iter().collect::<Vec<_>>(), [&b"a"[..], b"", b"bc"]);
    assert_eq!(strings.iter().next_back(), Some(&b"bc"[..]));
    assert_eq!((strings.len(), strings.is_empty()), (3, false));
    assert_eq!((strings.get(1), strings.get(3)), (Some(&b""[..]), None));
}
