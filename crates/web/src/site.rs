//! A model as a web page.

use std::fs;
use std::path::{Path, PathBuf};

use trefoil_compose::{Component, PartFile, PartRecord, Progress, ReadAt};

use crate::folder::Folder;
use crate::manifest::{Engine, MANIFEST, Manifest, Place, VERSION};
use crate::page::PAGE;
use crate::pieces::{self, Done};
use crate::transpile::{Form, Transpiled, transpile};
use crate::{WebError, cannot_write};

/// What the page provides to an engine, without versions.
const PROVIDED: &[&str] = &["trefoil:llm/collective", "trefoil:llm/types"];
/// What it provides in addition where the weights are outside.
const MODEL: &str = "trefoil:llm/model";
/// What an engine computes together with other instances, and so may have to wait for.
const WAITING: &[&str] = &[
    "trefoil:llm/inference#[static]model.open",
    "trefoil:llm/inference#[method]model.embed",
    "trefoil:llm/inference#[method]model.relevance",
    "trefoil:llm/inference#[method]generation.next",
    "trefoil:llm/inference#advance",
    "trefoil:llm/worker#serve",
];
/// Digits of the digest in the name of an engine's folder.
const FOLDER_DIGITS: usize = 16;

/// A site to be written.
#[derive(Debug)]
pub struct Site<'a> {
    /// What the page is called.
    pub title: String,
    /// The system message that conversations begin with.
    pub system: Option<String>,
    /// The engines, the fastest one first.
    pub engines: Vec<SiteEngine>,
    /// Where the weights are.
    pub weights: Weights<'a>,
}

/// An engine of a site.
#[derive(Debug)]
pub struct SiteEngine {
    /// `cpu`, `cpu-relaxed` or `custom`.
    pub name: String,
    /// The file of a composition without an app, whose collective is an import.
    pub composition: PathBuf,
}

/// Where the weights of a site are.
#[derive(Debug)]
pub enum Weights<'a> {
    /// In the compositions. These are known of them.
    Inside(Vec<PartRecord>),
    /// In files of their own: `model` is an import of the compositions.
    Outside {
        /// The files, in the order of the parts.
        files: &'a [PartFile],
        /// The most that a piece of them holds.
        piece_bytes: u64,
    },
}

/// Writes a site: the page, the engines, the weights, and the manifest that names them all. The same
/// site gives the same bytes.
///
/// # Errors
/// [`WebError`]; nothing is left behind then.
pub fn write_site(
    site: &Site<'_>,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<Manifest, WebError> {
    let place = match site.weights {
        Weights::Inside(_) => Place::Inside,
        Weights::Outside { .. } => Place::Outside,
    };
    // Transpiling is not to be interrupted, so that it comes before there is a folder to remove.
    let transpiled = site.engines.iter().map(|engine| {
        check_imports(&engine.composition, place)?;
        transpile(&engine.composition, engine_form(place))
    });
    let transpiled: Vec<_> = transpiled.collect::<Result<_, WebError>>()?;
    let files = match site.weights {
        Weights::Inside(_) => &[],
        Weights::Outside { files, .. } => files,
    };
    let engines_bytes: u64 = transpiled.iter().map(Transpiled::size).sum();
    let total = engines_bytes + files.iter().map(ReadAt::size).sum::<u64>();

    let folder = Folder::create(out)?;
    for (name, bytes) in PAGE {
        folder.file(name, bytes)?;
    }
    let mut engines = Vec::new();
    let mut bytes = 0;
    for (engine, transpiled) in site.engines.iter().zip(&transpiled) {
        let mut advance = |done: u64, _: u64| progress.advance(bytes + done, total);
        engines.push(write_engine(&engine.name, transpiled, place, &folder, &mut advance)?);
        bytes += transpiled.size();
    }
    let mut done = Done { bytes, total, progress };
    let parts = match &site.weights {
        Weights::Inside(parts) => parts.iter().map(pieces::without_pieces).collect(),
        Weights::Outside { files, piece_bytes } => files
            .iter()
            .map(|file| pieces::write(file, *piece_bytes, &folder, &mut done))
            .collect::<Result<_, _>>()?,
    };
    let manifest = Manifest {
        trefoil: VERSION,
        title: site.title.clone(),
        system: site.system.clone(),
        engines,
        parts,
    };
    folder.file(MANIFEST, &json(&manifest))?;
    folder.finish()?;
    Ok(manifest)
}

/// How engines are transpiled.
fn engine_form(weights: Place) -> Form<'static> {
    let multi_memory = weights == Place::Inside;
    Form { name: "engine", types: false, multi_memory, suspending: WAITING }
}

/// As people read it. Texts and numbers only: nothing that JSON could refuse.
pub(crate) fn json(manifest: &impl serde::Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(manifest).unwrap_or_default();
    json.push(b'\n');
    json
}

/// Refuses what needs more than the page has.
fn check_imports(composition: &Path, place: Place) -> Result<(), WebError> {
    let component = Component::from_path(composition)?;
    let is_provided = |import: &str| {
        let name = import.split('@').next().unwrap_or_default();
        PROVIDED.contains(&name) || (place == Place::Outside && name == MODEL)
    };
    match component.imports().iter().find(|import| !is_provided(import)) {
        Some(import) => Err(WebError::Import { import: import.clone() }),
        None => Ok(()),
    }
}

fn write_engine(
    name: &str,
    transpiled: &Transpiled,
    weights: Place,
    folder: &Folder,
    progress: &mut dyn Progress,
) -> Result<Engine, WebError> {
    let work = folder.folder(&format!("engines/{name}"))?;
    let written = transpiled.write(&work, progress)?;
    let digits = written.sha256.get(..FOLDER_DIGITS).unwrap_or(&written.sha256);
    let final_name = format!("engines/{name}-{digits}");
    let path = folder.path().join(&final_name);
    fs::rename(&work, &path).map_err(cannot_write(&path))?;
    Ok(Engine {
        name: name.to_owned(),
        requires: transpiled.requires(),
        module: format!("{final_name}/{}", engine_form(weights).module()),
        suspending: format!("{final_name}/{}", engine_form(weights).suspending_module()),
        cores: written.cores,
        weights,
    })
}
