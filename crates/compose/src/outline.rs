//! A component without its bulk for tools that take it apart, and the way back to the bulk.

use std::path::Path;
use std::sync::Arc;

use crate::read_at::{Content, Opened, Range, ReadAt};
use crate::skeleton::{Numbered, Skeleton, module_number, skeleton};
use crate::{ComponentError, OutputError, Progress};

/// A component whose large data segments are empty: it has the same type, and each of its core
/// modules can be told from the others. What a tool makes of it is small in memory; where the tool
/// has passed a core module on as it was, [`Outline::module`] finds the whole one.
#[derive(Debug)]
pub struct Outline {
    label: String,
    source: Arc<Opened>,
    bytes: Vec<u8>,
    modules: Vec<(u64, u64)>,
}

/// A whole core module, where it lies in the component's file.
#[derive(Debug)]
pub struct OutlinedModule<'a> {
    outline: &'a Outline,
    begin: u64,
    end: u64,
}

impl Outline {
    /// Reads a component from a file, which must not change as long as this is used.
    ///
    /// # Errors
    /// [`ComponentError`] with the path.
    pub fn read(path: &Path) -> Result<Outline, ComponentError> {
        let label = path.display().to_string();
        let fail = |source| ComponentError { name: label.clone(), source };
        let source = Arc::new(Opened::open(path).map_err(|error| fail(error.into()))?);
        let Skeleton { bytes, modules, .. } = skeleton(&*source, Numbered::Yes).map_err(fail)?;
        Ok(Outline { label, source, bytes, modules })
    }

    /// The component, for the tool.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole module of which `outlined` is what was left in [`Outline::bytes`]. None for a
    /// module that comes from elsewhere.
    pub fn module(&self, outlined: &[u8]) -> Option<OutlinedModule<'_>> {
        let is_it = |number: &usize| outlined.ends_with(&module_number(*number));
        let number = (0..self.modules.len()).find(is_it)?;
        let (begin, end) = *self.modules.get(number)?;
        Some(OutlinedModule { outline: self, begin, end })
    }
}

impl OutlinedModule<'_> {
    /// Bytes of the whole module.
    pub fn size(&self) -> u64 {
        self.end - self.begin
    }

    /// Writes the whole module and returns its SHA-256 in lower-case hexadecimal.
    ///
    /// # Errors
    /// [`OutputError`]; nothing is left behind then.
    pub fn write(&self, out: &Path, progress: &mut dyn Progress) -> Result<String, OutputError> {
        let mut content = Content::default();
        let source: Arc<dyn ReadAt> = self.outline.source.clone();
        content.push(Range { source, offset: self.begin, length: self.size() });
        let mut output = crate::output::Output::create(out, self.size(), progress)?;
        let sha256 = output.write_content(&content, &self.outline.label)?;
        output.finish()?;
        Ok(sha256)
    }
}
