use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A growth of memory that the limit did not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Bytes that were asked for in addition.
    pub asked_bytes: u64,
    /// Bytes that all linear memories held together then.
    pub held_bytes: u64,
    /// The limit, in bytes.
    pub limit_bytes: u64,
}

type Hook = Box<dyn FnOnce() + Send>;

/// What can be watched of a guest from another thread while it runs.
#[derive(Default)]
pub struct Gauges {
    memory_bytes: AtomicU64,
    output_begun: AtomicBool,
    output: Mutex<Output>,
    refusal: Mutex<Option<Refusal>>,
}

#[derive(Default)]
struct Output {
    hook: Option<Hook>,
    first: Option<Instant>,
    error: Option<std::io::Error>,
}

impl Gauges {
    /// Gauges whose `before_output` is called once, right before the guest's first output: the
    /// moment to take a progress bar off the terminal.
    pub fn new(before_output: impl FnOnce() + Send + 'static) -> Self {
        let gauges = Gauges::default();
        lock(&gauges.output).hook = Some(Box::new(before_output));
        gauges
    }

    /// Bytes of all linear memories together. They never shrink, so this is the peak as well.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// The last growth that the limit refused.
    pub fn refusal(&self) -> Option<Refusal> {
        *lock(&self.refusal)
    }

    /// Time from `start` to the guest's first output.
    pub fn first_output_since(&self, start: Instant) -> Option<Duration> {
        lock(&self.output).first.map(|first| first.saturating_duration_since(start))
    }

    pub(crate) fn set_memory_bytes(&self, bytes: u64) {
        self.memory_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        *lock(&self.refusal) = Some(refusal);
    }

    pub(crate) fn begin_output(&self) {
        if self.output_begun.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut output = lock(&self.output);
        output.first = Some(Instant::now());
        if let Some(hook) = output.hook.take() {
            hook();
        }
    }

    pub(crate) fn output_failed(&self, error: std::io::Error) {
        lock(&self.output).error.get_or_insert(error);
    }

    pub(crate) fn has_output_failed(&self) -> bool {
        lock(&self.output).error.is_some()
    }

    pub(crate) fn take_output_error(&self) -> Option<std::io::Error> {
        lock(&self.output).error.take()
    }
}

/// A poisoned lock only means that another thread panicked; the plain values inside stay usable.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
