use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::sync::Command;

use crate::failure::classify;
use crate::instances::{Prepared, prepare};
use crate::runtime::TICK;
use crate::{Failure, Gauges, Grants, Interrupt, Limits, Program, Runtime};

/// Native stack of a guest's thread, in bytes. wasm itself may use wasmtime's default of 512 KiB.
pub(crate) const STACK_BYTES: usize = 8 << 20;

/// How long a guest that should stop may stay in a host call (waiting for input, for example)
/// before it is left behind.
pub(crate) const GRACE: Duration = Duration::from_millis(100);

/// How to run a command.
#[derive(Default, Clone)]
pub struct RunOptions {
    /// What it may use.
    pub grants: Grants,
    /// Bounds.
    pub limits: Limits,
    /// Stops it.
    pub interrupt: Interrupt,
    /// Watches it.
    pub gauges: Arc<Gauges>,
    /// Instances that compute together; 0 is as good as 1. More need a program that leaves its
    /// collective to the host.
    pub instances: u32,
}

/// How a command ended.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// 0 for success.
    pub exit_code: i32,
    /// Time until its first instruction.
    pub instantiate: Duration,
    /// Time from there to its end.
    pub run: Duration,
}

/// Runs a program's `wasi:cli/run` to its end.
///
/// # Errors
/// [`Failure`]; a guest's exit code is none. After [`Failure::Timeout`] and
/// [`Failure::Interrupted`] the guest's thread may still wait in a host call, so the process should
/// end soon.
pub fn run(runtime: &Runtime, program: &Program, options: &RunOptions) -> Result<Outcome, Failure> {
    if !program.exports("wasi:cli/run") {
        return Err(Failure::Export(format!(
            "`{}` is not a command: it does not export `wasi:cli/run`{}",
            program.path().display(),
            if program.exports("trefoil:llm/inference") {
                "; it is a composition without an app, so give it one: `trefoil chat`, or \
                 `trefoil compose --app`"
            } else if program.exports("wasi:http/incoming-handler") {
                "; it answers HTTP requests, for example in `wasmtime serve`"
            } else {
                ""
            }
        )));
    }
    let start = Instant::now();
    let name = program.path().file_name().unwrap_or_default().to_string_lossy();
    // The workers end when this function does.
    let Prepared { mut store, linker, workers: _workers } =
        prepare(runtime, program, &name, options)?;
    let component = program.component.clone();
    let (timeout, gauges) = (options.limits.timeout, options.gauges.clone());
    let (sender, receiver) = mpsc::sync_channel(1);
    let guest = move || {
        let fail = |error: &wasmtime::Error| classify(error, timeout, gauges.refusal());
        let prepared =
            Command::instantiate(&mut store, &component, &linker).map_err(|error| fail(&error));
        let outcome = prepared.and_then(|command| {
            let instantiate = start.elapsed();
            let result = command.wasi_cli_run().call_run(&mut store);
            let exit_code = match result {
                Ok(Ok(())) => 0,
                Ok(Err(())) => 1,
                Err(error) => match error.downcast_ref::<I32Exit>() {
                    Some(I32Exit(code)) => *code,
                    None => return Err(fail(&error)),
                },
            };
            Ok(Outcome { exit_code, instantiate, run: start.elapsed().saturating_sub(instantiate) })
        });
        // The receiver is gone if the guest was left behind.
        let _ = sender.send(outcome);
    };
    std::thread::Builder::new()
        .name("trefoil-guest".into())
        .stack_size(STACK_BYTES)
        .spawn(guest)
        .map_err(Failure::Thread)?;
    let outcome = wait(&receiver, start, options);
    // A closed pipe or a full disk makes most guests panic; the cause is what counts.
    match options.gauges.take_output_error() {
        Some(error) if !matches!(outcome, Err(Failure::Interrupted | Failure::Timeout(_))) => {
            Err(Failure::Output(error))
        }
        _ => outcome,
    }
}

fn wait(
    receiver: &mpsc::Receiver<Result<Outcome, Failure>>,
    start: Instant,
    options: &RunOptions,
) -> Result<Outcome, Failure> {
    let mut stop: Option<(Instant, Failure)> = None;
    loop {
        match receiver.recv_timeout(TICK) {
            Ok(outcome) => return outcome,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::Trap(crate::Trap {
                    message: "its host thread panicked; this is a defect of trefoil".into(),
                    frames: Vec::new(),
                }));
            }
        }
        stop = match stop {
            Some((since, failure)) if since.elapsed() >= GRACE => return Err(failure),
            None if options.interrupt.is_raised() => Some((Instant::now(), Failure::Interrupted)),
            None => options
                .limits
                .timeout
                .filter(|timeout| start.elapsed() >= *timeout)
                .map(|timeout| (Instant::now(), Failure::Timeout(timeout))),
            waiting => waiting,
        };
    }
}
