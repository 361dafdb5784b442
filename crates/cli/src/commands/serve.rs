use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;
use trefoil_contract::{Setting, Value};
use trefoil_server::{Access, Limits, Models, Options, Server, Tls};

use crate::adapters::AdapterFlags;
use crate::exit::{self, UsageError};
use crate::flags::{ModelSettings, RequestSettings, ServedGuestFlags, duration};
use crate::parts::ConfigurationFlags;
use crate::serve::{Offer, stop_on_interrupt};
use crate::session::{Session, print_json};

/// Answers at once, unless the user says otherwise: more than one person at a terminal needs.
const SEQUENCES: (&str, i64) = ("sequences-max", 8);

/// Serve models over HTTP as OpenAI does
///
/// Offers `/v1/chat/completions`, `/v1/completions`, `/v1/responses`, `/v1/embeddings`,
/// `/v1/rerank`, `/v1/models`, `/tokenize`, `/detokenize`, `/health`, `/metrics` (for Prometheus), a
/// chat page at `/`, and a description of all this at `/openapi.json`. Requests that arrive together
/// are computed together. Every model, the parser of its file included, stays in a sandbox: when one
/// fails, its requests end with an error and the next one gets a fresh instance.
///
/// Ctrl-C stops: answers under way may end, see `--drain`; a second Ctrl-C ends them.
#[derive(Args)]
#[command(after_help = "Example:\n  trefoil serve smollm2 --port 8080\n  curl \
                        http://127.0.0.1:8080/v1/chat/completions \
                        -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'")]
pub(crate) struct Arguments {
    /// The models: names (`trefoil models`), .gguf files, model components, file:PATH, or
    /// compositions. NAME= in front is the name that requests give; otherwise it is the file's
    #[arg(required = true, value_name = "[NAME=]MODEL")]
    models: Vec<String>,
    /// Where to listen: 0.0.0.0 or :: for other machines, too
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,
    /// The port; 0 for any free one
    #[arg(long, short, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// A key that requests must have (`Authorization: Bearer KEY`); several times for several
    #[arg(long = "api-key", value_name = "KEY", env = "TREFOIL_API_KEY", hide_env_values = true)]
    keys: Vec<String>,
    /// An origin whose pages may send requests from a browser, or * for all
    #[arg(long = "cors", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// The certificate for https and those that vouch for it, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Requests that may wait for a place; further ones are told to come back (429)
    #[arg(long, value_name = "NUMBER", default_value_t = 128)]
    queue: usize,
    /// Tokens of an answer at most, whatever its request says
    #[arg(long, value_name = "NUMBER", default_value_t = u32::MAX, hide_default_value = true)]
    tokens_max: u32,
    /// Time for a request at most
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10m")]
    request_timeout: Duration,
    /// Unload a model that nobody asked for so long; it is loaded again when it is
    #[arg(long, value_name = "TIME", value_parser = duration)]
    idle_unload: Option<Duration>,
    /// How long answers may go on when the server is stopped
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    drain: Duration,
    /// Print one JSON object with the address and the models, once it listens
    #[arg(long)]
    json: bool,
    /// `cpu`, `cpu-relaxed`, or an engine component [default: cpu-relaxed; a composition keeps its
    /// own]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    #[command(flatten)]
    adapters: AdapterFlags,
    #[command(flatten)]
    configuration: ConfigurationFlags,
    #[command(flatten)]
    guest: ServedGuestFlags,
    #[command(flatten)]
    model_settings: ModelSettings,
    #[command(flatten)]
    request_settings: RequestSettings,
}

pub(crate) fn run(arguments: &Arguments, session: &Session) -> Result<i32> {
    let offer = Offer {
        engine: arguments.engine.as_deref(),
        adapters: &arguments.adapters,
        configuration: &arguments.configuration,
        guest: &arguments.guest,
        settings: &arguments.settings(),
    };
    let mut sources = Vec::new();
    for text in &arguments.models {
        for source in crate::serve::sources(text, &offer, session)? {
            if sources.iter().any(|other: &trefoil_server::ModelSource| other.name == source.name) {
                let text = format!(
                    "two models are named `{}`; put another name before one: NAME=MODEL",
                    source.name
                );
                return Err(UsageError(text).into());
            }
            sources.push(source);
        }
    }
    let names: Vec<_> = sources.iter().map(|source| source.name.clone()).collect();
    let models = Models::new(sources, arguments.limits());
    let runtime = tokio::runtime::Runtime::new().context("cannot start the threads for HTTP")?;
    runtime.block_on(async {
        let options = arguments.options();
        let server = Server::bind(models, &options)
            .await
            .with_context(|| format!("cannot serve at {}", options.address))?;
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", server.address()?);
        if arguments.json {
            print_json(&json!({ "url": url, "models": names }))?;
        }
        let names = names.join("`, `");
        session.terminal.note(&format!("serving `{names}` at {url} (Ctrl-C stops)"));
        stop_on_interrupt(server.stopper(), session);
        server.run().await.context("the server has ended")
    })?;
    Ok(exit::OK)
}

impl Arguments {
    /// Defaults for all requests.
    fn settings(&self) -> Vec<Setting> {
        let mut settings = self.model_settings.0.clone();
        if !settings.iter().any(|setting| setting.key == SEQUENCES.0) {
            settings.push(Setting::new(SEQUENCES.0, Value::Integer(SEQUENCES.1)));
        }
        settings.extend(self.request_settings.0.iter().cloned());
        settings
    }

    fn limits(&self) -> Limits {
        Limits {
            waiting_max: self.queue,
            tokens_max: self.tokens_max.max(1),
            time_max: self.request_timeout,
            idle: self.idle_unload,
        }
    }

    fn options(&self) -> Options {
        let tls = self.tls_certificate.clone().zip(self.tls_key.clone());
        Options {
            address: SocketAddr::new(self.host, self.port),
            tls: tls.map(|(certificate, key)| Tls { certificate, key }),
            access: Access { keys: self.keys.clone(), origins: self.origins.clone() },
            drain: self.drain,
        }
    }
}
