use std::process::Command;

use anyhow::{Context, Result};

use crate::{command, root};

/// Rewrites the pages that come from code.
pub(crate) fn write() -> Result<()> {
    let path = root().join("docs/settings.md");
    std::fs::write(&path, trefoil_settings::markdown())
        .with_context(|| format!("writing {}", path.display()))?;
    // That crate sees all that the page is about; its test writes what it would compare.
    let mut models = Command::new("cargo");
    models.current_dir(root()).args(["test", "--locked", "--quiet", "--package", "trefoil-engine"]);
    command::run(models.args(["--test", "docs"]).env("TREFOIL_REWRITE_DOCS", "1"))
}
