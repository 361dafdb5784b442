//! Folders that appear whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::manifest::MANIFEST;
use crate::{WebError, cannot_write};

/// A folder that is being written beside its final place.
pub(crate) struct Folder {
    target: PathBuf,
    work: TempDir,
}

impl Folder {
    /// Looks whether `target` is free, empty, or was written here before.
    pub(crate) fn create(target: &Path) -> Result<Folder, WebError> {
        let fail = cannot_write(target);
        let target = match fs::metadata(target) {
            // Behind links stands the folder itself: it is what is replaced.
            Ok(_) => fs::canonicalize(target).map_err(fail)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => target.to_owned(),
            Err(error) => return Err(fail(error)),
        };
        check_free(&target)?;
        let parent = parent(&target);
        let mut builder = tempfile::Builder::new();
        builder.prefix(".trefoil-").suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Temporary folders are private by default; this one becomes an ordinary one, less the
            // user's umask.
            builder.permissions(fs::Permissions::from_mode(0o777));
        }
        let work = builder.tempdir_in(parent);
        let fail = cannot_write(&target);
        let work = work.map_err(|error| fail(error.kind().into()))?;
        Ok(Folder { target, work })
    }

    /// Where to write.
    pub(crate) fn path(&self) -> &Path {
        self.work.path()
    }

    /// Makes a folder inside.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, WebError> {
        let path = self.path().join(name);
        fs::create_dir_all(&path).map_err(cannot_write(&path))?;
        Ok(path)
    }

    /// Writes a file, and the folders that it lies in.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> Result<(), WebError> {
        let path = self.path().join(name);
        let parent = parent(&path);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, bytes))
            .map_err(cannot_write(&self.target.join(name)))
    }

    /// Gives the folder its name. Replaces what stood there.
    pub(crate) fn finish(self) -> Result<(), WebError> {
        check_free(&self.target)?;
        let fail = || cannot_write(&self.target);
        if !self.target.exists() {
            let work = self.work.keep();
            return fs::rename(&work, &self.target).map_err(|error| {
                // Nothing shall be left of it.
                let _ = fs::remove_dir_all(&work);
                fail()(error)
            });
        }
        let old = tempfile::Builder::new()
            .prefix(".trefoil-")
            .suffix(".old")
            .tempdir_in(parent(&self.target))
            .map_err(fail())?;
        let before = old.path().join("site");
        fs::rename(&self.target, &before).map_err(fail())?;
        let work = self.work.keep();
        fs::rename(&work, &self.target).map_err(|error| {
            let _ = fs::rename(&before, &self.target);
            let _ = fs::remove_dir_all(&work);
            fail()(error)
        })
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether a folder may be written there: nothing is there, or an empty folder, or one that was
/// written before.
///
/// # Errors
/// [`WebError::Taken`], or what the system says.
pub fn check_free(target: &Path) -> Result<(), WebError> {
    let mut entries = match fs::read_dir(target) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(WebError::Taken { path: target.into() });
        }
        Err(error) => return Err(cannot_write(target)(error)),
    };
    if entries.next().is_none() || target.join(MANIFEST).is_file() {
        return Ok(());
    }
    Err(WebError::Taken { path: target.into() })
}
