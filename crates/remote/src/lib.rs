//! Reads a model's file from an HTTP server, by position, and lets out no byte that was not there
//! when the composition was made.
//!
//! The [`Manifest`] says where the file is and which digest each of its chunks has; the composer
//! writes it into the model component. At run time a [`Reader`] asks for ranges (RFC 9110, section
//! 14), follows redirects, goes on where a connection was cut, and compares each chunk's digest
//! before any byte of it leaves. What sends requests is a [`Transport`], so that all of this builds
//! and tests natively.

#![deny(missing_docs)]

mod digests;
mod download;
mod error;
mod manifest;
mod reader;
mod transport;
mod url;

pub use digests::{Digester, Digests, SIZE_MAX, Sha256Bytes, chunk_bytes, hex};
pub use error::Error;
pub use manifest::{Manifest, ManifestError, PLACE_BYTES, place};
pub use reader::Reader;
pub use transport::{Body, Failure, Head, Transport};
pub use url::{Scheme, URL_BYTES_MAX, Url, UrlError};
