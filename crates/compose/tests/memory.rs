//! Memory does not grow with the model. Alone in its file, for it looks at the whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use support::*;
use trefoil_compose::{Change, Changes, Component, Parts, compose, inspect, pack, recompose};

const MODEL_BYTES: u64 = 300 << 20;
const PEAK_BYTES_MAX: u64 = 64 << 20;

/// The most memory that this process has ever had, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_model_of_300_mb_is_packed_composed_and_recomposed_in_64_mb() {
    let folder = Folder::new();
    let parts = folder.parts();
    let path = folder.file("m.gguf", &gguf("big", 1000));
    // Sparse: the tail takes no space here, but is read like any other.
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(MODEL_BYTES).unwrap();
    let (packed, first) = (folder.path("big.wasm"), folder.path("first.wasm"));
    pack(&path, &packed, &mut ()).unwrap();
    let model = Component::from_path(&packed).unwrap();
    compose(&Parts { model, ..parts }, &first, &mut ()).unwrap();
    fs::remove_file(&packed).unwrap();
    let changes = Changes { app: Change::Remove, ..Changes::default() };
    let second = folder.path("second.wasm");
    recompose(&first, &changes, &second, &mut ()).unwrap();
    assert!(fs::metadata(&second).unwrap().len() > MODEL_BYTES);
    inspect(&second).unwrap();
    let peak = peak();
    assert!(peak < PEAK_BYTES_MAX, "{peak} bytes");
}
