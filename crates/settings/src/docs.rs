use trefoil_contract::Value;

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
        let code = |text: &str| match text {
            "" => String::new(),
            text => format!("`{text}`"),
        };
        // Texts of a list are quoted: they may end lines.
        let default = |value: Value| match value {
            Value::Text(text) if key.kind.is_list() => code(&format!("{text:?}")),
            value => code(&value.to_string()),
        };
        let defaults: Vec<_> = key.default_values().into_iter().map(default).collect();
        page.push_str(&format!(
            "| `{}` | {scope} | {} | {} | {} | {} |\n",
            key.name,
            key.kind,
            defaults.join(", "),
            code(key.metadata.unwrap_or_default()),
            key.doc,
        ));
    }
    page
}
