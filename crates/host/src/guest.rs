use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

use crate::failure::Stopped;
use crate::output::{Output, Which};
use crate::{Failure, Gauges, GrantError, Grants, Interrupt, Refusal, Runtime};

/// Entries of all tables of a guest together; rustc's and other compilers' guests have thousands.
const TABLE_ELEMENTS_MAX: usize = 10_000_000;

/// Bounds for a guest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Bytes of all linear memories together.
    pub memory_bytes_max: Option<u64>,
    /// Time from its start.
    pub timeout: Option<Duration>,
}

/// State behind a guest's imports.
pub(crate) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    meter: Meter,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Counts linear memory and keeps it below the limit.
struct Meter {
    bytes_max: Option<u64>,
    bytes: u64,
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
        let next = self.bytes.saturating_add(growth);
        if let Some(limit) = self.bytes_max
            && next > limit
        {
            self.gauges.refuse(Refusal {
                asked_bytes: growth,
                held_bytes: self.bytes,
                limit_bytes: limit,
            });
            return Ok(false);
        }
        self.bytes = next;
        self.last_growth = growth;
        self.gauges.set_memory_bytes(next);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.bytes = self.bytes.saturating_sub(std::mem::take(&mut self.last_growth));
        self.gauges.set_memory_bytes(self.bytes);
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

/// A store whose guest has the grants and nothing else, and stops by time or interrupt.
pub(crate) fn store(
    runtime: &Runtime,
    program_name: &str,
    grants: &Grants,
    limits: Limits,
    interrupt: &Interrupt,
    gauges: &Arc<Gauges>,
) -> Result<Store<Guest>, Failure> {
    let mut wasi = WasiCtx::builder();
    // Guests run on a thread of their own, so that waiting on it stops nobody else.
    wasi.allow_blocking_current_thread(true);
    wasi.inherit_stdin()
        .stdout(Output::new(Which::Stdout, gauges.clone()))
        .stderr(Output::new(Which::Stderr, gauges.clone()))
        .arg(program_name)
        .args(&grants.arguments);
    for variable in &grants.variables {
        wasi.env(&variable.name, &variable.value);
    }
    for directory in &grants.directories {
        // wasmtime opens it too, but its error does not name it.
        std::fs::read_dir(&directory.host)
            .map_err(|source| GrantError::Directory { path: directory.host.clone(), source })?;
        wasi.preopened_dir(&directory.host, &directory.guest, FsPerms::ReadWrite).map_err(
            |error| GrantError::Directory {
                path: directory.host.clone(),
                source: std::io::Error::other(error.to_string()),
            },
        )?;
    }
    let meter = Meter {
        bytes_max: limits.memory_bytes_max,
        bytes: 0,
        last_growth: 0,
        gauges: gauges.clone(),
    };
    let guest = Guest { wasi: wasi.build(), table: ResourceTable::new(), meter };
    let mut store = Store::new(runtime.engine(), guest);
    store.limiter(|guest| &mut guest.meter);

    let interrupt = interrupt.clone();
    let deadline = limits.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        if interrupt.is_raised() {
            return Err(Stopped::Interrupted.into());
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Stopped::Timeout.into());
        }
        Ok(UpdateDeadline::Continue(1))
    });
    Ok(store)
}

/// All of WASI 0.2 but HTTP; what it reaches is up to the grants.
pub(crate) fn linker(runtime: &Runtime) -> Result<Linker<Guest>, Failure> {
    let mut linker = Linker::new(runtime.engine());
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)
        .map_err(|error| Failure::Instantiate(format!("{error:#}")))?;
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(limit: u64) -> Meter {
        Meter { bytes_max: Some(limit), bytes: 0, last_growth: 0, gauges: Arc::default() }
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
    fn a_failed_growth_does_not_count() {
        let mut meter = meter(100);
        assert!(meter.memory_growing(0, 60, None).expect("decides"));
        meter.memory_grow_failed(wasmtime::Error::msg("no memory")).expect("goes on");
        assert_eq!(meter.gauges.memory_bytes(), 0);
        assert!(!meter.memory_growing(0, 60, Some(50)).expect("decides"));
        assert_eq!(meter.gauges.memory_bytes(), 0);
    }
}
