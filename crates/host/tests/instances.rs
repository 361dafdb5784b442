//! Several instances of a program: how they end together.

#![allow(missing_docs, unreachable_pub)]

mod support;

use std::time::Duration;

use support::{Bench, command, instance};
use trefoil_host::{Failure, Limits, Outcome, RunOptions, run};
use wasm_encoder::Instruction;

const FOREVER: &str = "(loop $again (br $again)) unreachable";

/// Takes part in exchanges until one fails.
const TAKE_PART: &str = "(loop $again (br_if $again (i32.eqz (call $all_gather)))) i32.const 0";

/// Waits for steps until rank 0 ends.
const WAIT: &str = "call $broadcast";

fn options(instances: u32) -> RunOptions {
    let limits = Limits { stall: Some(Duration::from_millis(200)), ..Limits::default() };
    RunOptions { instances, limits, ..RunOptions::default() }
}

fn run_both(run_body: &str, serve: &str, options: &RunOptions) -> Result<Outcome, Failure> {
    let bench = Bench::new();
    run(&bench.runtime, &bench.load(&instance(run_body, serve)), options)
}

#[track_caller]
fn exit_code(result: Result<Outcome, Failure>) -> i32 {
    result.expect("ends").exit_code
}

#[test]
fn instances_know_their_number_and_that_of_all() {
    // 1 for an error where something is not as it should be.
    let run = "(i32.or (i32.ne (call $size) (i32.const 3)) (call $rank))
               (i32.or (call $all_gather)) (i32.ne (i32.const 0))";
    let serve = "(if (i32.or (i32.ne (call $size) (i32.const 3)) (i32.eqz (call $rank)))
                     (then unreachable))
                 (drop (call $all_gather)) (call $broadcast)";
    assert_eq!(exit_code(run_both(run, serve, &options(3))), 0);
}

#[test]
fn one_instance_exchanges_with_itself() {
    for instances in [0, 1] {
        let run = "(i32.or (call $all_gather) (call $broadcast))";
        assert_eq!(exit_code(run_both(run, "unreachable", &options(instances))), 0);
    }
}

#[test]
fn waiting_instances_end_with_rank_0() {
    assert_eq!(exit_code(run_both("i32.const 0", WAIT, &options(4))), 0);
    let failure = run_both("unreachable", WAIT, &options(2));
    assert!(matches!(failure, Err(Failure::Trap(_))), "{failure:?}");
}

#[test]
fn an_instance_that_fails_or_leaves_is_an_error_of_every_exchange() {
    let leaves = "i32.const 0";
    for serve in ["unreachable", leaves, "(drop (call $all_gather)) unreachable"] {
        // Until an exchange fails; the one after fails as well.
        let run = "(loop $again (br_if $again (i32.eqz (call $all_gather)))) (call $all_gather)";
        for instances in [2, 3] {
            assert_eq!(exit_code(run_both(run, serve, &options(instances))), 1, "{serve}");
        }
    }
}

#[test]
fn an_instance_that_stalls_is_an_error_of_the_others() {
    assert_eq!(exit_code(run_both("call $all_gather", FOREVER, &options(2))), 1);
    assert_eq!(exit_code(run_both("call $all_gather", FOREVER, &options(3))), 1);
}

#[test]
fn rank_0_is_stopped_where_it_keeps_the_others_waiting_inside_a_step() {
    let failure = run_both(FOREVER, TAKE_PART, &options(2));
    let Err(Failure::Trap(trap)) = failure else { panic!("{failure:?}") };
    assert!(trap.message.contains("no longer wait"), "{trap}");
}

#[test]
fn rank_0_may_keep_the_others_waiting_between_steps() {
    // Some 10^8 rounds: longer than the limit.
    let run = "(local $n i32) (local.set $n (i32.const 400000000))
               (loop $again
                   (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                   (br_if $again (local.get $n)))
               (call $broadcast)";
    assert_eq!(exit_code(run_both(run, WAIT, &options(2))), 0);
}

#[test]
fn time_limit_and_interrupt_stop_all_instances() {
    for (run_body, serve) in
        [("call $all_gather", FOREVER), (FOREVER, WAIT), (FOREVER, TAKE_PART), (FOREVER, FOREVER)]
    {
        let timeout = Some(Duration::from_millis(100));
        let limits = Limits { timeout, ..Limits::default() };
        let failure = run_both(run_body, serve, &RunOptions { limits, ..options(2) });
        assert!(matches!(failure, Err(Failure::Timeout(_))), "{failure:?}");

        let options = RunOptions { limits: Limits::default(), ..options(2) };
        let interrupt = options.interrupt.clone();
        let raiser = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            interrupt.raise();
        });
        let failure = run_both(run_body, serve, &options);
        raiser.join().expect("raised");
        assert!(matches!(failure, Err(Failure::Interrupted)), "{failure:?}");
    }
}

#[test]
fn the_memory_limit_counts_all_instances() {
    let grow = "(if (i32.eq (memory.grow (i32.const 10)) (i32.const -1)) (then unreachable))";
    let serve = format!("{grow} {TAKE_PART}");
    let run = format!("{grow} (call $all_gather)");
    let with_limit = |pages: u64| {
        let memory_bytes_max = Some(pages << 16);
        let options = options(2);
        RunOptions { limits: Limits { memory_bytes_max, ..options.limits }, ..options }
    };
    let enough = with_limit(22);
    assert_eq!(exit_code(run_both(&run, &serve, &enough)), 0);
    assert_eq!(enough.gauges.memory_bytes(), 22 << 16);
    let short = with_limit(21);
    let ended = run_both(&run, &serve, &short);
    // Whoever comes second is refused: rank 0 itself, or the other, whose end it is told.
    assert!(
        matches!(&ended, Ok(Outcome { exit_code: 1, .. }) | Err(Failure::Memory(_))),
        "{ended:?}"
    );
    assert_eq!(short.gauges.refusal().map(|refusal| refusal.held_bytes), Some(12 << 16));
}

#[test]
fn a_program_that_keeps_its_collective_runs_in_one_instance() {
    let bench = Bench::new();
    let program = bench.load(&command(&[Instruction::I32Const(0)]));
    let failure = run(&bench.runtime, &program, &options(2));
    let Err(Failure::Export(text)) = failure else { panic!("{failure:?}") };
    assert!(text.contains("runs in one instance, not in 2"), "{text}");
    let program = bench.load(&instance("i32.const 0", WAIT));
    let failure = run(&bench.runtime, &program, &options(100_000));
    let Err(Failure::Export(text)) = failure else { panic!("{failure:?}") };
    assert!(text.contains("at most 256"), "{text}");
}
