//! The record of a composition: which parts it has, and where they lie in the file.
//!
//! It is a custom section at the end of the file. Running the file never needs it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::component::file_identity;
use crate::interface::Role;
use crate::read_at::{Opened, ReadAt};
use crate::sections::{CUSTOM, Cursor, Encoding, SECTIONS_MAX, WasmError};

/// Name of the custom section.
pub const COMPOSITION_SECTION: &str = "trefoil:composition";
/// Version of the record's form.
const VERSION: u32 = 1;
/// Longest record, in bytes.
const RECORD_BYTES_MAX: u64 = 1 << 20;
/// Most parts.
const PARTS_MAX: usize = 1024;

/// What a composition is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// Version of the record's form.
    pub version: u32,
    /// The tool that wrote it, for example `trefoil 0.1.0`.
    pub tool: String,
    /// In the order of the file.
    pub parts: Vec<RecordedPart>,
}

/// A part of a composition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordedPart {
    /// What it does.
    pub role: Role,
    /// What it is called.
    pub name: String,
    /// Its version, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Lower-case hexadecimal SHA-256 of the part's component.
    pub sha256: String,
    /// Where the part's component begins, in bytes from the start of the file.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
}

/// Why the record of a composition cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The file is no component, or damaged.
    #[error(transparent)]
    Wasm(#[from] WasmError),
    /// There is no record.
    #[error(
        "has no `trefoil:composition` record: it is not a composition, or another tool has \
         rewritten it; compose it anew from its parts"
    )]
    Absent,
    /// The record is of a later version.
    #[error("has a record of version {0}; this tool knows version {VERSION}: use a newer one")]
    Version(u32),
    /// The record makes no sense.
    #[error("has a damaged `trefoil:composition` record ({0}): compose it anew from its parts")]
    Damaged(String),
}

/// Just the version, so that a later form is told from a damaged one.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Record {
    pub(crate) fn new(parts: Vec<RecordedPart>) -> Record {
        let tool = concat!("trefoil ", env!("CARGO_PKG_VERSION")).into();
        Record { version: VERSION, tool, parts }
    }

    /// The part of a role; of several models the first.
    pub fn part(&self, role: Role) -> Option<&RecordedPart> {
        self.parts.iter().find(|part| part.role == role)
    }

    /// Reads the record of a composition. Reads nothing but the section headers and the record.
    ///
    /// # Errors
    /// [`RecordError`]
    pub fn read(path: &Path) -> Result<Record, RecordError> {
        let source = Opened::open(path).map_err(WasmError::from)?;
        Ok(Record::find(&source)?.0)
    }

    /// Reads the record of a composition that is in memory.
    ///
    /// # Errors
    /// [`RecordError`]
    pub fn from_bytes(bytes: &[u8]) -> Result<Record, RecordError> {
        Ok(Record::find(&bytes)?.0)
    }

    /// The record and its JSON text.
    pub(crate) fn find(source: &dyn ReadAt) -> Result<(Record, Vec<u8>), RecordError> {
        let end = source.size();
        let mut cursor = Cursor::new(source);
        if cursor.header(end)? == Encoding::Module {
            return Err(WasmError::CoreModule.into());
        }
        let mut found = None;
        for _ in 0..SECTIONS_MAX {
            if cursor.position() >= end {
                break;
            }
            let section = cursor.section(end)?;
            if section.id == CUSTOM
                && cursor.custom_name(&section)? == COMPOSITION_SECTION.as_bytes()
            {
                found = Some((cursor.position(), section.end));
            }
            cursor.jump(section.end);
        }
        let (start, end) = found.ok_or(RecordError::Absent)?;
        if end - start > RECORD_BYTES_MAX {
            return Err(RecordError::Damaged(format!("it has {} bytes", end - start)));
        }
        let mut json = Vec::new();
        cursor.jump(start);
        cursor.copy_to(end, &mut json)?;
        let record = Record::parse(&json, source.size())?;
        Ok((record, json))
    }

    pub(crate) fn parse(json: &[u8], file_bytes: u64) -> Result<Record, RecordError> {
        let damaged = |error: serde_json::Error| RecordError::Damaged(error.to_string());
        let Versioned { version } = serde_json::from_slice(json).map_err(damaged)?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let record: Record = serde_json::from_slice(json).map_err(damaged)?;
        if record.parts.len() > PARTS_MAX {
            return Err(RecordError::Damaged(format!("{} parts", record.parts.len())));
        }
        for (index, part) in record.parts.iter().enumerate() {
            let end = part.offset.checked_add(part.length);
            if end.is_none_or(|end| end > file_bytes) {
                return Err(RecordError::Damaged(format!(
                    "the {} lies outside the file",
                    part.role
                )));
            }
            let before = &record.parts[..index];
            let is_there = |role| before.iter().any(|other| other.role == role);
            if part.role != Role::Model && is_there(part.role) {
                return Err(RecordError::Damaged(format!("two parts are the {}", part.role)));
            }
        }
        let count = |role| record.parts.iter().filter(|part| part.role == role).count();
        if count(Role::Model) > 1 && count(Role::Router) == 0 {
            return Err(RecordError::Damaged("two parts are the model".into()));
        }
        Ok(record)
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Strings and numbers only: nothing that JSON could refuse.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Names a composition's bytes without reading its bulk.
pub(crate) fn composition_identity(path: &Path) -> Result<String, RecordError> {
    let source = Opened::open(path).map_err(WasmError::from)?;
    let (_, json) = Record::find(&source)?;
    let file = file_identity(path).map_err(WasmError::from)?;
    Ok(format!("{file}:{}", String::from_utf8_lossy(&json)))
}
