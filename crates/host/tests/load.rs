//! What can be loaded, and what the cache saves.

#![allow(missing_docs, unreachable_pub)]

mod support;

use std::fs;
use std::path::PathBuf;

use support::{Bench, command};
use trefoil_host::{Interrupt, LoadError, Program, RunOptions, run};
use wasm_encoder::Instruction;

fn compiled(bench: &Bench) -> impl Iterator<Item = PathBuf> {
    let folder = fs::read_dir(bench.cache.root().join("compiled")).expect("is there");
    folder.map(|entry| entry.expect("readable").path())
}

/// Whole components.
fn entries(bench: &Bench) -> Vec<PathBuf> {
    compiled(bench).filter(|path| path.extension().is_some()).collect()
}

/// Single functions, as one file.
fn functions(bench: &Bench) -> PathBuf {
    let files: Vec<_> = compiled(bench).filter(|path| path.extension().is_none()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

fn exit_code(bench: &Bench, program: &Program) -> i32 {
    run(&bench.runtime, program, &RunOptions::default()).expect("ends").exit_code
}

#[test]
fn the_same_content_is_compiled_once() {
    let bench = Bench::new();
    let bytes = command(&[Instruction::I32Const(1)]);
    let first = bench.load(&bytes);
    assert!(first.timings().compile.is_some());
    let other = bench.try_load(&bench.write("other.wasm", &bytes)).expect("loads");
    assert!(other.timings().compile.is_none());
    assert_eq!(exit_code(&bench, &other), 1);
    assert_eq!(entries(&bench).len(), 1);
}

#[test]
fn functions_of_another_component_are_not_compiled_again() {
    let bench = Bench::new();
    let mut bytes = command(&[Instruction::I32Const(1)]);
    drop(bench.load(&bytes));
    let before = fs::read(functions(&bench)).expect("readable");
    // A custom section of two bytes: other content, the same code.
    bytes.extend([0, 2, 1, b'x']);
    let other = bench.load(&bytes);
    assert!(other.timings().compile.is_some());
    assert_eq!(exit_code(&bench, &other), 1);
    assert_eq!(entries(&bench).len(), 2);
    assert_eq!(fs::read(functions(&bench)).expect("readable"), before);
    let third = bench.load(&command(&[Instruction::I32Const(0)]));
    assert_eq!(exit_code(&bench, &third), 0);
    let after = fs::read(functions(&bench)).expect("readable");
    assert!(after.len() > before.len(), "{} bytes", after.len());
    // Damage costs time and nothing else.
    fs::write(functions(&bench), &after[..after.len() / 2]).expect("writes");
    bytes.extend([0, 2, 1, b'y']);
    assert_eq!(exit_code(&bench, &bench.load(&bytes)), 1);
    assert!(fs::read(functions(&bench)).expect("readable").len() >= before.len());
}

#[test]
fn other_content_under_the_same_path_is_compiled_anew() {
    let bench = Bench::new();
    assert_eq!(exit_code(&bench, &bench.load(&command(&[Instruction::I32Const(1)]))), 1);
    assert_eq!(exit_code(&bench, &bench.load(&command(&[Instruction::I32Const(0)]))), 0);
}

#[test]
fn a_damaged_entry_is_made_anew() {
    let bytes = command(&[Instruction::I32Const(1)]);
    for keep in [0, 10, 1000] {
        let bench = Bench::new();
        drop(bench.load(&bytes));
        let entry = entries(&bench).pop().expect("an entry");
        let code = fs::read(&entry).expect("readable");
        fs::write(&entry, &code[..keep.min(code.len() / 2)]).expect("writes");
        let program = bench.load(&bytes);
        assert!(program.timings().compile.is_some(), "{keep}");
        assert_eq!(exit_code(&bench, &program), 1);
        assert_eq!(fs::read(&entry).expect("readable").len(), code.len());
    }
}

#[test]
fn without_a_cache_nothing_is_kept() {
    let bench = Bench::new();
    let path = bench.write("guest.wasm", &command(&[Instruction::I32Const(1)]));
    let program =
        Program::load(&bench.runtime, &path, None, &Interrupt::new(), &mut |_| {}).expect("loads");
    assert_eq!(exit_code(&bench, &program), 1);
    assert!(entries(&bench).is_empty());
}

#[test]
fn an_interrupt_stops_loading() {
    let bench = Bench::new();
    let path = bench.write("guest.wasm", &command(&[Instruction::I32Const(1)]));
    let interrupt = Interrupt::new();
    interrupt.raise();
    let loaded = Program::load(&bench.runtime, &path, Some(&bench.cache), &interrupt, &mut |_| {});
    assert!(matches!(loaded, Err(LoadError::Interrupted)));
    assert!(entries(&bench).is_empty());
}

#[test]
fn what_is_no_component_is_named() {
    let bench = Bench::new();
    let cases: [(&[u8], &str); 5] = [
        (b"\0asm\x01\0\0\0", "a core module"),
        (b"GGUF\x03\0\0\0", "a GGUF model"),
        (b"\x7fELF....", "native code"),
        (b"", "empty"),
        (b"hello", "something else"),
    ];
    for (bytes, what) in cases {
        let Err(error) = bench.try_load(&bench.write("x", bytes)) else { panic!("{what}") };
        assert!(error.to_string().contains(what), "{error}");
    }
    let absent = bench.try_load(&bench.folder.path().join("absent"));
    assert!(matches!(absent, Err(LoadError::Read { .. })));
}

#[test]
fn an_invalid_component_is_refused_with_the_offset() {
    let bench = Bench::new();
    let mut bytes = command(&[Instruction::I32Const(1)]);
    bytes.truncate(bytes.len() / 2);
    let Err(error) = bench.try_load(&bench.write("x.wasm", &bytes)) else { panic!("loaded") };
    assert!(matches!(error, LoadError::Invalid { .. }));
    assert!(error.to_string().contains("offset"), "{error}");
}
