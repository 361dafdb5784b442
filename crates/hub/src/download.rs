//! One file: begun, interrupted, continued, checked, and put in its place.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::client::{Client, Request, Response};
use crate::digest::{Digest, Hash};
use crate::disk::{Disk, is_full};
use crate::failure::ClientError;
use crate::lock::with_suffix;
use crate::offer::RemoteFile;
use crate::progress::{Event, Progress};
use crate::record::write_whole;

/// Largest file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 40;

/// Bytes that stay free on the disk.
const RESERVE_BYTES: u64 = 64 << 20;

/// Bytes received at once.
const BUFFER_BYTES: usize = 256 << 10;

/// An attempt that brought at least this much was no failure: the next one begins the count anew.
const PROGRESS_BYTES: u64 = 1 << 20;

/// A state longer than this is not ours.
const STATE_BYTES_MAX: u64 = 64 << 10;

/// Why a file could not be downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What came has another digest.
    #[error(
        "`{address}` is not what it should be: its SHA-256 is {found}, expected {expected}; what \
         came was removed"
    )]
    Digest {
        /// From where.
        address: String,
        /// What came.
        found: Digest,
        /// What was to come.
        expected: Digest,
    },
    /// The server's file has another size than its hub says.
    #[error("`{address}` has {found} bytes, expected {expected}")]
    Size {
        /// From where.
        address: String,
        /// What the server says.
        found: u64,
        /// What the hub says.
        expected: u64,
    },
    /// The server does not say how long the file is, or it is absurdly short or long.
    #[error("`{address}` {problem}")]
    Length {
        /// From where.
        address: String,
        /// What is wrong.
        problem: String,
    },
    /// Something else than a model.
    #[error("`{address}` is not a GGUF file: it begins with `{head}`")]
    NotGguf {
        /// From where.
        address: String,
        /// The first bytes, as far as they can be printed.
        head: String,
    },
    /// The disk has not enough room, or had not.
    #[error(
        "no room on the disk for `{}`: {needed} bytes are missing{}; free some and pull again, \
         which goes on from there, or set `TREFOIL_CACHE` to a folder elsewhere",
        path.display(),
        free.map(|bytes| format!(" and {bytes} free")).unwrap_or_default()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// Bytes that are still to come.
        needed: u64,
        /// Bytes that may be written.
        free: Option<u64>,
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
}

/// A file and its place.
pub(crate) struct Download<'a> {
    pub(crate) file: &'a RemoteFile,
    /// Where it is put at the end.
    pub(crate) path: &'a Path,
    pub(crate) client: &'a Client,
    pub(crate) disk: &'a dyn Disk,
    /// Its number, and the number of files of its model.
    pub(crate) number: (usize, usize),
}

/// A file that is there.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
    /// Bytes that came over the network.
    pub(crate) received: u64,
}

/// What is remembered of a partial file beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    address: String,
    size: Option<u64>,
    sha256: Option<Digest>,
    /// A strong entity tag (RFC 9110, section 8.8.3).
    etag: Option<String>,
}

/// Where the part of a file lies that is there.
pub(crate) fn partial_path(path: &Path) -> PathBuf {
    with_suffix(path, ".partial")
}

/// Where the state of a partial file lies.
pub(crate) fn state_path(path: &Path) -> PathBuf {
    with_suffix(path, ".partial.json")
}

/// The file while it grows.
struct Partial {
    file: File,
    path: PathBuf,
    hash: Hash,
    /// Bytes that are there.
    length: u64,
    state: State,
    /// Whether an earlier process left some of it.
    inherited: bool,
}

/// How an attempt ended that was no error.
enum Attempt {
    Complete,
    /// It must begin anew, for a reason.
    Anew(&'static str),
}

impl Download<'_> {
    pub(crate) fn run(&self, progress: &mut dyn Progress) -> Result<Done, DownloadError> {
        let mut partial = self.open(progress)?;
        let done = self.complete(&mut partial, progress);
        if done.is_err() && partial.length == 0 {
            self.discard();
        }
        done
    }

    fn complete(
        &self,
        partial: &mut Partial,
        progress: &mut dyn Progress,
    ) -> Result<Done, DownloadError> {
        let mut received = 0;
        let mut bearer = self.file.bearer.clone();
        let mut linked = None;
        progress.event(Event::Begin {
            file: &self.file.name,
            number: self.number.0,
            count: self.number.1,
            size: self.file.size,
            resumed: partial.length,
        });
        loop {
            self.bytes(partial, &mut bearer, &mut linked, &mut received, progress)?;
            let found = std::mem::take(&mut partial.hash).finish();
            let expected = self.file.sha256.as_ref().or(linked.as_ref());
            match expected {
                Some(expected) if *expected != found => {
                    if std::mem::take(&mut partial.inherited) {
                        // What lay there may have been damaged, or of another version.
                        progress.event(Event::Restart { reason: "what was there is damaged" });
                        self.begin_anew(partial)?;
                        continue;
                    }
                    self.discard();
                    return Err(DownloadError::Digest {
                        address: self.file.address.to_string(),
                        found,
                        expected: expected.clone(),
                    });
                }
                _ => {}
            }
            self.finish(partial)?;
            return Ok(Done { size: partial.length, sha256: found, received });
        }
    }

    /// Brings bytes until all are there, in as many attempts as it takes.
    fn bytes(
        &self,
        partial: &mut Partial,
        bearer: &mut Option<String>,
        linked: &mut Option<Digest>,
        received: &mut u64,
        progress: &mut dyn Progress,
    ) -> Result<(), DownloadError> {
        let mut attempt = 1;
        let mut renewed = false;
        loop {
            let before = *received;
            let error = match self.attempt(partial, bearer, linked, received, progress) {
                Ok(Attempt::Complete) => return Ok(()),
                Ok(Attempt::Anew(reason)) => {
                    progress.event(Event::Restart { reason });
                    self.begin_anew(partial)?;
                    // Without end a server could say so.
                    let problem = reason.to_owned();
                    let address = self.file.address.clone();
                    if attempt >= self.client.retry().attempts_max {
                        return Err(ClientError::Malformed { address, problem }.into());
                    }
                    attempt += 1;
                    continue;
                }
                Err(DownloadError::Client(error)) => error,
                Err(error) => return Err(error),
            };
            self.client.check_cancelled()?;
            let progressed = *received - before >= PROGRESS_BYTES;
            if let (ClientError::Status { status: 401, .. }, Some(challenge), false) =
                (&error, &self.file.challenge, renewed)
            {
                // Tokens last for minutes, downloads for hours.
                *bearer = Some(challenge.token(self.client, progress)?);
                renewed = true;
                continue;
            }
            renewed &= !progressed;
            attempt = if progressed { 1 } else { attempt };
            let pause = self.client.pause(attempt, error)?;
            progress.event(Event::Retry { reason: &pause.reason, wait: pause.time });
            self.client.wait(pause.time)?;
            attempt += 1;
        }
    }

    fn attempt(
        &self,
        partial: &mut Partial,
        bearer: &Option<String>,
        linked: &mut Option<Digest>,
        received: &mut u64,
        progress: &mut dyn Progress,
    ) -> Result<Attempt, DownloadError> {
        if partial.length > 0 && partial.state.size == Some(partial.length) {
            return Ok(Attempt::Complete);
        }
        let mut request = Request::new(&self.file.address);
        request.bearer = bearer.as_deref();
        // Of a compressed body a range means something else.
        request.headers.push(("accept-encoding", "identity".into()));
        if partial.length > 0 {
            request.headers.push(("range", format!("bytes={}-", partial.length)));
            if let Some(etag) = &partial.state.etag {
                request.headers.push(("if-range", etag.clone()));
            }
        }
        let mut response = self.client.get(&request)?;
        if linked.is_none() {
            *linked = response.linked_etag.as_deref().and_then(Digest::parse);
        }
        let total = match response.status() {
            200 => {
                if partial.length > 0 {
                    progress.event(Event::Restart {
                        reason: "the server has another version, or cannot continue",
                    });
                    self.begin_anew(partial)?;
                }
                let total = self.total(&response)?;
                let state = State {
                    address: self.file.address.to_string(),
                    size: Some(total),
                    sha256: self.file.sha256.clone(),
                    etag: strong_etag(&response),
                };
                self.remember(partial, state)?;
                total
            }
            206 => match self.continued(&response, partial)? {
                Ok(total) => total,
                Err(reason) => return Ok(Attempt::Anew(reason)),
            },
            416 if partial.length > 0 => {
                return Ok(Attempt::Anew("the server has less than what is here"));
            }
            _ => return Err(response.refusal(&[]).into()),
        };
        self.check_room(total - partial.length)?;
        self.receive(&mut response, partial, total, received, progress)?;
        Ok(Attempt::Complete)
    }

    /// The size of the file, from a response that has all of it.
    fn total(&self, response: &Response) -> Result<u64, DownloadError> {
        let problem = |problem: String| DownloadError::Length {
            address: self.file.address.to_string(),
            problem,
        };
        // Without it, an end is not told from a cut.
        let total = response.length();
        let total = total.ok_or_else(|| problem("does not say how long it is".into()))?;
        self.check_total(total)?;
        Ok(total)
    }

    fn check_total(&self, total: u64) -> Result<(), DownloadError> {
        let address = self.file.address.to_string();
        match self.file.size {
            Some(expected) if expected != total => {
                Err(DownloadError::Size { address, found: total, expected })
            }
            _ if total < trefoil_gguf::MAGIC.len() as u64 => Err(DownloadError::Length {
                address,
                problem: format!("has {total} bytes, too few for a GGUF file"),
            }),
            _ if total > FILE_BYTES_MAX => Err(DownloadError::Length {
                address,
                problem: format!("has {total} bytes, more than {FILE_BYTES_MAX}"),
            }),
            _ => Ok(()),
        }
    }

    /// The size of the file, from a response that has the rest of it; or why the rest does not fit
    /// what is there.
    fn continued(
        &self,
        response: &Response,
        partial: &Partial,
    ) -> Result<Result<u64, &'static str>, DownloadError> {
        let range = response.header("content-range");
        let Some((first, last, total)) = range.as_deref().and_then(content_range) else {
            return Ok(Err("the server does not say what it continues"));
        };
        if first != partial.length || last + 1 != total {
            return Ok(Err("the server continues at another place"));
        }
        if response.length().is_some_and(|length| length != total - first) {
            return Ok(Err("the server continues with another length"));
        }
        if partial.state.size.is_some_and(|size| size != total) {
            return Ok(Err("the server has another version"));
        }
        let tags = (&partial.state.etag, strong_etag(response));
        if let (Some(before), Some(now)) = tags
            && *before != now
        {
            return Ok(Err("the server has another version"));
        }
        self.check_total(total)?;
        Ok(Ok(total))
    }

    fn check_room(&self, needed: u64) -> Result<(), DownloadError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        // Where the system does not say, writing will.
        let Ok(Some(free)) = self.disk.free_bytes(folder) else { return Ok(()) };
        if needed.saturating_add(RESERVE_BYTES) > free {
            return Err(DownloadError::Full { path: self.path.into(), needed, free: Some(free) });
        }
        Ok(())
    }

    fn receive(
        &self,
        response: &mut Response,
        partial: &mut Partial,
        total: u64,
        received: &mut u64,
        progress: &mut dyn Progress,
    ) -> Result<(), DownloadError> {
        let address = response.address.clone();
        let mut reader = response.reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        progress.event(Event::Advance { done: partial.length, total });
        while partial.length < total {
            self.client.check_cancelled()?;
            let room =
                buffer.len().min(usize::try_from(total - partial.length).unwrap_or(usize::MAX));
            let cut = |source| ClientError::Cut { address: address.clone(), source };
            let count = match reader.read(&mut buffer[..room]) {
                Ok(0) => return Err(cut(io::ErrorKind::UnexpectedEof.into()).into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(cut(error).into()),
            };
            let bytes = &buffer[..count];
            if let Some(magic) = trefoil_gguf::MAGIC.get(partial.length as usize..) {
                // A page that says something else is known by its first bytes.
                self.check_head(bytes, magic)?;
            }
            self.disk.write(&mut partial.file, bytes).map_err(|source| {
                // What a failed write left behind is no part of the file.
                let _ = partial.file.set_len(partial.length);
                self.write_error(&partial.path, total - partial.length, source)
            })?;
            partial.hash.update(bytes);
            partial.length += count as u64;
            *received += count as u64;
            progress.event(Event::Advance { done: partial.length, total });
        }
        Ok(())
    }

    /// Looks at the next bytes of a file, where these are to begin with the rest of its magic.
    fn check_head(&self, bytes: &[u8], magic: &[u8]) -> Result<(), DownloadError> {
        let known = bytes.len().min(magic.len());
        if bytes[..known] == magic[..known] {
            return Ok(());
        }
        self.discard();
        let is_shown = |c: &char| !c.is_control() && *c != char::REPLACEMENT_CHARACTER;
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]);
        let head = head.chars().take(32).map(|c| if is_shown(&c) { c } else { '.' }).collect();
        Err(DownloadError::NotGguf { address: self.file.address.to_string(), head })
    }

    fn write_error(&self, path: &Path, needed: u64, source: io::Error) -> DownloadError {
        if is_full(&source) {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            let free = self.disk.free_bytes(folder).ok().flatten();
            return DownloadError::Full { path: self.path.into(), needed, free };
        }
        DownloadError::Io { action: "write", path: path.into(), source }
    }

    /// Opens what an earlier attempt left, if it is of the same file.
    fn open(&self, progress: &mut dyn Progress) -> Result<Partial, DownloadError> {
        let path = partial_path(self.path);
        let error = |source| DownloadError::Io { action: "open", path: path.clone(), source };
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        let file = options.open(&path).map_err(error)?;
        let there = file.metadata().map_err(error)?.len();
        let state = read_state(self.path).filter(|state| self.is_of_same_file(state, there));
        let mut partial = Partial {
            file,
            path: path.clone(),
            hash: Hash::default(),
            length: 0,
            inherited: false,
            state: State::default(),
        };
        let Some(state) = state.filter(|_| there > 0) else {
            self.begin_anew(&mut partial)?;
            return Ok(partial);
        };
        let file = &self.file.name;
        let client = self.client;
        let read = partial.hash.read(&mut partial.file, there, &mut |done| {
            progress.event(Event::Checking { file, done, total: there });
            client.check_cancelled().is_ok()
        });
        client.check_cancelled()?;
        partial.length = read.map_err(error)?;
        partial.inherited = true;
        partial.state = state;
        Ok(partial)
    }

    fn is_of_same_file(&self, state: &State, there: u64) -> bool {
        let fits = state.size.or(self.file.size).is_none_or(|size| there <= size);
        let is_size = self.file.size.is_none() || state.size == self.file.size;
        let is_same = match (&state.sha256, &self.file.sha256) {
            (Some(before), Some(now)) => before == now,
            // Without a digest it takes the server's word that it is still the same.
            _ => state.etag.is_some() && state.address == self.file.address.to_string(),
        };
        fits && is_size && is_same
    }

    fn begin_anew(&self, partial: &mut Partial) -> Result<(), DownloadError> {
        let truncated =
            partial.file.set_len(0).and_then(|()| partial.file.seek(SeekFrom::Start(0)));
        let path = &partial.path;
        truncated.map_err(|source| DownloadError::Io {
            action: "empty",
            path: path.clone(),
            source,
        })?;
        partial.length = 0;
        partial.hash = Hash::default();
        partial.inherited = false;
        partial.state = State::default();
        Ok(())
    }

    fn remember(&self, partial: &mut Partial, state: State) -> Result<(), DownloadError> {
        let path = state_path(self.path);
        let written = write_whole(&path, &state);
        let needed = state.size.unwrap_or(0);
        written.map_err(|source| self.write_error(&path, needed, source))?;
        partial.state = state;
        Ok(())
    }

    /// Puts the file in its place.
    fn finish(&self, partial: &Partial) -> Result<(), DownloadError> {
        let error = |action, source| DownloadError::Io { action, path: self.path.into(), source };
        partial.file.sync_all().map_err(|source| error("finish", source))?;
        fs::rename(&partial.path, self.path).map_err(|source| error("write", source))?;
        let _ = fs::remove_file(state_path(self.path));
        Ok(())
    }

    fn discard(&self) {
        let _ = fs::remove_file(partial_path(self.path));
        let _ = fs::remove_file(state_path(self.path));
    }
}

fn read_state(path: &Path) -> Option<State> {
    let mut text = String::new();
    File::open(state_path(path)).ok()?.take(STATE_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The entity tag, quotes included, if it promises the same bytes.
fn strong_etag(response: &Response) -> Option<String> {
    let etag = response.header("etag")?;
    let is_strong = etag.len() >= 2 && etag.starts_with('"') && etag.ends_with('"');
    (is_strong && etag.len() <= 256).then_some(etag)
}

/// First and last byte and total of `bytes 0-9/10` (RFC 9110, section 14.4).
fn content_range(header: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total) = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (first <= last && last < total).then_some((first, last, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_must_lie_in_the_file() {
        assert_eq!(content_range("bytes 3-9/10"), Some((3, 9, 10)));
        let max = u64::MAX;
        for text in [
            "",
            "bytes */10",
            "bytes 3-9/*",
            "bytes 9-3/10",
            "bytes 3-10/10",
            "items 3-9/10",
            &format!("bytes 0-{max}/{max}"),
        ] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }
}
