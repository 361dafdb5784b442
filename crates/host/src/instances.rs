//! The instances of a program: rank 0 is called by whoever runs it, the others serve on threads.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use wasmtime::Store;
use wasmtime::component::{HasSelf, Linker};

use crate::collective::{Collective, Kind, Lost, Member, STALL};
use crate::failure::classify;
use crate::guest::{self, Guest};
use crate::run::{GRACE, STACK_BYTES};
use crate::{Failure, Program, RunOptions, Runtime};

mod bindings {
    #![allow(missing_docs, unreachable_pub)]
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "instance",
        imports: { default: trappable },
        with: { "trefoil:llm/types": crate::inference::types },
    });
}

use bindings::trefoil::llm::collective as wit;
use wit::Error;

/// Most instances of a program.
pub const INSTANCES_MAX: u32 = 256;

/// A program made ready: rank 0 in its store, and the others at work.
pub(crate) struct Prepared {
    pub(crate) store: Store<Guest>,
    pub(crate) linker: Linker<Guest>,
    pub(crate) workers: Workers,
}

/// Makes all instances of a program. Those beside rank 0 begin to serve.
pub(crate) fn prepare(
    runtime: &Runtime,
    program: &Program,
    program_name: &str,
    options: &RunOptions,
) -> Result<Prepared, Failure> {
    let size = options.instances.max(1);
    check(program, size)?;
    let mut linker = guest::linker(runtime)?;
    if program.imports("trefoil:llm/collective") {
        let refused = |error| Failure::Instantiate(format!("{error:#}"));
        crate::inference::types::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)
            .and_then(|()| wit::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest))
            .map_err(refused)?;
    }
    linker
        .instantiate_pre(&program.component)
        .map_err(|error| Failure::Instantiate(format!("{error:#}")))?;
    let stall = options.limits.stall.unwrap_or(STALL);
    let collective = Collective::new(size as usize, stall);
    let memory_bytes = Arc::new(AtomicU64::new(0));
    let store = |rank| {
        let member = Member::new(collective.clone(), rank);
        guest::store(runtime, program_name, options, member, &memory_bytes)
    };
    let first = store(0)?;
    let (sender, ended) = mpsc::channel();
    let workers = Workers { collective: collective.clone(), ended };
    for rank in 1..size as usize {
        let worker = Worker {
            store: store(rank)?,
            linker: linker.clone(),
            program: program.component.clone(),
            options: options.clone(),
            leave: Leave { collective: collective.clone(), rank },
        };
        let sender = sender.clone();
        std::thread::Builder::new()
            .name(format!("trefoil-rank-{rank}"))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                worker.serve();
                // Dropped at the end of the thread: when all are, the workers have ended.
                drop(sender);
            })
            .map_err(Failure::Thread)?;
    }
    Ok(Prepared { store: first, linker, workers })
}

/// Whether a program can run in so many instances.
fn check(program: &Program, size: u32) -> Result<(), Failure> {
    let name = program.path().display();
    if size > INSTANCES_MAX {
        return Err(Failure::Export(format!(
            "{size} instances of `{name}` are too many; at most {INSTANCES_MAX} compute together"
        )));
    }
    if size == 1 || program.can_run_in_several_instances() {
        return Ok(());
    }
    Err(Failure::Export(format!(
        "`{name}` runs in one instance, not in {size}: it does not leave its \
         `trefoil:llm/collective` to the host, or its engine exports no `trefoil:llm/worker`; \
         recompose it without a collective, or take another engine"
    )))
}

/// The instances beside rank 0. Dropping it ends them.
pub(crate) struct Workers {
    collective: Arc<Collective>,
    /// Disconnected when all have ended.
    ended: mpsc::Receiver<std::convert::Infallible>,
}

impl Workers {
    /// Rank 0 has failed; the others shall end with an error.
    pub(crate) fn fail(&self, cause: &Failure) {
        self.collective.fail(0, &cause.to_string());
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.collective.close();
        // One that waits in a host call is left behind.
        let begin = Instant::now();
        while begin.elapsed() < GRACE {
            match self.ended.recv_timeout(GRACE) {
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(never) => match never {},
            }
        }
    }
}

/// An instance beside rank 0.
struct Worker {
    store: Store<Guest>,
    linker: Linker<Guest>,
    program: wasmtime::component::Component,
    options: RunOptions,
    leave: Leave,
}

impl Worker {
    fn serve(mut self) {
        let served = bindings::Instance::instantiate(&mut self.store, &self.program, &self.linker)
            .and_then(|instance| instance.trefoil_llm_worker().call_serve(&mut self.store));
        let cause = match served {
            Ok(Ok(())) => "it ended before rank 0".to_owned(),
            Ok(Err(error)) => crate::inference::error(error).to_string(),
            Err(error) => {
                let RunOptions { limits, gauges, .. } = &self.options;
                classify(&error, limits.timeout, gauges.refusal()).to_string()
            }
        };
        // Where rank 0 has ended, or another has failed before, this says nothing new.
        self.leave.collective.fail(self.leave.rank, &cause);
    }
}

/// Tells the others if the thread panics.
struct Leave {
    collective: Arc<Collective>,
    rank: usize,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let cause = "its host thread panicked; this is a defect of trefoil";
        self.collective.fail(self.rank, cause);
    }
}

impl Guest {
    fn exchange(&mut self, kind: Kind, bytes: Vec<u8>) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let failed = |message| Error::Other(wit_other(message));
        let watch = &self.watch;
        match self.member.exchange(kind, bytes, &|| watch.stopped()) {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(Lost::Closed) if kind == Kind::Broadcast => Ok(Ok(Vec::new())),
            Err(Lost::Closed) => Ok(Err(failed("rank 0 has ended".into()))),
            // When time is over or Ctrl-C was pressed, the first instance to notice has failed.
            Err(Lost::Failed(message)) => match watch.stopped() {
                Some(stopped) => Err(stopped.into()),
                None => Ok(Err(failed(message))),
            },
            Err(Lost::Stopped(stopped)) => Err(stopped.into()),
        }
    }
}

fn wit_other(message: String) -> crate::inference::types::OtherError {
    crate::inference::types::OtherError { code: "instance".into(), message }
}

impl wit::Host for Guest {
    fn rank(&mut self) -> wasmtime::Result<u32> {
        Ok(self.member.rank as u32)
    }

    fn size(&mut self) -> wasmtime::Result<u32> {
        Ok(self.member.collective.size() as u32)
    }

    fn broadcast(&mut self, bytes: Vec<u8>) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        self.exchange(Kind::Broadcast, bytes)
    }

    fn all_gather(&mut self, part: Vec<u8>) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        self.exchange(Kind::AllGather, part)
    }

    fn gather(&mut self, part: Vec<u8>) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        self.exchange(Kind::Gather, part)
    }
}

impl crate::inference::types::Host for Guest {}
