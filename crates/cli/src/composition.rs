//! Compositions that commands make for themselves, kept in the cache by what they are made of.

use std::path::{Path, PathBuf};

use anyhow::Result;
use trefoil_compose::{Change, Changes, Parts, Record, Role, cache_key, compose, recompose};
use trefoil_host::sha256_of_bytes;

use crate::parts::{self, Engine, ModelSource};
use crate::session::Session;
use crate::terminal::Meter;

/// What a command needs.
pub(crate) struct Wanted<'a> {
    pub(crate) model: &'a ModelSource,
    /// As the user says; otherwise a composition keeps its own, and a model gets the default.
    pub(crate) engine: Option<Engine>,
    pub(crate) default_engine: Engine,
    pub(crate) configuration: Option<&'a Path>,
    /// The bundled chat app, or none, so that it exports `inference`.
    pub(crate) chat: bool,
}

impl Wanted<'_> {
    /// The file to run: found in the cache, made there, or the user's own if it is right as it is.
    pub(crate) fn prepare(&self, session: &Session) -> Result<PathBuf> {
        match self.model {
            ModelSource::Composition(path) => self.change(path, session),
            _ => self.make(session),
        }
    }

    fn make(&self, session: &Session) -> Result<PathBuf> {
        let engine = self.engine.as_ref().unwrap_or(&self.default_engine);
        let configuration = match self.configuration {
            Some(path) => parts::digest(path, session)?,
            None => String::new(),
        };
        let app = if self.chat { sha256_of_bytes(trefoil_bundle::CHAT) } else { String::new() };
        let inputs = [
            "trefoil compose 1",
            env!("CARGO_PKG_VERSION"),
            &engine.digest(session)?,
            &self.model.digest(session)?,
            &configuration,
            &sha256_of_bytes(trefoil_bundle::SOLO),
            &app,
        ];
        let out = session.cache()?.composition(&sha256_of_bytes(inputs.join("\n").as_bytes()));
        if out.exists() {
            return Ok(out);
        }
        let parts = Parts {
            engine: engine.component()?,
            model: self.model.component(session)?,
            configuration: parts::configuration(self.configuration)?,
            collective: Some(parts::collective()?),
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
        if self.configuration.is_some() {
            changes.configuration = Change::Replace(parts::configuration(self.configuration)?);
        }
        if record.part(Role::Collective).is_none() {
            changes.collective = Change::Replace(parts::collective()?);
        }
        let app = record.part(Role::App);
        match (self.chat, app) {
            // The same app needs no change, and no app needs no removal.
            (true, Some(app)) if app.sha256 == sha256_of_bytes(trefoil_bundle::CHAT) => {}
            (true, _) => changes.app = Change::Replace(parts::app("chat")?),
            (false, Some(_)) => changes.app = Change::Remove,
            (false, None) => {}
        }
        if is_none(&changes) {
            return Ok(path.into());
        }
        let out = session.cache()?.composition(&cache_key(path, &changes)?);
        if !out.exists() {
            let mut meter = Meter::new(&session.terminal, &session.interrupt, "recomposing");
            recompose(path, &changes, &out, &mut meter)?;
        }
        Ok(out)
    }
}

fn is_none(changes: &Changes) -> bool {
    let Changes { engine, model, configuration, collective, app } = changes;
    [engine, model, configuration, collective, app]
        .iter()
        .all(|change| matches!(change, Change::Keep))
}
