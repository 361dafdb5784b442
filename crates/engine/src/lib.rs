//! An inference engine without its component shell: what `components/engine` glues to the
//! contract, and what tests drive natively.
//!
//! [`Engine`] opens models through [`Imports`]; [`Model`] answers questions about text and
//! tokens; [`Request`] becomes a [`Generation`]; [`advance`] steps many of them in one batch. A
//! generation becomes a [`Snapshot`], and through a [`Restoration`] a [`Request`] again.
//!
//! Where several instances compute one model, all of this happens at rank 0; the others run
//! [`Engine::serve`].

#![deny(missing_docs)]

mod adapters;
mod generation;
mod identity;
mod imports;
mod instances;
mod model;
mod prompt;
mod request;
mod snapshot;
mod step;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use trefoil_contract::{Error, Part, Result, Role, Setting};
use trefoil_settings::{Scope, Settings};

pub use generation::{Generation, advance};
pub use imports::{Imports, PartSource};
pub use model::Model;
use model::Origin;
pub use request::Request;
pub use snapshot::{Restoration, Snapshot};

/// Prefix of the settings that only this family of engines understands.
pub const SETTINGS_PREFIX: &str = "cpu.";

/// Bytes of an instance's memory that models may take: in WebAssembly all but what batches, the
/// tokenizer and the app need; elsewhere as much as there is.
const MEMORY_BYTES_MAX: u64 = match usize::BITS {
    32 => (4 << 30) - (256 << 20),
    _ => u64::MAX,
};

/// The state of an engine instance: its imports, the app's settings, the open models.
pub struct Engine {
    name: &'static str,
    imports: Rc<dyn Imports>,
    /// The app's `configure` calls, in order.
    settings: RefCell<Vec<Setting>>,
    /// Models that somebody holds: opening one again does not load it again.
    open: RefCell<Vec<(u32, Weak<Model>)>>,
    /// Models loaded so far, by which the instances number them.
    loaded: Cell<u32>,
    memory_bytes_max: u64,
}

impl Engine {
    /// An engine called `name` (`cpu`, `cpu-relaxed`) over its imports.
    pub fn new(name: &'static str, imports: Rc<dyn Imports>) -> Engine {
        Engine {
            name,
            imports,
            settings: RefCell::default(),
            open: RefCell::default(),
            loaded: Cell::new(0),
            memory_bytes_max: MEMORY_BYTES_MAX,
        }
    }

    /// The same engine, whose models may take so many bytes of the memory of each instance.
    #[must_use]
    pub fn with_memory(self, bytes: u64) -> Engine {
        Engine { memory_bytes_max: bytes, ..self }
    }

    /// The app's defaults for models opened from now on.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`]; nothing is changed then.
    pub fn configure(&self, settings: Vec<Setting>) -> Result<()> {
        Settings::default().apply(&settings, Scope::Model, SETTINGS_PREFIX)?;
        self.settings.borrow_mut().extend(settings);
        Ok(())
    }

    /// The models that can be opened.
    ///
    /// # Errors
    /// What the model component reports.
    pub fn models(&self) -> Result<Vec<Part>> {
        let mut parts = self.imports.parts()?;
        parts.retain(|part| part.role == Role::Weights);
        Ok(parts)
    }

    /// Loads the named model, or the first one.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a name that no part has; [`Error::InvalidModel`],
    /// [`Error::Unsupported`], [`Error::OutOfMemory`] and others from loading;
    /// [`Error::InvalidSetting`] from the configuration component.
    pub fn open(&self, name: Option<&str>) -> Result<Rc<Model>> {
        let rank = self.imports.collective_rank();
        if rank != 0 {
            return Err(Error::unsupported(format!(
                "opening models at rank {rank}; rank 0 does that, and the others `serve`"
            )));
        }
        let parts = self.imports.parts()?;
        let index = find(&parts, name)?;
        let mut open = self.open.borrow_mut();
        open.retain(|(_, model)| model.strong_count() > 0);
        if let Some(model) =
            open.iter().find(|(at, _)| *at == index).and_then(|(_, model)| model.upgrade())
        {
            return Ok(model);
        }
        let taken: Vec<_> = open.iter().filter_map(|(_, model)| model.upgrade()).collect();
        let free_bytes = (0..self.imports.collective_size() as usize).map(|rank| {
            let taken = taken.iter().filter_map(|model| model.memory_bytes.get(rank)).sum();
            self.memory_bytes_max.saturating_sub(taken)
        });
        let model = Rc::new(self.load(&parts, index, free_bytes.collect())?);
        open.push((index, Rc::downgrade(&model)));
        Ok(model)
    }

    /// Loads a part into the memory that instances have left, by rank.
    fn load(&self, parts: &[Part], index: u32, free_bytes: Vec<u64>) -> Result<Model> {
        let source = PartSource::new(Rc::clone(&self.imports), index, &parts[index as usize]);
        // The one that is opened comes first, so that a configuration can tell.
        let mut opened_first = parts.to_vec();
        opened_first[..=index as usize].rotate_right(1);
        let configuration =
            self.imports.configure(&opened_first).map_err(|message| Error::Other {
                code: "configuration".into(),
                message: format!("the configuration component refused: {message}"),
            })?;
        let layers = [configuration.as_slice(), &self.settings.borrow()];
        let number = self.loaded.get();
        self.loaded.set(number.wrapping_add(1));
        let origin = Origin { imports: &self.imports, parts, index, number, free_bytes };
        Model::load(self.name, &origin, &source, &layers)
    }

    /// What the instances beside rank 0 do: `worker.serve`.
    ///
    /// # Errors
    /// When any instance fails.
    pub fn serve(&self) -> Result<()> {
        instances::serve(&self.imports)
    }
}

fn find(parts: &[Part], name: Option<&str>) -> Result<u32> {
    let mut weights = parts.iter().zip(0..).filter(|(part, _)| part.role == Role::Weights);
    let found = match name {
        Some(name) => weights.clone().find(|(part, _)| part.name == name),
        None => weights.next(),
    };
    found.map(|(_, index)| index).ok_or_else(|| {
        let names: Vec<_> = weights.map(|(part, _)| format!("`{}`", part.name)).collect();
        Error::NotFound(match name {
            Some(name) => {
                format!("no model is named `{name}`; there are: {}", names.join(", "))
            }
            None => "the model component holds no weights".into(),
        })
    })
}
