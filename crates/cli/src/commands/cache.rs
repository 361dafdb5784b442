use anyhow::Result;

use crate::exit;
use crate::session::{Session, print};

/// Show or empty the cache of native code and compositions
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Print the folder
    Path,
    /// Remove everything that can be made again; downloaded models stay
    Clean,
}

pub(crate) fn run(arguments: &Arguments, session: &Session) -> Result<i32> {
    let cache = session.cache()?;
    match arguments.action {
        Action::Path => {
            print(format!("{}\n", cache.root().display()).as_bytes())?;
            let usage = cache.usage()?;
            session.terminal.note(&format!("{} files, {} MB", usage.files, mb(usage.bytes)));
        }
        Action::Clean => {
            let removed = cache.clean()?;
            session.terminal.note(&format!(
                "removed {} files, {} MB",
                removed.files,
                mb(removed.bytes)
            ));
        }
    }
    Ok(exit::OK)
}

fn mb(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}
