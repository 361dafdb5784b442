//! Who asks, through `wasi:http`.

use std::io::Read;

use trefoil_openai::{Client, Gone};

use crate::bindings::wasi::http::types::{
    Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use crate::bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};

/// Bytes that a stream takes at once, at most: the limit of `blocking-write-and-flush`.
const WRITE_BYTES_MAX: usize = 4096;

/// Bytes that are asked of a stream at once.
const READ_BYTES_MAX: usize = 64 << 10;

/// A request's body. Dropped in this order: a stream is its body's child.
pub(crate) struct Body {
    stream: Option<InputStream>,
    _body: Option<IncomingBody>,
}

impl Body {
    pub(crate) fn of(request: &IncomingRequest) -> Self {
        let body = request.consume().ok();
        let stream = body.as_ref().and_then(|body| body.stream().ok());
        Body { stream, _body: body }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Some(stream) = &self.stream else { return Ok(0) };
        let length = buffer.len().min(READ_BYTES_MAX);
        loop {
            match stream.blocking_read(length as u64) {
                // Not the end: a host may wake early.
                Ok(bytes) if bytes.is_empty() && length > 0 => {}
                Ok(bytes) => {
                    buffer[..bytes.len()].copy_from_slice(&bytes);
                    return Ok(bytes.len());
                }
                Err(StreamError::Closed) => return Ok(0),
                Err(StreamError::LastOperationFailed(error)) => {
                    return Err(std::io::Error::other(error.to_debug_string()));
                }
            }
        }
    }
}

/// Where the answer goes.
pub(crate) struct Outgoing {
    /// Until the head is sent.
    response: Option<ResponseOutparam>,
    /// Of an answer that is sent. Dropped in this order: a stream is its body's child.
    stream: Option<OutputStream>,
    body: Option<OutgoingBody>,
    /// The client wants the head alone.
    is_head: bool,
}

impl Outgoing {
    pub(crate) fn new(response: ResponseOutparam, is_head: bool) -> Self {
        Outgoing { response: Some(response), stream: None, body: None, is_head }
    }

    /// Ends an answer; without this the host takes it for broken off.
    pub(crate) fn finish(mut self) {
        drop(self.stream.take());
        if let Some(body) = self.body.take() {
            // A client that has left now had everything.
            let _ = OutgoingBody::finish(body, None);
        }
    }
}

impl Client for Outgoing {
    fn head(&mut self, status: u16, headers: &[(&str, &str)]) -> Result<(), Gone> {
        let response = self.response.take().ok_or(Gone)?;
        let fields: Vec<_> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect();
        let answer = OutgoingResponse::new(Fields::from_list(&fields).map_err(|_| Gone)?);
        answer.set_status_code(status).map_err(|()| Gone)?;
        let body = answer.body().map_err(|()| Gone)?;
        self.stream = Some(body.write().map_err(|()| Gone)?);
        self.body = Some(body);
        ResponseOutparam::set(response, Ok(answer));
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let stream = self.stream.as_ref().ok_or(Gone)?;
        if self.is_head {
            return Ok(());
        }
        for piece in bytes.chunks(WRITE_BYTES_MAX) {
            stream.blocking_write_and_flush(piece).map_err(|_| Gone)?;
        }
        Ok(())
    }
}
