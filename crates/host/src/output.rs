use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::Gauges;

/// The most that a guest may write at once, in bytes.
const WRITE_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone, Copy)]
pub(crate) enum Which {
    Stdout,
    Stderr,
}

/// A standard stream of the process for the guest. Remembers why a write failed: the guest's own
/// reaction is usually a panic, which would hide that a pipe was closed or a disk is full.
#[derive(Clone)]
pub(crate) struct Output {
    which: Which,
    gauges: Arc<Gauges>,
}

impl Output {
    pub(crate) fn new(which: Which, gauges: Arc<Gauges>) -> Self {
        Output { which, gauges }
    }

    fn put(&self, bytes: &[u8]) -> io::Result<()> {
        self.gauges.begin_output();
        match self.which {
            Which::Stdout => io::stdout().write_all(bytes),
            // What a guest says about its failed output is less than what this host knows.
            Which::Stderr if self.gauges.has_output_failed() => Ok(()),
            Which::Stderr => io::stderr().write_all(bytes),
        }
    }

    fn push(&self) -> io::Result<()> {
        match self.which {
            Which::Stdout => io::stdout().flush(),
            Which::Stderr => io::stderr().flush(),
        }
    }

    fn note(&self, result: io::Result<()>) -> StreamResult<()> {
        result.map_err(|error| {
            let copy = io::Error::new(error.kind(), error.to_string());
            if matches!(self.which, Which::Stdout) {
                self.gauges.output_failed(error);
            }
            match copy.kind() {
                io::ErrorKind::BrokenPipe => StreamError::Closed,
                _ => StreamError::LastOperationFailed(copy.into()),
            }
        })
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        match self.which {
            Which::Stdout => io::IsTerminal::is_terminal(&io::stdout()),
            Which::Stderr => io::IsTerminal::is_terminal(&io::stderr()),
        }
    }
}

impl StdoutStream for Output {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.note(self.put(&bytes))
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.note(self.push())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl tokio::io::AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.put(bytes).map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.push())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
