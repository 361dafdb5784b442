use std::ops::ControlFlow;

/// Told how far a long operation is, and asked whether to go on.
///
/// Closures `FnMut(u64, u64) -> ControlFlow<()>` implement it; `&mut ()` ignores everything.
pub trait Progress {
    /// `done` of `total` bytes are written (or read, while a model is hashed). Called about once
    /// per MiB. [`ControlFlow::Break`] cancels: the operation ends with an error and leaves no
    /// file behind.
    fn advance(&mut self, done: u64, total: u64) -> ControlFlow<()>;
}

impl<F: FnMut(u64, u64) -> ControlFlow<()>> Progress for F {
    fn advance(&mut self, done: u64, total: u64) -> ControlFlow<()> {
        self(done, total)
    }
}

impl Progress for () {
    fn advance(&mut self, _: u64, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
