//! A model component that reads its file over HTTP: a ready-made component, into which the address
//! and the digests of a copy of the file are written.

use std::path::Path;

use trefoil_contract::FORMAT_GGUF;
use trefoil_gguf::SPLIT_COUNT_KEY;
use trefoil_remote::{Digester, Manifest, Url, hex};

use crate::contract::GenerateError;
use crate::model::{
    MODEL_SECTION, ModelRecord, NAME_BYTES_MAX, PackError, PartRecord, TEXT_BYTES_MAX, clipped,
};
use crate::model_files::ModelFiles;
use crate::output::BUFFER_BYTES;
use crate::read_at::ReadAt;
use crate::sections::push_custom;
use crate::{Component, OutputError, Progress};

/// A model component that reads `url` when it runs, and of it only what `copy`, a file here, holds
/// as well. `template` is the ready-made component; nothing is asked of the network.
///
/// # Errors
/// [`PackError`], which names the copy.
pub fn model_over_http(
    template: &[u8],
    url: &Url,
    copy: &Path,
    progress: &mut dyn Progress,
) -> Result<(Component, PartRecord), PackError> {
    let (files, gguf, source) = ModelFiles::open(copy)?;
    if let Some(count) = gguf.metadata.u32(SPLIT_COUNT_KEY).ok().flatten().filter(|it| *it > 1) {
        return Err(PackError::RemoteSplit { path: copy.into(), count });
    }
    let text = |key| match gguf.metadata.string(key) {
        Ok(Some(text)) => clipped(text, TEXT_BYTES_MAX),
        _ => String::new(),
    };
    let mut name = text("general.name");
    if name.is_empty() {
        let file_name = url.file_name();
        name = file_name.strip_suffix(".gguf").unwrap_or(file_name).to_owned();
    }
    let manifest = Manifest {
        url: url.clone(),
        name,
        license: text("general.license"),
        digests: digests(&*source, copy, progress)?,
    };
    let part = PartRecord {
        name: manifest.name.clone(),
        role: "weights".into(),
        format: FORMAT_GGUF.into(),
        size: manifest.digests.size,
        sha256: hex(&manifest.digests.sha256),
        license: manifest.license.clone(),
        url: Some(url.to_string()),
    };
    files.check_unchanged()?;
    let mut bytes = template.to_vec();
    manifest.write_into(&mut bytes)?;
    let record = ModelRecord { version: 1, parts: vec![part.clone()], shard: None };
    let json = serde_json::to_vec(&record).map_err(GenerateError::new)?;
    push_custom(MODEL_SECTION, &json, &mut bytes);
    Ok((Component::from_bytes(bytes, &clipped(&part.name, NAME_BYTES_MAX))?, part))
}

fn digests(
    source: &dyn ReadAt,
    copy: &Path,
    progress: &mut dyn Progress,
) -> Result<trefoil_remote::Digests, PackError> {
    let size = source.size();
    let mut digester = Digester::new(size);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut done = 0;
    while done < size {
        let wanted = usize::try_from(size - done).unwrap_or(usize::MAX).min(buffer.len());
        let piece = &mut buffer[..wanted];
        source
            .read_at(done, piece)
            .map_err(|source| OutputError::Read { name: copy.display().to_string(), source })?;
        digester.update(piece);
        done += wanted as u64;
        if progress.advance(done, size).is_break() {
            return Err(OutputError::Cancelled.into());
        }
    }
    digester.finish().ok_or(PackError::Remote(trefoil_remote::ManifestError::TooLarge(size)))
}
