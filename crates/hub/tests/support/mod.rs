//! A cache and a hub for each test, and what a pull tells.

#![allow(dead_code, unreachable_pub)] // Each test file uses a part.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use trefoil_fixtures::{WebServer, gguf_like as content};
use trefoil_hub::{Digest, Event, Hub, Models, Progress, PullError, Pulled, Retry};

/// A cache and a hub for one test.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub hub: Hub,
    pub cancelled: Arc<AtomicBool>,
}

/// What was told, in words.
#[derive(Default)]
pub struct Told {
    pub words: Vec<String>,
    /// Bytes from which on the pull is cancelled.
    pub cancel_at: Option<(u64, Arc<AtomicBool>)>,
}

impl Progress for Told {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Advance { done, .. } => {
                if let Some((at, cancelled)) = &self.cancel_at
                    && done >= *at
                {
                    cancelled.store(true, Ordering::SeqCst);
                }
            }
            Event::Checking { .. } => {}
            Event::Begin { file, resumed, .. } => {
                self.words.push(format!("begin {file} at {resumed}"));
            }
            Event::Retry { reason, wait } => {
                self.words.push(format!("retry after {} ms: {reason}", wait.as_millis()));
            }
            Event::Restart { reason } => self.words.push(format!("restart: {reason}")),
            Event::Waiting => self.words.push("waiting".into()),
            other => self.words.push(format!("{other:?}")),
        }
    }
}

impl Place {
    pub fn new(server: &WebServer) -> Self {
        let cancelled = Arc::new(AtomicBool::new(false));
        let flag = cancelled.clone();
        let mut hub = Hub::new(&server.url(""), Arc::new(move || flag.load(Ordering::SeqCst)))
            .expect("an address");
        hub.retry = Retry {
            attempts_max: 4,
            first_wait: Duration::from_millis(1),
            wait_max: Duration::from_millis(4),
            asked_wait_max: Duration::from_secs(2),
        };
        Place { folder: tempfile::tempdir().expect("a folder"), hub, cancelled }
    }

    pub fn models(&self) -> Models {
        Models::new(self.folder.path())
    }

    pub fn pull(&self, name: &str) -> Result<Pulled, PullError> {
        self.pull_told(name, &mut Told::default())
    }

    pub fn pull_told(&self, name: &str, told: &mut Told) -> Result<Pulled, PullError> {
        self.hub.pull(&self.models(), name, None, told)
    }

    pub fn pull_as(&self, name: &str, content: &[u8]) -> Result<Pulled, PullError> {
        self.hub.pull(&self.models(), name, Some(&Digest::of(content)), &mut Told::default())
    }

    /// All files, from the cache's folder on.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("is there") {
                let path = entry.expect("readable").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push(path),
                }
            }
        }
        let name = |path: &PathBuf| {
            let path = path.strip_prefix(self.folder.path()).expect("inside");
            path.to_str().expect("is text").to_owned()
        };
        let mut names: Vec<_> = found.iter().map(name).collect();
        names.sort();
        names
    }
}

/// The error with its causes.
pub fn words(error: &PullError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// That it failed, and that its words have all these pieces.
pub fn failed(result: Result<Pulled, PullError>, pieces: &[&str]) {
    let text = words(&result.expect_err("fails"));
    for piece in pieces {
        assert!(text.contains(piece), "`{piece}` is not in: {text}");
    }
}
