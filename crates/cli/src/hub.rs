//! Models by name: found in the cache, or brought there.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use trefoil_hub::{
    Cancelled, Digest, Event, Hub, Models, ModelsError, Progress, PullError, Pulled, entry,
};

use crate::session::Session;
use crate::terminal::Terminal;

/// The cache of models.
pub(crate) fn models(session: &Session) -> Result<Models> {
    Ok(Models::new(session.cache()?.models()))
}

/// The path of a file, or of a model's first file in the cache.
pub(crate) fn file_or_model(text: &str, session: &Session) -> Result<PathBuf> {
    let path = Path::new(text);
    if path.exists() {
        return Ok(path.into());
    }
    // A path that leads nowhere is reported as such by whoever reads it.
    let extension = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
    let is_path = text.contains(['/', '\\']) || matches!(extension, "gguf" | "wasm");
    match models(session).and_then(|models| Ok(models.open(text)?)) {
        Err(error) if is_path => match error.downcast_ref() {
            Some(ModelsError::Absent { .. } | ModelsError::Reference(_)) => Err(error),
            Some(ModelsError::Ambiguous { .. }) => Err(error),
            _ => Ok(path.into()),
        },
        found => {
            found.with_context(|| format!("`{text}` is neither a file nor a model in the cache"))
        }
    }
}

/// Pulls a model that is not in the cache, where somebody sees it happen and can end it. Programs
/// should not download gigabytes because a name was passed to them; they get an error that says
/// what to do.
pub(crate) fn pull_if_absent(text: &str, session: &Session) -> Result<()> {
    if Path::new(text).exists() || !io::stderr().is_terminal() {
        return Ok(());
    }
    let Ok(models) = models(session) else { return Ok(()) };
    match models.open(text) {
        Err(ModelsError::Absent { .. }) => pull(text, &Wanted::default(), session).map(|_| ()),
        _ => Ok(()),
    }
}

/// How a model is to be pulled.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) sha256: Option<Digest>,
    pub(crate) allow_http: bool,
}

/// Pulls a model, with progress and notes.
pub(crate) fn pull(name: &str, wanted: &Wanted, session: &Session) -> Result<Pulled> {
    let begin = Instant::now();
    let interrupt = session.interrupt.clone();
    let cancelled: Cancelled = Arc::new(move || interrupt.is_raised());
    let mut hub = Hub::from_environment(cancelled)?;
    hub.allow_http = wanted.allow_http;
    let models = models(session)?;
    let mut transfer = Transfer { terminal: &session.terminal, name, bar: None, done: 0 };
    let pulled = hub.pull(&models, name, wanted.sha256.as_ref(), &mut transfer);
    transfer.end();
    let done = transfer.done;
    let pulled = match pulled {
        Ok(pulled) => pulled,
        Err(error) if error.is_cancelled() => {
            let kept =
                if done > 0 { format!(" {} of it are kept;", mb(done)) } else { String::new() };
            session
                .terminal
                .note(&format!("interrupted;{kept} `trefoil pull {name}` goes on from there"));
            return Err(error.into());
        }
        // What is wrong with the name needs no more words.
        Err(error @ (PullError::Reference(_) | PullError::Models(_))) => return Err(error.into()),
        Err(error) => return Err(error).with_context(|| format!("cannot pull `{name}`")),
    };
    let size: u64 = pulled.files.iter().map(|file| file.size).sum();
    let license = pulled.license.as_ref().map(|it| format!(", licence: {it}")).unwrap_or_default();
    session.terminal.note(&match pulled.received {
        0 => format!("`{name}` is in the cache: {}{license}", mb(size)),
        _ => format!(
            "`{name}` is in the cache now: {} in {:.0} s{license}",
            mb(size),
            begin.elapsed().as_secs_f64()
        ),
    });
    if entry(name).is_some_and(|entry| !entry.is_tried()) {
        session
            .terminal
            .note(&format!("`{name}` was never tried with Trefoil; tell us how it goes"));
    }
    Ok(pulled)
}

/// Bytes, for people.
pub(crate) fn mb(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

/// The bar of a pull.
struct Transfer<'a> {
    terminal: &'a Terminal,
    name: &'a str,
    bar: Option<(&'static str, ProgressBar)>,
    /// Bytes of the file that are there.
    done: u64,
}

impl Transfer<'_> {
    fn end(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// The bar of this kind; another one ends.
    fn bar(
        &mut self,
        kind: &'static str,
        make: impl FnOnce(&Terminal) -> ProgressBar,
    ) -> &ProgressBar {
        if self.bar.as_ref().is_none_or(|(there, _)| *there != kind) {
            self.end();
        }
        let terminal = self.terminal;
        &self.bar.get_or_insert_with(|| (kind, make(terminal))).1
    }
}

impl Progress for Transfer<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Asking { host } => {
                let what = format!("asking {host}");
                self.bar("asking", |terminal| terminal.spinner(&what));
            }
            Event::Waiting => {
                self.end();
                self.terminal
                    .note(&format!("another process pulls `{}`: waiting for it", self.name));
            }
            Event::Begin { file, number, count, size, resumed } => {
                self.end();
                self.done = resumed;
                // Where no bar moves, minutes of silence would look like a failure.
                if !self.terminal.shows_bars() {
                    let of =
                        if count > 1 { format!(" ({number} of {count})") } else { String::new() };
                    let size = size.map(|size| format!(", {}", mb(size))).unwrap_or_default();
                    let from = if resumed > 0 {
                        format!(", {} are here", mb(resumed))
                    } else {
                        String::new()
                    };
                    self.terminal.note(&format!("pulling {file}{of}{size}{from}"));
                }
            }
            Event::Advance { done, total } => {
                self.done = done;
                let name = self.name;
                self.bar("pulling", |terminal| terminal.transfer(name, done, total))
                    .set_position(done);
            }
            Event::Checking { done, total, .. } => {
                self.bar("checking", |terminal| terminal.bar("checking", total)).set_position(done);
            }
            Event::Retry { reason, wait } => {
                self.end();
                let wait = wait.as_secs_f64();
                self.terminal.note(&format!("{reason}; trying again in {wait:.1} s"));
            }
            Event::Restart { reason } => {
                self.end();
                self.terminal.note(&format!("beginning anew: {reason}"));
            }
            _ => {}
        }
    }
}
