//! What all commands share.

use std::cell::OnceCell;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context as _, Result};
use trefoil_host::{Cache, Interrupt, Phase, Program, Runtime};

use crate::exit::{self, OutputFailed};
use crate::terminal::Terminal;

/// How long commands have to clean up after Ctrl-C before the process ends regardless: compiling
/// cannot be interrupted otherwise.
const CLEANUP: Duration = Duration::from_millis(400);

pub(crate) struct Session {
    pub(crate) terminal: Terminal,
    pub(crate) interrupt: Interrupt,
    cache: OnceCell<Cache>,
    runtime: OnceCell<Runtime>,
}

impl Session {
    pub(crate) fn new(terminal: Terminal) -> Self {
        Session {
            terminal,
            interrupt: Interrupt::new(),
            cache: OnceCell::new(),
            runtime: OnceCell::new(),
        }
    }

    /// Ctrl-C (and SIGTERM, SIGHUP) stop what runs, then the process.
    pub(crate) fn watch_interrupts(&self) -> Result<()> {
        let (interrupt, terminal) = (self.interrupt.clone(), self.terminal.clone());
        ctrlc::set_handler(move || {
            interrupt.raise();
            std::thread::sleep(CLEANUP);
            terminal.clear();
            std::process::exit(exit::INTERRUPTED);
        })
        .context("cannot watch for Ctrl-C")
    }

    pub(crate) fn cache(&self) -> Result<&Cache> {
        if let Some(cache) = self.cache.get() {
            return Ok(cache);
        }
        let cache = Cache::open(Cache::default_root()?)?;
        Ok(self.cache.get_or_init(|| cache))
    }

    pub(crate) fn runtime(&self) -> Result<&Runtime> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let runtime = Runtime::new()?;
        Ok(self.runtime.get_or_init(|| runtime))
    }

    /// Loads a component, with progress. Without a usable cache it is compiled every time.
    pub(crate) fn load(&self, path: &std::path::Path) -> Result<Program> {
        let cache = match self.cache() {
            Ok(cache) => Some(cache),
            Err(error) => {
                self.terminal.note(&format!("compiling without a cache: {error:#}"));
                None
            }
        };
        let mut bar = None;
        let mut progress = |phase: Phase| match phase {
            Phase::Hashing { done_bytes, total_bytes } => bar
                .get_or_insert_with(|| self.terminal.bar("reading", total_bytes))
                .set_position(done_bytes),
            Phase::Compiling { total_bytes } => {
                let what = format!("compiling {} MB once", total_bytes.div_ceil(1_000_000));
                replace(&mut bar, self.terminal.spinner(&what));
            }
            Phase::Saving => replace(&mut bar, self.terminal.spinner("saving native code")),
        };
        let program = Program::load(self.runtime()?, path, cache, &self.interrupt, &mut progress);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let program = program?;
        if let Some(problem) = program.cache_problem() {
            let problem = anyhow::anyhow!("{problem}");
            self.terminal.note(&format!("native code was not kept for the next start: {problem}"));
        }
        Ok(program)
    }
}

fn replace(bar: &mut Option<indicatif::ProgressBar>, next: indicatif::ProgressBar) {
    if let Some(old) = bar.replace(next) {
        old.finish_and_clear();
    }
}

/// Writes to standard output, at once.
pub(crate) fn print(bytes: &[u8]) -> Result<(), OutputFailed> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(OutputFailed)
}

/// Writes a value as one line of JSON.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), OutputFailed> {
    print(format!("{value}\n").as_bytes())
}
