//! The thread of a model: one step after the other, for all answers that are under way.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use trefoil_contract::{Error as ContractError, Event, ModelInfo, Request};
use trefoil_openai::Failure;

use crate::metrics::ModelMetrics;
use crate::{Backend, BackendError, GenerationId, Open};

/// How much of an answer may wait for a client that reads slowly. Then the answer waits, too.
pub(crate) const EVENTS_MAX: usize = 64;

/// How long an answer waits for its client before it is given up.
const STALL: Duration = Duration::from_secs(60);

/// How long the thread sleeps when all clients are slow.
const PAUSE: Duration = Duration::from_millis(5);

/// What bounds the work of a model.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests that may wait for a place. A further one is told to come back.
    pub waiting_max: usize,
    /// Tokens of an answer at most, whatever the request says.
    pub tokens_max: u32,
    /// Time for a request at most, from its arrival.
    pub time_max: Duration,
    /// A model that nobody asked for so long is unloaded.
    pub idle: Option<Duration>,
}

/// What the thread is asked for.
pub(crate) enum Job {
    /// An answer, event by event.
    Generate(Box<Generate>),
    /// Something that one call answers.
    Call(Call),
}

/// Who asks: a key, or where there are none an address. Places are shared among clients, not among
/// requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Client(pub(crate) u64);

/// A request for an answer.
pub(crate) struct Generate {
    pub(crate) client: Client,
    pub(crate) request: Request,
    /// Where events go. When it is closed, the answer is not wanted any more.
    pub(crate) events: Sender<Result<Event, Failure>>,
    pub(crate) deadline: Instant,
    /// A place among those that wait or are answered.
    pub(crate) place: OwnedSemaphorePermit,
}

/// A call of the model between two steps.
pub(crate) struct Call {
    pub(crate) run: CallFn,
    /// Held until the call is made.
    pub(crate) place: OwnedSemaphorePermit,
}

/// Answers through a channel of its own, with the reason where there is no model.
pub(crate) type CallFn = Box<dyn FnOnce(Result<&mut dyn Backend, Failure>) -> CallEnd + Send>;

/// What the thread has to know of a call that was made.
pub(crate) enum CallEnd {
    Done,
    /// The instance has ended with this text.
    Failed(String),
}

impl Call {
    /// A call, and where its answer will arrive.
    pub(crate) fn new<T: Send + 'static>(
        place: OwnedSemaphorePermit,
        run: impl FnOnce(&mut dyn Backend) -> Result<T, BackendError> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, Failure>>) {
        let (sender, receiver) = oneshot::channel();
        let run = move |backend: Result<&mut dyn Backend, Failure>| {
            let result = match backend {
                Ok(backend) => run(backend),
                Err(failure) => {
                    // Nobody may be waiting any more.
                    let _ = sender.send(Err(failure));
                    return CallEnd::Done;
                }
            };
            let end = match &result {
                Err(BackendError::Failed(text)) => CallEnd::Failed(text.clone()),
                _ => CallEnd::Done,
            };
            let _ = sender.send(result.map_err(Failure::from));
            end
        };
        (Call { run: Box::new(run), place }, receiver)
    }
}

/// An answer under way.
struct Active {
    client: Client,
    id: GenerationId,
    events: Sender<Result<Event, Failure>>,
    deadline: Instant,
    /// Held until the answer has ended.
    _place: OwnedSemaphorePermit,
    /// Since when its client does not read.
    stalled: Option<Instant>,
    /// Answers of it that have not ended.
    choices: u32,
}

/// What the thread holds.
pub(crate) struct Batch {
    jobs: Receiver<Job>,
    open: Open,
    limits: Limits,
    metrics: ModelMetrics,
    stop: Arc<AtomicBool>,
    /// Places for requests. Those of the model's own sequences are added when they are known.
    places: Arc<Semaphore>,
    places_added: bool,
    model: Option<Loaded>,
    waiting: VecDeque<Generate>,
    active: Vec<Active>,
    turns: Turns,
}

/// When clients had their last turn, as far as they have something here.
#[derive(Default)]
struct Turns {
    last: HashMap<Client, u64>,
    count: u64,
}

struct Loaded {
    backend: Box<dyn Backend>,
    info: ModelInfo,
}

impl Batch {
    /// The thread's work. `stop` ends it: what is under way is told so.
    pub(crate) fn new(
        jobs: Receiver<Job>,
        open: Open,
        limits: Limits,
        metrics: ModelMetrics,
        stop: Arc<AtomicBool>,
        places: Arc<Semaphore>,
    ) -> Self {
        Batch {
            jobs,
            open,
            limits,
            metrics,
            stop,
            places,
            places_added: false,
            model: None,
            waiting: VecDeque::new(),
            active: Vec::new(),
            turns: Turns::default(),
        }
    }

    /// Works until nobody can send jobs any more, or `stop` is set.
    pub(crate) fn run(mut self) {
        while self.receive() {
            self.give_up();
            self.begin();
            self.step();
        }
        self.fail_all(&Failure::stopping());
        self.metrics.loaded.set(0);
    }

    /// Takes the jobs that have arrived; waits for one where there is nothing to do. Returns
    /// whether to go on.
    fn receive(&mut self) -> bool {
        while !self.stop.load(Ordering::Relaxed) {
            let idle = self.active.is_empty() && self.waiting.is_empty();
            let job = match self.jobs.try_recv() {
                Ok(job) => job,
                Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) if !idle => return true,
                Err(TryRecvError::Empty) => match self.wait() {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Disconnected) => return false,
                    Err(RecvTimeoutError::Timeout) => continue,
                },
            };
            match job {
                Job::Generate(generate) => self.waiting.push_back(*generate),
                Job::Call(call) => self.call(call),
            }
            self.count();
        }
        false
    }

    /// Waits for a job, and unloads the model if none comes.
    fn wait(&mut self) -> Result<Job, RecvTimeoutError> {
        let (Some(idle), true) = (self.limits.idle, self.model.is_some()) else {
            return self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected);
        };
        self.jobs.recv_timeout(idle).inspect_err(|_| self.unload())
    }

    fn call(&mut self, call: Call) {
        let Call { run, place } = call;
        let end = match self.load() {
            Ok(model) => run(Ok(model.backend.as_mut())),
            Err(failure) => run(Err(failure)),
        };
        drop(place);
        if let CallEnd::Failed(text) = end {
            self.fail(text);
        }
    }

    /// Lets go of requests that nobody waits for, or that took too long.
    fn give_up(&mut self) {
        let now = Instant::now();
        let too_slow = Failure::too_slow(self.limits.time_max.as_secs());
        self.waiting.retain(|generate| {
            let late = generate.deadline <= now;
            if late {
                let _ = generate.events.try_send(Err(too_slow.clone()));
            }
            !late && !generate.events.is_closed()
        });
        let mut given_up = Vec::new();
        for active in &mut self.active {
            // One place is kept for an error.
            let full = active.events.capacity() <= 1;
            active.stalled = full.then(|| active.stalled.unwrap_or(now));
            let stalled = active.stalled.is_some_and(|since| now - since > STALL);
            let late = active.deadline <= now;
            if late {
                let _ = active.events.try_send(Err(too_slow.clone()));
            }
            if late || stalled || active.events.is_closed() {
                self.metrics.cancelled.inc();
                given_up.push(active.id);
            }
        }
        self.end(&given_up);
    }

    /// Begins as many waiting requests as there are places.
    fn begin(&mut self) {
        while !self.waiting.is_empty() {
            let model = match self.load() {
                Ok(model) => model,
                Err(failure) => return self.fail_all(&failure),
            };
            let places = usize::try_from(model.info.sequences_max).unwrap_or(usize::MAX);
            if self.active.len() >= places {
                return;
            }
            let Some(index) = self.next_in_turn() else { return };
            let Some(generate) = self.waiting.remove(index) else { return };
            let Some(model) = &mut self.model else { return };
            let choices = generate.request.choices;
            match model.backend.start(generate.request.clone()) {
                Ok(id) => {
                    let Generate { client, events, deadline, place, .. } = generate;
                    let (stalled, _place) = (None, place);
                    let active = Active { client, id, events, deadline, _place, stalled, choices };
                    self.active.push(active);
                }
                // It waits until others have ended.
                Err(BackendError::Refused(ContractError::Busy(_))) if !self.active.is_empty() => {
                    return self.waiting.insert(index, generate);
                }
                Err(BackendError::Failed(text)) => {
                    let _ =
                        generate.events.try_send(Err(BackendError::Failed(text.clone()).into()));
                    self.fail(text);
                }
                Err(BackendError::Refused(error)) => {
                    let _ = generate.events.try_send(Err(error.into()));
                }
            }
            self.count();
        }
    }

    /// The place in the queue of the request that is to begin: the first one of the client that has
    /// the fewest answers under way, or among several of these waited longest for its turn.
    fn next_in_turn(&mut self) -> Option<usize> {
        let under_way = |client| self.active.iter().filter(|it| it.client == client).count();
        let is_here =
            |client| under_way(client) > 0 || self.waiting.iter().any(|it| it.client == client);
        self.turns.last.retain(|client, _| is_here(*client));
        let key = |generate: &Generate| {
            (under_way(generate.client), self.turns.last.get(&generate.client))
        };
        let keys = self.waiting.iter().map(key).enumerate();
        let (index, _) = keys.min_by_key(|(_, key)| *key)?;
        self.turns.count += 1;
        self.turns.last.insert(self.waiting[index].client, self.turns.count);
        Some(index)
    }

    /// One step for all answers whose clients keep up.
    fn step(&mut self) {
        let able: Vec<usize> =
            (0..self.active.len()).filter(|index| self.active[*index].stalled.is_none()).collect();
        if able.is_empty() {
            if !self.active.is_empty() {
                std::thread::sleep(PAUSE);
            }
            return;
        }
        let ids: Vec<_> = able.iter().map(|index| self.active[*index].id).collect();
        let Some(model) = &mut self.model else { return };
        let start = Instant::now();
        let results = match model.backend.advance(&ids) {
            Ok(results) => results,
            Err(error) => return self.fail(error.to_string()),
        };
        self.metrics.step_seconds.observe(start.elapsed().as_secs_f64());
        let mut ended = Vec::new();
        for (index, result) in able.into_iter().zip(results) {
            let active = &mut self.active[index];
            let done = match &result {
                Ok(Event::Done(done)) => {
                    self.metrics.used(&done.usage, done.choice == 0);
                    active.choices = active.choices.saturating_sub(1);
                    active.choices == 0
                }
                Ok(_) => false,
                Err(_) => true,
            };
            // There is room; who has gone is noticed before the next step.
            let _ = active.events.try_send(result.map_err(Failure::from));
            if done {
                ended.push(active.id);
            }
        }
        self.end(&ended);
    }

    /// Frees the places of answers.
    fn end(&mut self, ids: &[GenerationId]) {
        self.active.retain(|active| !ids.contains(&active.id));
        for id in ids {
            let Some(model) = &mut self.model else { break };
            if let Err(error) = model.backend.cancel(*id) {
                self.fail(error.to_string());
            }
        }
        self.count();
    }

    fn load(&mut self) -> Result<&mut Loaded, Failure> {
        if self.model.is_none() {
            let start = Instant::now();
            let mut backend = (self.open)().map_err(Failure::not_opened)?;
            let info = backend.info().map_err(Failure::from)?;
            self.metrics.load_seconds.observe(start.elapsed().as_secs_f64());
            if !std::mem::replace(&mut self.places_added, true) {
                self.places.add_permits(info.sequences_max as usize);
            }
            self.model = Some(Loaded { backend, info });
            self.metrics.loaded.set(1);
        }
        self.model.as_mut().ok_or_else(|| Failure::not_opened("the model is not loaded"))
    }

    fn unload(&mut self) {
        self.model = None;
        self.metrics.loaded.set(0);
    }

    /// The instance has ended, and with it all that it was computing. Who waits is served by the
    /// next one.
    fn fail(&mut self, text: String) {
        self.metrics.failures.inc();
        self.unload();
        let failure = Failure::from(BackendError::Failed(text));
        for active in self.active.drain(..) {
            let _ = active.events.try_send(Err(failure.clone()));
        }
        self.count();
    }

    fn fail_all(&mut self, failure: &Failure) {
        let active = self.active.drain(..).map(|active| active.events);
        let waiting = self.waiting.drain(..).map(|generate| generate.events);
        for events in active.chain(waiting) {
            let _ = events.try_send(Err(failure.clone()));
        }
        self.count();
    }

    fn count(&self) {
        self.metrics.active.set(i64::try_from(self.active.len()).unwrap_or(i64::MAX));
        self.metrics.waiting.set(i64::try_from(self.waiting.len()).unwrap_or(i64::MAX));
    }
}
