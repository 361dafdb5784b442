//! Puts parts together: the graph is built on skeletons, and the parts' full bytes take the
//! skeletons' places while the result is written.

use std::path::{Path, PathBuf};

use crate::contract::{GenerateError, PACKAGE};
use crate::graph::{Plan, plan};
use crate::interface::{Kind, Role};
use crate::model::{COMPOSITION_BYTES_MAX, NESTED_BYTES_MAX};
use crate::models::Models;
use crate::output::Output;
use crate::read_at::ReadAt;
use crate::record::{COMPOSITION_SECTION, Record, RecordedPart};
use crate::sections::{COMPONENT, Cursor, WasmError, push_custom, push_leb};
use crate::{Component, ComponentError, OutputError, Progress, RecordError};

/// What is composed. The component that satisfies imports of `types` is added.
#[derive(Debug)]
pub struct Parts {
    /// Computes.
    pub engine: Component,
    /// Hold the weights. Without any the engine's import stays open, for the host.
    pub model: Option<Models>,
    /// Holds the settings; see [`crate::configuration`] for one without any.
    pub configuration: Component,
    /// Exchanges data between instances. Without one the engine's import stays open, for the host,
    /// and the composition exports `worker` for the instances beside rank 0.
    pub collective: Option<Component>,
    /// The user's. Without one the composition exports `inference` itself, and `worker` if the
    /// engine has it.
    pub app: Option<Component>,
}

/// Why parts could not be composed or recomposed. Nothing is left behind then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// A part is no component.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// A part is something else than it was given as.
    #[error("the file given as {option}, `{name}`, is {found}: {evidence}; {expected}")]
    WrongKind {
        /// The role's option on the command line.
        option: &'static str,
        /// The file.
        name: String,
        /// What it is.
        found: Kind,
        /// By what that is told.
        evidence: String,
        /// What would be right.
        expected: String,
    },
    /// A part is a composition.
    #[error(
        "the file given as {option}, `{name}`, is already a composition: use `recompose` to \
         change its parts"
    )]
    AlreadyComposed {
        /// The role's option on the command line.
        option: &'static str,
        /// The file.
        name: String,
    },
    /// A part imports an interface of the contract that no other part exports.
    #[error("the {role} `{name}` imports `{import}`; {found}")]
    MissingImport {
        /// The part that imports.
        role: Role,
        /// Its name.
        name: String,
        /// The import.
        import: String,
        /// What there is instead.
        found: String,
    },
    /// Two parts disagree about an interface of the same version.
    #[error(
        "the {role} `{name}` imports `{import}` in another form than the {provider_role} \
         `{provider}` exports it: {detail}; build both against the same version of the contract"
    )]
    Mismatch {
        /// The part that imports.
        role: Role,
        /// Its name.
        name: String,
        /// The import.
        import: String,
        /// The part that exports.
        provider_role: Role,
        /// Its name.
        provider: String,
        /// Where they differ.
        detail: String,
    },
    /// Two parts import one interface from outside in ways that do not fit together.
    #[error("two parts need `{import}` from outside in forms that contradict each other: {detail}")]
    ImportConflict {
        /// The import.
        import: String,
        /// Where they differ.
        detail: String,
    },
    /// A part exceeds what a runtime accepts.
    #[error(
        "the {role} `{name}` has {size} bytes; a part of a composition has at most \
         {NESTED_BYTES_MAX}"
    )]
    TooLarge {
        /// The part.
        role: Role,
        /// Its name.
        name: String,
        /// Its bytes.
        size: u64,
    },
    /// The parts together exceed what a runtime accepts.
    #[error(
        "the parts have {size} bytes together; a composition has at most {COMPOSITION_BYTES_MAX}: \
         leave a model in its file, with `--model file:PATH`"
    )]
    TooLargeTogether {
        /// Their bytes.
        size: u64,
    },
    /// Two models have one name.
    #[error(
        "two models are named `{name}`, so that only one of them could be opened: give one of \
         them another name, with `--model NAME=...`"
    )]
    SameName {
        /// The name.
        name: String,
    },
    /// The parts fit, but no component can be made of them.
    #[error("the parts cannot be composed: {0}")]
    Graph(String),
    /// The result cannot be written, a part cannot be read, or the operation was cancelled.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The composition to be changed has no usable record.
    #[error("`{}` {source}", path.display())]
    Record {
        /// The composition.
        path: PathBuf,
        /// What is wrong with its record.
        source: RecordError,
    },
    /// A part of the composition to be changed is not what the record says.
    #[error(
        "the {role} `{name}` in the composition was altered: its SHA-256 is {found}, its record \
         says {expected}; compose it anew from its parts"
    )]
    DigestMismatch {
        /// The part.
        role: Role,
        /// Its name.
        name: String,
        /// Digest by the record.
        expected: String,
        /// Digest of the bytes.
        found: String,
    },
    /// A change that no composition can undergo.
    #[error("{0}")]
    Change(&'static str),
    /// A defect of this crate.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

/// A part with its place.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) role: Role,
    pub(crate) component: Component,
    /// Digest that it must have.
    pub(crate) sha256: Option<String>,
}

impl Placed {
    pub(crate) fn new(role: Role, component: Component) -> Placed {
        Placed { role, component, sha256: None }
    }
    pub(crate) fn name(&self) -> String {
        self.component.name().unwrap_or(self.component.label()).into()
    }
}

/// Composes parts into one file. The same parts give the same bytes.
///
/// # Errors
/// [`ComposeError`]; nothing is left behind then.
pub fn compose(
    parts: &Parts,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<Record, ComposeError> {
    let mut placed = vec![Placed::new(Role::Types, Component::types()?)];
    let mut add = |role, component: Option<&Component>| {
        if let Some(component) = component {
            check(role, component)?;
            placed.push(Placed::new(role, component.clone()));
        }
        Ok::<_, ComposeError>(())
    };
    add(Role::Collective, parts.collective.as_ref())?;
    add(Role::Configuration, Some(&parts.configuration))?;
    add(Role::Engine, Some(&parts.engine))?;
    add(Role::App, parts.app.as_ref())?;
    if let Some(models) = &parts.model {
        placed.extend(models.placed()?);
    }
    placed.sort_by_key(|part| part.role);
    assemble(&placed, out, progress)
}

/// Whether a component can take a role.
pub(crate) fn check(role: Role, component: &Component) -> Result<(), ComposeError> {
    let option = option(role);
    let name = component.label().to_owned();
    let found = component.kind();
    if found == Kind::Composition {
        return Err(ComposeError::AlreadyComposed { option, name });
    }
    let (fits, expected) = match role.interface() {
        Some(interface) => (
            component.externs().exports_interface(interface),
            format!("{} exports `{PACKAGE}/{interface}`", article(role)),
        ),
        None => (
            component.externs().imports_interface("inference"),
            format!("an app imports `{PACKAGE}/inference`"),
        ),
    };
    // An app may export `inference` again, but it cannot be the engine.
    if fits && (role == Role::App || found != Kind::App) {
        return Ok(());
    }
    let evidence = match found {
        Kind::App => format!("it imports `{PACKAGE}/inference`"),
        Kind::Engine => format!("it exports `{PACKAGE}/inference`"),
        Kind::Model => format!("it exports `{PACKAGE}/model`"),
        Kind::Configuration => format!("it exports `{PACKAGE}/configuration`"),
        Kind::Collective => format!("it exports `{PACKAGE}/collective`"),
        Kind::Types => format!("it exports `{PACKAGE}/types`"),
        _ => format!("it neither imports nor exports an interface of `{PACKAGE}`"),
    };
    Err(ComposeError::WrongKind { option, name, found, evidence, expected })
}

fn option(role: Role) -> &'static str {
    match role {
        Role::Types => "types",
        Role::Collective => "--collective",
        Role::Configuration => "--config",
        Role::Model => "--model",
        Role::Router => "the router",
        Role::Engine => "--engine",
        Role::App => "the app",
    }
}

fn article(role: Role) -> &'static str {
    match role {
        Role::Types => "a types component",
        Role::Collective => "a collective component",
        Role::Configuration => "a configuration component",
        Role::Model => "a model component",
        Role::Router => "a router",
        Role::Engine => "an engine",
        Role::App => "an app",
    }
}

/// Writes a composition of parts that stand in the order of [`Role::ALL`].
pub(crate) fn assemble(
    parts: &[Placed],
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<Record, ComposeError> {
    let mut output = Output::create(out, bytes(parts), progress)?;
    let record = assemble_into(&mut output, parts)?;
    output.finish()?;
    Ok(record)
}

/// Bytes of the parts together.
pub(crate) fn bytes(parts: &[Placed]) -> u64 {
    parts.iter().map(|part| part.component.size()).sum()
}

/// As [`assemble`], into a file that is yet to be finished.
pub(crate) fn assemble_into(
    output: &mut Output<'_>,
    parts: &[Placed],
) -> Result<Record, ComposeError> {
    for part in parts {
        let size = part.component.size();
        if size > NESTED_BYTES_MAX {
            return Err(ComposeError::TooLarge { role: part.role, name: part.name(), size });
        }
    }
    let size = bytes(parts);
    if size > COMPOSITION_BYTES_MAX {
        return Err(ComposeError::TooLargeTogether { size });
    }
    let Plan { stub, skeletons } = plan(parts)?;
    let record = write(output, &stub, parts, &skeletons)?;
    let mut section = Vec::new();
    push_custom(COMPOSITION_SECTION, &record.to_json(), &mut section);
    output.write(&section)?;
    Ok(record)
}

/// Copies the stub, and puts the parts in the places of their skeletons.
fn write(
    output: &mut Output<'_>,
    stub: &[u8],
    parts: &[Placed],
    skeletons: &[Vec<u8>],
) -> Result<Record, ComposeError> {
    let defect = |error: WasmError| ComposeError::Generate(GenerateError::new(error));
    let mut cursor = Cursor::new(&stub);
    let end = stub.size();
    cursor.header(end).map_err(defect)?;
    let mut recorded = Vec::new();
    let slice = |start: u64, end: u64| {
        // Within the stub, which is in memory: the cursor has checked it.
        stub.get(start as usize..end as usize).unwrap_or_default()
    };
    output.write(slice(0, cursor.position()))?;
    while cursor.position() < end {
        let section = cursor.section(end).map_err(defect)?;
        cursor.jump(section.end);
        let payload = slice(section.start, section.end);
        // Each skeleton ends with its own number, so that no two are alike and only a whole one
        // is replaced.
        let index = (section.id == COMPONENT)
            .then(|| skeletons.iter().position(|skeleton| skeleton == payload))
            .flatten();
        let Some(part) = index.and_then(|index| parts.get(index)) else {
            output.write(slice(section.header, section.end))?;
            continue;
        };
        let mut header = vec![COMPONENT];
        push_leb(part.component.size(), &mut header);
        output.write(&header)?;
        let offset = output.written();
        let sha256 = output.write_content(part.component.content(), part.component.label())?;
        if let Some(expected) = part.sha256.as_ref().filter(|expected| **expected != sha256) {
            return Err(ComposeError::DigestMismatch {
                role: part.role,
                name: part.name(),
                expected: expected.clone(),
                found: sha256,
            });
        }
        recorded.push(RecordedPart {
            role: part.role,
            name: part.name(),
            version: part.component.version().map(Into::into),
            sha256,
            offset,
            length: part.component.size(),
        });
    }
    if recorded.len() != parts.len() {
        return Err(GenerateError("a part is missing from the composition".into()).into());
    }
    Ok(Record::new(recorded))
}
