//! What all commands share.

use std::cell::OnceCell;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
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
    on_interrupt: Arc<Mutex<Option<OnInterrupt>>>,
}

/// Called with how many times Ctrl-C was pressed.
type OnInterrupt = Box<dyn FnMut(u32) + Send>;

impl Session {
    pub(crate) fn new(terminal: Terminal) -> Self {
        Session {
            terminal,
            interrupt: Interrupt::new(),
            cache: OnceCell::new(),
            runtime: OnceCell::new(),
            on_interrupt: Arc::default(),
        }
    }

    /// Ctrl-C (and SIGTERM, SIGHUP) stop what runs, then the process, unless a command has
    /// [`Session::on_interrupt`].
    pub(crate) fn watch_interrupts(&self) -> Result<()> {
        let (interrupt, terminal) = (self.interrupt.clone(), self.terminal.clone());
        let on_interrupt = self.on_interrupt.clone();
        let mut times = 0;
        ctrlc::set_handler(move || {
            let mut handler = on_interrupt.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(handler) = handler.as_mut() {
                times += 1;
                return handler(times);
            }
            interrupt.raise();
            std::thread::sleep(CLEANUP);
            terminal.clear();
            std::process::exit(exit::INTERRUPTED);
        })
        .context("cannot watch for Ctrl-C")
    }

    /// Lets a command end in its own way.
    pub(crate) fn on_interrupt(&self, handler: impl FnMut(u32) + Send + 'static) {
        let mut place = self.on_interrupt.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(Box::new(handler));
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
