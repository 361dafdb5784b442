//! A component that is to be composed: its skeleton in memory, its bytes wherever they are.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::contract::{GenerateError, types_component};
use crate::interface::{Externs, Kind};
use crate::output::hex;
use crate::read_at::{Content, Opened, Range, ReadAt};
use crate::record::COMPOSITION_SECTION;
use crate::sections::{Cursor, WasmError};
use crate::skeleton::{Numbered, Skeleton, skeleton};

/// Longest name or version that is taken from a component, in bytes.
const TEXT_BYTES_MAX: u64 = 256;

/// Why something cannot be used as a component.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` {source}")]
pub struct ComponentError {
    /// The file, or what the component was called.
    pub name: String,
    /// What is wrong with it.
    pub source: WasmError,
}

/// A component. Of one that comes from a file only what decides its type is held in memory; the
/// file must not change as long as this is used.
#[derive(Debug, Clone)]
pub struct Component {
    /// What errors call it.
    label: String,
    name: Option<String>,
    version: Option<String>,
    skeleton: Vec<u8>,
    externs: Externs,
    customs: Vec<(Vec<u8>, u64, u64)>,
    content: Content,
    identity: String,
}

impl Component {
    /// Reads a component from a file, without its bulk.
    ///
    /// # Errors
    /// [`ComponentError`] with the path.
    pub fn from_path(path: &Path) -> Result<Component, ComponentError> {
        let label = path.display().to_string();
        let fail = |source| ComponentError { name: label.clone(), source };
        let source = Opened::open(path).map_err(|error| fail(error.into()))?;
        let content = whole(Arc::new(source));
        let identity = file_identity(path).map_err(|error| fail(error.into()))?;
        let mut component = Component::read(content, &label, identity)?;
        if component.name.is_none() {
            component.name = path.file_stem().map(|stem| stem.to_string_lossy().into());
        }
        Ok(component)
    }

    /// Takes a component that is in memory. `name` is what errors and the record call it.
    ///
    /// # Errors
    /// [`ComponentError`] with the name.
    pub fn from_bytes(bytes: Vec<u8>, name: &str) -> Result<Component, ComponentError> {
        Component::from_content(Content::from_bytes(bytes), name)
    }

    /// The component that exports the contract's types.
    ///
    /// # Errors
    /// Only by a defect of this crate.
    pub(crate) fn types() -> Result<Component, GenerateError> {
        let bytes = types_component()?;
        Component::from_bytes(bytes, "types").map_err(GenerateError::new)
    }

    /// For contents made or checked by this crate. The identity is that of the skeleton and the
    /// custom sections, which name the bulk's digest.
    pub(crate) fn from_content(content: Content, name: &str) -> Result<Component, ComponentError> {
        let mut component = Component::read(content, name, String::new())?;
        component.name = Some(name.into());
        Ok(component)
    }

    /// For a stretch of a composition; `sha256` is what its record says.
    pub(crate) fn from_range(
        range: Range,
        name: &str,
        sha256: &str,
    ) -> Result<Component, ComponentError> {
        let mut content = Content::default();
        content.push(range);
        let mut component = Component::read(content, name, format!("sha256:{sha256}"))?;
        component.name = Some(name.into());
        Ok(component)
    }

    fn read(content: Content, label: &str, identity: String) -> Result<Component, ComponentError> {
        let fail = |source| ComponentError { name: label.into(), source };
        let Skeleton { bytes: skeleton, customs, .. } =
            skeleton(&content, Numbered::No).map_err(fail)?;
        let externs = Externs::read(&skeleton).map_err(fail)?;
        let mut component = Component {
            label: label.into(),
            name: None,
            version: None,
            skeleton,
            externs,
            customs,
            content,
            identity,
        };
        component.custom_sections().map_err(fail)?;
        if component.identity.is_empty() {
            component.identity = component.content_identity().map_err(fail)?;
        }
        Ok(component)
    }

    /// Name and version where wasm-metadata puts them: subsection 0 of `component-name`, and the
    /// text of `version`.
    fn custom_sections(&mut self) -> Result<(), WasmError> {
        for (name, start, end) in &self.customs {
            let mut cursor = Cursor::new(&self.content);
            cursor.jump(*start);
            let mut text = Vec::new();
            match name.as_slice() {
                b"component-name" if end - start <= TEXT_BYTES_MAX => {
                    if cursor.byte(*end).is_ok_and(|id| id == 0)
                        && cursor.u32(*end).is_ok()
                        && let Ok(length) = cursor.u32(*end)
                    {
                        let until = cursor.position() + u64::from(length);
                        if until <= *end {
                            cursor.copy_to(until, &mut text)?;
                            self.name = String::from_utf8(text).ok();
                        }
                    }
                }
                b"version" if end - start <= TEXT_BYTES_MAX => {
                    cursor.copy_to(*end, &mut text)?;
                    self.version = String::from_utf8(text).ok();
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn content_identity(&self) -> Result<String, WasmError> {
        // Bytes in memory and generated models: small beside their bulk, and a generated model
        // holds the digest of its bulk in what remains.
        let mut hash = Sha256::new();
        hash.update(self.content.size().to_le_bytes());
        hash.update(&self.skeleton);
        self.content.held(|bytes| hash.update(bytes));
        Ok(format!("content:{}", hex(hash)))
    }

    /// Calls it otherwise in errors and in the record.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Component {
        let name = name.into();
        self.label.clone_from(&name);
        self.name = Some(name);
        self
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        let recorded = |(name, ..): &(Vec<u8>, u64, u64)| name == COMPOSITION_SECTION.as_bytes();
        match self.externs.kind() {
            // Shards side by side are a model, although a record says where they are.
            Kind::Model => Kind::Model,
            _ if self.customs.iter().any(recorded) => Kind::Composition,
            kind => kind,
        }
    }

    /// Bytes of the whole component.
    pub fn size(&self) -> u64 {
        self.content.size()
    }

    /// Names of its imports, for example `wasi:cli/stdout@0.2.6`.
    pub fn imports(&self) -> &[String] {
        &self.externs.imports
    }

    /// Names of its exports.
    pub fn exports(&self) -> &[String] {
        &self.externs.exports
    }

    /// Its name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its version, if it says one.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Writes the component to a file of its own.
    ///
    /// # Errors
    /// [`crate::OutputError`]; nothing is left behind then.
    pub fn write(
        &self,
        out: &Path,
        progress: &mut dyn crate::Progress,
    ) -> Result<(), crate::OutputError> {
        let mut output = crate::output::Output::create(out, self.size(), progress)?;
        output.write_content(&self.content, &self.label)?;
        output.finish()
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }
    pub(crate) fn skeleton(&self) -> &[u8] {
        &self.skeleton
    }
    pub(crate) fn externs(&self) -> &Externs {
        &self.externs
    }
    /// Names of the custom sections, with begin and end of their payloads in the content.
    pub(crate) fn customs(&self) -> &[(Vec<u8>, u64, u64)] {
        &self.customs
    }
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }
    /// Names the bytes without reading the bulk: by digest where one is known, otherwise by path,
    /// size and time of modification.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }
}

fn whole(source: Arc<dyn ReadAt>) -> Content {
    let mut content = Content::default();
    content.push(Range::all(source));
    content
}

/// Path, size and time of modification of a file, as a text to be hashed.
pub(crate) fn file_identity(path: &Path) -> std::io::Result<String> {
    let metadata = fs::metadata(path)?;
    let path = fs::canonicalize(path)?;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified = modified.map_or(0, |time| time.as_nanos());
    Ok(format!("file:{}:{}:{modified}", path.display(), metadata.len()))
}
