//! Any component as a library for pages and programs of others.

use std::path::Path;

use trefoil_compose::Progress;

use crate::WebError;
use crate::folder::Folder;
use crate::manifest::{LibraryManifest, MANIFEST, VERSION};
use crate::site::json;
use crate::transpile::{Form, transpile};

/// A library to be written.
#[derive(Debug)]
pub struct Library<'a> {
    /// The component's file.
    pub component: &'a Path,
    /// What the files are called, without their endings.
    pub name: &'a str,
}

/// Writes a component as an ES module with types, beside its core modules. The same component gives
/// the same bytes.
///
/// # Errors
/// [`WebError`]; nothing is left behind then.
pub fn write_library(
    library: &Library<'_>,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<LibraryManifest, WebError> {
    let form = Form { name: library.name, types: true, multi_memory: true, suspending: &[] };
    let transpiled = transpile(library.component, form)?;
    let folder = Folder::create(out)?;
    let written = transpiled.write(folder.path(), progress)?;
    let manifest = LibraryManifest {
        trefoil: VERSION,
        module: form.module(),
        requires: transpiled.requires(),
        cores: written.cores,
        imports: transpiled.imports.clone(),
        exports: transpiled.exports.clone(),
    };
    folder.file(MANIFEST, &json(&manifest))?;
    folder.finish()?;
    Ok(manifest)
}
