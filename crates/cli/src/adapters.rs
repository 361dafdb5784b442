//! LoRA adapters that options name.

use std::path::Path;

use anyhow::{Result, bail};
use trefoil_compose::Models;
use trefoil_host::sha256_of_bytes;

use crate::parts::{ModelSource, named};
use crate::session::Session;

/// The adapters of a model.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct AdapterFlags {
    /// A LoRA adapter for the model: a .gguf file, or a component that `pack` made of one. It
    /// changes the model, unless the setting `adapters` says otherwise; several times for several.
    /// NAME= in front gives it another name than its own
    #[arg(long = "adapter", id = "adapter", value_name = "[NAME=]ADAPTER")]
    texts: Vec<String>,
}

impl AdapterFlags {
    /// The flags again, for another process.
    pub(crate) fn to_arguments(&self) -> Vec<String> {
        self.texts.iter().flat_map(|text| ["--adapter".to_owned(), text.clone()]).collect()
    }

    /// What tells adapters apart, their names included; empty if there are none.
    pub(crate) fn digest(&self, session: &Session) -> Result<String> {
        let one = |text: &String| {
            let (name, path) = named(text);
            let file = Path::new(path).file_name().and_then(|name| name.to_str());
            let name = name.or(file).unwrap_or_default();
            Ok(format!("{name} {}", ModelSource::find(path, session)?.digest(session)?))
        };
        let lines: Vec<String> = self.texts.iter().map(one).collect::<Result<_>>()?;
        Ok(match lines.as_slice() {
            [] => String::new(),
            _ => sha256_of_bytes(lines.join("\n").as_bytes()),
        })
    }

    /// The model with the adapters, to be composed.
    pub(crate) fn join(&self, models: Models, session: &Session) -> Result<Models> {
        self.texts.iter().try_fold(models, |all, text| {
            let (name, path) = named(text);
            let adapter = ModelSource::find(path, session)?.models(session)?;
            if adapter.is_adapter() == Some(false) {
                bail!("`{path}` is no adapter: give it as `--model`");
            }
            Ok(all.and(match name {
                Some(name) => adapter.named(name),
                None => adapter,
            }))
        })
    }

    /// A finished composition takes no more.
    pub(crate) fn must_be_none(&self, composition: &Path) -> Result<()> {
        let Some(text) = self.texts.first() else { return Ok(()) };
        bail!(
            "`{}` is a finished composition, to which `--adapter {text}` cannot be added: give the \
             model itself, or compose the two (`trefoil compose --model MODEL --adapter {text} -o \
             FILE`); among the adapters that a composition has the setting `adapters` chooses",
            composition.display()
        );
    }
}
