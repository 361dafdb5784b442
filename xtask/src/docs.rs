use anyhow::{Context, Result};

use crate::root;

/// Rewrites the pages that come from code.
pub(crate) fn write() -> Result<()> {
    let path = root().join("docs/settings.md");
    std::fs::write(&path, trefoil_settings::markdown())
        .with_context(|| format!("writing {}", path.display()))
}
