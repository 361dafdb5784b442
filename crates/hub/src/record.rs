//! What is remembered of a model beside its files.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::lock::with_suffix;
use crate::reference::is_gguf_path;

/// A record longer than this is not ours.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// The version of records that we write and read.
const VERSION: u32 = 1;

/// A model that was pulled. Lies beside the first file as `FILE.json`; the time of its last change
/// is when the model was used last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// The canonical reference.
    pub(crate) source: String,
    /// The commit or manifest.
    pub(crate) revision: Option<String>,
    /// As the source names it.
    pub(crate) license: Option<String>,
    pub(crate) files: Vec<RecordedFile>,
    /// When all files were there, in seconds since 1970; nothing before that.
    pub(crate) pulled: Option<u64>,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedFile {
    /// Its path from the folder of the record's reference.
    pub(crate) name: String,
    /// Nothing while it is not there yet.
    pub(crate) size: Option<u64>,
    pub(crate) sha256: Option<Digest>,
}

impl Record {
    pub(crate) fn new(source: String, files: Vec<RecordedFile>) -> Self {
        Record { version: VERSION, source, revision: None, license: None, files, pulled: None }
    }

    /// Where the record of a model lies whose first file is this one.
    pub(crate) fn path(first: &Path) -> PathBuf {
        with_suffix(first, ".json")
    }

    /// Reads the record beside a file; `None` if there is none that we can use.
    pub(crate) fn read(first: &Path) -> Option<Self> {
        let mut text = String::new();
        let file = File::open(Self::path(first)).ok()?;
        file.take(RECORD_BYTES_MAX).read_to_string(&mut text).ok()?;
        Self::parse(&text)
    }

    /// A record from its text; `None` if it is not one of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let record: Record = serde_json::from_str(text).ok()?;
        let are_names = record.files.iter().all(|file| is_gguf_path(&file.name));
        (record.version == VERSION && !record.files.is_empty() && are_names).then_some(record)
    }

    pub(crate) fn write(&self, first: &Path) -> io::Result<()> {
        write_whole(&Self::path(first), self)
    }

    /// The folder that the files' names start from.
    pub(crate) fn base(&self, first: &Path) -> Option<PathBuf> {
        let folders = self.files.first()?.name.split('/').count();
        Some(first.ancestors().nth(folders)?.to_owned())
    }

    /// When all files were there.
    pub(crate) fn pulled(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.pulled?))
    }

    /// Remembers that the model is used. A cache that cannot be written to still serves.
    pub(crate) fn touch(first: &Path) {
        let file = File::options().write(true).open(Self::path(first));
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// When the model was used last.
    pub(crate) fn used(first: &Path) -> Option<SystemTime> {
        fs::metadata(Self::path(first)).and_then(|metadata| metadata.modified()).ok()
    }
}

/// Now, as records have it.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Writes a small JSON file whole or not at all.
pub(crate) fn write_whole(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    // Only who holds the model's lock writes here.
    let beside = with_suffix(path, ".new");
    let mut file = File::create(&beside)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}
