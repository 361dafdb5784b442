//! One file: begun, interrupted, continued, checked, and put in its place.

use std::io::{self, Read};
use std::path::Path;

use crate::client::{Client, Request, Response};
use crate::digest::Digest;
use crate::disk::{Disk, is_full};
use crate::failure::{ClientError, DownloadError};
use crate::offer::RemoteFile;
use crate::partial::{Partial, State, partial_path};
use crate::progress::{Event, Progress};

/// Largest file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 40;

/// Bytes received at once.
const BUFFER_BYTES: usize = 256 << 10;

/// An attempt that brought at least this much was no failure: the next one begins the count anew.
const PROGRESS_BYTES: u64 = 1 << 20;

/// Longest entity tag, in bytes.
const VALIDATOR_BYTES_MAX: usize = 256;

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

/// How an attempt ended that was no error.
enum Attempt {
    Complete,
    /// It must begin anew, for a reason.
    Anew(&'static str),
}

impl Download<'_> {
    pub(crate) fn run(&self, progress: &mut dyn Progress) -> Result<Done, DownloadError> {
        let mut partial = Partial::open(self.path, self.file, self.client, progress)?;
        let done = self.complete(&mut partial, progress);
        if done.is_err() && partial.length == 0 {
            partial.discard();
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
            let found = partial.digest();
            let expected = self.file.sha256.as_ref().or(linked.as_ref());
            match expected {
                Some(expected) if *expected != found => {
                    if partial.is_inherited() {
                        // What lay there may have been damaged, or of another version.
                        progress.event(Event::Restart { reason: "what was there is damaged" });
                        partial.begin_anew()?;
                        continue;
                    }
                    partial.discard();
                    return Err(DownloadError::Digest {
                        address: self.file.address.to_string(),
                        found,
                        expected: expected.clone(),
                    });
                }
                _ => {}
            }
            partial.finish()?;
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
                    partial.begin_anew()?;
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
        // Without a digest and the server's word, the rest may be of another version.
        let is_known = self.file.sha256.is_some() || linked.is_some();
        if partial.length > 0 && !is_known && partial.state.validator.is_none() {
            partial.begin_anew()?;
        }
        let mut request = Request::new(&self.file.address);
        request.bearer = bearer.as_deref();
        // Of a compressed body a range means something else.
        request.headers.push(("accept-encoding", "identity".into()));
        if partial.length > 0 {
            request.headers.push(("range", format!("bytes={}-", partial.length)));
            if let Some(validator) = &partial.state.validator {
                request.headers.push(("if-range", validator.clone()));
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
                    partial.begin_anew()?;
                }
                let total = self.total(&response)?;
                let state = State {
                    address: self.file.address.to_string(),
                    size: Some(total),
                    sha256: self.file.sha256.clone(),
                    validator: validator(&response),
                };
                let written = partial.remember(state);
                written.map_err(|source| self.write_error(total, source))?;
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
        let tags = (&partial.state.validator, validator(response));
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
        if needed > free {
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
                self.check_head(partial, bytes, magic)?;
            }
            let written = partial.append(bytes, self.disk);
            written.map_err(|source| self.write_error(total - partial.length, source))?;
            *received += count as u64;
            progress.event(Event::Advance { done: partial.length, total });
        }
        Ok(())
    }

    /// Looks at the next bytes of a file, where these are to begin with the rest of its magic.
    fn check_head(
        &self,
        partial: &Partial,
        bytes: &[u8],
        magic: &[u8],
    ) -> Result<(), DownloadError> {
        let known = bytes.len().min(magic.len());
        if bytes[..known] == magic[..known] {
            return Ok(());
        }
        partial.discard();
        let is_shown = |c: &char| !c.is_control() && *c != char::REPLACEMENT_CHARACTER;
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]);
        let head = head.chars().take(32).map(|c| if is_shown(&c) { c } else { '.' }).collect();
        Err(DownloadError::NotGguf { address: self.file.address.to_string(), head })
    }

    fn write_error(&self, needed: u64, source: io::Error) -> DownloadError {
        if is_full(&source) {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            let free = self.disk.free_bytes(folder).ok().flatten();
            return DownloadError::Full { path: self.path.into(), needed, free };
        }
        DownloadError::Io { action: "write", path: partial_path(self.path), source }
    }
}

/// What tells a version of the file from another (RFC 9110, section 8.8): its entity tag, if that
/// promises the same bytes, else its date of change.
fn validator(response: &Response) -> Option<String> {
    let is_strong = |tag: &String| tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"');
    let etag = response.header("etag").filter(is_strong);
    let validator = etag.or_else(|| response.header("last-modified"));
    validator.filter(|it| it.len() <= VALIDATOR_BYTES_MAX)
}

/// First and last byte and total of `bytes 0-9/10` (RFC 9110, section 14.4).
pub(crate) fn content_range(header: &str) -> Option<(u64, u64, u64)> {
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
