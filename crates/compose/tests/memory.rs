//! Memory does not grow with the model. Alone in its file, for it looks at the whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use support::*;
use trefoil_compose::{
    Change, Changes, Component, PackOptions, Parts, compose, inspect, pack, recompose,
};
use trefoil_gguf::{Gguf, TensorType, Writer};

const MODEL_BYTES: u64 = 300 << 20;
const PEAK_BYTES_MAX: u64 = 64 << 20;

/// The most memory that this process has ever had, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// A file with one matrix, without its data.
fn header_of_a_large_matrix() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.tensor("w", &[32, 1], TensorType::Q8_0, vec![0; 34]);
    let mut bytes = writer.to_bytes().unwrap();
    // The record: length of the name, the name, number of dimensions, then these.
    let start = Gguf::read(&bytes).unwrap().layout.tensors.start as usize + 8 + 1 + 4;
    let (columns, row_bytes) = (4096u64, 4096 / 32 * 34);
    bytes[start..start + 8].copy_from_slice(&columns.to_le_bytes());
    let rows = (MODEL_BYTES - bytes.len() as u64) / row_bytes;
    bytes[start + 8..start + 16].copy_from_slice(&rows.to_le_bytes());
    bytes
}

#[test]
fn a_model_of_300_mb_is_packed_composed_and_recomposed_in_64_mb() {
    let folder = Folder::new();
    let parts = folder.parts();
    let path = folder.file("m.gguf", &gguf("big", 1000));
    // Sparse: the tail takes no space here, but is read like any other.
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(MODEL_BYTES).unwrap();
    let (packed, first) = (folder.path("big.wasm"), folder.path("first.wasm"));
    pack(&path, &packed, &PackOptions::default(), &mut ()).unwrap();
    let model = Component::from_path(&packed).unwrap();
    compose(&Parts { model: Some(model.into()), ..parts }, &first, &mut ()).unwrap();
    fs::remove_file(&packed).unwrap();
    let changes = Changes { app: Change::Remove, ..Changes::default() };
    let second = folder.path("second.wasm");
    recompose(&first, &changes, &second, &mut ()).unwrap();
    assert!(fs::metadata(&second).unwrap().len() > MODEL_BYTES);
    inspect(&second).unwrap();
    fs::remove_file(&first).unwrap();
    fs::remove_file(&second).unwrap();

    let path = folder.file("matrix.gguf", &header_of_a_large_matrix());
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(MODEL_BYTES).unwrap();
    pack(&path, &packed, &PackOptions::arranged(), &mut ()).unwrap();
    assert!(fs::metadata(&packed).unwrap().len() > MODEL_BYTES);
    let peak = peak();
    assert!(peak < PEAK_BYTES_MAX, "{peak} bytes");
}
