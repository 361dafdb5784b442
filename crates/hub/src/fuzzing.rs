//! The readers of what comes from outside, without network and disk: for the fuzz target
//! `reference`, which checks what they let through.

use std::path::PathBuf;

use crate::address::Address;
use crate::failure::{ClientError, PullError};
use crate::hugging_face::{Endpoint, Repository};
use crate::oci::{Access, Artifact, Challenge, Manifest};
use crate::offer::RemoteFile;
use crate::record::Record;
use crate::reference::{Pick, Reference};

/// A file that would be downloaded.
#[derive(Debug)]
pub struct Offered {
    /// Its path below the model's folder.
    pub name: String,
    /// All of the address, as it is sent.
    pub address: String,
}

impl From<RemoteFile> for Offered {
    fn from(file: RemoteFile) -> Self {
        Offered { name: file.name, address: file.address.full() }
    }
}

fn offered(files: Vec<RemoteFile>) -> Vec<Offered> {
    files.into_iter().map(Into::into).collect()
}

/// The folder of a reference, relative to that of all models.
pub fn folder(reference: &Reference) -> PathBuf {
    reference.folder()
}

/// The reference of the first file of its model.
pub fn first(reference: &Reference) -> Reference {
    reference.first()
}

/// The whole address, with its query.
pub fn full(address: &Address) -> String {
    address.full()
}

/// What is downloaded from an address.
///
/// # Errors
/// A text for people.
pub fn of_address(address: &Address) -> Result<Vec<Offered>, String> {
    crate::offer::of_address(address).map(offered)
}

/// What is downloaded from the repository `owner/name` of `hub` that describes itself so.
///
/// # Errors
/// [`PullError`].
pub fn of_repository(
    document: &[u8],
    hub: &Address,
    pick: &Pick,
) -> Result<Vec<Offered>, PullError> {
    let repository = Repository { owner: "owner", name: "name", revision: None };
    let endpoint = Endpoint { address: hub, token: None };
    Ok(offered(endpoint.read(document, &repository, pick, hub)?.files))
}

/// What is downloaded of the artifact `repository` of `registry` that has this manifest; `None`
/// if it is no manifest.
///
/// # Errors
/// [`PullError`].
pub fn of_manifest(document: &[u8], registry: &str) -> Result<Option<Vec<Offered>>, PullError> {
    let Ok(manifest) = Manifest::parse(document) else { return Ok(None) };
    let artifact = Artifact { registry, repository: "repository", version: "latest" };
    Ok(Some(offered(artifact.files(&manifest, &Access::default())?)))
}

/// Where a registry with encryption wants a token from; `None` if the header says nothing of one.
///
/// # Errors
/// [`ClientError`].
pub fn of_challenge(header: &str) -> Option<Result<Address, ClientError>> {
    Some(Challenge::parse(header)?.address())
}

/// The token in an answer.
pub fn token(document: &[u8]) -> Option<String> {
    crate::oci::token(document)
}

/// First and last byte and size of a file, of a header.
pub fn content_range(header: &str) -> Option<(u64, u64, u64)> {
    crate::download::content_range(header)
}

/// The names of the files of a record.
pub fn recorded(text: &str) -> Option<Vec<String>> {
    Some(Record::parse(text)?.files.into_iter().map(|file| file.name).collect())
}
