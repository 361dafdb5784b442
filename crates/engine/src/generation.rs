use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

use trefoil_contract::{Error, Event, Result};
use trefoil_generation::GenerationId;

use crate::snapshot::Continuation;
use crate::{Model, Request, Snapshot};

/// The answers to a request, under way. Dropping it cancels them.
pub struct Generation {
    model: Rc<Model>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Answers that have not ended, by choice.
    open: Vec<GenerationId>,
    /// How many there were.
    choices: usize,
    /// What the last step brought and nobody has taken yet.
    brought: VecDeque<Result<Event>>,
}

impl Generation {
    pub(crate) fn new(model: Rc<Model>, choices: Vec<GenerationId>) -> Generation {
        let count = choices.len();
        let state = State { open: choices, choices: count, brought: VecDeque::new() };
        Generation { model, state: RefCell::new(state) }
    }

    /// What the last step brought for the next choice; without any, one step of this generation
    /// alone.
    ///
    /// # Errors
    /// [`Error::Finished`] after the end; what the forward pass reports.
    pub fn next(&self) -> Result<Event> {
        advance(&[self]).pop().unwrap_or(Err(Error::Finished))
    }

    /// Saves the state. It has to be read before the next step.
    ///
    /// # Errors
    /// [`Error::Finished`]; [`Error::Unsupported`] for several choices; what the model component
    /// reports.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let id = self.only("a snapshot")?;
        let identity = self.model.identity()?;
        let state = self.model.generations.borrow().snapshot(id, identity)?;
        Ok(Snapshot::new(Rc::clone(&self.model), state))
    }

    /// A request that goes on from the state, with a copy of what is cached, and holds a place for
    /// that.
    ///
    /// # Errors
    /// [`Error::Finished`]; [`Error::Unsupported`] for several choices; [`Error::Busy`];
    /// [`Error::OutOfMemory`].
    pub fn fork(&self) -> Result<Request> {
        let id = self.only("a second course")?;
        let (saved, slot) = self.model.generations.borrow_mut().fork(id)?;
        Ok(Request::going_on(Continuation::new(Rc::clone(&self.model), saved, slot)))
    }

    /// The answer, of which there may be only one.
    fn only(&self, what: &str) -> Result<GenerationId> {
        let state = self.state.borrow();
        let id = state.open.first().copied().ok_or(Error::Finished)?;
        if state.choices > 1 {
            return Err(Error::unsupported(format_args!(
                "{what} of {} answers at once; ask for one answer (`set-choices`)",
                state.choices
            )));
        }
        Ok(id)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let mut generations = self.model.generations.borrow_mut();
        for id in &self.state.get_mut().open {
            generations.cancel(*id);
        }
    }
}

impl State {
    /// Keeps what a step brought for each choice that is open, the first to be taken first.
    fn keep(&mut self, mut brought: Vec<Result<Event>>) {
        let mut results = brought.iter();
        self.open.retain(|_| !matches!(results.next(), Some(Ok(Event::Done(_)))));
        // A fault that meets all choices alike is one fault.
        if let Some(Err(error)) = brought.first()
            && brought.iter().all(|other| other.as_ref().err() == Some(error))
        {
            brought.truncate(1);
        }
        // Choices that wait say so only where nobody else says anything.
        let is_idle = |result: &Result<Event>| matches!(result, Ok(Event::Idle(_)));
        if brought.iter().all(is_idle) {
            brought.truncate(1);
        } else {
            brought.retain(|result| !is_idle(result));
        }
        self.brought.extend(brought);
    }
}

/// One batched step for many generations, of several models perhaps. Answers in order: a generation
/// whose last step brought something for several choices gives that first, one at a time, and
/// computes nothing meanwhile.
pub fn advance(generations: &[&Generation]) -> Vec<Result<Event>> {
    let mut seen = HashSet::new();
    let mut is_first = |generation: &&Generation| seen.insert(std::ptr::from_ref(*generation));
    let mut results: Vec<Option<Result<Event>>> = generations
        .iter()
        .map(|generation| {
            if !is_first(generation) {
                return Some(Err(Error::Duplicate));
            }
            let mut state = generation.state.borrow_mut();
            let ended = state.open.is_empty().then_some(Err(Error::Finished));
            state.brought.pop_front().or(ended)
        })
        .collect();
    while let Some(first) = results.iter().position(Option::is_none) {
        let model = &generations[first].model;
        let same: Vec<usize> = (first..generations.len())
            .filter(|&index| results[index].is_none())
            .filter(|&index| Rc::ptr_eq(&generations[index].model, model))
            .collect();
        let mut ids = Vec::new();
        for &index in &same {
            ids.extend(&generations[index].state.borrow().open);
        }
        let mut events = model.generations.borrow_mut().step(&ids).into_iter();
        for index in same {
            let mut state = generations[index].state.borrow_mut();
            let count = state.open.len();
            state.keep(events.by_ref().take(count).collect());
            results[index] = Some(state.brought.pop_front().unwrap_or(Err(Error::Finished)));
        }
    }
    results.into_iter().flatten().collect()
}
