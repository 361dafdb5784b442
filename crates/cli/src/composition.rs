//! Compositions that commands make for themselves, kept in the cache by what they are made of.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use trefoil_compose::{
    Change, Changes, Models, Parts, Record, Role, cache_key, compose, recompose,
};
use trefoil_host::sha256_of_bytes;

use crate::adapters::AdapterFlags;
use crate::instances::Instances;
use crate::parts::{self, ConfigurationFlags, Engine, ModelSource};
use crate::session::Session;
use crate::terminal::Meter;

/// What a command needs.
pub(crate) struct Wanted<'a> {
    pub(crate) model: &'a ModelSource,
    pub(crate) adapters: &'a AdapterFlags,
    /// As the user says; otherwise a composition keeps its own, and a model gets the default.
    pub(crate) engine: Option<Engine>,
    pub(crate) default_engine: Engine,
    pub(crate) configuration: &'a ConfigurationFlags,
    /// The bundled chat app, or none, so that it exports `inference`.
    pub(crate) chat: bool,
    pub(crate) instances: Instances,
}

impl Wanted<'_> {
    /// The file to run: found in the cache, made there, or the user's own if it is right as it is.
    pub(crate) fn prepare(&self, session: &Session) -> Result<PathBuf> {
        match self.model {
            ModelSource::Composition(path) => {
                self.adapters.must_be_none(path)?;
                self.change(path, session)
            }
            _ => self.make(session),
        }
    }

    fn make(&self, session: &Session) -> Result<PathBuf> {
        let engine = self.engine.as_ref().unwrap_or(&self.default_engine);
        let configuration = self.configuration.digest(session)?;
        // For several instances the collective is the host's.
        let solo = self.instances.wanted() == 1;
        let collective = if solo { sha256_of_bytes(trefoil_bundle::SOLO) } else { String::new() };
        let app = if self.chat { sha256_of_bytes(trefoil_bundle::CHAT) } else { String::new() };
        let inputs = [
            "trefoil compose 1",
            env!("CARGO_PKG_VERSION"),
            &engine.digest(session)?,
            &self.model.digest(session)?,
            &self.adapters.digest(session)?,
            &configuration,
            &collective,
            &app,
        ];
        let out = session.cache()?.composition(&sha256_of_bytes(inputs.join("\n").as_bytes()));
        if out.exists() {
            return Ok(out);
        }
        let parts = Parts {
            engine: engine.component()?,
            model: Some(self.adapters.join(self.model.models(session)?, session)?),
            configuration: self.configuration.component()?,
            collective: if solo { Some(parts::collective()?) } else { None },
            app: if self.chat { Some(parts::app("chat")?) } else { None },
        };
        let mut meter = Meter::new(&session.terminal, &session.interrupt, "composing");
        compose(&parts, &out, &mut meter)?;
        Ok(out)
    }

    fn change(&self, path: &Path, session: &Session) -> Result<PathBuf> {
        let record = Record::read(path)?;
        let mut changes = Changes::default();
        if let Some(engine) = &self.engine {
            changes.engine = Change::Replace(engine.component()?);
        }
        if self.configuration.is_given() {
            changes.configuration = Change::Replace(self.configuration.component()?);
        }
        changes.collective = collective(&record, self.instances)?;
        let app = record.part(Role::App);
        match (self.chat, app) {
            // The same app needs no change, and no app needs no removal.
            (true, Some(app)) if app.sha256 == sha256_of_bytes(trefoil_bundle::CHAT) => {}
            (true, _) => changes.app = Change::Replace(parts::app("chat")?),
            (false, Some(_)) => changes.app = Change::Remove,
            (false, None) => {}
        }
        changed(path, &changes, session)
    }
}

/// A composition without collective and app, and without a model unless one is given: those are the
/// page's. The model comes with what tells it apart.
pub(crate) fn for_page(
    engine: &Engine,
    model: Option<(&Models, &str)>,
    configuration: &ConfigurationFlags,
    session: &Session,
) -> Result<PathBuf> {
    let inputs = [
        "trefoil web 1",
        env!("CARGO_PKG_VERSION"),
        &engine.digest(session)?,
        model.map_or("", |(_, digest)| digest),
        &configuration.digest(session)?,
    ];
    let out = session.cache()?.composition(&sha256_of_bytes(inputs.join("\n").as_bytes()));
    if out.exists() {
        return Ok(out);
    }
    let parts = Parts {
        engine: engine.component()?,
        model: model.map(|(models, _)| models.clone()),
        configuration: configuration.component()?,
        collective: None,
        app: None,
    };
    let mut meter = Meter::new(&session.terminal, &session.interrupt, "composing");
    compose(&parts, &out, &mut meter)?;
    Ok(out)
}

/// A user's file as it should run: a composition for several instances leaves its collective to the
/// host. What is no composition, or cannot be changed, stays as it is.
pub(crate) fn for_instances(
    path: &Path,
    instances: Instances,
    session: &Session,
) -> Result<PathBuf> {
    let unchanged = || Ok(path.to_owned());
    if instances.wanted() == 1 {
        return unchanged();
    }
    let record = match Record::read(path) {
        Ok(record) => record,
        Err(_) if instances.may_be_one() => return unchanged(),
        Err(error) => {
            return Err(error).with_context(|| {
                format!(
                    "`{}` cannot run in {} instances, only in one",
                    path.display(),
                    instances.wanted()
                )
            });
        }
    };
    if instances.may_be_one() && session.cache().is_err() {
        return unchanged();
    }
    // Without an app there is nothing to run: the error shall name the user's file.
    if record.part(Role::App).is_none() {
        return unchanged();
    }
    let collective = collective(&record, instances)?;
    changed(path, &Changes { collective, ..Changes::default() }, session)
}

/// What has to happen to the collective.
fn collective(record: &Record, instances: Instances) -> Result<Change> {
    let is_part = record.part(Role::Collective).is_some();
    Ok(match (instances.wanted(), is_part) {
        (1, false) => Change::Replace(parts::collective()?),
        (1, true) | (_, false) => Change::Keep,
        (_, true) => Change::Remove,
    })
}

/// The changed composition, from the cache.
pub(crate) fn changed(path: &Path, changes: &Changes, session: &Session) -> Result<PathBuf> {
    if is_none(changes) {
        return Ok(path.into());
    }
    let out = session.cache()?.composition(&cache_key(path, changes)?);
    if !out.exists() {
        let mut meter = Meter::new(&session.terminal, &session.interrupt, "recomposing");
        recompose(path, changes, &out, &mut meter)?;
    }
    Ok(out)
}

fn is_none(changes: &Changes) -> bool {
    let Changes { engine, model, configuration, collective, app } = changes;
    let parts = [engine, configuration, collective, app];
    parts.iter().all(|change| matches!(change, Change::Keep)) && matches!(model, Change::Keep)
}
