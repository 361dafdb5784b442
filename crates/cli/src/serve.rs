//! Models of the host as the server's, and how it is stopped.

mod instance;

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use trefoil_contract::Setting;
use trefoil_host::{Inference, Interrupt, RunOptions};
use trefoil_server::{ModelSource as Served, Stopper};

use crate::adapters::AdapterFlags;
use crate::composition::Wanted;
use crate::exit;
use crate::flags::ServedGuestFlags;
use crate::instances::Instances;
use crate::parts::{ConfigurationFlags, Engine, ModelSource, named};
use crate::session::Session;
use instance::Instance;

/// How models are offered: what they have in common.
pub(crate) struct Offer<'a> {
    pub(crate) engine: Option<&'a str>,
    pub(crate) adapters: &'a AdapterFlags,
    pub(crate) configuration: &'a ConfigurationFlags,
    pub(crate) guest: &'a ServedGuestFlags,
    /// Defaults for all requests.
    pub(crate) settings: &'a [Setting],
}

/// The model that an option names, or all of a composition that has several, as `NAME/MODEL`:
/// composed and compiled now, so that what is wrong shows before the server listens, and loaded when
/// they are asked for.
pub(crate) fn sources(text: &str, offer: &Offer<'_>, session: &Session) -> Result<Vec<Served>> {
    let (name, text) = named(text);
    let name = name.map_or_else(|| name_of(text), str::to_owned);
    let model = ModelSource::find(text, session)?;
    let wanted = Wanted {
        model: &model,
        adapters: offer.adapters,
        engine: offer.engine.map(Engine::from),
        default_engine: Engine::CpuRelaxed,
        configuration: offer.configuration,
        chat: false,
        instances: Instances::per_core(offer.guest.instances),
    };
    let program = Arc::new(session.load(&wanted.prepare(session)?)?);
    let runtime = session.runtime()?.clone();
    let options = RunOptions {
        grants: offer.guest.grants(),
        limits: offer.guest.limits(),
        instances: wanted.instances.for_program(&program),
        ..RunOptions::default()
    };
    let models = match model {
        ModelSource::Composition(_) => Inference::models(&runtime, &program, &options)?,
        _ => Vec::new(),
    };
    let served = |name: String, model: Option<String>| {
        let settings = offer.settings.to_vec();
        let (runtime, program, options) = (runtime.clone(), program.clone(), options.clone());
        let open = move || {
            // Of its own: an instance that was stopped stays so.
            let options = RunOptions { interrupt: Interrupt::new(), ..options.clone() };
            Instance::open(&runtime, &program, &options, &settings, model.as_deref())
        };
        Served { name, open: Box::new(open) }
    };
    Ok(match models.len() {
        0 | 1 => vec![served(name, None)],
        _ => {
            models.into_iter().map(|model| served(format!("{name}/{model}"), Some(model))).collect()
        }
    })
}

/// The name of a file without what says its kind, or a model's name as it is.
fn name_of(text: &str) -> String {
    let file = text.strip_prefix("file:").unwrap_or(text);
    let name = Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or(file);
    let stem = name.strip_suffix(".gguf").or_else(|| name.strip_suffix(".wasm"));
    match stem {
        Some(stem) => stem.to_owned(),
        // `qwen2.5:0.5b`, `hf:owner/repo/file`
        None => text.to_owned(),
    }
}

/// The first Ctrl-C lets answers end, the second one ends them.
pub(crate) fn stop_on_interrupt(stopper: Stopper, session: &Session) {
    let terminal = session.terminal.clone();
    session.on_interrupt(move |times| {
        if times == 1 {
            terminal.note("stopping; Ctrl-C again ends answers that are under way");
            stopper.stop();
        } else {
            terminal.clear();
            std::process::exit(exit::INTERRUPTED);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_as_their_files_or_as_the_user_names_them() {
        for (text, name) in [
            ("models/SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct.Q4_1"),
            ("file:/models/a.gguf", "a"),
            ("chat.wasm", "chat"),
            ("qwen2.5:0.5b", "qwen2.5:0.5b"),
            ("smollm2", "smollm2"),
        ] {
            assert_eq!(name_of(text), name, "{text}");
        }
    }
}
