//! The files of models, cut into pieces that any host of static files takes.

use std::fs::{self, File};
use std::io::Write;

use sha2::{Digest, Sha256};
use trefoil_compose::{OutputError, PartFile, PartRecord, Progress, ReadAt};

use crate::folder::Folder;
use crate::manifest::{Part, Piece};
use crate::{WebError, cannot_write};

/// The least that a piece may hold, in bytes.
pub const PIECE_BYTES_MIN: u64 = 64 << 10;
/// The most that a piece may hold, in bytes: hosts of static files limit the size of a file, many of
/// them to 50 or 100 MB.
pub const PIECE_BYTES_MAX: u64 = 1 << 30;
/// Bytes that are copied at a time.
const BUFFER_BYTES: u64 = 1 << 20;

/// What was done of all files, for the progress.
pub(crate) struct Done<'a> {
    pub(crate) bytes: u64,
    pub(crate) total: u64,
    pub(crate) progress: &'a mut dyn Progress,
}

impl Done<'_> {
    fn advance(&mut self, bytes: u64) -> Result<(), OutputError> {
        self.bytes += bytes;
        match self.progress.advance(self.bytes, self.total.max(self.bytes)) {
            std::ops::ControlFlow::Continue(()) => Ok(()),
            std::ops::ControlFlow::Break(()) => Err(OutputError::Cancelled),
        }
    }
}

/// Writes a file in pieces below `weights/`, each named by its digest.
pub(crate) fn write(
    file: &PartFile,
    piece_bytes: u64,
    folder: &Folder,
    done: &mut Done<'_>,
) -> Result<Part, WebError> {
    let said = file.part();
    let mut part = without_pieces(said);
    let weights = folder.folder("weights")?;
    let mut whole = Sha256::new();
    let mut buffer = vec![0; usize::try_from(BUFFER_BYTES).unwrap_or(usize::MAX)];
    let mut offset = 0;
    while offset < file.size() {
        let end = offset.saturating_add(piece_bytes).min(file.size());
        let size = end - offset;
        let path = weights.join("piece");
        let mut out = File::create(&path).map_err(cannot_write(&path))?;
        let mut hash = Sha256::new();
        while offset < end {
            let length = BUFFER_BYTES.min(end - offset);
            let chunk = &mut buffer[..usize::try_from(length).unwrap_or(usize::MAX)];
            let read = file.read_at(offset, chunk);
            read.map_err(|source| OutputError::Read { name: said.name.clone(), source })?;
            out.write_all(chunk).map_err(cannot_write(&path))?;
            hash.update(&*chunk);
            whole.update(&*chunk);
            offset += length;
            done.advance(length)?;
        }
        let sha256 = hex(hash);
        let name = format!("{sha256}.bin");
        fs::rename(&path, weights.join(&name)).map_err(cannot_write(&path))?;
        part.pieces.push(Piece { file: format!("weights/{name}"), size, sha256 });
    }
    let found = hex(whole);
    if said.sha256 != found {
        let (name, expected) = (said.name.clone(), said.sha256.clone());
        return Err(WebError::Digest { name, expected, found });
    }
    Ok(part)
}

/// What the manifest says about a file that is inside an engine.
pub(crate) fn without_pieces(file: &PartRecord) -> Part {
    Part { file: file.clone(), pieces: Vec::new() }
}

/// The digest in lower-case hexadecimal.
pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
