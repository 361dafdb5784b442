//! A file that is not all there yet, with what must be known to go on with it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::digest::{Digest, Hash};
use crate::disk::Disk;
use crate::failure::DownloadError;
use crate::lock::with_suffix;
use crate::offer::RemoteFile;
use crate::progress::{Event, Progress};
use crate::record::write_whole;

/// A state longer than this is not ours.
const STATE_BYTES_MAX: u64 = 64 << 10;

/// Where the part of a file lies that is there.
pub(crate) fn partial_path(path: &Path) -> PathBuf {
    with_suffix(path, ".partial")
}

/// Where the state of a partial file lies.
pub(crate) fn state_path(path: &Path) -> PathBuf {
    with_suffix(path, ".partial.json")
}

/// The file while it grows.
pub(crate) struct Partial {
    file: File,
    /// Where the file belongs in the end.
    target: PathBuf,
    hash: Hash,
    /// Bytes that are there.
    pub(crate) length: u64,
    pub(crate) state: State,
    /// Whether an earlier process left some of it.
    inherited: bool,
}

/// What is remembered beside a partial file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) address: String,
    pub(crate) size: Option<u64>,
    pub(crate) sha256: Option<Digest>,
    /// What `If-Range` takes: a strong entity tag, or a date of change.
    pub(crate) validator: Option<String>,
}

impl Partial {
    /// Opens what an earlier attempt left, if it is of the same file.
    pub(crate) fn open(
        target: &Path,
        remote: &RemoteFile,
        client: &Client,
        progress: &mut dyn Progress,
    ) -> Result<Self, DownloadError> {
        let path = partial_path(target);
        let error = |source| DownloadError::Io { action: "open", path: path.clone(), source };
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        let file = options.open(&path).map_err(error)?;
        let there = file.metadata().map_err(error)?.len();
        let mut partial = Partial {
            file,
            target: target.into(),
            hash: Hash::default(),
            length: 0,
            state: State::default(),
            inherited: false,
        };
        let state = State::read(target).filter(|state| state.is_of(remote, there));
        let Some(state) = state.filter(|_| there > 0) else {
            partial.begin_anew()?;
            return Ok(partial);
        };
        let read = partial.hash.read(&mut partial.file, there, &mut |done| {
            progress.event(Event::Checking { file: &remote.name, done, total: there });
            client.check_cancelled().is_ok()
        });
        client.check_cancelled()?;
        partial.length = read.map_err(error)?;
        partial.inherited = true;
        partial.state = state;
        Ok(partial)
    }

    /// Throws away what is there.
    pub(crate) fn begin_anew(&mut self) -> Result<(), DownloadError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|source| DownloadError::Io {
            action: "empty",
            path: partial_path(&self.target),
            source,
        })?;
        self.length = 0;
        self.hash = Hash::default();
        self.inherited = false;
        self.state = State::default();
        Ok(())
    }

    pub(crate) fn remember(&mut self, state: State) -> io::Result<()> {
        write_whole(&state_path(&self.target), &state)?;
        self.state = state;
        Ok(())
    }

    pub(crate) fn append(&mut self, bytes: &[u8], disk: &dyn Disk) -> io::Result<()> {
        let result = disk.write(&mut self.file, bytes);
        let written = match &result {
            Ok(()) => bytes.len() as u64,
            // What fitted stays, so that the next attempt need not bring it.
            Err(_) => self.file.metadata()?.len().saturating_sub(self.length),
        };
        let written = bytes.get(..usize::try_from(written).unwrap_or(usize::MAX));
        let written = written.unwrap_or_default();
        self.hash.update(written);
        self.length += written.len() as u64;
        result
    }

    /// The digest of all that is there.
    pub(crate) fn digest(&self) -> Digest {
        self.hash.clone().finish()
    }

    /// Whether some of it came from an earlier process, so that it may be damaged.
    pub(crate) fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// Puts the file in its place.
    pub(crate) fn finish(&self) -> Result<(), DownloadError> {
        let path = &self.target;
        let error = |action, source| DownloadError::Io { action, path: path.clone(), source };
        self.file.sync_all().map_err(|source| error("finish", source))?;
        fs::rename(partial_path(path), path).map_err(|source| error("write", source))?;
        let _ = fs::remove_file(state_path(path));
        Ok(())
    }

    /// Removes it.
    pub(crate) fn discard(&self) {
        let _ = fs::remove_file(partial_path(&self.target));
        let _ = fs::remove_file(state_path(&self.target));
    }
}

impl State {
    fn read(target: &Path) -> Option<Self> {
        let mut text = String::new();
        let file = File::open(state_path(target)).ok()?;
        file.take(STATE_BYTES_MAX).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Whether a partial file of so many bytes is the beginning of this remote one.
    fn is_of(&self, remote: &RemoteFile, there: u64) -> bool {
        let fits = self.size.or(remote.size).is_none_or(|size| there <= size);
        let is_size = remote.size.is_none() || self.size == remote.size;
        let is_same = match (&self.sha256, &remote.sha256) {
            (Some(before), Some(now)) => before == now,
            // Without a digest it takes the server's word that it is still the same.
            _ => self.validator.is_some() && self.address == remote.address.to_string(),
        };
        fits && is_size && is_same
    }
}
