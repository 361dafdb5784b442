//! Models from hubs: their names, downloading them, and the cache that they lie in.
//!
//! A name is resolved ([`Reference`], [`CATALOGUE`]), its source asked for files with sizes and
//! digests, each file downloaded beside its place, continued where it was cut, checked, and renamed
//! ([`Hub::pull`]); [`Models`] is the cache. Prints nothing: [`Progress`] is told. Everything that a
//! server says has a limit, and no name of its choosing leads out of the cache.

#![deny(missing_docs)]

mod address;
mod catalogue;
mod client;
mod digest;
mod disk;
mod download;
mod failure;
mod hugging_face;
mod lock;
mod models;
mod oci;
mod offer;
mod progress;
mod pull;
mod record;
mod reference;
mod split;

pub use address::Address;
pub use catalogue::{CATALOGUE, Entry, entry};
pub use client::Retry;
pub use digest::Digest;
pub use disk::{Disk, RealDisk};
pub use download::{DownloadError, FILE_BYTES_MAX};
pub use failure::ClientError;
pub use hugging_face::QUANTISATIONS;
pub use models::{CachedFile, CachedModel, Models, ModelsError, Removed, Verdict, can_be_pulled};
pub use progress::{Cancelled, Event, Progress};
pub use pull::{Hub, PullError, Pulled, PulledFile};
pub use reference::{Pick, Reference, ReferenceError};
pub use split::Split;
