//! Says what a file is and what is in it, without reading its bulk.

mod contents;
mod model_file;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use trefoil_gguf::Gguf;

pub(crate) use contents::packed_file;
pub use contents::{Nested, NestedKind};
pub use model_file::{MetadataEntry, ModelFile, TensorTypeShare};

use crate::gguf_source::GgufSource;
use crate::interface::{Kind, Role};
use crate::model::{MODEL_SECTION, PartRecord, Shard, model_record};
use crate::read_at::{Content, Opened, Range, ReadAt};
use crate::record::{COMPOSITION_SECTION, Record};
use crate::sections::{Cursor, Encoding, WasmError};
use crate::{Component, ComponentError};

/// Why a file could not be inspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is of no known format.
    #[error("`{}` is neither a GGUF file nor WebAssembly", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// It is a damaged model file.
    #[error("`{}` is not a usable GGUF file: {source}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<trefoil_gguf::Error>,
    },
    /// It is damaged WebAssembly.
    #[error(transparent)]
    Component(#[from] ComponentError),
}

/// What a file is and holds.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Its own name for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Imports that are open.
    pub imports: Vec<String>,
    /// Exports.
    pub exports: Vec<String>,
    /// Of a composition: the tool that made it, by its record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Of a composition: its parts, by its record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<InspectedPart>,
    /// Core modules and components inside, where the record does not name them as parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<Nested>,
    /// Of a packed model: what it says about its files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PartRecord>,
    /// Of a model that is one of several shards: which one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// Of a GGUF file, packed or not: its header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelFile>,
    /// What could not be understood: the rest is true nevertheless.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// A part of a composition.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct InspectedPart {
    /// What it does.
    pub role: Role,
    /// SHA-256 by the record, in lower-case hexadecimal. Not checked here; `recompose` checks.
    pub sha256: String,
    /// Where its component begins, in bytes from the start of the file.
    pub offset: u64,
    /// The part itself.
    #[serde(flatten)]
    pub inspection: Inspection,
}

impl Inspection {
    fn new(kind: Kind, size: u64) -> Inspection {
        Inspection {
            kind,
            size,
            name: None,
            version: None,
            imports: Vec::new(),
            exports: Vec::new(),
            tool: None,
            parts: Vec::new(),
            contents: Vec::new(),
            files: Vec::new(),
            shard: None,
            model: None,
            remarks: Vec::new(),
        }
    }

    /// The header of the model file that it is or contains.
    pub fn model_file(&self) -> Option<&ModelFile> {
        let parts = self.parts.iter().map(|part| &part.inspection);
        self.model.as_ref().or_else(|| parts.filter_map(Inspection::model_file).next())
    }
}

/// Inspects a file.
///
/// # Errors
/// [`InspectError`]
pub fn inspect(path: &Path) -> Result<Inspection, InspectError> {
    let open = |source| InspectError::Open { path: path.into(), source };
    let source: Arc<dyn ReadAt> = Arc::new(Opened::open(path).map_err(open)?);
    let mut magic = [0; 4];
    if source.size() >= 4 {
        source.read_at(0, &mut magic).map_err(open)?;
    }
    if magic == trefoil_gguf::MAGIC {
        let gguf = Gguf::read(&GgufSource(&*source))
            .map_err(|error| InspectError::Gguf { path: path.into(), source: Box::new(error) })?;
        let mut inspection = Inspection::new(Kind::Gguf, source.size());
        inspection.model = Some(ModelFile::new(&gguf));
        return Ok(inspection);
    }
    let label = path.display().to_string();
    let damaged = |source| ComponentError { name: label.clone(), source };
    match Cursor::new(&*source).header(source.size()) {
        Err(WasmError::NotWasm) => return Err(InspectError::Unknown { path: path.into() }),
        Err(error) => return Err(damaged(error).into()),
        Ok(Encoding::Module) => {
            let mut inspection = Inspection::new(Kind::CoreModule, source.size());
            let found = contents::read(&source).map_err(damaged)?;
            inspection.contents = found.nested;
            return Ok(inspection);
        }
        Ok(Encoding::Component) => {}
    }
    let component = Component::from_path(path)?;
    let mut inspection = summary(&component);
    let is_recorded =
        component.customs().iter().any(|(name, ..)| name == COMPOSITION_SECTION.as_bytes());
    if is_recorded {
        match Record::find(&*source) {
            Ok((record, _)) => {
                inspection.tool = Some(record.tool.clone());
                for part in &record.parts {
                    let (offset, length) = (part.offset, part.length);
                    let range = Range { source: source.clone(), offset, length };
                    match Component::from_range(range, &part.name, &part.sha256) {
                        Ok(component) => {
                            let mut described = summary(&component);
                            describe(&mut described, &component);
                            inspection.parts.push(InspectedPart {
                                role: part.role,
                                sha256: part.sha256.clone(),
                                offset,
                                inspection: described,
                            });
                        }
                        Err(error) => inspection.remarks.push(error.to_string()),
                    }
                }
            }
            Err(error) => inspection.remarks.push(format!("it {error}")),
        }
    }
    if inspection.parts.is_empty() {
        describe(&mut inspection, &component);
    }
    Ok(inspection)
}

fn summary(component: &Component) -> Inspection {
    let mut inspection = Inspection::new(component.kind(), component.size());
    inspection.name = component.name().map(Into::into);
    inspection.version = component.version().map(Into::into);
    inspection.imports = component.imports().to_vec();
    inspection.exports = component.exports().to_vec();
    inspection
}

/// Adds what is inside, and the header of a packed model.
fn describe(inspection: &mut Inspection, component: &Component) {
    let has_record = component.customs().iter().any(|(name, ..)| name == MODEL_SECTION.as_bytes());
    match model_record(component) {
        Some(record) => {
            inspection.files = record.parts;
            inspection.shard = record.shard;
        }
        None if has_record => {
            inspection.remarks.push(format!("its `{MODEL_SECTION}` record is damaged"));
        }
        None => {}
    }
    let source: Arc<dyn ReadAt> = Arc::new(component.content().clone());
    match contents::read(&source) {
        Ok(found) => {
            inspection.contents = found.nested;
            if let Some(weights) = found.weights {
                describe_model(inspection, &weights);
            }
        }
        Err(error) => inspection.remarks.push(format!("it {error}")),
    }
}

fn describe_model(inspection: &mut Inspection, weights: &Content) {
    // The header of a model in shards lies in the first one, and speaks of all.
    let size = match (inspection.shard, inspection.files.first()) {
        (Some(_), Some(file)) => file.size,
        _ => weights.size(),
    };
    match Gguf::read(&Beginning { content: weights, size }) {
        Ok(gguf) => inspection.model = Some(ModelFile::new(&gguf)),
        Err(error) => {
            inspection.remarks.push(format!("the model file inside is unusable: {error}"));
        }
    }
}

/// A file of which only the beginning is at hand.
struct Beginning<'a> {
    content: &'a Content,
    /// Of the whole, in bytes.
    size: u64,
}

impl trefoil_gguf::Source for Beginning<'_> {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        GgufSource(self.content).read_at(offset, buffer)
    }
}
