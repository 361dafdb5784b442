//! The disk under the cache.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// What downloads need of a disk; another than the real one is for tests.
pub trait Disk: Send + Sync {
    /// Bytes that may be written under a folder, if the system says so.
    ///
    /// # Errors
    /// Those of the system.
    fn free_bytes(&self, folder: &Path) -> io::Result<Option<u64>>;

    /// Appends to a file.
    ///
    /// # Errors
    /// Those of the system.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()>;
}

/// The disk that is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    #[cfg(unix)]
    fn free_bytes(&self, folder: &Path) -> io::Result<Option<u64>> {
        let status = rustix::fs::statvfs(folder)?;
        Ok(Some(status.f_bavail.saturating_mul(status.f_frsize)))
    }

    #[cfg(not(unix))]
    fn free_bytes(&self, _: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }
}

/// Whether an error of writing means that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
