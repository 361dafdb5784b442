use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::Interrupt;

/// Environment variable that places the cache.
pub(crate) const VARIABLE: &str = "TREFOIL_CACHE";

/// Folders of the cache whose content can be made again from its inputs.
const DERIVED: [&str; 2] = ["compiled", "compositions"];

/// Bytes written between two looks at the interrupt.
const CHUNK_BYTES: usize = 4 << 20;

/// Derived files under one folder that only this user can write: native code is run from there
/// unchecked.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// Why the cache cannot be used.
#[derive(Debug, Error)]
pub enum CacheError {
    /// No place for it.
    #[error(
        "no place for the cache: set `TREFOIL_CACHE` to a folder (neither it nor `XDG_CACHE_HOME` nor `HOME` is set)"
    )]
    Nowhere,
    /// The file system refused something.
    #[error("cannot {action} `{}`; set `TREFOIL_CACHE` to another folder", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Others could put native code there.
    #[error("the cache `{}` is not safe to use: {problem}; set `TREFOIL_CACHE` to another folder, or repair it with `chmod 700`", path.display())]
    Unsafe {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// The interrupt was raised.
    #[error("interrupted")]
    Interrupted,
}

/// What lies in the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of files.
    pub files: u64,
    /// Bytes together.
    pub bytes: u64,
}

impl Cache {
    /// The folder to use: `$TREFOIL_CACHE`, else `trefoil` in the user's cache folder.
    ///
    /// # Errors
    /// [`CacheError::Nowhere`].
    pub fn default_root() -> Result<PathBuf, CacheError> {
        let set = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        if let Some(root) = set(VARIABLE) {
            return Ok(root.into());
        }
        // The XDG base directory specification ignores relative paths.
        let xdg = set("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || set("HOME").map(|home| PathBuf::from(home).join(".cache"));
        Ok(xdg.or_else(home).ok_or(CacheError::Nowhere)?.join("trefoil"))
    }

    /// Opens the cache at a folder, which is made if it does not exist.
    ///
    /// # Errors
    /// [`CacheError`] if it cannot be made, or if others may write to it.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, CacheError> {
        let cache = Cache { root: root.into() };
        make_private(&cache.root)?;
        for folder in DERIVED {
            make_private(&cache.root.join(folder))?;
        }
        Ok(cache)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the composition with this key lies or will lie.
    pub fn composition(&self, key: &str) -> PathBuf {
        self.root.join("compositions").join(format!("{key}.wasm"))
    }

    /// The key of a composition that lies here: it names the content, which is never changed in
    /// place, as well as its digest would.
    pub(crate) fn composition_key(&self, path: &Path) -> Option<String> {
        let key = path.file_stem()?.to_str()?;
        let is_key = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_key && path == self.composition(key)).then(|| key.to_owned())
    }

    /// Where native code with this key lies or will lie.
    pub(crate) fn compiled(&self, key: &str) -> PathBuf {
        self.root.join("compiled").join(format!("{key}.cwasm"))
    }

    /// Where native code of single functions lies or will lie, for a runtime of this kind.
    pub(crate) fn functions(&self, compatibility: u64) -> PathBuf {
        self.root.join("compiled").join(format!("functions-{compatibility:016x}"))
    }

    /// The folder of downloaded models, which need not exist. They cannot be made again, so that
    /// nothing here touches them.
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// Writes a file as a whole or not at all.
    pub(crate) fn write(
        &self,
        path: &Path,
        bytes: &[u8],
        interrupt: &Interrupt,
    ) -> Result<(), CacheError> {
        let error = |source| CacheError::Io { action: "write", path: path.into(), source };
        let folder = path.parent().unwrap_or(&self.root);
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(error)?;
        for chunk in bytes.chunks(CHUNK_BYTES) {
            if interrupt.is_raised() {
                return Err(CacheError::Interrupted);
            }
            file.write_all(chunk).map_err(error)?;
        }
        file.persist(path).map_err(|failed| error(failed.error))?;
        Ok(())
    }

    /// Counts what can be made again (models are not part of it).
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn usage(&self) -> Result<Usage, CacheError> {
        let mut usage = Usage::default();
        self.each_derived(|entry, length| {
            usage.files += 1;
            usage.bytes += length;
            let _ = entry;
            Ok(())
        })?;
        Ok(usage)
    }

    /// Removes what can be made again, and says how much that was. Models stay.
    ///
    /// # Errors
    /// [`CacheError::Io`]. What was removed until then stays removed.
    pub fn clean(&self) -> Result<Usage, CacheError> {
        let mut usage = Usage::default();
        self.each_derived(|path, length| {
            fs::remove_file(path).map_err(|source| CacheError::Io {
                action: "remove",
                path: path.into(),
                source,
            })?;
            usage.files += 1;
            usage.bytes += length;
            Ok(())
        })?;
        match fs::remove_file(self.digest_index()) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CacheError::Io { action: "remove", path: self.digest_index(), source })
            }
            _ => Ok(usage),
        }
    }

    /// The memo of files' digests.
    pub(crate) fn digest_index(&self) -> PathBuf {
        self.root.join("digests")
    }

    fn each_derived(
        &self,
        mut visit: impl FnMut(&Path, u64) -> Result<(), CacheError>,
    ) -> Result<(), CacheError> {
        for folder in DERIVED {
            let folder = self.root.join(folder);
            let error = |source| CacheError::Io { action: "list", path: folder.clone(), source };
            for entry in fs::read_dir(&folder).map_err(error)? {
                let entry = entry.map_err(error)?;
                let metadata = entry.metadata().map_err(error)?;
                if metadata.is_file() {
                    visit(&entry.path(), metadata.len())?;
                }
            }
        }
        Ok(())
    }
}

/// Makes a folder that only its owner can use, or checks that an existing one is that safe.
fn make_private(path: &Path) -> Result<(), CacheError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| CacheError::Io {
        action: "make",
        path: path.into(),
        source,
    })?;
    check_private(path)
}

#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), CacheError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).map_err(|source| CacheError::Io {
        action: "look at",
        path: path.into(),
        source,
    })?;
    let problem = if metadata.uid() != rustix::process::geteuid().as_raw() {
        "it belongs to another user"
    } else if metadata.mode() & 0o022 != 0 {
        "other users may write to it"
    } else {
        return Ok(());
    };
    Err(CacheError::Unsafe { path: path.into(), problem })
}

#[cfg(not(unix))]
fn check_private(_: &Path) -> Result<(), CacheError> {
    // The user's cache folder is private by the system's defaults.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn cleaning_removes_derived_files_and_keeps_models() {
        let folder = folder();
        let cache = Cache::open(folder.path().join("c")).expect("opens");
        let model = cache.models().join("m.gguf");
        fs::create_dir_all(model.parent().expect("has a parent")).expect("makes models");
        fs::write(&model, b"model").expect("writes");
        cache.write(&cache.compiled("k"), b"code", &Interrupt::new()).expect("writes");
        cache.write(&cache.composition("k"), b"abc", &Interrupt::new()).expect("writes");
        assert_eq!(cache.usage().expect("counts"), Usage { files: 2, bytes: 7 });
        assert_eq!(cache.clean().expect("cleans"), Usage { files: 2, bytes: 7 });
        assert_eq!(cache.usage().expect("counts"), Usage::default());
        assert!(model.exists());
    }

    #[test]
    fn an_interrupted_write_leaves_nothing() {
        let folder = folder();
        let cache = Cache::open(folder.path()).expect("opens");
        let interrupt = Interrupt::new();
        interrupt.raise();
        let written = cache.write(&cache.compiled("k"), b"code", &interrupt);
        assert!(matches!(written, Err(CacheError::Interrupted)));
        assert_eq!(cache.usage().expect("counts"), Usage::default());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder();
        let shared = folder.path().join("shared");
        fs::create_dir(&shared).expect("makes");
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).expect("opens up");
        assert!(matches!(Cache::open(&shared), Err(CacheError::Unsafe { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_new_cache_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder();
        let cache = Cache::open(folder.path().join("c")).expect("opens");
        for path in [cache.root().to_path_buf(), cache.root().join("compiled")] {
            let mode = fs::metadata(&path).expect("is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", path.display());
        }
    }
}
