//! Answers that are saved, restored, and go on twice.

use std::cell::RefCell;
use std::rc::Rc;

use trefoil_contract::{Error, Result};
use trefoil_generation::{self as generation, ReservedSlot, SavedGeneration};

use crate::{Model, Request};

/// A saved state of a generation, read piece by piece.
pub struct Snapshot {
    model: Rc<Model>,
    state: RefCell<generation::Snapshot>,
}

impl Snapshot {
    pub(crate) fn new(model: Rc<Model>, state: generation::Snapshot) -> Snapshot {
        Snapshot { model, state: RefCell::new(state) }
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.state.borrow().size()
    }

    /// At most `length` bytes from `offset` on, of which there are fewer only at the end.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 1 MiB, and when the generation has gone on or ended.
    pub fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>> {
        let mut state = self.state.borrow_mut();
        let mut generations = self.model.generations.borrow_mut();
        generations.read_snapshot(&mut state, offset, length as usize)
    }
}

/// A snapshot on its way back. Dropping it frees its place.
pub struct Restoration {
    model: Rc<Model>,
    state: RefCell<Option<generation::Restoration>>,
}

impl Restoration {
    /// Expects a snapshot of `size` bytes for `model`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a size that no snapshot has; [`Error::Unsupported`] for an
    /// encoder; what the model component reports.
    pub fn begin(model: Rc<Model>, size: u64) -> Result<Restoration> {
        model.check_generates()?;
        let state = model.generations.borrow().begin_restoration(size, model.identity()?)?;
        Ok(Restoration { model, state: RefCell::new(Some(state)) })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 1 MiB, and for what is no snapshot of this model by
    /// this engine; [`Error::ContextOverflow`], [`Error::OutOfMemory`], [`Error::Busy`].
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut state = self.state.borrow_mut();
        let state = state.as_mut().ok_or(Error::Finished)?;
        self.model.generations.borrow_mut().write_restoration(state, bytes)
    }

    /// Checks the whole and returns a request that goes on from it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a snapshot that is damaged or has not come as a whole; what a
    /// write has answered before.
    pub fn finish(self) -> Result<Request> {
        let state = self.state.borrow_mut().take().ok_or(Error::Finished)?;
        let finished = self.model.generations.borrow_mut().finish_restoration(state);
        let (saved, slot) = finished?;
        Ok(Request::going_on(Continuation::new(Rc::clone(&self.model), saved, slot)))
    }
}

impl Drop for Restoration {
    fn drop(&mut self) {
        if let Some(state) = self.state.get_mut().take() {
            self.model.generations.borrow_mut().abandon_restoration(state);
        }
    }
}

/// A generation that is to go on, and the place that is kept for it.
pub(crate) struct Continuation {
    pub(crate) model: Rc<Model>,
    pub(crate) saved: SavedGeneration,
    /// `None` once it goes on.
    slot: Option<ReservedSlot>,
}

impl Continuation {
    pub(crate) fn new(model: Rc<Model>, saved: SavedGeneration, slot: ReservedSlot) -> Self {
        Continuation { model, saved, slot: Some(slot) }
    }

    /// Goes on.
    ///
    /// # Errors
    /// As [`Generations::resume`](trefoil_generation::Generations::resume).
    pub(crate) fn resume(mut self) -> Result<generation::GenerationId> {
        let slot = self.slot.take().ok_or(Error::Finished)?;
        let resumed = self.model.generations.borrow_mut().resume(&self.saved, &slot);
        if resumed.is_err() {
            self.slot = Some(slot);
        }
        resumed
    }
}

impl Drop for Continuation {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.model.generations.borrow_mut().release(slot);
        }
    }
}
