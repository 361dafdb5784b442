use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::collective::Member;
use crate::failure::Stopped;
use crate::http::{Gate, Http};
use crate::output::{Output, Which};
use crate::{Failure, Gauges, GrantError, Interrupt, Refusal, RunOptions, Runtime};

/// Entries of all tables of a guest together; rustc's and other compilers' guests have thousands.
const TABLE_ELEMENTS_MAX: usize = 10_000_000;

/// Bounds for a guest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Bytes of all linear memories together, those of all instances.
    pub memory_bytes_max: Option<u64>,
    /// Time from its start.
    pub timeout: Option<Duration>,
    /// How long instances wait for one that does not come to an exchange. Without one, two
    /// minutes.
    pub stall: Option<Duration>,
}

/// State behind a guest's imports.
pub(crate) struct Guest {
    wasi: WasiCtx,
    http: Http,
    table: ResourceTable,
    meter: Meter,
    pub(crate) watch: Watch,
    pub(crate) member: Member,
}

/// What stops a guest.
#[derive(Clone)]
pub(crate) struct Watch {
    interrupt: Interrupt,
    deadline: Option<Instant>,
}

impl Watch {
    /// Why the guest should stop now.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        if self.interrupt.is_raised() {
            return Some(Stopped::Interrupted);
        }
        let is_over = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        is_over.then_some(Stopped::Timeout)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let Http { context, gate } = &mut self.http;
        WasiHttpCtxView { ctx: context, table: &mut self.table, hooks: gate }
    }
}

/// Counts linear memory and keeps it below the limit.
struct Meter {
    bytes_max: Option<u64>,
    /// Of all instances.
    bytes: Arc<AtomicU64>,
    last_growth: u64,
    gauges: Arc<Gauges>,
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Beyond its own maximum a memory cannot grow, whatever the limit; allow nothing to count.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let growth = desired.saturating_sub(current) as u64;
        let limit = self.bytes_max.unwrap_or(u64::MAX);
        let grown = |held: u64| held.checked_add(growth).filter(|next| *next <= limit);
        let order = Ordering::Relaxed;
        match self.bytes.try_update(order, order, grown) {
            Ok(held) => {
                self.last_growth = growth;
                self.gauges.set_memory_bytes(held + growth);
                Ok(true)
            }
            Err(held_bytes) => {
                self.gauges.refuse(Refusal { asked_bytes: growth, held_bytes, limit_bytes: limit });
                Ok(false)
            }
        }
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        let failed = std::mem::take(&mut self.last_growth);
        let held = self.bytes.fetch_sub(failed, Ordering::Relaxed);
        self.gauges.set_memory_bytes(held - failed);
        Ok(())
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

/// A store whose guest has the grants and nothing else, and stops by time or interrupt. Of several
/// instances, those beside rank 0 get directories and hosts alone, to read a model from, and say
/// nothing: the app is not theirs. `memory_bytes` counts what all of them hold.
pub(crate) fn store(
    runtime: &Runtime,
    program_name: &str,
    options: &RunOptions,
    member: Member,
    memory_bytes: &Arc<AtomicU64>,
) -> Result<Store<Guest>, Failure> {
    let RunOptions { grants, limits, gauges, .. } = options;
    let mut wasi = WasiCtx::builder();
    // Guests run on a thread of their own, so that waiting on it stops nobody else.
    wasi.allow_blocking_current_thread(true);
    let permissions = match member.rank {
        0 => {
            wasi.inherit_stdin()
                .stdout(Output::new(Which::Stdout, gauges.clone()))
                .stderr(Output::new(Which::Stderr, gauges.clone()))
                .arg(program_name)
                .args(&grants.arguments);
            for variable in &grants.variables {
                wasi.env(&variable.name, &variable.value);
            }
            FsPerms::ReadWrite
        }
        _ => FsPerms::ReadOnly,
    };
    for directory in &grants.directories {
        // wasmtime opens it too, but its error does not name it.
        std::fs::read_dir(&directory.host)
            .map_err(|source| GrantError::Directory { path: directory.host.clone(), source })?;
        wasi.preopened_dir(&directory.host, &directory.guest, permissions).map_err(|error| {
            GrantError::Directory {
                path: directory.host.clone(),
                source: std::io::Error::other(error.to_string()),
            }
        })?;
    }
    let meter = Meter {
        bytes_max: limits.memory_bytes_max,
        bytes: memory_bytes.clone(),
        last_growth: 0,
        gauges: gauges.clone(),
    };
    let deadline = limits.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let watch = Watch { interrupt: options.interrupt.clone(), deadline };
    let gate = Gate {
        hosts: grants.http_hosts.clone(),
        only_reads: member.rank != 0,
        watch: watch.clone(),
    };
    let (collective, rank) = (member.collective.clone(), member.rank);
    let guest = Guest {
        wasi: wasi.build(),
        http: Http { context: WasiHttpCtx::new(), gate },
        table: ResourceTable::new(),
        meter,
        watch: watch.clone(),
        member,
    };
    let mut store = Store::new(runtime.engine(), guest);
    store.limiter(|guest| &mut guest.meter);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| match watch.stopped() {
        Some(stopped) => Err(stopped.into()),
        None if collective.abandons(rank) => Err(Stopped::Abandoned.into()),
        None => Ok(UpdateDeadline::Continue(1)),
    });
    Ok(store)
}

/// All of WASI 0.2, and requests over HTTP; what they reach is up to the grants.
pub(crate) fn linker(runtime: &Runtime) -> Result<Linker<Guest>, Failure> {
    let mut linker = Linker::new(runtime.engine());
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)
        .and_then(|()| wasmtime_wasi_http::p2::add_only_http_to_linker_sync(&mut linker))
        .map_err(|error| Failure::Instantiate(format!("{error:#}")))?;
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(limit: u64) -> Meter {
        let bytes = Arc::default();
        Meter { bytes_max: Some(limit), bytes, last_growth: 0, gauges: Arc::default() }
    }

    #[test]
    fn the_limit_holds_for_all_memories_together() {
        let mut meter = meter(100);
        assert!(meter.memory_growing(0, 60, None).expect("decides"));
        assert!(!meter.memory_growing(0, 60, None).expect("decides"));
        assert!(meter.memory_growing(60, 100, None).expect("decides"));
        assert_eq!(meter.gauges.memory_bytes(), 100);
        let refusal = meter.gauges.refusal().expect("was refused");
        assert_eq!((refusal.asked_bytes, refusal.held_bytes, refusal.limit_bytes), (60, 60, 100));
    }

    #[test]
    fn the_limit_holds_for_all_instances_together() {
        let mut first = meter(100);
        let mut second = Meter { bytes: first.bytes.clone(), ..meter(100) };
        assert!(first.memory_growing(0, 60, None).expect("decides"));
        assert!(!second.memory_growing(0, 60, None).expect("decides"));
        assert!(second.memory_growing(0, 40, None).expect("decides"));
        assert_eq!(second.gauges.memory_bytes(), 100);
    }

    #[test]
    fn a_failed_growth_does_not_count() {
        let mut meter = meter(100);
        assert!(meter.memory_growing(0, 60, None).expect("decides"));
        meter.memory_grow_failed(wasmtime::Error::msg("no memory")).expect("goes on");
        assert_eq!(meter.gauges.memory_bytes(), 0);
        assert!(!meter.memory_growing(0, 60, Some(50)).expect("decides"));
        assert_eq!(meter.gauges.memory_bytes(), 0);
    }
}
