//! How commands end.

#![allow(missing_docs, unreachable_pub)]

mod support;

use std::time::{Duration, Instant};

use support::{Bench, command, demanding, useless};
use trefoil_host::{Directory, Failure, Grants, Limits, Outcome, RunOptions, run};
use wasm_encoder::{BlockType, Instruction};

const FOREVER: &[Instruction<'_>] = &[
    Instruction::Loop(BlockType::Empty),
    Instruction::Br(0),
    Instruction::End,
    Instruction::I32Const(0),
];

fn run_with(body: &[Instruction<'_>], options: &RunOptions) -> Result<Outcome, Failure> {
    let bench = Bench::new();
    run(&bench.runtime, &bench.load(&command(body)), options)
}

/// Grows by so many pages of 64 KiB and traps if that is refused.
fn grow(pages: i32) -> [Instruction<'static>; 8] {
    [
        Instruction::I32Const(pages),
        Instruction::MemoryGrow(0),
        Instruction::I32Const(-1),
        Instruction::I32Eq,
        Instruction::If(BlockType::Empty),
        Instruction::Unreachable,
        Instruction::End,
        Instruction::I32Const(0),
    ]
}

#[test]
fn results_become_exit_codes() {
    for (result, exit_code) in [(0, 0), (1, 1)] {
        let outcome = run_with(&[Instruction::I32Const(result)], &RunOptions::default());
        assert_eq!(outcome.expect("ends").exit_code, exit_code);
    }
}

#[test]
fn a_trap_names_the_function() {
    let failure = run_with(&[Instruction::Unreachable], &RunOptions::default());
    let Err(Failure::Trap(trap)) = failure else { panic!("{failure:?}") };
    assert!(trap.message.contains("unreachable"), "{trap}");
    assert_eq!(trap.frames[0].function, "guest::busy");
}

#[test]
fn an_endless_guest_ends_with_its_time() {
    let timeout = Duration::from_millis(150);
    let limits = Limits { timeout: Some(timeout), ..Limits::default() };
    let begin = Instant::now();
    let failure = run_with(FOREVER, &RunOptions { limits, ..RunOptions::default() });
    assert!(matches!(failure, Err(Failure::Timeout(time)) if time == timeout), "{failure:?}");
    assert!(begin.elapsed() >= timeout);
}

#[test]
fn an_interrupt_stops_an_endless_guest() {
    let options = RunOptions::default();
    let interrupt = options.interrupt.clone();
    let raiser = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        interrupt.raise();
    });
    let failure = run_with(FOREVER, &options);
    raiser.join().expect("raised");
    assert!(matches!(failure, Err(Failure::Interrupted)), "{failure:?}");
}

#[test]
fn memory_within_the_limit_is_counted() {
    let limits = Limits { memory_bytes_max: Some(11 << 16), ..Limits::default() };
    let options = RunOptions { limits, ..RunOptions::default() };
    let outcome = run_with(&grow(10), &options);
    assert_eq!(outcome.expect("ends").exit_code, 0);
    assert_eq!(options.gauges.memory_bytes(), 11 << 16);
    assert_eq!(options.gauges.refusal(), None);
}

#[test]
fn a_guest_that_dies_of_the_memory_limit_says_so() {
    let limits = Limits { memory_bytes_max: Some(10 << 16), ..Limits::default() };
    let failure = run_with(&grow(10), &RunOptions { limits, ..RunOptions::default() });
    let Err(Failure::Memory(refusal)) = failure else { panic!("{failure:?}") };
    assert_eq!(refusal.asked_bytes, 10 << 16);
    assert_eq!(refusal.held_bytes, 1 << 16);
}

#[test]
fn an_unknown_import_is_named() {
    let bench = Bench::new();
    let program = bench.load(&demanding());
    assert_eq!(program.import_names(), ["wasi:cli/absent@0.2.0"]);
    let failure = run(&bench.runtime, &program, &RunOptions::default());
    let Err(Failure::Instantiate(text)) = failure else { panic!("{failure:?}") };
    assert!(text.contains("wasi:cli/absent"), "{text}");
}

#[test]
fn what_is_no_command_is_refused() {
    let bench = Bench::new();
    let failure = run(&bench.runtime, &bench.load(&useless()), &RunOptions::default());
    let Err(Failure::Export(text)) = failure else { panic!("{failure:?}") };
    assert!(text.contains("`wasi:cli/run`"), "{text}");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let directory = Directory { host: "no/such/folder".into(), guest: "x".into() };
    let grants = Grants { directories: vec![directory], ..Grants::default() };
    let options = RunOptions { grants, ..RunOptions::default() };
    let failure = run_with(&[Instruction::I32Const(0)], &options).expect_err("refused");
    assert!(failure.to_string().contains("`no/such/folder`"), "{failure}");
}
