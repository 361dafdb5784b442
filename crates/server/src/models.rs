use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, channel};
use trefoil_contract::{Event, Request};
use trefoil_openai::{Failure, choose};

use crate::batch::{Batch, Call, Client, EVENTS_MAX, Generate, Job, Limits};
use crate::metrics::{Metrics, ModelMetrics};
use crate::{Backend, BackendError, Open};

/// A model that the server offers.
pub struct ModelSource {
    /// The name that requests give.
    pub name: String,
    /// Opens it.
    pub open: Open,
}

/// All models, each with its thread. Dropping them ends what is under way.
pub struct Models {
    models: Vec<Model>,
    created_s: u64,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    stop: Arc<AtomicBool>,
}

pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) metrics: ModelMetrics,
    /// `None` only while the thread is being ended.
    jobs: Option<Sender<Job>>,
    places: Arc<Semaphore>,
    limits: Limits,
    thread: Option<JoinHandle<()>>,
}

impl Models {
    /// Starts the threads. Nothing is loaded before the first request.
    pub fn new(sources: Vec<ModelSource>, limits: Limits) -> Self {
        let metrics = Arc::new(Metrics::new());
        let stop = Arc::new(AtomicBool::new(false));
        let start = |ModelSource { name, open }: ModelSource| {
            let model_metrics = metrics.model(&name);
            let (jobs, receiver) = mpsc::channel();
            let places = Arc::new(Semaphore::new(limits.waiting_max));
            let (thread_metrics, stop) = (model_metrics.clone(), stop.clone());
            let thread_places = places.clone();
            // Made on its thread, which the model never leaves.
            let work = move || {
                Batch::new(receiver, open, limits, thread_metrics, stop, thread_places).run();
            };
            Model {
                name,
                metrics: model_metrics,
                jobs: Some(jobs),
                places,
                limits,
                thread: Some(std::thread::spawn(work)),
            }
        };
        let models = sources.into_iter().map(start).collect();
        let created_s =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Models { models, created_s, limits, metrics, stop }
    }

    /// The names, in the order in which they were given.
    pub(crate) fn names(&self) -> Vec<String> {
        self.models.iter().map(|model| model.name.clone()).collect()
    }

    /// The model of this name, or the only one for no name.
    pub(crate) fn get(&self, name: Option<&str>) -> Result<&Model, Failure> {
        choose(&self.names(), name).map(|index| &self.models[index])
    }

    /// When the server was started, in seconds since 1970.
    pub(crate) fn created_s(&self) -> u64 {
        self.created_s
    }

    /// Ends all answers that are under way; their clients are told.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for Models {
    fn drop(&mut self) {
        self.stop();
        for model in &mut self.models {
            // The thread ends when nobody can send it anything.
            model.jobs = None;
            if let Some(thread) = model.thread.take() {
                // A panic there has been reported where it happened.
                let _ = thread.join();
            }
        }
    }
}

impl Model {
    /// Asks for an answer.
    pub(crate) fn generate(
        &self,
        client: Client,
        request: Request,
    ) -> Result<Receiver<Result<Event, Failure>>, Failure> {
        let place = self.place()?;
        let (events, receiver) = channel(EVENTS_MAX + 1);
        let deadline = Instant::now() + self.limits.time_max;
        let generate = Generate { client, request, events, deadline, place };
        self.send(Job::Generate(Box::new(generate)))?;
        Ok(receiver)
    }

    /// Calls the model between two steps.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut dyn Backend) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, Failure> {
        let (call, answer) = Call::new(self.place()?, run);
        self.send(Job::Call(call))?;
        answer.await.unwrap_or_else(|_| Err(Failure::stopping()))
    }

    fn place(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Failure> {
        let places = self.places.clone();
        places.try_acquire_owned().map_err(|_| Failure::queue_full(self.limits.waiting_max))
    }

    fn send(&self, job: Job) -> Result<(), Failure> {
        let jobs = self.jobs.as_ref().ok_or_else(Failure::stopping)?;
        jobs.send(job).map_err(|_| Failure::stopping())
    }
}
