use std::path::PathBuf;

use anyhow::Result;

use crate::exit;
use crate::session::print_json;

/// Show what a file is and what is inside
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A .gguf file, a component or a composition
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<i32> {
    let record = trefoil_compose::Record::read(&arguments.file)?;
    print_json(&serde_json::json!({"parts": record.parts.len(), "json": arguments.json}))?;
    Ok(exit::OK)
}
