//! The files inside model components, for hosts that keep them beside a composition.

use std::io;
use std::sync::Arc;

use crate::ReadAt;
use crate::compose::ComposeError;
use crate::inspect::packed_file;
use crate::model::PartRecord;
use crate::models::{Models, Opened};
use crate::read_at::{Content, Range};

/// Why the files of a model cannot be taken out of its component.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartFileError {
    /// Another tool has made the component, or it fetches the weights when it runs.
    #[error(
        "the model component `{name}` does not hold its weights as `trefoil pack` stores them, so \
         that they cannot be taken out of it: give the model's .gguf file itself"
    )]
    NotPacked {
        /// The component.
        name: String,
    },
    /// The component reads its weights from an address.
    #[error(
        "the model component `{name}` reads its weights from {url} when it runs: give a copy of \
         that file instead"
    )]
    Remote {
        /// The component.
        name: String,
        /// The address.
        url: String,
    },
    /// The component holds something else than it says.
    #[error("the model component `{name}` is damaged: pack the model anew")]
    Damaged {
        /// The component.
        name: String,
    },
    /// The components cannot be read.
    #[error(transparent)]
    Compose(#[from] ComposeError),
}

/// A file of a model, with what the composition's `parts` say about it.
#[derive(Debug, Clone)]
pub struct PartFile {
    part: PartRecord,
    content: Content,
}

impl PartFile {
    /// The name that it has in the composition, its size, digest and licence. That the digest is
    /// right only shows when the whole file was read.
    pub fn part(&self) -> &PartRecord {
        &self.part
    }
}

impl ReadAt for PartFile {
    fn size(&self) -> u64 {
        self.content.size()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.content.read_at(offset, buffer)
    }
}

impl Models {
    /// The files of all models, in the order of the composition's parts. Nothing is read of them
    /// yet.
    ///
    /// # Errors
    /// [`PartFileError`]
    pub fn files(&self) -> Result<Vec<PartFile>, PartFileError> {
        self.opened()?.iter().map(file).collect()
    }
}

/// Joins the stretches that the shards hold.
fn file(model: &Opened) -> Result<PartFile, PartFileError> {
    let mut content = Content::default();
    let mut part = None;
    for (index, found) in model.shards.iter().enumerate() {
        let name = || found.component.label().to_owned();
        let Some(record) = &found.record else {
            return Err(PartFileError::NotPacked { name: name() });
        };
        let [said] = record.parts.as_slice() else {
            return Err(PartFileError::NotPacked { name: name() });
        };
        if let Some(url) = &said.url {
            return Err(PartFileError::Remote { name: name(), url: url.clone() });
        }
        let source: Arc<dyn ReadAt> = Arc::new(found.component.content().clone());
        let stretch = packed_file(&source).map_err(|_| PartFileError::Damaged { name: name() })?;
        let Some(stretch) = stretch else {
            return Err(PartFileError::NotPacked { name: name() });
        };
        let is_last = index + 1 == model.shards.len();
        // All others repeat the beginning of the next one.
        let length = if is_last { stretch.size() } else { stretch.size().min(model.stride) };
        content.push(Range { source: Arc::new(stretch), offset: 0, length });
        part.get_or_insert_with(|| said.clone());
        if is_last && part.as_ref().is_none_or(|part| part.size != content.size()) {
            return Err(PartFileError::Damaged { name: name() });
        }
    }
    let Some(mut part) = part else {
        return Err(PartFileError::Damaged { name: model.name.clone().unwrap_or_default() });
    };
    if let Some(name) = &model.name {
        part.name.clone_from(name);
    }
    Ok(PartFile { part, content })
}
