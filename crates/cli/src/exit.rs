//! How the command ends: exit codes, and errors in words.

use std::fmt::Write as _;
use std::io;

use trefoil_compose::{ComposeError, OutputError, PackError};
use trefoil_host::{CacheError, CallError, Failure, LoadError};
use trefoil_hub::{ModelsError, PullError};
use trefoil_web::WebError;

use crate::session::Session;

pub(crate) const OK: i32 = 0;
pub(crate) const FAILED: i32 = 1;
pub(crate) const USAGE: i32 = 2;
pub(crate) const TIMEOUT: i32 = 124;
pub(crate) const INTERRUPTED: i32 = 130;
/// As a shell says of a process that aborted: 128 + SIGABRT.
pub(crate) const TRAPPED: i32 = 134;

pub(crate) const HELP: &str = "\
Exit codes:
  0    success
  1    failure; standard error says what, where and what to do
  2    wrong usage
  124  --timeout is over
  130  Ctrl-C
  134  the guest trapped
  Otherwise the exit code of the guest that `run` and `chat` execute.

Environment:
  TREFOIL_CACHE  folder for native code, compositions and models
                 [default: trefoil in the user's cache folder]
  HF_TOKEN       token of Hugging Face, for `pull`; sent to the hub alone
  HF_ENDPOINT    address of another hub that speaks its protocol
  HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE
                 proxies, and certificates in place of the built-in ones, for `pull`
  NO_COLOR       no colours";

/// Wrong usage that only shows after parsing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Standard output failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(crate) struct OutputFailed(#[from] pub(crate) io::Error);

/// Prints an error with its causes and returns the exit code for it.
pub(crate) fn report(error: &anyhow::Error, session: &Session) -> i32 {
    let code = code_of(error, session);
    // Whoever read the output has left, or Ctrl-C was pressed: there is nobody to tell.
    if code != OK && code != INTERRUPTED {
        session.terminal.error(&words(error));
    }
    code
}

fn code_of(error: &anyhow::Error, session: &Session) -> i32 {
    if session.interrupt.is_raised() {
        return INTERRUPTED;
    }
    for cause in error.chain() {
        let failure = match cause.downcast_ref::<CallError>() {
            Some(CallError::Failure(failure)) => Some(failure),
            _ => cause.downcast_ref::<Failure>(),
        };
        match failure {
            Some(Failure::Timeout(_)) => return TIMEOUT,
            Some(Failure::Interrupted) => return INTERRUPTED,
            Some(Failure::Trap(_) | Failure::Memory(_)) => return TRAPPED,
            Some(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return OK,
            _ => {}
        }
        if let Some(OutputFailed(error)) = cause.downcast_ref()
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return OK;
        }
        let cancelled = matches!(cause.downcast_ref(), Some(OutputError::Cancelled))
            || matches!(cause.downcast_ref(), Some(PackError::Output(OutputError::Cancelled)))
            || matches!(cause.downcast_ref(), Some(ComposeError::Output(OutputError::Cancelled)))
            || matches!(cause.downcast_ref(), Some(WebError::Output(OutputError::Cancelled)))
            || matches!(cause.downcast_ref(), Some(CacheError::Interrupted))
            || matches!(cause.downcast_ref(), Some(LoadError::Interrupted))
            || matches!(cause.downcast_ref(), Some(ModelsError::Cancelled))
            || cause.downcast_ref().is_some_and(PullError::is_cancelled);
        if cancelled {
            return INTERRUPTED;
        }
        let wrong_name = matches!(cause.downcast_ref(), Some(PullError::Reference(_)))
            || matches!(cause.downcast_ref(), Some(ModelsError::Reference(_)));
        if wrong_name || cause.downcast_ref::<UsageError>().is_some() {
            return USAGE;
        }
    }
    FAILED
}

/// The error and its causes on lines of their own; causes that an error's text already contains
/// are left out.
fn words(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            let _ = write!(text, "\n  because: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn causes_are_told_once() {
        let cause = io::Error::other("no space");
        let error = Err::<(), _>(cause).context("cannot write `a`").expect_err("an error");
        assert_eq!(words(&error), "cannot write `a`\n  because: no space");
        let told = anyhow::Error::from(io::Error::other("b")).context("a: b");
        assert_eq!(words(&told), "a: b");
    }
}
