//! What options name: engines, models, configurations and apps.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use trefoil_compose::{Component, Model, Models, PackOptions, Role, model_files};
use trefoil_contract::Setting;
use trefoil_host::{Sha256Hex, sha256_of_bytes, sha256_of_file};

use crate::adapters::AdapterFlags;
use crate::hub;
use crate::remote::RemoteFlags;
use crate::session::Session;
use crate::terminal::Meter;

/// Bytes that a path may have inside the `file` model component, from `components/model-file`.
const MODEL_FILE_PATH_BYTES_MAX: usize = 4096 - 24 - 1;

/// Precedes the path inside the `file` model component.
const MODEL_FILE_MARKER: &[u8; 24] = b"trefoil:model-file-path\0";

/// An engine that comes with Trefoil, or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Engine {
    Cpu,
    CpuRelaxed,
    File(PathBuf),
}

/// The option and the names that it knows.
const ENGINE: (&str, &str) = ("--engine", "`cpu`, `cpu-relaxed`");

impl From<&str> for Engine {
    fn from(text: &str) -> Self {
        match text {
            "cpu" => Engine::Cpu,
            "cpu-relaxed" => Engine::CpuRelaxed,
            path => Engine::File(path.into()),
        }
    }
}

impl Engine {
    pub(crate) fn component(&self) -> Result<Component> {
        Ok(match self {
            Engine::Cpu => bundled("cpu", trefoil_bundle::ENGINE_CPU)?,
            Engine::CpuRelaxed => bundled("cpu-relaxed", trefoil_bundle::ENGINE_CPU_RELAXED)?,
            Engine::File(path) => from_file(path, ENGINE.0, ENGINE.1)?,
        })
    }

    pub(crate) fn digest(&self, session: &Session) -> Result<Sha256Hex> {
        Ok(match self {
            Engine::Cpu => sha256_of_bytes(trefoil_bundle::ENGINE_CPU),
            Engine::CpuRelaxed => sha256_of_bytes(trefoil_bundle::ENGINE_CPU_RELAXED),
            Engine::File(path) => {
                must_exist(path, ENGINE.0, ENGINE.1)?;
                digest(path, session)?
            }
        })
    }
}

/// An app that comes with Trefoil, or a file.
pub(crate) fn app(text: &str) -> Result<Component> {
    match text {
        "chat" => bundled("chat", trefoil_bundle::CHAT),
        "server" => bundled("server", trefoil_bundle::SERVER),
        path => from_file(Path::new(path), "--app", "`chat`, `server`"),
    }
}

/// Where a composition's settings come from.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ConfigurationFlags {
    /// Settings: a TOML file or a configuration component
    #[arg(long = "config", id = "config", value_name = "FILE")]
    file: Option<PathBuf>,
    /// A Jinja chat template in place of the model's own
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
}

impl ConfigurationFlags {
    /// Whether there is any.
    pub(crate) fn is_given(&self) -> bool {
        self.file.is_some() || self.chat_template.is_some()
    }

    /// The flags again, for another process.
    pub(crate) fn to_arguments(&self) -> Vec<OsString> {
        let flags = [("--config", &self.file), ("--chat-template", &self.chat_template)];
        let given = flags.into_iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?)));
        given.flat_map(|(flag, path)| [flag.into(), path.into()]).collect()
    }

    /// What tells configurations apart.
    pub(crate) fn digest(&self, session: &Session) -> Result<String> {
        let of = |path: &Option<PathBuf>| match path {
            Some(path) => digest(path, session),
            None => Ok(String::new()),
        };
        let (file, template) = (of(&self.file)?, of(&self.chat_template)?);
        Ok(if template.is_empty() { file } else { format!("{file} {template}") })
    }

    /// The component; one without settings if there are none.
    pub(crate) fn component(&self) -> Result<Component> {
        let is_component =
            |file: &PathBuf| Ok::<_, anyhow::Error>(matches!(magic(file)?, Magic::Wasm));
        let template = match &self.chat_template {
            Some(path) => Some(template(path)?),
            None => None,
        };
        let mut settings = match (&self.file, &template) {
            (None, _) => Vec::new(),
            (Some(file), None) if is_component(file)? => return Ok(Component::from_path(file)?),
            (Some(file), Some(_)) if is_component(file)? => bail!(
                "`--chat-template` cannot change the configuration component `{}`: let it set \
                 `chat-template` itself",
                file.display()
            ),
            (Some(file), _) => trefoil_compose::settings_from_toml(file)?,
        };
        if let Some(template) = template {
            settings.retain(|setting| setting.key != TEMPLATE_KEY);
            settings.push(template);
        }
        Ok(trefoil_compose::configuration(&settings)?)
    }
}

const TEMPLATE_KEY: &str = "chat-template";

/// A template as a setting.
fn template(path: &Path) -> Result<Setting> {
    must_exist(path, "--chat-template", "a file with a Jinja template")?;
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the chat template `{}`", path.display()))?;
    if text.trim().is_empty() {
        bail!("the chat template `{}` is empty", path.display());
    }
    let setting = trefoil_settings::parse(TEMPLATE_KEY, &text);
    setting.with_context(|| format!("`{}` cannot be the chat template", path.display()))
}

/// What is needed for exchange between instances: one instance.
pub(crate) fn collective() -> Result<Component> {
    bundled("solo", trefoil_bundle::SOLO)
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModelSource {
    /// A GGUF file, to be packed.
    Gguf(PathBuf),
    /// A model component.
    Component(PathBuf),
    /// A path that the composition reads when it runs.
    AtRunTime(String),
    /// A finished composition.
    Composition(PathBuf),
}

impl ModelSource {
    /// Looks at what `text` names: a file, or else a model in the cache.
    pub(crate) fn find(text: &str, session: &Session) -> Result<Self> {
        if let Some(path) = text.strip_prefix("file:") {
            return Ok(ModelSource::AtRunTime(path.into()));
        }
        let path = hub::file_or_model(text, session)?;
        match magic(&path)? {
            Magic::Gguf => return Ok(ModelSource::Gguf(path)),
            Magic::Wasm => {}
            Magic::Other => bail!(
                "`{}` is neither a GGUF file nor a WebAssembly component; give a .gguf file, a \
                 model component, or a composition",
                path.display()
            ),
        }
        // A composition has a record with an engine; everything else is a part, whose kind
        // composing checks.
        match trefoil_compose::Record::read(&path) {
            Ok(record) if record.part(Role::Engine).is_some() => Ok(ModelSource::Composition(path)),
            Ok(_) => Ok(ModelSource::Component(path)),
            Err(trefoil_compose::RecordError::Absent) => Ok(ModelSource::Component(path)),
            Err(error) => Err(error).with_context(|| format!("cannot use `{}`", path.display())),
        }
    }

    /// The model, to be composed.
    pub(crate) fn models(&self, session: &Session) -> Result<Models> {
        self.models_packed(&PackOptions::default(), session)
    }

    /// The same; a GGUF file is packed so.
    pub(crate) fn models_packed(&self, options: &PackOptions, session: &Session) -> Result<Models> {
        match self {
            ModelSource::Gguf(path) => {
                let mut meter = Meter::new(&session.terminal, &session.interrupt, "reading model");
                Ok(Model::from_gguf(path, options, &mut meter)?.models())
            }
            ModelSource::Component(path) => Ok(Component::from_path(path)?.into()),
            ModelSource::AtRunTime(path) => Ok(model_file(path)?.into()),
            ModelSource::Composition(path) => bail!(
                "`{}` is a finished composition, not a model; to run it use `trefoil run`, to \
                 change its parts compose them anew",
                path.display()
            ),
        }
    }

    pub(crate) fn digest(&self, session: &Session) -> Result<Sha256Hex> {
        match self {
            ModelSource::Gguf(path) => {
                // Of a missing one packing says more.
                let files = model_files(path).into_iter().filter(|path| path.exists());
                let digests: Vec<_> =
                    files.map(|path| digest(&path, session)).collect::<Result<_>>()?;
                match digests.as_slice() {
                    [one] => Ok(one.clone()),
                    many => Ok(sha256_of_bytes(many.join(" ").as_bytes())),
                }
            }
            ModelSource::Component(path) | ModelSource::Composition(path) => digest(path, session),
            ModelSource::AtRunTime(path) => {
                let template = sha256_of_bytes(trefoil_bundle::MODEL_FILE);
                Ok(sha256_of_bytes(format!("{template} {path}").as_bytes()))
            }
        }
    }

    /// Bytes of weights, roughly: to say how far loading is.
    pub(crate) fn size(&self) -> u64 {
        let paths = match self {
            ModelSource::Gguf(path) => model_files(path),
            ModelSource::Component(path) | ModelSource::Composition(path) => vec![path.clone()],
            ModelSource::AtRunTime(path) => model_files(Path::new(path)),
        };
        let size = |path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        paths.iter().map(size).sum()
    }
}

/// The models that `--model` names, each with another name of its own if that stands in front.
pub(crate) fn models(
    texts: &[String],
    adapters: &AdapterFlags,
    remote: &RemoteFlags,
    session: &Session,
) -> Result<Models> {
    let one = |text: &String| {
        let (name, path) = named(text);
        let models = match remote.model(path)? {
            Some(remote) => remote.component(session)?.into(),
            None => ModelSource::find(path, session)?.models(session)?,
        };
        if models.is_adapter() == Some(true) {
            bail!("`{path}` is an adapter: give it as `--adapter`");
        }
        Ok(match name {
            Some(name) => models.named(name),
            None => models,
        })
    };
    let mut all = texts.iter().map(one);
    let first = all.next().context("`--model` says what to compose")??;
    let models = all.try_fold(first, |all, next| Ok::<_, anyhow::Error>(all.and(next?)))?;
    adapters.join(models, session)
}

/// Takes `NAME=` off, unless the whole is a file.
pub(crate) fn named(text: &str) -> (Option<&str>, &str) {
    let is_name = |name: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !name.is_empty() && name.chars().all(allowed)
    };
    match text.split_once('=') {
        Some((name, rest)) if is_name(name) && !Path::new(text).exists() => (Some(name), rest),
        _ => (None, text),
    }
}

/// The digest of a file, remembered in the cache and shown while it is computed.
pub(crate) fn digest(path: &Path, session: &Session) -> Result<Sha256Hex> {
    let mut bar = None;
    let digest =
        sha256_of_file(path, session.cache().ok(), &session.interrupt, &mut |done, total| {
            bar.get_or_insert_with(|| session.terminal.bar("reading", total)).set_position(done);
        });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    digest.with_context(|| format!("cannot read `{}`", path.display()))
}

fn bundled(name: &str, bytes: &'static [u8]) -> Result<Component> {
    Component::from_bytes(bytes.to_vec(), name)
        .with_context(|| format!("the bundled component `{name}` is damaged; install trefoil anew"))
}

fn from_file(path: &Path, option: &str, names: &str) -> Result<Component> {
    must_exist(path, option, names)?;
    Ok(Component::from_path(path)?)
}

/// A misspelled name should not be taken for a path.
fn must_exist(path: &Path, option: &str, names: &str) -> Result<()> {
    if !path.exists() {
        bail!("`{option} {}`: no such file, and not one of {names}", path.display());
    }
    Ok(())
}

/// The ready-made `file` model component with this path in it.
fn model_file(path: &str) -> Result<Component> {
    if path.is_empty() || path.len() > MODEL_FILE_PATH_BYTES_MAX || path.contains('\0') {
        bail!(
            "`file:{path}` does not name a path of 1 to {MODEL_FILE_PATH_BYTES_MAX} bytes; give \
             the path as the running composition will see it"
        );
    }
    let bytes = with_path(trefoil_bundle::MODEL_FILE, path)
        .context("the bundled component `file` has no place for the path; install trefoil anew")?;
    Ok(Component::from_bytes(bytes, &format!("file:{path}"))?)
}

fn with_path(template: &[u8], path: &str) -> Option<Vec<u8>> {
    let marker =
        template.windows(MODEL_FILE_MARKER.len()).position(|window| window == MODEL_FILE_MARKER)?;
    let start = marker + MODEL_FILE_MARKER.len();
    let mut bytes = template.to_vec();
    let place = bytes.get_mut(start..start + MODEL_FILE_PATH_BYTES_MAX + 1)?;
    place.fill(0);
    place[..path.len()].copy_from_slice(path.as_bytes());
    Some(bytes)
}

enum Magic {
    Gguf,
    Wasm,
    Other,
}

fn magic(path: &Path) -> Result<Magic> {
    let mut head = Vec::with_capacity(4);
    File::open(path)
        .and_then(|file| file.take(4).read_to_end(&mut head))
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(match head.as_slice() {
        b"GGUF" => Magic::Gguf,
        b"\0asm" => Magic::Wasm,
        _ => Magic::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_have_names_and_everything_else_is_a_path() {
        assert_eq!(Engine::from("cpu"), Engine::Cpu);
        assert_eq!(Engine::from("cpu-relaxed"), Engine::CpuRelaxed);
        assert_eq!(Engine::from("./cpu"), Engine::File("./cpu".into()));
    }

    #[test]
    fn a_model_may_have_a_name_in_front() {
        assert_eq!(named("small=m.gguf"), (Some("small"), "m.gguf"));
        assert_eq!(named("q4.1=file:a=b.gguf"), (Some("q4.1"), "file:a=b.gguf"));
        assert_eq!(named("file:a=b.gguf"), (None, "file:a=b.gguf"));
        assert_eq!(named("dir/a=b.gguf"), (None, "dir/a=b.gguf"));
        assert_eq!(named("m.gguf"), (None, "m.gguf"));
    }

    #[test]
    fn a_path_lands_behind_the_marker() {
        let mut template = b"head".to_vec();
        template.extend_from_slice(MODEL_FILE_MARKER);
        template.extend_from_slice(&[0; MODEL_FILE_PATH_BYTES_MAX + 1]);
        template.extend_from_slice(b"tail");
        let bytes = with_path(&template, "a/b").expect("has a place");
        assert_eq!(bytes.len(), template.len());
        assert_eq!(&bytes[28..32], b"a/b\0");
        assert!(bytes.ends_with(b"tail"));
        assert!(with_path(b"nothing", "a").is_none());
        assert!(with_path(&template[..100], "a").is_none());
    }

    #[test]
    fn the_bundled_file_model_has_a_place_for_the_path() {
        assert!(with_path(trefoil_bundle::MODEL_FILE, "models/m.gguf").is_some());
    }
}
