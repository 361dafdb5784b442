//! Models from hubs: their names, downloading them, and the cache that they lie in.
//!
//! A name is resolved ([`Reference`], [`CATALOGUE`]), its source asked for files with sizes and
//! digests, each file downloaded beside its place, continued where it was cut, checked, and renamed
//! ([`Hub::pull`]); [`Models`] is the cache. Prints nothing: [`Progress`] is told. Everything that a
//! server says has a limit, and no name of its choosing leads out of the cache.

#![deny(missing_docs)]

mod address;
mod cached;
mod catalogue;
mod client;
mod digest;
mod disk;
mod download;
mod failure;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hugging_face;
mod lock;
mod models;
mod oci;
mod offer;
mod partial;
mod progress;
mod pull;
mod record;
mod reference;

pub use address::Address;
pub use cached::{CachedFile, CachedModel, ModelsError, Removed, Verdict};
pub use catalogue::{CATALOGUE, Entry, entry};
pub use client::Retry;
pub use digest::Digest;
pub use disk::{Disk, RealDisk};
pub use download::FILE_BYTES_MAX;
pub use failure::{ClientError, DownloadError, PullError};
pub use hugging_face::QUANTISATIONS;
pub use models::{Models, can_be_pulled};
pub use progress::{Cancelled, Event, Progress};
pub use pull::{Hub, Pulled, PulledFile};
pub use reference::{Pick, Reference, ReferenceError};
