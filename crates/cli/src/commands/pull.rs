use anyhow::Result;
use serde_json::json;
use trefoil_hub::Digest;

use crate::exit::{self, UsageError};
use crate::hub::{self, Wanted};
use crate::session::{Session, print, print_json};

/// Download models into the cache
///
/// Prints the path of each model. What was interrupted goes on where it was; what is there already
/// is not downloaded again. Files are checked against the digest that the hub gives.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A name of the catalogue (`trefoil models catalogue`), hf:OWNER/REPOSITORY/FILE.gguf,
    /// hf:OWNER/REPOSITORY:Q4_K_M (or another quantisation, or none: the usual one; @REVISION may
    /// follow the repository), https://..., or oci:REGISTRY/REPOSITORY:TAG
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// What the file must be: 64 hexadecimal digits
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    sha256: Option<Digest>,
    /// Pull without encryption from other machines, too
    #[arg(long)]
    allow_http: bool,
    /// Print one JSON object for each model
    #[arg(long)]
    json: bool,
}

fn digest(text: &str) -> Result<Digest, &'static str> {
    Digest::parse(text).ok_or("expected 64 hexadecimal digits")
}

pub(crate) fn run(arguments: &Arguments, session: &Session) -> Result<i32> {
    if arguments.sha256.is_some() && arguments.names.len() > 1 {
        return Err(UsageError("`--sha256` is for one model; pull the others alone".into()).into());
    }
    let wanted = Wanted { sha256: arguments.sha256.clone(), allow_http: arguments.allow_http };
    for name in &arguments.names {
        let pulled = hub::pull(name, &wanted, session)?;
        if !arguments.json {
            // Of a split model, the first file stands for all.
            let path = pulled.files.first().map(|file| file.path.display().to_string());
            print(format!("{}\n", path.unwrap_or_default()).as_bytes())?;
            continue;
        }
        let file = |file: &trefoil_hub::PulledFile| json!({"path": file.path, "size": file.size, "sha256": file.sha256.as_str()});
        print_json(&json!({
            "name": name,
            "source": pulled.source,
            "revision": pulled.revision,
            "license": pulled.license,
            "files": pulled.files.iter().map(file).collect::<Vec<_>>(),
            "received_bytes": pulled.received,
        }))?;
    }
    Ok(exit::OK)
}
