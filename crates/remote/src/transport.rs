use std::ops::Range;
use std::time::Duration;

use crate::Url;

/// Sends one request and follows nothing: redirects and retries are this crate's.
pub trait Transport {
    /// What follows an answer's head.
    type Body: Body;

    /// Sends `GET` with `Range: bytes=` of these positions (the last one is inclusive on the wire)
    /// and `Accept-Encoding: identity`, and waits for the head of the answer.
    ///
    /// # Errors
    /// [`Failure`]: there was no answer.
    fn get(&mut self, url: &Url, range: Range<u64>) -> Result<(Head, Self::Body), Failure>;

    /// Waits.
    fn pause(&mut self, time: Duration);
}

/// The bytes of an answer.
pub trait Body {
    /// The next bytes, at most `length_max`; none at the end.
    ///
    /// # Errors
    /// In words, why there are no more.
    fn read(&mut self, length_max: usize) -> Result<Vec<u8>, String>;
}

/// What an answer's head says, where it matters here. Values are as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// 206 for the range that was asked for.
    pub status: u16,
    /// `Content-Range`
    pub content_range: Option<String>,
    /// `Content-Encoding`
    pub content_encoding: Option<String>,
    /// `ETag`
    pub etag: Option<String>,
    /// `Location`
    pub location: Option<String>,
    /// `Retry-After`
    pub retry_after: Option<String>,
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The host does not grant it.
    Denied,
    /// Something that may pass: no connection, no name, no answer in time.
    Passing(String),
    /// Something that will not.
    Lasting(String),
}
