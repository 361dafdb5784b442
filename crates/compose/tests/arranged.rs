//! Packing for the CPU engines: matrices in kernel layout.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use support::*;
use trefoil_compose::{Kind, PackError, PackOptions, inspect, pack};
use trefoil_contract::{FORMAT_GGUF_ROWS_16, ROWS_16_SOURCE_KEY, ROWS_16_VERSION_KEY};
use trefoil_fixtures::{Random, TinyLlama, dequantise, quantise, tiny_llama};
use trefoil_gguf::{Gguf, Tensor, TensorType, Value, Writer};
use trefoil_kernels::{GROUP_ROWS, LAYOUT_VERSION, Matrix, WeightsType};
use wasmparser::{DataKind, Parser, Payload};

/// The file inside a packed model.
fn unpacked(component: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::DataSection(section) = payload.unwrap() {
            for data in section {
                let data = data.unwrap();
                if matches!(data.kind, DataKind::Passive) {
                    bytes.extend(data.data);
                }
            }
        }
    }
    bytes
}

fn arranged(folder: &Folder, file: &[u8]) -> Vec<u8> {
    let path = folder.file("m.gguf", file);
    let part = pack(&path, &folder.path("m.wasm"), &PackOptions::arranged(), &mut ()).unwrap();
    let component = fs::read(folder.path("m.wasm")).unwrap();
    validate(&component);
    let bytes = unpacked(&component);
    assert_eq!((part.size, part.format.as_str()), (bytes.len() as u64, FORMAT_GGUF_ROWS_16));
    bytes
}

fn data<'a>(file: &'a [u8], tensor: &Tensor) -> &'a [u8] {
    &file[tensor.offset as usize..][..tensor.size as usize]
}

/// All numbers of a matrix that is read as the engines read it.
fn numbers(bytes: &[u8], tensor: &Tensor) -> Vec<f32> {
    let &[columns, rows] = tensor.dimensions.as_slice() else { panic!("a matrix") };
    let (columns, rows) = (columns as usize, rows as usize);
    let weights_type = WeightsType::named(tensor.tensor_type.name()).unwrap();
    let mut builder = Matrix::builder(weights_type, rows, columns).unwrap();
    let groups = builder.whole_groups();
    let (whole, rest) = bytes.split_at(groups.len());
    groups.copy_from_slice(whole);
    builder.push(rest);
    let matrix = builder.finish();
    let mut numbers = vec![f32::NAN; rows * columns];
    for (row, numbers) in numbers.chunks_mut(columns).enumerate() {
        matrix.row(row, numbers);
    }
    numbers
}

/// Compares what an arranged file holds with the original.
fn assert_same_model(original: &[u8], arranged: &[u8]) {
    let (before, after) = (Gguf::read(&original).unwrap(), Gguf::read(&arranged).unwrap());
    assert_eq!(after.metadata.u32(ROWS_16_VERSION_KEY).unwrap(), Some(LAYOUT_VERSION));
    let keys =
        |gguf: &Gguf| gguf.metadata.iter().map(|(key, _)| key.to_owned()).collect::<Vec<_>>();
    assert_eq!(keys(&after)[..keys(&before).len()], keys(&before));
    assert_eq!(keys(&after).len(), keys(&before).len() + 2);
    assert_eq!(before.tensors.len(), after.tensors.len());
    for (before, after) in before.tensors.iter().zip(&after.tensors) {
        let shape = |tensor: &Tensor| {
            (tensor.name.clone(), tensor.dimensions.clone(), tensor.tensor_type, tensor.size)
        };
        assert_eq!(shape(before), shape(after));
        let (old, new) = (data(original, before), data(arranged, after));
        let is_matrix =
            before.dimensions.len() == 2 && WeightsType::named(before.tensor_type.name()).is_some();
        if is_matrix {
            // One number a row: the rows side by side are the rows one after the other.
            let moves = before.dimensions[1] >= GROUP_ROWS as u64 && before.dimensions[0] > 1;
            assert_eq!(old != new, moves, "{}", before.name);
            let expected = dequantise(before.tensor_type, old);
            assert!(numbers(new, after) == expected, "{}", before.name);
        } else {
            assert!(old == new, "{}", before.name);
        }
    }
}

#[test]
fn matrices_of_every_type_read_as_they_were() {
    use TensorType::{BF16, F16, F32, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};
    let folder = Folder::new();
    for matrices in [F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K] {
        let file = tiny_llama(&TinyLlama { tied: false, ..TinyLlama::with_matrices(matrices) });
        assert_same_model(&file, &arranged(&folder, &file));
    }
}

#[test]
fn odd_shapes_and_alignments_read_as_they_were() {
    let folder = Folder::new();
    let mut random = Random::new(3);
    for alignment in [8, 32, 256] {
        let mut writer = Writer::new();
        writer.alignment(alignment);
        // Rows below, at and between multiples of 16; so many columns that a group has several
        // chunks, of unequal length; and more dimensions than a matrix has.
        for [columns, rows] in
            [[1, 1], [1, 100], [3, 15], [3, 16], [5, 17], [7, 47], [4999, 33], [8192, 16]]
        {
            let numbers: Vec<f32> = (0..columns * rows).map(|_| random.normal()).collect();
            let name = format!("f32 {columns} {rows}");
            let data = quantise(TensorType::F32, &numbers);
            writer.tensor(name, &[columns, rows], TensorType::F32, data);
        }
        let numbers: Vec<f32> = (0..2 * 32 * 64).map(|_| random.normal()).collect();
        let data = quantise(TensorType::Q8_0, &numbers);
        writer.tensor("three", &[32, 64, 2], TensorType::Q8_0, data.clone());
        writer.tensor("four", &[32, 2, 64, 1], TensorType::Q8_0, data.clone());
        writer.tensor("one", &[32 * 64 * 2], TensorType::Q8_0, data);
        let file = writer.to_bytes().unwrap();
        assert_same_model(&file, &arranged(&folder, &file));
    }
}

#[test]
fn a_file_without_tensors_is_packed_too() {
    let folder = Folder::new();
    let mut writer = Writer::new();
    writer.value("general.name", "empty");
    let file = writer.to_bytes().unwrap();
    assert_same_model(&file, &arranged(&folder, &file));
}

#[test]
fn the_same_file_gives_the_same_bytes_which_name_it() {
    let folder = Folder::new();
    let file = tiny_llama(&TinyLlama::with_matrices(TensorType::Q4_1));
    let path = folder.file("m.gguf", &file);
    let plain = pack(&path, &folder.path("plain.wasm"), &PackOptions::default(), &mut ()).unwrap();
    let first = pack(&path, &folder.path("a.wasm"), &PackOptions::arranged(), &mut ()).unwrap();
    let second = pack(&path, &folder.path("b.wasm"), &PackOptions::arranged(), &mut ()).unwrap();
    assert_eq!(first, second);
    let component = fs::read(folder.path("a.wasm")).unwrap();
    assert!(component == fs::read(folder.path("b.wasm")).unwrap());
    let gguf = Gguf::read(&unpacked(&component)).unwrap();
    assert_eq!(gguf.metadata.string(ROWS_16_SOURCE_KEY), Ok(Some(plain.sha256.as_str())));
    assert_ne!(first.sha256, plain.sha256);
}

#[test]
fn inspecting_shows_the_format_and_the_keys() {
    let folder = Folder::new();
    arranged(&folder, &tiny_llama(&TinyLlama::with_matrices(TensorType::Q5_K)));
    let inspection = inspect(&folder.path("m.wasm")).unwrap();
    assert_eq!((inspection.kind, inspection.files.len()), (Kind::Model, 1));
    assert_eq!(inspection.files[0].format, FORMAT_GGUF_ROWS_16);
    let model = inspection.model.unwrap();
    assert_eq!(model.tensor_types[0].tensor_type, "Q5_K");
    let keys: Vec<_> = model.metadata.iter().map(|entry| entry.key.as_str()).collect();
    assert!(keys.ends_with(&[ROWS_16_VERSION_KEY, ROWS_16_SOURCE_KEY]), "{keys:?}");
}

#[test]
fn a_file_that_is_laid_out_already_is_refused() {
    let folder = Folder::new();
    let values = vec![(ROWS_16_VERSION_KEY.into(), Value::from(1u32))];
    let path = folder.file("m.gguf", &tiny_llama(&TinyLlama { values, ..TinyLlama::default() }));
    for options in [PackOptions::default(), PackOptions::arranged()] {
        let error = pack(&path, &folder.path("m.wasm"), &options, &mut ()).unwrap_err();
        assert!(matches!(error, PackError::Arranged { .. }), "{error}");
        assert!(error.to_string().contains("m.gguf"), "{error}");
    }
    assert_eq!(folder.names(), ["m.gguf"]);
}
