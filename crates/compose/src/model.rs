//! Model components: a GGUF file as passive data segments of a generated core module.
//!
//! The weights never occupy linear memory as a whole: `read` copies what is asked for into one
//! buffer with `memory.init` (core specification, "bulk memory").
//!
//! What exceeds one component is cut into shards, model components themselves, behind a router.
//! Each shard also holds the beginning of the next one, as much as the longest read, so that every
//! read lies in one shard.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trefoil_contract::{
    FORMAT_GGUF, FORMAT_GGUF_ROWS_16, Part, READ_LENGTH_MAX, ROWS_16_VERSION_KEY, Role as PartRole,
};
use trefoil_gguf::{SplitError, SplitName};

use crate::arranged::Arranged;
use crate::compose::{ComposeError, assemble_into, bytes};
use crate::contract::GenerateError;
use crate::model_files::ModelFiles;
use crate::models::{Models, Sharded};
use crate::output::{Output, digest};
use crate::read_at::{Content, Range, ReadAt};
use crate::sections::{Cursor, push_custom, push_leb};
use crate::segments::{SEGMENT_BYTES, template};
use crate::splice::splice;
use crate::{Component, ComponentError, OutputError, Progress};

/// The most that a nested module or component may take: the limit of wasmparser and of V8.
pub(crate) const NESTED_BYTES_MAX: u64 = 1 << 30;
/// What the module and component around the weights take at most (segment headers, code, texts).
const OVERHEAD_BYTES_MAX: u64 = 4 << 20;
/// Longest text of the file's metadata that becomes part of the component.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 10;
/// Longest name of the component itself.
pub(crate) const NAME_BYTES_MAX: usize = 200;
/// Custom section of a model component that says what it holds, for tools.
pub(crate) const MODEL_SECTION: &str = "trefoil:model";
/// Longest such section that is read, in bytes.
const MODEL_SECTION_BYTES_MAX: u64 = 1 << 20;

/// The least that a shard holds, in bytes.
pub const SHARD_BYTES_MIN: u64 = 1 << 20;
/// The most that a shard holds, in bytes, beside what it repeats of the next one.
pub const SHARD_BYTES_MAX: u64 =
    (NESTED_BYTES_MAX - OVERHEAD_BYTES_MAX - READ_LENGTH_MAX as u64) >> 20 << 20;
/// The most that the parts of a composition take together: wasmtime counts the bytes of all data
/// segments in 32 bits. Something is left for segments beside the weights.
pub(crate) const COMPOSITION_BYTES_MAX: u64 = (4 << 30) - (64 << 20);

/// Why a model could not be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The file cannot be opened.
    #[error("cannot read `{}`: {source}", path.display())]
    Open {
        /// The model file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no usable GGUF.
    #[error("`{}` is not a usable GGUF file: {source}", path.display())]
    Gguf {
        /// The model file.
        path: PathBuf,
        /// Where and what.
        source: Box<trefoil_gguf::Error>,
    },
    /// The file exceeds what a composition can hold.
    #[error(
        "`{}` has {size} bytes; a composition holds {max} at most: leave the model in its file, \
         with `--model file:PATH`", path.display()
    )]
    TooLarge {
        /// The model file.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// The file has no plain GGUF's layout.
    #[error(
        "`{}` already has the layout `{FORMAT_GGUF_ROWS_16}`: pack the GGUF file that it was made \
         of", path.display()
    )]
    Arranged {
        /// The model file.
        path: PathBuf,
    },
    /// An adapter is small, and is not held as the kernels hold matrices.
    #[error(
        "`{}` is an adapter, which is packed for all engines: leave `--for` out", path.display()
    )]
    ArrangedAdapter {
        /// The adapter's file.
        path: PathBuf,
    },
    /// The file was modified between hashing and packing.
    #[error("`{}` was changed while it was packed: try again", path.display())]
    Changed {
        /// The model file.
        path: PathBuf,
    },
    /// The file is one of several, whose names it does not show.
    #[error(
        "`{}` says that it is one of {count} files: give them the names that they had, which end \
         in `-00001-of-{count:05}.gguf` and so on, in one folder", path.display()
    )]
    SplitName {
        /// The file.
        path: PathBuf,
        /// Files by what it says.
        count: u32,
    },
    /// The files of a model do not belong together.
    #[error("`{}`: {source}", path.display())]
    Split {
        /// The file that is to blame.
        path: PathBuf,
        /// Why.
        source: SplitError,
    },
    /// Shards of that size cannot be made.
    #[error("shards of {0} bytes: from {SHARD_BYTES_MIN} to {SHARD_BYTES_MAX} are possible")]
    ShardBytes(u64),
    /// Over HTTP a model is one file.
    #[error(
        "`{}` is one of {count} files; over HTTP a model is read from one: join them, for example \
         with llama.cpp's `llama-gguf-split --merge`", path.display()
    )]
    RemoteSplit {
        /// The copy.
        path: PathBuf,
        /// Files by what it says.
        count: u32,
    },
    /// The ready-made component cannot be told where the file is.
    #[error(transparent)]
    Remote(#[from] trefoil_remote::ManifestError),
    /// The result cannot be written, or the operation was cancelled.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Shards could not be put side by side.
    #[error(transparent)]
    Compose(Box<ComposeError>),
    /// A defect of this crate.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A defect of this crate: what it made is no component.
    #[error(transparent)]
    Component(#[from] ComponentError),
}

/// Payload of [`MODEL_SECTION`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ModelRecord {
    pub(crate) version: u32,
    pub(crate) parts: Vec<PartRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shard: Option<Shard>,
}

/// What a component says about its files in [`MODEL_SECTION`], if it says something that can be
/// understood.
pub(crate) fn model_record(component: &Component) -> Option<ModelRecord> {
    let mut customs = component.customs().iter();
    let (_, start, end) = customs.find(|(name, ..)| name == MODEL_SECTION.as_bytes())?;
    if end - start > MODEL_SECTION_BYTES_MAX {
        return None;
    }
    let mut json = Vec::new();
    let mut cursor = Cursor::new(component.content());
    cursor.jump(*start);
    cursor.copy_to(*end, &mut json).ok()?;
    serde_json::from_slice(&json).ok().filter(|record: &ModelRecord| record.version == 1)
}

/// Which stretch of the one part a component holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Shard {
    /// From 0.
    pub number: u32,
    /// Of all shards.
    pub count: u32,
    /// Shard `number` begins at `number` times so many bytes.
    pub stride: u64,
}

/// A file inside a model component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PartRecord {
    /// The model's name.
    pub name: String,
    /// `weights`, `adapter`, `projector` or `draft`.
    pub role: String,
    /// For example `gguf`.
    pub format: String,
    /// Bytes.
    pub size: u64,
    /// Lower-case hexadecimal SHA-256 of the file.
    pub sha256: String,
    /// SPDX identifier or the file's own words; empty where unknown.
    pub license: String,
    /// Where the file is read when the composition runs; none where the component holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// How a model is packed.
#[derive(Debug, Clone, Default)]
pub struct PackOptions {
    /// With the matrices as the engines `cpu` and `cpu-relaxed` hold them in memory, so that
    /// loading copies them. Other engines refuse such a model.
    pub arranged: bool,
    /// The most that a shard holds, in bytes; a smaller file is not cut. Without it
    /// [`SHARD_BYTES_MAX`].
    pub shard_bytes: Option<u64>,
}

impl PackOptions {
    /// As [`PackOptions::default`], but [`PackOptions::arranged`].
    pub fn arranged() -> PackOptions {
        PackOptions { arranged: true, ..PackOptions::default() }
    }
}

/// A GGUF file as a model component that does not exist as a file yet. It can be composed as it
/// is, or written.
#[derive(Debug)]
pub struct Model {
    part: Part,
    path: PathBuf,
    files: ModelFiles,
    shards: Sharded,
}

impl Model {
    /// Reads the header and the digest of a GGUF file and generates the component around it. The
    /// weights stay in the file, which must not change until the component is written. Of a model
    /// that is split into several files any of them names all.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn from_gguf(
        path: &Path,
        options: &PackOptions,
        progress: &mut dyn Progress,
    ) -> Result<Model, PackError> {
        let stride = options.shard_bytes.unwrap_or(SHARD_BYTES_MAX);
        if !(SHARD_BYTES_MIN..=SHARD_BYTES_MAX).contains(&stride) {
            return Err(PackError::ShardBytes(stride));
        }
        let (files, gguf, source) = ModelFiles::open(path)?;
        if gguf.metadata.get(ROWS_16_VERSION_KEY).is_some() {
            return Err(PackError::Arranged { path: path.into() });
        }
        let max = COMPOSITION_BYTES_MAX;
        let fits = |size| match size > max {
            true => Err(PackError::TooLarge { path: path.into(), size, max }),
            false => Ok(()),
        };
        fits(source.size())?;
        let text = |key| match gguf.metadata.string(key) {
            Ok(Some(text)) => clipped(text, TEXT_BYTES_MAX),
            _ => String::new(),
        };
        let mut name = text("general.name");
        if name.is_empty() {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            name = SplitName::parse(&file).map_or(&*stem, |split| split.stem).into();
        }
        let is_adapter = matches!(gguf.metadata.string("general.type"), Ok(Some("adapter")));
        if is_adapter && options.arranged {
            return Err(PackError::ArrangedAdapter { path: path.into() });
        }
        let shown = path.display().to_string();
        let mut sha256 = digest(&*source, &shown, progress)?;
        let mut content = source.clone();
        if options.arranged {
            let arranged = Arranged::new(source, &gguf, &sha256)
                .map_err(|source| PackError::Open { path: path.into(), source })?;
            fits(arranged.size())?;
            sha256 = digest(&arranged, &shown, progress)?;
            content = Arc::new(arranged);
        }
        let part = Part {
            name,
            role: if is_adapter { PartRole::Adapter } else { PartRole::Weights },
            format: if options.arranged { FORMAT_GGUF_ROWS_16 } else { FORMAT_GGUF }.into(),
            size: content.size(),
            sha256,
            license: text("general.license"),
        };
        let shards = shards(&part, &content, stride)?;
        let model = Model { part, path: path.into(), files, shards };
        model.files.check_unchanged()?;
        Ok(model)
    }

    /// What the component says about its file.
    pub fn part(&self) -> &Part {
        &self.part
    }

    /// Ready to be composed.
    pub fn models(&self) -> Models {
        self.shards.clone().into()
    }

    /// Writes the component. The same file gives the same bytes.
    ///
    /// # Errors
    /// [`PackError::Output`], [`PackError::Changed`]; nothing is left behind then.
    pub fn write(&self, out: &Path, progress: &mut dyn Progress) -> Result<(), PackError> {
        if let [component] = self.shards.components.as_slice() {
            let mut output = Output::create(out, component.size(), progress)?;
            output.write_content(component.content(), &self.path.display().to_string())?;
            self.files.check_unchanged()?;
            output.finish()?;
            return Ok(());
        }
        let fail = |error| PackError::Compose(Box::new(error));
        let placed = self.models().standing_alone().map_err(fail)?;
        let mut output = Output::create(out, bytes(&placed), progress)?;
        assemble_into(&mut output, &placed).map_err(fail)?;
        let mut name = Vec::new();
        push_name(&clipped(&self.part.name, NAME_BYTES_MAX), &mut name);
        output.write(&name)?;
        self.files.check_unchanged()?;
        output.finish()?;
        Ok(())
    }
}

/// Packs a GGUF file into a model component.
///
/// # Errors
/// [`PackError`]; nothing is left behind then.
pub fn pack(
    gguf: &Path,
    out: &Path,
    options: &PackOptions,
    progress: &mut dyn Progress,
) -> Result<Part, PackError> {
    let model = Model::from_gguf(gguf, options, progress)?;
    model.write(out, progress)?;
    Ok(model.part)
}

pub(crate) fn clipped(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

/// Appends the component's name where the component model's name section has it (subsection 0).
fn push_name(name: &str, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    push_leb(name.len() as u64, &mut text);
    text.extend_from_slice(name.as_bytes());
    let mut section = vec![0];
    push_leb(text.len() as u64, &mut section);
    section.append(&mut text);
    push_custom("component-name", &section, out);
}

/// The components of a part: one, or several of `stride` bytes where it is larger.
fn shards(part: &Part, source: &Arc<dyn ReadAt>, stride: u64) -> Result<Sharded, PackError> {
    let count = u32::try_from(part.size.div_ceil(stride)).map_err(GenerateError::new)?.max(1);
    let shard = |number| {
        let start = u64::from(number) * stride;
        let length = (stride + u64::from(READ_LENGTH_MAX)).min(part.size - start);
        if count == 1 {
            return component(part, source, 0..part.size, None);
        }
        component(part, source, start..start + length, Some(Shard { number, count, stride }))
    };
    let components = (0..count).map(shard).collect::<Result<_, PackError>>()?;
    Ok(Sharded { name: None, components, stride })
}

fn component(
    part: &Part,
    source: &Arc<dyn ReadAt>,
    stretch: std::ops::Range<u64>,
    shard: Option<Shard>,
) -> Result<Component, PackError> {
    let mut template = template(part, stretch.end - stretch.start)?;
    let record = ModelRecord {
        version: 1,
        parts: vec![PartRecord {
            name: part.name.clone(),
            role: if part.role == PartRole::Adapter { "adapter" } else { "weights" }.into(),
            format: part.format.clone(),
            size: part.size,
            sha256: part.sha256.clone(),
            license: part.license.clone(),
            url: None,
        }],
        shard,
    };
    let json = serde_json::to_vec(&record).map_err(GenerateError::new)?;
    push_custom(MODEL_SECTION, &json, &mut template);
    let mut name = clipped(&part.name, NAME_BYTES_MAX);
    if let Some(Shard { number, count, .. }) = shard {
        name = format!("{name} ({} of {count})", number + 1);
    }
    push_name(&name, &mut template);
    let mut bulk = Vec::new();
    let mut offset = stretch.start;
    while offset < stretch.end {
        let length = SEGMENT_BYTES.min(stretch.end - offset);
        bulk.push(Range { source: source.clone(), offset, length });
        offset += length;
    }
    let content: Content = splice(template, &bulk).map_err(GenerateError::new)?;
    Ok(Component::from_content(content, &name)?)
}
