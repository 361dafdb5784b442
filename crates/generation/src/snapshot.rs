//! Snapshots of generations as bytes:
//!
//! | bytes | |
//! |---|---|
//! | 8 | `trefoil` and a zero |
//! | 4 | the version, little-endian as all numbers |
//! | 4 | length of the head |
//! | | the head: what the snapshot belongs to, the generation, and the number of pages |
//! | | the pages: keys and values, of the same length each |
//! | 32 | SHA-256 of all that |

mod bytes;
mod head;

use trefoil_contract::{Error, Result};

pub use head::Identity;

use crate::{SavedCache, SavedGeneration};

/// Bytes of the digest at the end.
pub(crate) const DIGEST_BYTES: usize = 32;
/// Bytes before the head.
pub(crate) const START_BYTES: usize = 16;

const MAGIC: &[u8; 8] = b"trefoil\0";
/// Of the format. Another one is refused: a generation is not worth a conversion.
const VERSION: u32 = 1;
/// Longest head. A context of a million tokens takes 8 MiB.
const HEAD_BYTES_MAX: u32 = 64 << 20;

/// The start and the head.
pub(crate) fn encode(
    identity: &Identity,
    saved: &SavedGeneration,
    cache: &SavedCache,
) -> Result<Vec<u8>> {
    let head = head::encode(identity, saved, cache);
    let length = u32::try_from(head.len()).ok().filter(|length| *length <= HEAD_BYTES_MAX);
    let length = length.ok_or_else(|| {
        Error::unsupported(format_args!(
            "a snapshot of a generation whose tokens and options take {} bytes; at most {} are \
             saved",
            head.len(),
            HEAD_BYTES_MAX
        ))
    })?;
    Ok([MAGIC.as_slice(), &VERSION.to_le_bytes(), &length.to_le_bytes(), &head].concat())
}

/// Reads the start: the length of the head.
///
/// # Errors
/// [`Error::InvalidArgument`] for what is no snapshot, or one of another version.
pub(crate) fn decode_start(bytes: &[u8; START_BYTES]) -> Result<usize> {
    let refuse = |text: String| Err(Error::InvalidArgument(text));
    let (magic, rest) = bytes.split_at(MAGIC.len());
    let (version, length) = rest.split_at(4);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |it, byte| it << 8 | u32::from(*byte));
    if magic != MAGIC {
        return refuse("these bytes are no snapshot of a generation".into());
    }
    match (number(version), number(length)) {
        (VERSION, length) if length <= HEAD_BYTES_MAX => Ok(length as usize),
        (VERSION, length) => refuse(format!(
            "the snapshot is damaged: its head has {length} bytes, and at most {HEAD_BYTES_MAX} are \
             possible"
        )),
        (other, _) => refuse(format!(
            "the snapshot has the version {other}, and this engine knows {VERSION}: make a new one \
             with this engine"
        )),
    }
}

pub(crate) use head::decode as decode_head;
