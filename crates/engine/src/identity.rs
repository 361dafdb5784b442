//! What a snapshot has to be of, to go on here: the same engine, weights and adapters.

use sha2::{Digest as _, Sha256};
use trefoil_contract::{Error, Part, Result};
use trefoil_gguf::Source as _;

use crate::PartSource;

/// Pieces of a file that stand for the whole, where nobody says its SHA-256.
const PIECES: u64 = 64;
/// Bytes of each.
const PIECE_BYTES: u64 = 64 << 10;

/// Names a file: the SHA-256 that its part says, or else one of its size and of pieces all over it,
/// which are read once.
///
/// # Errors
/// What the model component reports.
pub(crate) fn digest(part: &Part, source: &PartSource) -> Result<String> {
    if !part.sha256.is_empty() {
        return Ok(format!("sha256:{}", part.sha256));
    }
    let mut digest = Sha256::new();
    digest.update(part.size.to_le_bytes());
    let mut bytes = Vec::new();
    for piece in 0..PIECES {
        // The first begins the file and the last ends it; those of a small file meet or overlap.
        let last = part.size.saturating_sub(PIECE_BYTES);
        let offset = u128::from(last) * u128::from(piece) / u128::from(PIECES - 1);
        bytes.resize(PIECE_BYTES.min(part.size) as usize, 0);
        source.read_at(offset as u64, &mut bytes).map_err(Error::Io)?;
        digest.update(&bytes);
    }
    let digest = digest.finalize();
    Ok(digest.iter().fold("pieces:".to_owned(), |text, byte| format!("{text}{byte:02x}")))
}
