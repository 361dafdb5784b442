use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::{GrantError, Refusal};

/// Why a guest did not come to its end.
#[derive(Debug, Error)]
pub enum Failure {
    /// [`crate::Interrupt`] was raised.
    #[error("interrupted")]
    Interrupted,
    /// The time is over.
    #[error("the time limit of {} s is over (`--timeout`)", .0.as_secs_f64())]
    Timeout(Duration),
    /// The guest wanted more memory than allowed and gave up.
    #[error("{0}")]
    Memory(Refusal),
    /// The guest trapped.
    #[error("{0}")]
    Trap(Trap),
    /// Standard output could not be written.
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
    /// Something cannot be granted.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The component wants something that this host does not offer, or does not fit.
    #[error("the component cannot be instantiated: {0}")]
    Instantiate(String),
    /// The component does not export what is to be called.
    #[error("{0}")]
    Export(String),
    /// A thread could not be started.
    #[error("cannot start a thread for the guest")]
    Thread(#[source] std::io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the guest asked for {} MiB beyond the {} MiB that it holds, more than the limit of \
             {} MiB allows; raise the limit (`--memory-max`)",
            mib(self.asked_bytes),
            mib(self.held_bytes),
            mib(self.limit_bytes)
        )
    }
}

/// Whole MiB, rounded up.
fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// A trap, with the functions that were active.
#[derive(Debug, Clone)]
pub struct Trap {
    /// What happened.
    pub message: String,
    /// The innermost function first; not more than [`FRAMES_MAX`].
    pub frames: Vec<Frame>,
}

/// An active function.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its name, demangled, or its number.
    pub function: String,
    /// The core module, where it has a name.
    pub module: Option<String>,
}

/// Frames of a backtrace that are worth showing.
pub(crate) const FRAMES_MAX: usize = 12;

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the guest failed: {}", self.message)?;
        for frame in &self.frames {
            write!(f, "\n    in {}", frame.function)?;
            if let Some(module) = &frame.module {
                write!(f, " ({module})")?;
            }
        }
        Ok(())
    }
}

/// Why the epoch callback stopped a guest.
#[derive(Debug, Clone, Copy, Error)]
pub(crate) enum Stopped {
    #[error("interrupted")]
    Interrupted,
    #[error("out of time")]
    Timeout,
    /// Of several instances: the others have ended, or wait for it no longer.
    #[error("the other instances no longer wait for it")]
    Abandoned,
}

/// Turns wasmtime's error about a call into what happened.
pub(crate) fn classify(
    error: &wasmtime::Error,
    timeout: Option<Duration>,
    refusal: Option<Refusal>,
) -> Failure {
    match error.downcast_ref::<Stopped>() {
        Some(Stopped::Interrupted) => return Failure::Interrupted,
        Some(Stopped::Timeout) => return Failure::Timeout(timeout.unwrap_or_default()),
        Some(Stopped::Abandoned) | None => {}
    }
    // A guest that was refused memory aborts on its own terms; the refusal is the cause.
    if let Some(refusal) = refusal {
        return Failure::Memory(refusal);
    }
    let message = match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => explain(*trap),
        None => error.root_cause().to_string(),
    };
    let frames = error
        .downcast_ref::<wasmtime::WasmBacktrace>()
        .map(|backtrace| backtrace.frames().iter().take(FRAMES_MAX).map(frame).collect())
        .unwrap_or_default();
    Failure::Trap(Trap { message, frames })
}

fn explain(trap: wasmtime::Trap) -> String {
    match trap {
        wasmtime::Trap::UnreachableCodeReached => {
            "it reached `unreachable` (a panic or an abort)".into()
        }
        wasmtime::Trap::StackOverflow => "its stack overflowed".into(),
        other => other.to_string(),
    }
}

fn frame(info: &wasmtime::FrameInfo) -> Frame {
    let function = match info.func_name() {
        // The alternate form leaves out the hash.
        Some(name) => format!("{:#}", rustc_demangle::demangle(name)),
        None => format!("function {}", info.func_index()),
    };
    Frame { function, module: info.module().name().map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_sizes_and_the_cure() {
        let refusal =
            Refusal { asked_bytes: 32 << 20, held_bytes: 500 << 20, limit_bytes: 512 << 20 };
        let text = refusal.to_string();
        for part in ["32 MiB", "500 MiB", "512 MiB", "`--memory-max`"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_refusal_explains_a_trap() {
        let refusal = Refusal { asked_bytes: 1, held_bytes: 2, limit_bytes: 3 };
        let error = wasmtime::Error::from(wasmtime::Trap::UnreachableCodeReached);
        assert!(matches!(classify(&error, None, Some(refusal)), Failure::Memory(_)));
        assert!(matches!(classify(&error, None, None), Failure::Trap(_)));
    }
}
