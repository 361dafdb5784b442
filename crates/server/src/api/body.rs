//! Bodies of requests, which may be large, but not all of them at once.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::header;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trefoil_openai::{BODY_BYTES_MAX, Failure};

use super::{App, Refused};

/// What every request may have, whatever the others have.
const FREE_BYTES: usize = 1 << 20;
/// What all requests together may have beyond that.
const LARGE_BYTES_MAX: usize = 8 * BODY_BYTES_MAX;
/// What is counted.
const UNIT_BYTES: usize = 64 << 10;

/// Memory for the large bodies among those that are being read or answered.
#[derive(Debug, Clone)]
pub(super) struct LargeBodies(Arc<Semaphore>);

impl LargeBodies {
    /// Bytes that are taken of it.
    pub(super) fn taken_bytes(&self) -> usize {
        LARGE_BYTES_MAX - self.0.available_permits() * UNIT_BYTES
    }
}

impl Default for LargeBodies {
    fn default() -> Self {
        LargeBodies(Arc::new(Semaphore::new(LARGE_BYTES_MAX / UNIT_BYTES)))
    }
}

/// What a body takes of that; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    from: LargeBodies,
    /// Bytes that are granted.
    granted: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Makes sure of memory for so many bytes.
    fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        if bytes <= self.granted {
            return Ok(());
        }
        let units = (bytes - self.granted).div_ceil(UNIT_BYTES);
        let permits = u32::try_from(units).ok();
        let more = permits.and_then(|count| self.from.0.clone().try_acquire_many_owned(count).ok());
        let more = more.ok_or_else(|| Failure::too_much_at_once(LARGE_BYTES_MAX))?;
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        self.granted += units * UNIT_BYTES;
        Ok(())
    }
}

/// A body in JSON, whose faults are reported as OpenAI does: with the name of the parameter.
/// Content types are not looked at: clients without one mean JSON.
pub(super) struct Body<T> {
    pub(super) value: T,
    /// Held as long as the request may be in memory.
    pub(super) share: Share,
}

impl<T: serde::de::DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refused> {
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if let Some(bytes) = announced.filter(|bytes| *bytes > BODY_BYTES_MAX as u64) {
            // Not read at all: the client is told at once.
            return Err(Failure::too_large(bytes).into());
        }
        let from = app.large_bodies.clone();
        let mut share = Share { from, granted: FREE_BYTES, permit: None };
        let expected = announced.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
        let mut granted = share.grow(expected);
        let mut bytes = Vec::with_capacity(expected.min(FREE_BYTES));
        let (mut length, mut chunks) = (0, request.into_body().into_data_stream());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk
                .map_err(|error| Failure::body(400, format!("the body broke off: {error}")))?;
            length += chunk.len();
            if length > BODY_BYTES_MAX {
                return Err(Failure::too_large(length as u64).into());
            }
            granted = granted.and_then(|()| share.grow(length));
            // What is refused is read to its end and dropped: a client that is still sending would
            // see a broken connection in place of the answer.
            match granted {
                Ok(()) => bytes.extend_from_slice(&chunk),
                Err(_) => bytes = Vec::new(),
            }
        }
        granted?;
        let value = trefoil_openai::read(&bytes)?;
        Ok(Body { value, share })
    }
}
