//! Files that appear whole or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::Progress;
use crate::read_at::{Content, ReadAt};

/// Bytes that are copied at a time. With the skeletons this is all that is held of a file.
pub(crate) const BUFFER_BYTES: usize = 1 << 20;

/// Why a file could not be written. Nothing is left of it then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The file system refused: no space, no permission, no such directory.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bulk could not be read on the way.
    #[error("cannot read `{name}`: {source}")]
    Read {
        /// The input.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// [`Progress::advance`] said so.
    #[error("cancelled")]
    Cancelled,
}

/// A file that is being written beside its final place.
pub(crate) struct Output<'a> {
    path: &'a Path,
    file: NamedTempFile,
    buffer: Vec<u8>,
    written: u64,
    total: u64,
    progress: &'a mut dyn Progress,
}

enum Failure {
    Read(io::Error),
    Other(OutputError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Read(error)
    }
}

impl<'a> Output<'a> {
    /// `total` is the file's expected size in bytes, for the progress alone.
    pub(crate) fn create(
        path: &'a Path,
        total: u64,
        progress: &'a mut dyn Progress,
    ) -> Result<Self, OutputError> {
        let directory = match path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".trefoil-").suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Temporary files are private by default; this one becomes an ordinary one, less the
            // user's umask.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(directory).map_err(|error| {
            // `tempfile` names its own path in the error; the user's path says more.
            OutputError::Write { path: path.into(), source: error.kind().into() }
        })?;
        Ok(Output { path, file, buffer: vec![0; BUFFER_BYTES], written: 0, total, progress })
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Writes bytes at the end.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        let source = self.file.as_file_mut().write_all(bytes);
        source.map_err(|source| OutputError::Write { path: self.path.into(), source })?;
        self.written += bytes.len() as u64;
        match self.progress.advance(self.written, self.total.max(self.written)) {
            std::ops::ControlFlow::Continue(()) => Ok(()),
            std::ops::ControlFlow::Break(()) => Err(OutputError::Cancelled),
        }
    }

    /// Writes all of a content and returns its SHA-256 in lower-case hexadecimal. `name` is for
    /// errors.
    pub(crate) fn write_content(
        &mut self,
        content: &Content,
        name: &str,
    ) -> Result<String, OutputError> {
        let mut hash = Sha256::new();
        let mut buffer = std::mem::take(&mut self.buffer);
        // Contents alternate between a few bytes (headers) and bulk; the few wait for more.
        let mut waiting: Vec<u8> = Vec::new();
        let result = content.stream(&mut buffer, |chunk| {
            hash.update(chunk);
            if waiting.len() + chunk.len() < BUFFER_BYTES / 16 {
                waiting.extend_from_slice(chunk);
                return Ok(());
            }
            if !waiting.is_empty() {
                self.write(&waiting).map_err(Failure::Other)?;
                waiting.clear();
            }
            self.write(chunk).map_err(Failure::Other)
        });
        self.buffer = buffer;
        match result {
            Ok(()) => self.write(&waiting)?,
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::Read(source)) => {
                return Err(OutputError::Read { name: name.into(), source });
            }
        }
        Ok(hex(hash))
    }

    /// Gives the file its name. Replaces what stood there.
    pub(crate) fn finish(self) -> Result<(), OutputError> {
        let path = self.path;
        self.file
            .persist(path)
            .map(drop)
            .map_err(|error| OutputError::Write { path: path.into(), source: error.error })
    }
}

/// The digest in lower-case hexadecimal.
pub(crate) fn hex(hash: Sha256) -> String {
    use std::fmt::Write as _;
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of a source, in lower-case hexadecimal.
pub(crate) fn digest(
    source: &dyn ReadAt,
    name: &str,
    progress: &mut dyn Progress,
) -> Result<String, OutputError> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut done, size) = (0, source.size());
    while done < size {
        let chunk_bytes = usize::try_from(size - done).unwrap_or(usize::MAX).min(buffer.len());
        let chunk = &mut buffer[..chunk_bytes];
        let read = source.read_at(done, chunk);
        read.map_err(|source| OutputError::Read { name: name.into(), source })?;
        hash.update(&*chunk);
        done += chunk_bytes as u64;
        if progress.advance(done, size).is_break() {
            return Err(OutputError::Cancelled);
        }
    }
    Ok(hex(hash))
}
