//! The cache of models: a folder with GGUF files, records of where they come from beside them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cached::{CachedFile, CachedModel, ModelsError, Removed, Verdict, has_suffix, io_error};
use crate::catalogue::{self, CATALOGUE, Entry};
use crate::digest::Digest;
use crate::hugging_face::choose;
use crate::lock::Lock;
use crate::record::Record;
use crate::reference::{Pick, Reference};
use trefoil_gguf::SplitName;

/// Most folders inside one another that are looked into.
const DEPTH_MAX: usize = 16;

/// Most files and folders that are looked at.
const ENTRIES_MAX: usize = 100_000;

/// What is left behind by a pull that did not end, by the ends of their names.
const LEFTOVERS: [&str; 3] = [".gguf.partial", ".gguf.partial.json", ".json.new"];

/// The end of a lock's name. Whoever takes a lock removes its file in the end.
const LOCKS: &str = ".gguf.lock";

/// The cache of models.
#[derive(Debug, Clone)]
pub struct Models {
    folder: PathBuf,
}

impl Models {
    /// The cache in a folder, which need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Models { folder: folder.into() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All models, by name.
    ///
    /// # Errors
    /// [`ModelsError::Io`] where a folder cannot be listed.
    pub fn list(&self) -> Result<Vec<CachedModel>, ModelsError> {
        let paths = self.paths()?;
        let mut models = Vec::new();
        let mut recorded = std::collections::BTreeSet::new();
        for path in paths.iter().filter(|path| has_suffix(path, ".gguf.json")) {
            let first = path.with_extension("");
            if let Some(model) = self.recorded(&first) {
                recorded.extend(model.files.iter().map(|file| file.path.clone()));
                models.push(model);
            }
        }
        for path in paths.iter().filter(|path| has_suffix(path, ".gguf")) {
            let name = path.to_str().unwrap_or_default();
            let is_first = SplitName::parse(name).is_none_or(|split| split.number == 1);
            if is_first && !recorded.contains(path) {
                models.push(self.unrecorded(path));
            }
        }
        models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(models)
    }

    /// The model that a name stands for, by any of its names: of the catalogue, a reference, or
    /// the name of its file. `None` if none does.
    ///
    /// # Errors
    /// [`ModelsError`]: a reference is wrong, the name is ambiguous, or the cache unreadable.
    pub fn find(&self, name: &str) -> Result<Option<CachedModel>, ModelsError> {
        let models = self.list()?;
        let by = |is_it: &dyn Fn(&CachedModel) -> bool| -> Vec<&CachedModel> {
            models.iter().filter(|model| is_it(model)).collect()
        };
        let entry = catalogue::entry(name);
        let reference = match entry {
            Some(entry) => Some(entry.reference()),
            None => Reference::parse(name)?,
        };
        let mut found = match &reference {
            Some(reference) => self.of_reference(&models, &reference.first()),
            None => by(&|model| model.is_called(name)),
        };
        if let (true, Some(entry)) = (found.is_empty(), entry) {
            found = by(&|model| model.name == entry.name);
        }
        match found.as_slice() {
            [] => Ok(None),
            [model] => Ok(Some((*model).clone())),
            several => Err(ModelsError::Ambiguous {
                name: name.into(),
                models: several.iter().map(|model| model.unique_name()).collect(),
            }),
        }
    }

    /// The first file of a model for use by a command, which is remembered.
    ///
    /// # Errors
    /// Those of [`Models::find`], and if it is not there what would bring it.
    pub fn open(&self, name: &str) -> Result<PathBuf, ModelsError> {
        match self.find(name)?.filter(|model| model.complete) {
            Some(model) => {
                let path = model.files[0].path.clone();
                Record::touch(&path);
                Ok(path)
            }
            None if can_be_pulled(name) => Err(ModelsError::Absent { name: name.into() }),
            None => {
                Err(ModelsError::Unknown { name: name.into(), similar: catalogue::similar(name) })
            }
        }
    }

    /// Removes a model with its record.
    ///
    /// # Errors
    /// [`ModelsError`]. What was removed until then stays removed.
    pub fn remove(&self, model: &CachedModel) -> Result<Removed, ModelsError> {
        let mut removed = Removed::default();
        let Some(first) = model.files.first() else { return Ok(removed) };
        let lock = self.lock(&first.path, &model.name)?;
        // The record goes last, so that what could not be removed is still listed.
        for file in &model.files {
            removed.remove(&file.path)?;
            for leftover in
                [crate::partial::partial_path(&file.path), crate::partial::state_path(&file.path)]
            {
                removed.remove(&leftover)?;
            }
        }
        removed.remove(&Record::path(&first.path))?;
        drop(lock);
        self.remove_empty_folders(&first.path);
        Ok(removed)
    }

    /// Removes what pulls left that did not end, and nobody is at: parts of files, and models of
    /// which files are missing. Of the others, with `unused`, those that nobody used for that long;
    /// a model that was not pulled but put there stays.
    ///
    /// # Errors
    /// [`ModelsError`]. What was removed until then stays removed.
    pub fn clean(&self, unused: Option<Duration>) -> Result<Removed, ModelsError> {
        let mut removed = Removed::default();
        let now = SystemTime::now();
        for model in self.list()? {
            let age = model.used.and_then(|used| now.duration_since(used).ok());
            let is_unused = unused.is_some_and(|limit| age.is_some_and(|age| age >= limit));
            if model.source.is_none() || (model.complete && !is_unused) {
                continue;
            }
            match self.remove(&model) {
                Ok(more) => removed.add(more),
                Err(ModelsError::Busy { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for path in self.paths()? {
            let is_lock = has_suffix(&path, LOCKS);
            if !is_lock && !LEFTOVERS.iter().any(|suffix| has_suffix(&path, suffix)) {
                continue;
            }
            let name = path.to_str().unwrap_or_default();
            let Some(first) = first_of(name) else { continue };
            // Somebody's lock, and what it guards, are not touched.
            let Ok(lock) = self.lock(&first, name) else { continue };
            if !is_lock {
                removed.remove(&path)?;
            }
            drop(lock);
            self.remove_empty_folders(&path);
        }
        Ok(removed)
    }

    /// Reads a file of a model again and compares. `progress` gets the bytes done and ends the
    /// reading with `false`.
    ///
    /// # Errors
    /// [`ModelsError::Io`], [`ModelsError::Cancelled`].
    pub fn verify(
        &self,
        file: &CachedFile,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Verdict, ModelsError> {
        let found = match Digest::of_file(&file.path, progress) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Verdict::Missing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Err(ModelsError::Cancelled);
            }
            Err(source) => return Err(io_error("read", &file.path, source)),
        };
        Ok(match &file.sha256 {
            Some(expected) if *expected == found => Verdict::Intact,
            Some(expected) => Verdict::Damaged { expected: expected.clone(), found },
            None => Verdict::Unrecorded { found },
        })
    }

    /// Removes the record of a model, of which nothing else is there. The caller has its lock.
    pub(crate) fn forget_if_empty(&self, first: &Path) {
        let Some(model) = self.recorded(first) else { return };
        let is_there = |file: &CachedFile| {
            file.path.exists() || crate::partial::partial_path(&file.path).exists()
        };
        if !model.files.iter().any(is_there) {
            let _ = fs::remove_file(Record::path(first));
        }
    }

    pub(crate) fn path_of(&self, reference: &Reference, file_name: &str) -> PathBuf {
        let mut path = self.folder.join(reference.folder());
        path.extend(file_name.split('/'));
        path
    }

    /// The models that a reference stands for.
    fn of_reference<'a>(
        &self,
        models: &'a [CachedModel],
        reference: &Reference,
    ) -> Vec<&'a CachedModel> {
        let folder = self.folder.join(reference.folder());
        let path = |model: &CachedModel| model.files[0].path.clone();
        let inside =
            models.iter().filter(|it| it.source.is_some() && path(it).starts_with(&folder));
        let mut found: Vec<_> = inside.collect();
        let Reference::HuggingFace { pick, .. } = reference else { return found };
        if let (Pick::Usual, 1) = (pick, found.len()) {
            return found;
        }
        // The same choice as among the files of the repository.
        let names: Vec<String> = found
            .iter()
            .flat_map(|model| model.files.iter())
            .filter_map(|file| {
                Some(file.path.strip_prefix(&folder).ok()?.to_str()?.replace('\\', "/"))
            })
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let chosen = choose(&names, pick).ok().and_then(|names| names.into_iter().next());
        found.retain(|model| chosen.as_ref().is_some_and(|name| path(model) == folder.join(name)));
        found
    }

    fn lock(&self, first: &Path, name: &str) -> Result<Lock, ModelsError> {
        match Lock::try_take(first) {
            Ok(Some(lock)) => Ok(lock),
            Ok(None) => Err(ModelsError::Busy { name: name.into() }),
            Err(source) => Err(io_error("lock", first, source)),
        }
    }

    fn recorded(&self, first: &Path) -> Option<CachedModel> {
        let record = Record::read(first)?;
        let base = record.base(first)?;
        // A record that was moved here must not point outside.
        if !base.starts_with(&self.folder) {
            return None;
        }
        let mut complete = record.pulled.is_some();
        let file = |file: &crate::record::RecordedFile| {
            let path = base.join(&file.name);
            let size = fs::metadata(&path).map(|metadata| metadata.len());
            complete &= size.is_ok();
            CachedFile { path, size: size.unwrap_or(0), sha256: file.sha256.clone() }
        };
        let files = record.files.iter().map(file).collect();
        let entry = CATALOGUE.iter().find(|it| it.reference().to_string() == record.source);
        Some(CachedModel {
            name: entry.map_or(record.source.clone(), |entry| entry.name.into()),
            files,
            pulled: record.pulled(),
            used: record.pulled.and_then(|_| Record::used(first)),
            complete,
            revision: record.revision,
            license: record.license,
            source: Some(record.source),
        })
    }

    /// A model that was not pulled but put there.
    fn unrecorded(&self, path: &Path) -> CachedModel {
        let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let entry = if path.parent() == Some(&*self.folder) { of_file(file_name) } else { None };
        let sha256 = entry.and_then(|it| it.sha256).and_then(Digest::parse);
        let names: Vec<String> = match SplitName::parse(file_name) {
            Some(split) => split.all().collect(),
            None => vec![file_name.into()],
        };
        let mut complete = true;
        let file = |name: String| {
            let path = path.with_file_name(name);
            let size = fs::metadata(&path).map(|metadata| metadata.len());
            complete &= size.is_ok();
            CachedFile { path, size: size.unwrap_or(0), sha256: sha256.clone() }
        };
        let files: Vec<_> = names.into_iter().map(file).collect();
        let pulled = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let relative = path.strip_prefix(&self.folder).unwrap_or(path);
        CachedModel {
            name: entry.map_or(relative.display().to_string(), |entry| entry.name.into()),
            source: None,
            revision: None,
            license: entry.map(|entry| entry.license.into()),
            files,
            pulled,
            used: None,
            complete,
        }
    }

    /// All files, in order.
    fn paths(&self) -> Result<Vec<PathBuf>, ModelsError> {
        let mut paths = Vec::new();
        let mut folders = vec![(self.folder.clone(), 0)];
        let mut entries = 0;
        while let Some((folder, depth)) = folders.pop() {
            let listed = match fs::read_dir(&folder) {
                // Nothing was pulled yet, or another process just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                listed => listed.map_err(|source| io_error("list", &folder, source))?,
            };
            for entry in listed {
                let entry = entry.map_err(|source| io_error("list", &folder, source))?;
                entries += 1;
                if entries > ENTRIES_MAX {
                    let problem = format!("it has more than {ENTRIES_MAX} files");
                    return Err(io_error("list", &self.folder, io::Error::other(problem)));
                }
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                match is_folder {
                    true if depth < DEPTH_MAX => folders.push((entry.path(), depth + 1)),
                    true => {}
                    false => paths.push(entry.path()),
                }
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn remove_empty_folders(&self, path: &Path) {
        for folder in path.ancestors().skip(1) {
            let is_inside = folder.starts_with(&self.folder) && folder != self.folder;
            if !is_inside || fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }
}

/// Whether `trefoil pull` knows what to do with a name.
pub fn can_be_pulled(name: &str) -> bool {
    catalogue::entry(name).is_some() || matches!(Reference::parse(name), Ok(Some(_)))
}

/// The entry whose file has this name, or that `cargo xtask` calls so.
pub(crate) fn of_file(file_name: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| {
        let name = entry.file.rsplit('/').next().unwrap_or_default();
        entry.is_tried() && name.eq_ignore_ascii_case(file_name)
    })
}

/// The first file of the model that a leftover belongs to.
fn first_of(name: &str) -> Option<PathBuf> {
    let end = name.to_ascii_lowercase().rfind(".gguf")? + ".gguf".len();
    let file = &name[..end];
    let first = SplitName::parse(file).and_then(|split| split.all().next());
    Some(first.unwrap_or_else(|| file.into()).into())
}
