//! Compositions as static files for browsers and Node.js: the JavaScript around their core modules,
//! their weights in pieces, and the page.
//!
//! A composition is transpiled without its bulk, and the whole core modules are copied from its file
//! afterwards, so that memory stays constant in the size of the model. This crate prints nothing,
//! has no network, and runs no WebAssembly; only it names the transpiler.

#![deny(missing_docs)]

mod features;
mod folder;
mod library;
mod manifest;
mod page;
mod pieces;
mod site;
mod transpile;

pub use folder::check_free;
pub use library::{Library, write_library};
pub use manifest::{
    Core, Engine, Feature, LibraryManifest, MANIFEST, Manifest, Part, Piece, Place,
};
pub use pieces::{PIECE_BYTES_MAX, PIECE_BYTES_MIN};
pub use site::{Site, SiteEngine, Weights, write_site};

use std::io;
use std::path::{Path, PathBuf};

use trefoil_compose::{ComponentError, OutputError};

/// Why nothing was written. Nothing is left behind then, and what stood there before still stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// The input is no component.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// The transpiler refuses the component.
    #[error("`{}` cannot be made into JavaScript: {cause}", path.display())]
    Transpile {
        /// The component.
        path: PathBuf,
        /// What the transpiler said.
        cause: String,
    },
    /// A part of the composition needs something that a page does not have.
    #[error(
        "a part of the composition imports `{import}`, which the page does not provide: compose \
         without that part, or use `trefoil web --lib` and provide it yourself"
    )]
    Import {
        /// The import.
        import: String,
    },
    /// The file of a model is not what its component says.
    #[error(
        "the weights `{name}` have the SHA-256 {found}, their component says {expected}: pack the \
         model anew"
    )]
    Digest {
        /// The part.
        name: String,
        /// By the component.
        expected: String,
        /// Of the bytes.
        found: String,
    },
    /// The place is taken by something that was not written here.
    #[error(
        "`{}` exists and was not written by `trefoil web` (it has no `{MANIFEST}`): give another \
         folder, or remove this one", path.display()
    )]
    Taken {
        /// What stands there.
        path: PathBuf,
    },
    /// A file cannot be written or read, or the operation was cancelled.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// The file system refused to write.
fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> WebError {
    move |source| OutputError::Write { path: path.into(), source }.into()
}
