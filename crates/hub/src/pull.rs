//! A model, from its name to the cache.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::cached::ModelsError;
use crate::catalogue::{self, Entry};
use crate::client::{Client, Retry};
use crate::digest::Digest;
use crate::disk::{Disk, RealDisk};
use crate::download::Download;
use crate::failure::{ClientError, DownloadError, PullError};
use crate::hugging_face::{Endpoint, Repository};
use crate::lock::Lock;
use crate::models::Models;
use crate::oci::Artifact;
use crate::offer::{Offer, RemoteFile, of_address};
use crate::progress::{Cancelled, Event, Progress};
use crate::record::{Record, RecordedFile, now};
use crate::reference::{Pick, Reference};

/// The hub unless `HF_ENDPOINT` names another.
const HUGGING_FACE: &str = "https://huggingface.co";

/// How often a lock that somebody has is tried.
const LOCK_WAIT: Duration = Duration::from_millis(100);

/// Where models come from, and how.
#[derive(Clone)]
pub struct Hub {
    endpoint: Address,
    token: Option<String>,
    /// Addresses without encryption are fine, not only those of this machine.
    pub allow_http: bool,
    /// A file of certificates in PEM form that are trusted in place of the built-in ones (those of
    /// Mozilla).
    pub authorities: Option<PathBuf>,
    /// When and how often requests are repeated.
    pub retry: Retry,
    /// Where files are written.
    pub disk: Arc<dyn Disk>,
    /// Whether to end.
    pub cancelled: Cancelled,
}

/// A model that is in the cache now.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pulled {
    /// Where it came from, canonically.
    pub source: String,
    /// The commit or manifest.
    pub revision: Option<String>,
    /// As the source, or the catalogue, names it.
    pub license: Option<String>,
    /// In the order of the split.
    pub files: Vec<PulledFile>,
    /// Bytes that came over the network; none if all was there.
    pub received: u64,
}

/// A file of a model that was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledFile {
    /// Where it is.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// Of what is there.
    pub sha256: Digest,
}

impl Hub {
    /// As the environment says: `HF_ENDPOINT` names a mirror, `HF_TOKEN` gives access to gated
    /// repositories (it is sent to the endpoint alone), `SSL_CERT_FILE` names [`Hub::authorities`].
    ///
    /// # Errors
    /// [`PullError::Endpoint`] if `HF_ENDPOINT` is not an address.
    pub fn from_environment(cancelled: Cancelled) -> Result<Self, PullError> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| HUGGING_FACE.into());
        let mut hub = Hub::new(&endpoint, cancelled)?;
        hub.token = set("HF_TOKEN").map(|token| token.trim().to_owned());
        hub.authorities =
            std::env::var_os("SSL_CERT_FILE").filter(|it| !it.is_empty()).map(Into::into);
        Ok(hub)
    }

    /// With a hub at this address.
    ///
    /// # Errors
    /// [`PullError::Endpoint`] if it is none.
    pub fn new(endpoint: &str, cancelled: Cancelled) -> Result<Self, PullError> {
        let error = |problem| PullError::Endpoint { address: endpoint.into(), problem };
        Ok(Hub {
            endpoint: Address::parse(endpoint.trim()).map_err(error)?,
            token: None,
            allow_http: false,
            authorities: None,
            retry: Retry::default(),
            disk: Arc::new(RealDisk),
            cancelled,
        })
    }

    /// Uses this token for the endpoint.
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Brings a model into the cache, or finds it there. `sha256` is what its file must be.
    ///
    /// # Errors
    /// [`PullError`]. What was downloaded until then stays, and the next pull goes on from there.
    pub fn pull(
        &self,
        models: &Models,
        name: &str,
        sha256: Option<&Digest>,
        progress: &mut dyn Progress,
    ) -> Result<Pulled, PullError> {
        let entry = catalogue::entry(name);
        let reference = match entry {
            Some(entry) => entry.reference(),
            None => Reference::parse(name)?.ok_or_else(|| ModelsError::Unknown {
                name: name.into(),
                similar: catalogue::similar(name),
            })?,
        };
        let pinned = entry.and_then(|it| it.sha256).and_then(Digest::parse);
        let sha256 = sha256.cloned().or(pinned);
        let job = Job { hub: self, models, entry, reference, sha256 };
        if let Some(pulled) = job.there(name, progress)? {
            return Ok(pulled);
        }
        let (authorities, retry) = (self.authorities.as_deref(), self.retry.clone());
        let client = Client::new(self.allow_http, authorities, retry, self.cancelled.clone())?;
        job.pull(&client, progress)
    }
}

/// A pull of one model.
struct Job<'a> {
    hub: &'a Hub,
    models: &'a Models,
    entry: Option<&'static Entry>,
    reference: Reference,
    sha256: Option<Digest>,
}

impl Job<'_> {
    /// The model, if it is there and no server need be asked whether it is the right one: its
    /// digest is known, or nobody would know better.
    fn there(&self, name: &str, progress: &mut dyn Progress) -> Result<Option<Pulled>, PullError> {
        let Some(model) = self.models.find(name)?.filter(|model| model.complete) else {
            return Ok(None);
        };
        let never_changes = matches!(self.reference, Reference::Web(_));
        let mut files = Vec::new();
        for file in &model.files {
            let expected = match &self.sha256 {
                None if never_changes && model.source.is_some() => file.sha256.as_ref(),
                pinned => pinned.as_ref().filter(|_| model.files.len() == 1),
            };
            let Some(expected) = expected else { return Ok(None) };
            let sha256 = self.hash(&file.path, file.size, progress)?;
            if sha256 != *expected {
                return Ok(None);
            }
            files.push(PulledFile { path: file.path.clone(), size: file.size, sha256 });
        }
        Ok(Some(Pulled {
            source: model.source.unwrap_or_else(|| self.reference.to_string()),
            revision: model.revision,
            license: model.license,
            files,
            received: 0,
        }))
    }

    fn pull(&self, client: &Client, progress: &mut dyn Progress) -> Result<Pulled, PullError> {
        let mut offer = self.offer(client, progress)?;
        let source = self.source(&offer);
        self.expect(&mut offer, &source)?;
        let first = self.path(&offer.files[0]);
        let _lock = self.lock(&first, client, progress)?;
        self.check_room(&offer)?;

        let nothing =
            |file: &RemoteFile| RecordedFile { name: file.name.clone(), size: None, sha256: None };
        let fresh = Record::new(source, offer.files.iter().map(nothing).collect());
        let is_same = |record: &Record| {
            record.source == fresh.source
                && record.files.iter().map(|it| &it.name).eq(fresh.files.iter().map(|it| &it.name))
        };
        let mut record = match Record::read(&first).filter(is_same) {
            Some(record) => record,
            None => {
                self.write(&fresh, &first)?;
                fresh
            }
        };
        let brought = self.bring(&offer, &mut record, &first, client, progress);
        if brought.is_err() && record.pulled.is_none() {
            self.models.forget_if_empty(&first);
        }
        let received = brought?;
        record.revision = offer.revision;
        let entry = self.entry.map(|entry| entry.license.to_owned());
        record.license = offer.license.or(entry);
        record.pulled = Some(now());
        self.write(&record, &first)?;
        Ok(self.pulled(record, received))
    }

    /// Brings all files that are not there, and returns the bytes received.
    fn bring(
        &self,
        offer: &Offer,
        record: &mut Record,
        first: &Path,
        client: &Client,
        progress: &mut dyn Progress,
    ) -> Result<u64, PullError> {
        let mut received = 0;
        let count = offer.files.len();
        for (index, file) in offer.files.iter().enumerate() {
            let path = self.path(file);
            if let Some(recorded) = self.is_there(file, &path, &record.files[index], progress)? {
                record.files[index] = recorded;
                continue;
            }
            make_folder(&path)?;
            let disk = &*self.hub.disk;
            let download = Download { file, path: &path, client, disk, number: (index + 1, count) };
            let done = download.run(progress)?;
            received += done.received;
            let (size, sha256) = (Some(done.size), Some(done.sha256));
            record.files[index] = RecordedFile { name: file.name.clone(), size, sha256 };
            if index + 1 < count {
                self.write(record, first)?;
            }
        }
        Ok(received)
    }

    fn offer(&self, client: &Client, progress: &mut dyn Progress) -> Result<Offer, PullError> {
        let offer = match &self.reference {
            Reference::HuggingFace { owner, repository, revision, pick } => {
                let (address, token) = (&self.hub.endpoint, self.hub.token.as_deref());
                let revision = revision.as_deref();
                let repository = Repository { owner, name: repository, revision };
                Endpoint { address, token }.offer(client, &repository, pick, progress)?
            }
            Reference::Web(address) => {
                let error = |problem| PullError::Endpoint { address: address.to_string(), problem };
                let files = of_address(address).map_err(error)?;
                Offer { files, revision: None, license: None }
            }
            Reference::Oci { registry, repository, version } => {
                Artifact { registry, repository, version }.offer(client, progress)?
            }
        };
        Ok(offer)
    }

    /// The reference that names exactly what is offered.
    fn source(&self, offer: &Offer) -> String {
        let first = &offer.files[0];
        let reference = match self.reference.clone() {
            Reference::HuggingFace { owner, repository, revision, .. } => {
                let pick = Pick::File(first.name.clone());
                Reference::HuggingFace { owner, repository, revision, pick }
            }
            Reference::Web(_) => Reference::Web(first.address.clone()),
            oci => oci,
        };
        reference.to_string()
    }

    fn expect(&self, offer: &mut Offer, source: &str) -> Result<(), PullError> {
        let Some(expected) = &self.sha256 else { return Ok(()) };
        let count = offer.files.len();
        let [file] = offer.files.as_mut_slice() else {
            return Err(PullError::OneDigest { count });
        };
        match file.sha256.replace(expected.clone()) {
            Some(found) if found != *expected => Err(PullError::Changed {
                source_name: source.into(),
                found,
                expected: expected.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn path(&self, file: &RemoteFile) -> PathBuf {
        self.path_of_name(&file.name)
    }

    fn lock(
        &self,
        first: &Path,
        client: &Client,
        progress: &mut dyn Progress,
    ) -> Result<Lock, PullError> {
        let mut told = false;
        loop {
            make_folder(first)?;
            match Lock::try_take(first) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) => {}
                // Whoever removed a model may have taken the folder along.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    let path = first.to_owned();
                    return Err(DownloadError::Io { action: "lock", path, source }.into());
                }
            }
            if !std::mem::replace(&mut told, true) {
                progress.event(Event::Waiting);
            }
            client.wait(LOCK_WAIT)?;
        }
    }

    /// Better to know before hours of work than after.
    fn check_room(&self, offer: &Offer) -> Result<(), PullError> {
        let left = |file: &RemoteFile| {
            let path = self.path(file);
            let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
            let there = length(&path).max(length(&crate::partial::partial_path(&path)));
            file.size.unwrap_or(0).saturating_sub(there)
        };
        let needed = offer.files.iter().map(left).fold(0, u64::saturating_add);
        let first = self.path(&offer.files[0]);
        let folder = first.parent().unwrap_or(Path::new("."));
        match self.hub.disk.free_bytes(folder) {
            Ok(Some(free)) if free < needed => {
                Err(DownloadError::Full { path: first, needed, free: Some(free) }.into())
            }
            _ => Ok(()),
        }
    }

    /// Whether a file is there from before.
    fn is_there(
        &self,
        file: &RemoteFile,
        path: &Path,
        recorded: &RecordedFile,
        progress: &mut dyn Progress,
    ) -> Result<Option<RecordedFile>, PullError> {
        let Ok(metadata) = fs::metadata(path) else { return Ok(None) };
        let size = metadata.len();
        if !metadata.is_file() || file.size.is_some_and(|expected| expected != size) {
            return Ok(None);
        }
        let expected = file.sha256.as_ref().or(recorded.sha256.as_ref());
        let Some(expected) = expected else { return Ok(None) };
        let found = self.hash(path, size, progress)?;
        let (size, sha256) = (Some(size), Some(found.clone()));
        let there = RecordedFile { name: file.name.clone(), size, sha256 };
        Ok((found == *expected).then_some(there))
    }

    fn hash(
        &self,
        path: &Path,
        total: u64,
        progress: &mut dyn Progress,
    ) -> Result<Digest, PullError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let found = Digest::of_file(path, &mut |done| {
            progress.event(Event::Checking { file: name, done, total });
            !(self.hub.cancelled)()
        });
        if (self.hub.cancelled)() {
            return Err(ClientError::Cancelled.into());
        }
        let error = |source| DownloadError::Io { action: "read", path: path.into(), source };
        Ok(found.map_err(error)?)
    }

    fn write(&self, record: &Record, first: &Path) -> Result<(), PullError> {
        let path = Record::path(first);
        let error = |source| DownloadError::Io { action: "write", path, source };
        Ok(record.write(first).map_err(error)?)
    }

    fn pulled(&self, record: Record, received: u64) -> Pulled {
        let file = |file: RecordedFile| {
            let path = self.path_of_name(&file.name);
            Some(PulledFile { path, size: file.size?, sha256: file.sha256? })
        };
        Pulled {
            source: record.source,
            revision: record.revision,
            license: record.license,
            files: record.files.into_iter().filter_map(file).collect(),
            received,
        }
    }

    /// All files of a split model lie where the first does.
    fn path_of_name(&self, name: &str) -> PathBuf {
        self.models.path_of(&self.reference.first(), name)
    }
}

fn make_folder(path: &Path) -> Result<(), PullError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let error = |source| DownloadError::Io { action: "make", path: folder.into(), source };
    Ok(fs::create_dir_all(folder).map_err(error)?)
}
