//! What a composition takes as its `model`: one model component, or several behind a router.

use std::path::Path;
use std::sync::Arc;

use crate::Component;
use crate::compose::{ComposeError, Placed, check};
use crate::interface::{Kind, Role};
use crate::model::{ModelRecord, model_record};
use crate::read_at::Range;
use crate::record::{COMPOSITION_SECTION, Record, RecordError};
use crate::router::{Routed, router, router_names};

/// One model: a component, or the shards that hold it together.
#[derive(Debug, Clone)]
pub(crate) struct Sharded {
    /// In place of the name that it has of itself.
    pub(crate) name: Option<String>,
    /// At least one.
    pub(crate) components: Vec<Component>,
    /// Of shards: where each begins, in bytes after the one before.
    pub(crate) stride: u64,
}

/// The models of a composition, at least one: a model component is one, a file that `pack` has
/// written for a model above 1 GiB is another. Apps open them by name, the first one without.
#[derive(Debug, Clone)]
pub struct Models(Vec<Sharded>);

impl From<Component> for Models {
    fn from(component: Component) -> Models {
        Sharded { name: None, components: vec![component], stride: 0 }.into()
    }
}

impl From<Sharded> for Models {
    fn from(model: Sharded) -> Models {
        Models(vec![model])
    }
}

impl Models {
    /// Calls the first model otherwise, for those who open it.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Models {
        if let Some(model) = self.0.first_mut() {
            model.name = Some(name.into());
        }
        self
    }

    /// These and, behind them, others.
    #[must_use]
    pub fn and(mut self, others: Models) -> Models {
        self.0.extend(others.0);
        self
    }

    /// Whether the first one is an adapter, where its component says so.
    pub fn is_adapter(&self) -> Option<bool> {
        let component = self.0.first()?.components.first()?;
        let part = model_record(component)?.parts.into_iter().next()?;
        Some(part.role == "adapter")
    }

    /// Text that names the bytes of all, without reading the bulk.
    pub(crate) fn identity(&self) -> String {
        let mut identity = String::new();
        for model in &self.0 {
            let name = model.name.as_deref().unwrap_or_default();
            identity += &format!("model {name:?} {}\n", model.stride);
            for component in &model.components {
                let name = component.name().unwrap_or_default();
                identity += &format!("{name:?} {}\n", component.identity());
            }
        }
        identity
    }

    /// The models that a composition has, with the names that they have there.
    ///
    /// # Errors
    /// [`ComposeError`]
    pub fn of_composition(path: &Path) -> Result<Models, ComposeError> {
        let file = Component::from_path(path)?;
        let unnamed = Sharded { name: None, components: Vec::new(), stride: 0 };
        let opened = open(&file, &unnamed)?;
        let mut names = names(&file)?.into_iter();
        let model = |model: Opened| Sharded {
            name: names.next().flatten(),
            components: model.shards.into_iter().map(|found| found.component).collect(),
            stride: model.stride,
        };
        Ok(Models(opened.into_iter().map(model).collect()))
    }

    /// As parts of a composition: the router, if there is one, comes last.
    pub(crate) fn placed(&self) -> Result<Vec<Placed>, ComposeError> {
        let models = self.opened()?;
        for found in models.iter().flat_map(|model| &model.shards) {
            check(Role::Model, &found.component)?;
        }
        check_names(&models)?;
        let is_plain = match models.as_slice() {
            [model] => model.name.is_none() && model.shards.len() == 1,
            _ => false,
        };
        let routed = |model: &Opened| Routed {
            name: model.name.clone(),
            shards: model.shards.len(),
            stride: model.stride,
        };
        let routed: Vec<_> = models.iter().map(routed).collect();
        let mut placed = Vec::new();
        for Found { component, sha256, .. } in models.into_iter().flat_map(|model| model.shards) {
            placed.push(Placed { role: Role::Model, component, sha256 });
        }
        if !is_plain {
            placed.push(Placed::new(Role::Router, router(&routed)?));
        }
        Ok(placed)
    }

    /// With their shards one by one, and what is known about each.
    pub(crate) fn opened(&self) -> Result<Vec<Opened>, ComposeError> {
        let mut models = Vec::new();
        for model in &self.0 {
            match model.components.as_slice() {
                [component] if is_sharded(component) => models.extend(open(component, model)?),
                components => {
                    let unchecked = |component: &Component| Found {
                        component: component.clone(),
                        sha256: None,
                        record: model_record(component),
                    };
                    models.push(Opened {
                        name: model.name.clone(),
                        shards: components.iter().map(unchecked).collect(),
                        stride: model.stride,
                    });
                }
            }
        }
        Ok(models)
    }

    /// As parts of a component that is nothing but a model.
    pub(crate) fn standing_alone(&self) -> Result<Vec<Placed>, ComposeError> {
        let mut placed = vec![Placed::new(Role::Types, Component::types()?)];
        placed.extend(self.placed()?);
        Ok(placed)
    }
}

/// A model with what is known about its components.
pub(crate) struct Opened {
    pub(crate) name: Option<String>,
    pub(crate) shards: Vec<Found>,
    pub(crate) stride: u64,
}

pub(crate) struct Found {
    pub(crate) component: Component,
    /// Digest that it must have.
    sha256: Option<String>,
    pub(crate) record: Option<ModelRecord>,
}

/// Whether it is what [`crate::Model::write`] makes of a model with shards.
fn is_sharded(component: &Component) -> bool {
    let recorded =
        component.customs().iter().any(|(name, ..)| name == COMPOSITION_SECTION.as_bytes());
    recorded && component.kind() == Kind::Model
}

/// Takes the shards out of a file that holds them side by side: nested in a composition the whole
/// would exceed what runtimes accept.
fn open(file: &Component, model: &Sharded) -> Result<Vec<Opened>, ComposeError> {
    let fail = |source| ComposeError::Record { path: file.label().into(), source };
    let (record, _) = Record::find(file.content()).map_err(fail)?;
    let content: Arc<dyn crate::ReadAt> = Arc::new(file.content().clone());
    let mut models: Vec<Opened> = Vec::new();
    for part in record.parts.iter().filter(|part| part.role == Role::Model) {
        let (offset, length) = (part.offset, part.length);
        let range = Range { source: content.clone(), offset, length };
        let component = Component::from_range(range, &part.name, &part.sha256)?;
        let record = model_record(&component);
        let shard = record.as_ref().and_then(|record| record.shard);
        let found = Found { component, sha256: Some(part.sha256.clone()), record };
        match (shard, models.last_mut()) {
            (Some(shard), Some(model)) if shard.number > 0 => model.shards.push(found),
            (shard, _) => models.push(Opened {
                name: None,
                shards: vec![found],
                stride: shard.map_or(0, |shard| shard.stride),
            }),
        }
    }
    for model in &models {
        let expected = model.shards.len() as u32;
        let fits = |(found, number): (&Found, u32)| {
            let shard = found.record.as_ref().and_then(|record| record.shard);
            match shard {
                Some(shard) => {
                    (shard.number, shard.count, shard.stride) == (number, expected, model.stride)
                }
                None => expected == 1,
            }
        };
        if !model.shards.iter().zip(0..).all(fits) {
            return Err(fail(RecordError::Damaged("its shards are not those of one model".into())));
        }
    }
    match models.first_mut() {
        Some(first) => first.name.clone_from(&model.name),
        None => return Err(fail(RecordError::Damaged("it has no model".into()))),
    }
    Ok(models)
}

/// The names that the router of a composition gives to its models.
fn names(file: &Component) -> Result<Vec<Option<String>>, ComposeError> {
    let fail = |source| ComposeError::Record { path: file.label().into(), source };
    let (record, _) = Record::find(file.content()).map_err(fail)?;
    let Some(part) = record.part(Role::Router) else { return Ok(Vec::new()) };
    let (offset, length) = (part.offset, part.length);
    let range = Range { source: Arc::new(file.content().clone()), offset, length };
    Ok(router_names(&Component::from_range(range, &part.name, &part.sha256)?))
}

/// Models of one name: only the first of them could be opened.
fn check_names(models: &[Opened]) -> Result<(), ComposeError> {
    let mut names: Vec<&str> = Vec::new();
    for model in models {
        let record = model.shards.first().and_then(|found| found.record.as_ref());
        let own = record.and_then(|record| record.parts.first()).map(|part| part.name.as_str());
        let Some(name) = model.name.as_deref().or(own) else { continue };
        if names.contains(&name) {
            return Err(ComposeError::SameName { name: name.into() });
        }
        names.push(name);
    }
    Ok(())
}
