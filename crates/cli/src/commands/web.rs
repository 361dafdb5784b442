use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use trefoil_compose::{
    Change, Changes, Component, Kind, Models, PackOptions, PartFile, Record, Role,
};
use trefoil_web::{Library, PIECE_BYTES_MAX, PIECE_BYTES_MIN, Site, SiteEngine, Weights};

use crate::adapters::AdapterFlags;
use crate::composition::{Wanted, changed, for_page};
use crate::exit::{self, UsageError};
use crate::flags;
use crate::hub;
use crate::instances::Instances;
use crate::parts::{ConfigurationFlags, Engine, ModelSource};
use crate::session::{Session, print_json};
use crate::terminal::Meter;

/// Piece size unless asked for: hosts of static files take at least so much.
const PIECE_SIZE: &str = "24M";

/// Make a web page of a model or a composition, as static files
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// The name of a model (`trefoil models`), a .gguf file, a model component, or a composition,
    /// whose app is left out; with `--lib` any component
    model: String,
    /// The folder to write. One that `trefoil web` has written is replaced, any other is refused
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// What the page is called [default: the model's name]
    #[arg(long)]
    title: Option<String>,
    /// The system message that conversations begin with
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// `files`: in files of their own, which browsers keep for the next visit. `inside`: in a core
    /// module, for one engine alone
    #[arg(long, value_name = "WHERE", default_value = "files")]
    weights: Place,
    /// The most that a file with weights holds; hosts of static files have limits
    #[arg(long, value_name = "SIZE", value_parser = flags::size, default_value = PIECE_SIZE)]
    piece_size: u64,
    /// `cpu`, `cpu-relaxed`, or an engine component [default: both, and browsers take what they can
    /// run; `cpu` with `--weights inside` and `--lib`; a composition keeps its own]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    #[command(flatten)]
    adapters: AdapterFlags,
    #[command(flatten)]
    configuration: ConfigurationFlags,
    /// Instead of a page, write the component as an ES module with types (`.d.ts`), its app and
    /// weights included: for pages and programs of your own
    #[arg(long, conflicts_with_all = ["title", "system", "weights", "piece_size"])]
    lib: bool,
    /// Print one JSON object that says what was written
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
The folder can be served by any server of static files, below any path:
  trefoil web smollm2 -o site && python3 -m http.server -d site
Opening index.html as a file does not work: browsers load no modules from files.";

/// Where weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Place {
    Files,
    Inside,
}

pub(crate) fn run(arguments: &Arguments, session: &Session) -> Result<i32> {
    let sizes = PIECE_BYTES_MIN..=PIECE_BYTES_MAX;
    if !sizes.contains(&arguments.piece_size) {
        let text = format!(
            "`--piece-size {}` is not from {} KiB to {} GiB",
            arguments.piece_size,
            PIECE_BYTES_MIN >> 10,
            PIECE_BYTES_MAX >> 30
        );
        return Err(UsageError(text).into());
    }
    // Before models are read.
    trefoil_web::check_free(&arguments.output)?;
    if arguments.lib { arguments.library(session) } else { arguments.site(session) }
}

impl Arguments {
    fn site(&self, session: &Session) -> Result<i32> {
        hub::pull_if_absent(&self.model, session)?;
        let source = ModelSource::find(&self.model, session)?;
        let (engines, models) = match &source {
            ModelSource::Composition(path) => self.engine_of(path, session)?,
            _ => self.engines_for(&source, session)?,
        };
        let files = match (self.weights, models.files()) {
            (_, Ok(files)) => files,
            // Whatever is inside works or says so by itself.
            (Place::Inside, Err(_)) => Vec::new(),
            (Place::Files, Err(error)) => return Err(error.into()),
        };
        let weights = match self.weights {
            Place::Inside => Weights::Inside(files.iter().map(|it| it.part().clone()).collect()),
            Place::Files => Weights::Outside { files: &files, piece_bytes: self.piece_size },
        };
        let (title, system) = (self.title(&files), self.system.clone());
        let site = Site { title, system, engines, weights };
        let mut meter = Meter::new(&session.terminal, &session.interrupt, "writing");
        let manifest = trefoil_web::write_site(&site, &self.output, &mut meter)?;
        drop(meter);
        let folder = self.output.display();
        session.terminal.note(&format!(
            "`{folder}` can be served as it is, for example: python3 -m http.server -d {folder}"
        ));
        self.print(&manifest)
    }

    fn title(&self, files: &[PartFile]) -> String {
        let named = files.first().map(|file| file.part().name.clone());
        let named = named.filter(|name| !name.is_empty());
        self.title.clone().or(named).unwrap_or_else(|| self.stem())
    }

    /// The input's name without its folder and ending.
    fn stem(&self) -> String {
        let stem = Path::new(&self.model).file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }

    fn print(&self, manifest: &impl serde::Serialize) -> Result<i32> {
        if self.json {
            print_json(&serde_json::to_value(manifest).context("cannot write it as JSON")?)?;
        }
        Ok(exit::OK)
    }

    /// A composition for each engine, the fastest one first.
    fn engines_for(
        &self,
        source: &ModelSource,
        session: &Session,
    ) -> Result<(Vec<SiteEngine>, Models)> {
        let engines = match (&self.engine, self.weights) {
            (Some(engine), _) => vec![Engine::from(engine.as_str())],
            (None, Place::Files) => vec![Engine::CpuRelaxed, Engine::Cpu],
            // Each would hold the weights.
            (None, Place::Inside) => vec![Engine::Cpu],
        };
        // As these engines hold weights in memory: loading takes less time and less memory.
        let arranged = engines.iter().all(|engine| !matches!(engine, Engine::File(_)));
        let packed = if arranged { PackOptions::arranged() } else { PackOptions::default() };
        let models = source.models_packed(&packed, session)?;
        let models = self.adapters.join(models, session)?;
        let digest = match self.weights {
            Place::Files => String::new(),
            Place::Inside => {
                let (model, adapters) = (source.digest(session)?, self.adapters.digest(session)?);
                format!("{model} {adapters} {arranged}")
            }
        };
        let inside = (self.weights == Place::Inside).then_some((&models, digest.as_str()));
        let make = |engine: &Engine| {
            let name = match engine {
                Engine::Cpu => "cpu",
                Engine::CpuRelaxed => "cpu-relaxed",
                Engine::File(_) => CUSTOM,
            };
            let composition = for_page(engine, inside, &self.configuration, session)?;
            Ok(SiteEngine { name: name.into(), composition })
        };
        let engines = engines.iter().map(make).collect::<Result<_>>()?;
        Ok((engines, models))
    }

    /// A composition without collective and app, which keeps its engine and configuration.
    fn engine_of(&self, path: &Path, session: &Session) -> Result<(Vec<SiteEngine>, Models)> {
        self.adapters.must_be_none(path)?;
        let record = Record::read(path)?;
        let is_part = |role| record.part(role).is_some();
        let mut changes = self.changes()?;
        if is_part(Role::Collective) {
            changes.collective = Change::Remove;
        }
        if is_part(Role::App) {
            changes.app = Change::Remove;
        }
        if is_part(Role::Model) && self.weights == Place::Files {
            changes.model = Change::Remove;
        }
        let composition = changed(path, &changes, session)?;
        let name = engine_name(&Record::read(&composition)?, session)?.into();
        Ok((vec![SiteEngine { name, composition }], Models::of_composition(path)?))
    }

    /// What the options change about a composition.
    fn changes(&self) -> Result<Changes> {
        let mut changes = Changes::default();
        if let Some(engine) = &self.engine {
            changes.engine = Change::Replace(Engine::from(engine.as_str()).component()?);
        }
        if self.configuration.is_given() {
            changes.configuration = Change::Replace(self.configuration.component()?);
        }
        Ok(changes)
    }

    fn library(&self, session: &Session) -> Result<i32> {
        hub::pull_if_absent(&self.model, session)?;
        let source = ModelSource::find(&self.model, session)?;
        let component = match &source {
            ModelSource::Composition(path) => {
                self.adapters.must_be_none(path)?;
                changed(path, &self.changes()?, session)?
            }
            // Anything that is no part of a composition is taken as it is.
            ModelSource::Component(path) if Component::from_path(path)?.kind() != Kind::Model => {
                if self.engine.is_some() || self.configuration.is_given() {
                    let text = format!(
                        "`{}` is no composition, so that `--engine`, `--config` and \
                         `--chat-template` change nothing about it: leave them out",
                        path.display()
                    );
                    return Err(UsageError(text).into());
                }
                self.adapters.must_be_none(path)?;
                path.clone()
            }
            _ => {
                let wanted = Wanted {
                    model: &source,
                    adapters: &self.adapters,
                    engine: self.engine.as_deref().map(Engine::from),
                    default_engine: Engine::Cpu,
                    configuration: &self.configuration,
                    chat: false,
                    instances: Instances::one(None),
                };
                wanted.prepare(session)?
            }
        };
        let name = library_name(&self.stem());
        let library = Library { component: &component, name: &name };
        let mut meter = Meter::new(&session.terminal, &session.interrupt, "writing");
        let manifest = trefoil_web::write_library(&library, &self.output, &mut meter)?;
        drop(meter);
        self.print(&manifest)
    }
}

/// What an engine is called that does not come with Trefoil.
const CUSTOM: &str = "custom";

/// Known by its bytes, whatever it is called.
fn engine_name(record: &Record, session: &Session) -> Result<&'static str> {
    let sha256 = record.part(Role::Engine).map(|part| part.sha256.as_str());
    for (name, engine) in [("cpu", Engine::Cpu), ("cpu-relaxed", Engine::CpuRelaxed)] {
        if sha256 == Some(&engine.digest(session)?) {
            return Ok(name);
        }
    }
    Ok(CUSTOM)
}

/// A name for files that needs no quoting anywhere.
fn library_name(stem: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = stem.chars().map(plain).collect();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { "component".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_need_no_quoting() {
        for (stem, name) in [("f", "f"), ("My model (1)", "My-model--1"), ("..", "component")] {
            assert_eq!(library_name(stem), name);
        }
    }
}
