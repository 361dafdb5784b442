//! A model's GGUF file, or the files that it is split into, read as one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use trefoil_gguf::{Gguf, Joined, SPLIT_COUNT_KEY, Source, SplitName};

use crate::gguf_source::GgufSource;
use crate::model::PackError;
use crate::read_at::{Opened, ReadAt};

/// The files of a model that one of them names: itself, or all that it is split into, in order.
/// They need not exist.
pub fn model_files(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str());
    match name.and_then(SplitName::parse) {
        Some(split) => split.all().map(|name| path.with_file_name(name)).collect(),
        None => vec![path.into()],
    }
}

/// Open files, which must not change.
#[derive(Debug)]
pub(crate) struct ModelFiles {
    files: Vec<FileState>,
}

#[derive(Debug)]
struct FileState {
    path: PathBuf,
    size: u64,
    modified: Option<SystemTime>,
}

impl ModelFiles {
    /// Opens a model and reads its header.
    pub(crate) fn open(path: &Path) -> Result<(ModelFiles, Gguf, Arc<dyn ReadAt>), PackError> {
        let (state, file) = open(path)?;
        let unusable = |source| PackError::Gguf { path: path.into(), source: Box::new(source) };
        let gguf = Gguf::read(&GgufSource(&file)).map_err(unusable)?;
        let count = gguf.metadata.u32(SPLIT_COUNT_KEY).map_err(unusable)?.unwrap_or(1);
        if count <= 1 {
            return Ok((ModelFiles { files: vec![state] }, gguf, Arc::new(file)));
        }
        let paths = model_files(path);
        if paths.len() != count as usize {
            return Err(PackError::SplitName { path: path.into(), count });
        }
        let mut files = Vec::new();
        let mut sources = Vec::new();
        for path in &paths {
            let (state, file) = open(path)?;
            files.push(state);
            sources.push(GgufFile(file));
        }
        let joined = Joined::new(sources).map_err(|source| PackError::Split {
            path: paths.get(source.number()).cloned().unwrap_or_default(),
            source,
        })?;
        let gguf = Gguf::read(&joined).map_err(unusable)?;
        Ok((ModelFiles { files }, gguf, Arc::new(JoinedFiles(joined))))
    }

    /// Whether all are as they were.
    pub(crate) fn check_unchanged(&self) -> Result<(), PackError> {
        for FileState { path, size, modified } in &self.files {
            let now = fs::metadata(path).map(|metadata| metadata.len()).ok();
            if now != Some(*size) || modification(path) != *modified {
                return Err(PackError::Changed { path: path.clone() });
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<(FileState, Opened), PackError> {
    let file =
        Opened::open(path).map_err(|source| PackError::Open { path: path.into(), source })?;
    let state = FileState { path: path.into(), size: file.size(), modified: modification(path) };
    Ok((state, file))
}

fn modification(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

struct GgufFile(Opened);

impl Source for GgufFile {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        GgufSource(&self.0).read_at(offset, buffer)
    }
}

struct JoinedFiles(Joined<GgufFile>);

impl ReadAt for JoinedFiles {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer).map_err(io::Error::other)
    }
}
