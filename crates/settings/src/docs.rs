use crate::{Scope, TABLE};

/// The table as a Markdown page: `docs/settings.md` is this text, and a test compares them.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         The same keys serve `--config FILE.toml`, configuration components, the app's \
         `configure` call, requests and the flags of `trefoil chat`.\n\n\
         Precedence: request, then the app's `configure`, then the configuration component, then \
         the model's metadata, then the engine's default.\n\
         Keys marked *model* are fixed when a model is opened; a request cannot set them.\n\n\
         This page is generated: `cargo xtask docs` rewrites it.\n\n\
         | key | takes effect | values | default | metadata | meaning |\n\
         |---|---|---|---|---|---|\n",
    );
    for key in TABLE {
        let scope = match key.scope {
            Scope::Model => "model",
            Scope::Request => "request",
        };
        let default: Vec<_> = key.default_values().iter().map(ToString::to_string).collect();
        let default = default.join(", ");
        let code = |text: &str| match text {
            "" => String::new(),
            text => format!("`{text}`"),
        };
        page.push_str(&format!(
            "| `{}` | {scope} | {} | {} | {} | {} |\n",
            key.name,
            key.kind,
            code(&default),
            code(key.metadata.unwrap_or_default()),
            key.doc,
        ));
    }
    page
}
