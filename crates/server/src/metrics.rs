use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use trefoil_contract::Usage;

/// What is counted, for `/metrics` (Prometheus, OpenMetrics text).
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    loaded: Family<ModelLabels, Gauge>,
    active: Family<ModelLabels, Gauge>,
    waiting: Family<ModelLabels, Gauge>,
    prompt_tokens: Family<ModelLabels, Counter>,
    cached_tokens: Family<ModelLabels, Counter>,
    generated_tokens: Family<ModelLabels, Counter>,
    drafted_tokens: Family<ModelLabels, Counter>,
    accepted_tokens: Family<ModelLabels, Counter>,
    cancelled: Family<ModelLabels, Counter>,
    failures: Family<ModelLabels, Counter>,
    step_seconds: Family<ModelLabels, Histogram>,
    load_seconds: Family<ModelLabels, Histogram>,
    first_token_seconds: Family<ModelLabels, Histogram>,
    /// Memory that large bodies of requests take.
    pub(crate) large_body_bytes: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    path: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

/// What is counted of one model.
#[derive(Clone)]
pub(crate) struct ModelMetrics {
    /// 1 while the model is in memory.
    pub(crate) loaded: Gauge,
    /// Answers under way.
    pub(crate) active: Gauge,
    /// Requests in the queue.
    pub(crate) waiting: Gauge,
    prompt_tokens: Counter,
    cached_tokens: Counter,
    generated_tokens: Counter,
    drafted_tokens: Counter,
    accepted_tokens: Counter,
    /// Answers that were given up: nobody read them, or they took too long.
    pub(crate) cancelled: Counter,
    /// Instances that ended by a trap or a limit.
    pub(crate) failures: Counter,
    pub(crate) step_seconds: Histogram,
    pub(crate) load_seconds: Histogram,
    pub(crate) first_token_seconds: Histogram,
}

/// Doubling from 1 ms to 33 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("trefoil");
        let metrics = Metrics {
            requests: Family::default(),
            loaded: Family::default(),
            active: Family::default(),
            waiting: Family::default(),
            prompt_tokens: Family::default(),
            cached_tokens: Family::default(),
            generated_tokens: Family::default(),
            drafted_tokens: Family::default(),
            accepted_tokens: Family::default(),
            cancelled: Family::default(),
            failures: Family::default(),
            step_seconds: Family::new_with_constructor(seconds),
            load_seconds: Family::new_with_constructor(seconds),
            first_token_seconds: Family::new_with_constructor(seconds),
            large_body_bytes: Gauge::default(),
            registry: Registry::default(),
        };
        let m = &metrics;
        registry.register("requests", "Requests by path and status", m.requests.clone());
        registry.register("model_loaded", "1 while the model is in memory", m.loaded.clone());
        registry.register("requests_active", "Answers under way", m.active.clone());
        registry.register("requests_waiting", "Requests in the queue", m.waiting.clone());
        registry.register("prompt_tokens", "Tokens of prompts", m.prompt_tokens.clone());
        let help = "Tokens of prompts that were in the cache";
        registry.register("cached_tokens", help, m.cached_tokens.clone());
        registry.register("generated_tokens", "Tokens of answers", m.generated_tokens.clone());
        let help = "Tokens of answers that were guessed (lookup-tokens)";
        registry.register("drafted_tokens", help, m.drafted_tokens.clone());
        let help = "Guessed tokens that were right";
        registry.register("accepted_tokens", help, m.accepted_tokens.clone());
        let help = "Answers given up: nobody read them, or they took too long";
        registry.register("requests_cancelled", help, m.cancelled.clone());
        let help = "Instances that ended by a trap or a limit";
        registry.register("instance_failures", help, m.failures.clone());
        registry.register("step_seconds", "Time of a batched step", m.step_seconds.clone());
        registry.register("load_seconds", "Time to load the model", m.load_seconds.clone());
        let help = "Time from a request's arrival to its first token";
        registry.register("first_token_seconds", help, m.first_token_seconds.clone());
        let help = "Memory set aside for bodies of requests, beyond 1 MiB for each";
        registry.register("large_body_bytes", help, m.large_body_bytes.clone());
        Metrics { registry, ..metrics }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, path: &str, status: u16) {
        self.requests.get_or_create(&RequestLabels { path: path.into(), status }).inc();
    }

    /// The counters of a model.
    pub(crate) fn model(&self, name: &str) -> ModelMetrics {
        let labels = ModelLabels { model: name.into() };
        ModelMetrics {
            loaded: self.loaded.get_or_create_owned(&labels),
            active: self.active.get_or_create_owned(&labels),
            waiting: self.waiting.get_or_create_owned(&labels),
            prompt_tokens: self.prompt_tokens.get_or_create_owned(&labels),
            cached_tokens: self.cached_tokens.get_or_create_owned(&labels),
            generated_tokens: self.generated_tokens.get_or_create_owned(&labels),
            drafted_tokens: self.drafted_tokens.get_or_create_owned(&labels),
            accepted_tokens: self.accepted_tokens.get_or_create_owned(&labels),
            cancelled: self.cancelled.get_or_create_owned(&labels),
            failures: self.failures.get_or_create_owned(&labels),
            step_seconds: self.step_seconds.get_or_create_owned(&labels),
            load_seconds: self.load_seconds.get_or_create_owned(&labels),
            first_token_seconds: self.first_token_seconds.get_or_create_owned(&labels),
        }
    }

    /// All of them as text.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl ModelMetrics {
    /// An answer ended; the prompt is counted once for all of a request's answers.
    pub(crate) fn used(&self, usage: &Usage, is_first: bool) {
        if is_first {
            self.prompt_tokens.inc_by(usage.prompt_tokens.into());
            self.cached_tokens.inc_by(usage.cached_tokens.into());
        }
        self.generated_tokens.inc_by(usage.generated_tokens.into());
        self.drafted_tokens.inc_by(usage.drafted_tokens.into());
        self.accepted_tokens.inc_by(usage.accepted_tokens.into());
    }
}
