//! Makes a composition out of another: parts are taken from the ranges in its record.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::compose::{ComposeError, Placed, assemble, check};
use crate::interface::Role;
use crate::models::Models;
use crate::output::hex;
use crate::read_at::{Opened, Range, ReadAt};
use crate::record::{Record, composition_identity};
use crate::sections::WasmError;
use crate::{Component, Progress, RecordError};

/// What happens to a part.
#[derive(Debug, Default)]
pub enum Change<T = Component> {
    /// It stays, or stays absent.
    #[default]
    Keep,
    /// It is replaced by this one, or added.
    Replace(T),
    /// It goes. A part that another one imports leaves an open slot: an import of the composition.
    Remove,
}

/// What happens to the parts of a composition.
#[derive(Debug, Default)]
pub struct Changes {
    /// Cannot be removed.
    pub engine: Change,
    /// Concerns all models. Removed, the host provides `model`.
    pub model: Change<Models>,
    /// Removed, the host provides `configuration`.
    pub configuration: Change,
    /// Removed, the host provides `collective`, and the composition exports `worker`.
    pub collective: Change,
    /// Removed, the composition exports `inference`.
    pub app: Change,
}

impl Changes {
    /// Of a role that has a change of its own, other than the models'.
    fn of(&self, role: Role) -> &Change {
        match role {
            Role::Types | Role::Model | Role::Router => &Change::Keep,
            Role::Collective => &self.collective,
            Role::Configuration => &self.configuration,
            Role::Engine => &self.engine,
            Role::App => &self.app,
        }
    }

    fn keeps_models(&self) -> bool {
        matches!(self.model, Change::Keep)
    }
}

/// Writes a changed copy of a composition. Parts that stay are checked against their digests.
///
/// # Errors
/// [`ComposeError`]; nothing is left behind then.
pub fn recompose(
    file: &Path,
    changes: &Changes,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<Record, ComposeError> {
    let fail = |source| ComposeError::Record { path: file.into(), source };
    let source = Opened::open(file).map_err(|error| fail(WasmError::from(error).into()))?;
    let source: Arc<dyn ReadAt> = Arc::new(source);
    let (record, _) = Record::find(&*source).map_err(fail)?;
    let mut parts = Vec::new();
    for role in Role::ALL {
        match changes.of(role) {
            Change::Remove if role == Role::Engine => {
                return Err(ComposeError::Change(
                    "a composition cannot be without an engine: replace it instead",
                ));
            }
            Change::Remove => {}
            Change::Replace(component) => {
                check(role, component)?;
                parts.push(Placed::new(role, component.clone()));
            }
            Change::Keep => {
                let is_models = matches!(role, Role::Model | Role::Router);
                if is_models && !changes.keeps_models() {
                    continue;
                }
                for part in record.parts.iter().filter(|part| part.role == role) {
                    let (offset, length) = (part.offset, part.length);
                    let range = Range { source: source.clone(), offset, length };
                    let component = Component::from_range(range, &part.name, &part.sha256)?;
                    check_kept(role, &component, file)?;
                    let sha256 = Some(part.sha256.clone());
                    parts.push(Placed { role, component, sha256 });
                }
            }
        }
    }
    if let Change::Replace(models) = &changes.model {
        parts.extend(models.placed()?);
        parts.sort_by_key(|part| part.role);
    }
    if parts.iter().all(|part| part.role != Role::Engine) {
        return Err(fail(RecordError::Damaged("there is no engine".into())));
    }
    if parts.iter().all(|part| part.role != Role::Types) {
        parts.insert(0, Placed::new(Role::Types, Component::types()?));
    }
    assemble(&parts, out, progress)
}

/// A kept part that is not what its role says: the record points elsewhere than it should.
fn check_kept(role: Role, component: &Component, file: &Path) -> Result<(), ComposeError> {
    check(role, component).map_err(|_| ComposeError::Record {
        path: file.into(),
        source: RecordError::Damaged(format!("what it calls the {role} is none")),
    })
}

/// A key under which the result of [`recompose`] can be cached: lower-case hexadecimal SHA-256
/// over what names the inputs (the record's digests; path, size and time of modification of files),
/// the changes, and this tool's version. The bulk is not read.
///
/// # Errors
/// [`ComposeError::Record`]
pub fn cache_key(file: &Path, changes: &Changes) -> Result<String, ComposeError> {
    let fail = |source| ComposeError::Record { path: file.into(), source };
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        // With its length, so that no two sequences of texts give the same bytes.
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    add(concat!("trefoil recompose 2 ", env!("CARGO_PKG_VERSION")));
    add(&composition_identity(file).map_err(fail)?);
    add(&match &changes.model {
        Change::Keep => "keep models".into(),
        Change::Remove => "remove models".into(),
        Change::Replace(models) => models.identity(),
    });
    for role in Role::ALL {
        add(role.name());
        match changes.of(role) {
            Change::Keep => add("keep"),
            Change::Remove => add("remove"),
            Change::Replace(component) => {
                add("replace");
                add(component.name().unwrap_or_default());
                add(component.identity());
            }
        }
    }
    Ok(hex(hash))
}
