//! The file as a stream that can go on anywhere: range requests, redirects, answers judged.

use std::time::Duration;

use crate::transport::{Body, Failure, Head, Transport};
use crate::{Error, Scheme, Url};

/// Bytes that one request asks for. The stream is read as it comes, so that this costs no memory;
/// every request costs a connection.
const RANGE_BYTES: u64 = 64 << 20;

/// A gap that is read over instead of asking anew, which takes a few round trips.
const SKIP_BYTES_MAX: u64 = 2 << 20;

/// Redirects of one request.
const REDIRECTS_MAX: u32 = 8;

/// The longest wait that a server may ask for.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What came between the file and its reader.
pub(crate) enum Trouble {
    /// A further attempt may succeed, after the time that the server asks for.
    Passing { url: String, cause: String, wait: Option<Duration> },
    /// None will.
    Lasting(Error),
}

pub(crate) struct Download<T: Transport> {
    transport: T,
    source: Url,
    size: u64,
    /// Where redirects led last: asked directly as long as that works.
    target: Option<Url>,
    open: Option<Open<T::Body>>,
    /// Entity tags of the first answer and of the last.
    etags: [Option<String>; 2],
}

/// An answer that is being read.
struct Open<B> {
    body: B,
    url: String,
    /// Position of its next byte.
    at: u64,
    /// Behind its last byte.
    end: u64,
}

impl<T: Transport> Download<T> {
    pub(crate) fn new(transport: T, source: Url, size: u64) -> Self {
        Download { transport, source, size, target: None, open: None, etags: [None, None] }
    }

    pub(crate) fn source(&self) -> &Url {
        &self.source
    }

    pub(crate) fn pause(&mut self, time: Duration) {
        self.transport.pause(time);
    }

    /// Forgets connection and redirects.
    pub(crate) fn restart(&mut self) {
        self.open = None;
        self.target = None;
    }

    /// The entity tags, if they have changed since the first answer.
    pub(crate) fn changed_etags(&self) -> Option<(&str, &str)> {
        let [first, last] = &self.etags;
        first.as_deref().zip(last.as_deref()).filter(|(first, last)| first != last)
    }

    /// Appends what follows, so that `buffer` holds the bytes from `start` to `until`, which lies
    /// inside the file. What came before a trouble stays in it.
    pub(crate) fn extend(
        &mut self,
        buffer: &mut Vec<u8>,
        start: u64,
        until: u64,
    ) -> Result<(), Trouble> {
        loop {
            let at = start + buffer.len() as u64;
            if at >= until {
                return Ok(());
            }
            let mut open = self.opened(at)?;
            if open.at < at {
                open.next(at)?;
            } else {
                buffer.append(&mut open.next(until)?);
            }
            // It is kept only where nothing was wrong with it, and there is more to come.
            self.open = (open.at < open.end).then_some(open);
        }
    }

    /// An answer that holds position `at`, or stands a little before it.
    fn opened(&mut self, at: u64) -> Result<Open<T::Body>, Trouble> {
        let fits =
            |open: &Open<T::Body>| open.at <= at && at < open.end && at - open.at <= SKIP_BYTES_MAX;
        match self.open.take().filter(fits) {
            Some(open) => Ok(open),
            None => self.ask(at),
        }
    }

    fn ask(&mut self, at: u64) -> Result<Open<T::Body>, Trouble> {
        let range = at..self.size.min(at.saturating_add(RANGE_BYTES));
        // Used again only after it has worked again.
        let remembered = self.target.take();
        let is_remembered = remembered.is_some();
        let mut url = remembered.unwrap_or_else(|| self.source.clone());
        for _ in 0..=REDIRECTS_MAX {
            let (head, body) = self
                .transport
                .get(&url, range.clone())
                .map_err(|failure| failed(&url, at, failure))?;
            match head.status {
                206 => {
                    let end = self.judge(&url, range, &head)?;
                    let shown = url.shown();
                    self.target = (url != self.source).then_some(url);
                    let [first, last] = &mut self.etags;
                    *last = head.etag.as_deref().map(printable);
                    if first.is_none() {
                        first.clone_from(last);
                    }
                    return Ok(Open { body, url: shown, at, end });
                }
                301 | 302 | 303 | 307 | 308 => url = redirected(&url, head.location.as_deref())?,
                // Signed addresses of content networks expire.
                400..500 if is_remembered => return Err(answered(&url, &head, None)),
                408 | 425 | 429 | 500 | 502 | 503 | 504 => {
                    let seconds = head.retry_after.as_deref().and_then(|it| it.trim().parse().ok());
                    let wait = seconds.map(|seconds| Duration::from_secs(seconds).min(WAIT_MAX));
                    return Err(answered(&url, &head, wait));
                }
                200 => {
                    let (first, last) = (range.start, range.end - 1);
                    let url = url.shown();
                    return Err(Trouble::Lasting(Error::Ranges { url, first, last }));
                }
                416 => return Err(self.not_satisfiable(&url, at, &head)),
                _ => return Err(refused(&url, at, status_words(head.status))),
            }
        }
        let cause = format!("it was redirected more than {REDIRECTS_MAX} times");
        Err(Trouble::Lasting(Error::Redirect { url: self.source.shown(), cause }))
    }

    /// Checks the head of a 206. Returns where its bytes end.
    fn judge(&self, url: &Url, range: std::ops::Range<u64>, head: &Head) -> Result<u64, Trouble> {
        let encoding = head.content_encoding.as_deref().unwrap_or("identity").trim();
        if !encoding.eq_ignore_ascii_case("identity") {
            let cause = format!(
                "the server compresses its answers (`Content-Encoding: {}`), although it was asked \
                 not to; let it send this file as it is",
                printable(encoding)
            );
            return Err(refused(url, range.start, cause));
        }
        let text = head.content_range.as_deref().unwrap_or_default();
        let Some((first, last, total)) = content_range(text) else {
            let cause = format!(
                "the server answered 206 with the `Content-Range` `{}`; `bytes {}-{}/{}` was \
                 expected",
                printable(text),
                range.start,
                range.end - 1,
                self.size
            );
            return Err(refused(url, range.start, cause));
        };
        if let Some(found) = total.filter(|total| *total != self.size) {
            let (url, expected) = (url.shown(), self.size);
            return Err(Trouble::Lasting(Error::Size { url, expected, found }));
        }
        if first != range.start || last < first || last >= range.end {
            let cause = format!(
                "the server sent bytes {first} to {last} where {} to {} were asked for",
                range.start,
                range.end - 1
            );
            return Err(refused(url, range.start, cause));
        }
        Ok(last + 1)
    }

    /// 416: the file ends before the range begins.
    fn not_satisfiable(&self, url: &Url, at: u64, head: &Head) -> Trouble {
        let total =
            head.content_range.as_deref().and_then(|text| text.trim().strip_prefix("bytes */"));
        match total.and_then(|total| total.parse().ok()) {
            Some(found) if found != self.size => {
                let (url, expected) = (url.shown(), self.size);
                Trouble::Lasting(Error::Size { url, expected, found })
            }
            _ => refused(url, at, status_words(416)),
        }
    }
}

impl<B: Body> Open<B> {
    /// Reads on, not beyond `until`.
    fn next(&mut self, until: u64) -> Result<Vec<u8>, Trouble> {
        let wanted = usize::try_from(self.end.min(until) - self.at).unwrap_or(usize::MAX);
        let cause = match self.body.read(wanted) {
            Ok(bytes) if bytes.is_empty() => {
                format!("the answer ended {} bytes early", self.end - self.at)
            }
            Ok(bytes) if bytes.len() > wanted => "more bytes came than were asked for".into(),
            Ok(bytes) => {
                self.at += bytes.len() as u64;
                return Ok(bytes);
            }
            Err(cause) => cause,
        };
        Err(Trouble::Passing { url: self.url.clone(), cause, wait: None })
    }
}

fn failed(url: &Url, at: u64, failure: Failure) -> Trouble {
    match failure {
        Failure::Denied => {
            Trouble::Lasting(Error::Denied { url: url.shown(), authority: url.authority() })
        }
        Failure::Passing(cause) => Trouble::Passing { url: url.shown(), cause, wait: None },
        Failure::Lasting(cause) => refused(url, at, cause),
    }
}

fn answered(url: &Url, head: &Head, wait: Option<Duration>) -> Trouble {
    Trouble::Passing { url: url.shown(), cause: status_words(head.status), wait }
}

fn refused(url: &Url, offset: u64, cause: String) -> Trouble {
    Trouble::Lasting(Error::Refused { url: url.shown(), offset, cause })
}

fn status_words(status: u16) -> String {
    let words = match status {
        401 | 403 => " (access denied; an address that anyone may read is needed)",
        404 | 410 => " (not found; check the address)",
        416 => " (range not satisfiable)",
        429 => " (too many requests)",
        500..=599 => " (a failure of the server)",
        _ => "",
    };
    format!("the server answered {status}{words}")
}

/// The address that a redirect names. From `https` it stays `https`.
fn redirected(from: &Url, location: Option<&str>) -> Result<Url, Trouble> {
    let refuse = |cause| Trouble::Lasting(Error::Redirect { url: from.shown(), cause });
    let location = location.ok_or_else(|| refuse("a redirect without a `Location`".into()))?;
    let to = from.join(location).map_err(|error| {
        refuse(format!("a redirect to `{}`, of which {error}", printable(location)))
    })?;
    if from.scheme() == Scheme::Https && to.scheme() == Scheme::Http {
        let cause = format!("a redirect to `{}`, which is not encrypted", to.shown());
        return Err(refuse(cause));
    }
    Ok(to)
}

/// First and last position, and the size where it is known, of `bytes 0-9/100` (RFC 9110, section
/// 14.4).
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (unit, rest) = text.trim().split_once(' ')?;
    let (positions, total) = rest.trim().split_once('/')?;
    let (first, last) = positions.split_once('-')?;
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    unit.eq_ignore_ascii_case("bytes").then_some((first.parse().ok()?, last.parse().ok()?, total))
}

/// What a server says, short and without control characters.
fn printable(text: &str) -> String {
    const CHARS_MAX: usize = 100;
    text.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect()
}
