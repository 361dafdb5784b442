//! One pull of a model at a time.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A lock that is held until this is dropped. The file beside the model goes with it.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// The lock for the model whose first file lies at `path`; `None` if somebody has it.
    pub(crate) fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let path = Self::path(path);
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Who had it before may have removed the file that we opened: then others lock another.
            if is_still(&file, &path) {
                return Ok(Some(Lock { file, path }));
            }
        }
    }

    /// Where the lock's file is.
    fn path(model: &Path) -> PathBuf {
        with_suffix(model, ".lock")
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still held, so that nobody's lock is on a file that is gone. What
        // stays behind is an empty file that anybody can lock.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_still(_: &File, path: &Path) -> bool {
    // An open file cannot be removed there.
    path.exists()
}

/// A path with more behind its file name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_exclusive_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("m.gguf");
        let lock = Lock::try_take(&model).expect("works").expect("is free");
        assert!(Lock::try_take(&model).expect("works").is_none());
        drop(lock);
        assert_eq!(fs::read_dir(folder.path()).expect("is there").count(), 0);
        assert!(Lock::try_take(&model).expect("works").is_some());
    }

    #[test]
    fn many_threads_never_hold_it_together() {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("m.gguf");
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let Some(lock) = Lock::try_take(&model).expect("works") else { continue };
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }
}
