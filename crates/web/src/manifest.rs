//! What a folder holds, as JSON: the page and the npm package read it.

use serde::{Deserialize, Serialize};
use trefoil_compose::PartRecord;

/// The manifest's file name.
pub const MANIFEST: &str = "trefoil.json";
/// Version of its form.
pub(crate) const VERSION: u32 = 1;

/// A site. Paths are relative to the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// Version of this form.
    pub trefoil: u32,
    /// What the page is called.
    pub title: String,
    /// The system message that conversations begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The engines, the fastest one first. A browser takes the first that it can run.
    pub engines: Vec<Engine>,
    /// The files of the models, in the order of the composition's parts.
    pub parts: Vec<Part>,
}

/// A transpiled composition without an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Engine {
    /// `cpu`, `cpu-relaxed` or `custom`.
    pub name: String,
    /// What it takes of the browser.
    pub requires: Vec<Feature>,
    /// The ES module, which exports `instantiate`.
    pub module: String,
    /// The same over the same core modules, for workers that share no memory: what waits for other
    /// instances returns promises, by JavaScript Promise Integration.
    pub suspending: String,
    /// The core modules, beside the ES module.
    pub cores: Vec<Core>,
    /// Where the weights are.
    pub weights: Place,
}

/// A feature of WebAssembly that not all browsers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Feature {
    /// Fixed-width SIMD.
    Simd,
    /// Relaxed SIMD.
    RelaxedSimd,
    /// Several memories in a module.
    MultiMemory,
}

/// Where the weights of an engine are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In its core modules.
    Inside,
    /// In [`Part::pieces`].
    Outside,
}

/// A core module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Core {
    /// Its name, beside the ES module.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// Lower-case hexadecimal SHA-256.
    pub sha256: String,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Part {
    /// What is known about it.
    #[serde(flatten)]
    pub file: PartRecord,
    /// Stretches of the file, in order; none where the weights are inside the engine.
    pub pieces: Vec<Piece>,
}

/// A stretch of a model's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Piece {
    /// Its path.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// Lower-case hexadecimal SHA-256.
    pub sha256: String,
}

/// A transpiled component without a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LibraryManifest {
    /// Version of this form.
    pub trefoil: u32,
    /// The ES module, which exports `instantiate`.
    pub module: String,
    /// What it takes of the browser.
    pub requires: Vec<Feature>,
    /// The core modules, beside the ES module.
    pub cores: Vec<Core>,
    /// What `instantiate` wants as imports.
    pub imports: Vec<String>,
    /// What it gives.
    pub exports: Vec<String>,
}
