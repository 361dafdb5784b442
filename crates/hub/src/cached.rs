//! What is in the cache of models, and what can be wrong with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::digest::Digest;
use crate::reference::ReferenceError;

/// A model in the cache.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CachedModel {
    /// What one types for it: a name of the catalogue, else where it came from, else its file.
    pub name: String,
    /// The reference that it was pulled from; none if it was put there otherwise.
    pub source: Option<String>,
    /// The commit or manifest.
    pub revision: Option<String>,
    /// As the source names it.
    pub license: Option<String>,
    /// One or, if split, several, in order.
    pub files: Vec<CachedFile>,
    /// When it was pulled; for others, when the file was changed last.
    pub pulled: Option<SystemTime>,
    /// When a command used it last, as far as that is known.
    pub used: Option<SystemTime>,
    /// Whether all files are there.
    pub complete: bool,
}

/// A file of a model in the cache.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CachedFile {
    /// Where it is.
    pub path: PathBuf,
    /// In bytes, on the disk; 0 if it is not there.
    pub size: u64,
    /// As it was when it was pulled; for others that of the catalogue, if it has the file.
    pub sha256: Option<Digest>,
}

/// Why the cache of models does not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelsError {
    /// The name is a reference and wrong.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A name that can be pulled, and was not.
    #[error("`{name}` is not in the cache; `trefoil pull {name}` brings it")]
    Absent {
        /// The name.
        name: String,
    },
    /// A name that nothing has.
    #[error(
        "there is no model `{name}`{}; `trefoil models` lists those in the cache, `trefoil models \
         catalogue` those that can be pulled by name",
        did_you_mean(similar)
    )]
    Unknown {
        /// The name.
        name: String,
        /// Names like it.
        similar: Vec<&'static str>,
    },
    /// A name that several models have.
    #[error("`{name}` stands for {}: give one of these", list(models))]
    Ambiguous {
        /// The name.
        name: String,
        /// Better ones.
        models: Vec<String>,
    },
    /// Another process pulls it.
    #[error("`{name}` is being pulled by another process; try again when that has ended")]
    Busy {
        /// The model.
        name: String,
    },
    /// The file system.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The user wanted to end.
    #[error("interrupted")]
    Cancelled,
}

fn did_you_mean(similar: &[&str]) -> String {
    let names: Vec<_> = similar.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { String::new() } else { format!(" (there are {})", names.join(", ")) }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
}

/// What verifying a file found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The digest is the recorded one.
    Intact,
    /// It is not.
    Damaged {
        /// What was recorded.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// The file is not there.
    Missing,
    /// Nothing is recorded to compare with.
    Unrecorded {
        /// What is there.
        found: Digest,
    },
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Number of files, whole or partial; records are not counted.
    pub files: u64,
    /// Bytes together.
    pub bytes: u64,
}

impl CachedModel {
    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    pub(crate) fn is_called(&self, name: &str) -> bool {
        let file = &self.files[0].path;
        let is_name = |part: Option<&std::ffi::OsStr>| {
            part.and_then(|it| it.to_str()).is_some_and(|it| it.eq_ignore_ascii_case(name))
        };
        self.name == name || is_name(file.file_name()) || is_name(file.file_stem())
    }

    /// A name that no other model has.
    pub(crate) fn unique_name(&self) -> String {
        self.source.clone().unwrap_or_else(|| self.files[0].path.display().to_string())
    }
}

impl Removed {
    /// Removes a file, if it is there, and counts it.
    pub(crate) fn remove(&mut self, path: &Path) -> Result<(), ModelsError> {
        let size = fs::symlink_metadata(path).map_or(0, |metadata| metadata.len());
        match fs::remove_file(path) {
            Ok(()) if has_suffix(path, ".gguf") || has_suffix(path, ".partial") => {
                self.add(Removed { files: 1, bytes: size });
            }
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(io_error("remove", path, source)),
        }
        Ok(())
    }

    /// Counts more.
    pub fn add(&mut self, other: Removed) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

pub(crate) fn has_suffix(path: &Path, suffix: &str) -> bool {
    path.to_str().is_some_and(|name| name.to_ascii_lowercase().ends_with(suffix))
}

pub(crate) fn io_error(action: &'static str, path: &Path, source: io::Error) -> ModelsError {
    ModelsError::Io { action, path: path.into(), source }
}
