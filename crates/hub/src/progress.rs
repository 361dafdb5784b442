//! What a pull tells while it works.

use std::sync::Arc;
use std::time::Duration;

/// Whether the user wants to end; asked from several threads.
pub type Cancelled = Arc<dyn Fn() -> bool + Send + Sync>;

/// Something that happens during a pull.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A server is asked what there is.
    Asking {
        /// Its host.
        host: &'a str,
    },
    /// Another process pulls the same model: we wait for it.
    Waiting,
    /// A file begins.
    Begin {
        /// Its name.
        file: &'a str,
        /// From 1 on.
        number: usize,
        /// Files in all.
        count: usize,
        /// Bytes in all, if known yet.
        size: Option<u64>,
        /// Bytes that are there from an earlier attempt.
        resumed: u64,
    },
    /// Bytes are there.
    Advance {
        /// Of the file, those of earlier attempts included.
        done: u64,
        /// The file's size.
        total: u64,
    },
    /// What is there is read again, to check it or to go on with it.
    Checking {
        /// The file's name.
        file: &'a str,
        /// Bytes read.
        done: u64,
        /// Bytes to read.
        total: u64,
    },
    /// Something failed and is tried again.
    Retry {
        /// What failed.
        reason: &'a str,
        /// The time until then.
        wait: Duration,
    },
    /// What is there cannot be continued, so that the file begins anew.
    Restart {
        /// Why.
        reason: &'a str,
    },
}

/// Takes note of what happens.
pub trait Progress {
    /// Called for each event, on the thread that pulls.
    fn event(&mut self, event: Event<'_>);
}

/// Nobody looks.
impl Progress for () {
    fn event(&mut self, _: Event<'_>) {}
}
