use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use trefoil_compose::{InspectedPart, Inspection, ModelFile, Nested, NestedKind};

use crate::exit;
use crate::hub;
use crate::session::{Session, print, print_json};

/// Metadata values longer than this are cut for people; JSON has them whole.
const VALUE_CHARS_MAX: usize = 60;

/// Show what a file is and what is inside
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A .gguf file, a component, a composition, or the name of a model (`trefoil models`)
    file: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, session: &Session) -> Result<i32> {
    let inspection = trefoil_compose::inspect(&hub::file_or_model(&arguments.file, session)?)?;
    if arguments.json {
        print_json(&serde_json::to_value(&inspection).context("cannot write it as JSON")?)?;
    } else {
        let mut text = Text::default();
        text.inspection(&inspection, 0);
        print(text.0.as_bytes())?;
    }
    Ok(exit::OK)
}

/// The tree for people.
#[derive(Default)]
struct Text(String);

impl Text {
    /// What comes from a file may hold control characters, which a terminal would obey.
    fn line(&mut self, depth: usize, line: &str) {
        let clean = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
        let clean: String = clean.collect();
        let _ = writeln!(self.0, "{:1$}{clean}", "", depth * 2);
    }

    fn inspection(&mut self, it: &Inspection, depth: usize) {
        self.line(depth, &format!("{}, {}{}", it.kind, size(it.size), called(it)));
        self.below(it, depth + 1);
    }

    fn part(&mut self, part: &InspectedPart, depth: usize) {
        let it = &part.inspection;
        let digest = part.sha256.get(..12).unwrap_or(&part.sha256);
        self.line(
            depth,
            &format!("{}: {}{}, sha256 {digest}...", part.role, size(it.size), called(it)),
        );
        self.below(it, depth + 1);
    }

    fn below(&mut self, it: &Inspection, depth: usize) {
        if let Some(tool) = &it.tool {
            self.line(depth, &format!("made by {tool}"));
        }
        for name in &it.imports {
            self.line(depth, &format!("imports {name}"));
        }
        for name in &it.exports {
            self.line(depth, &format!("exports {name}"));
        }
        for part in &it.parts {
            self.part(part, depth);
        }
        for nested in &it.contents {
            self.nested(nested, depth);
        }
        for file in &it.files {
            let license = match file.license.as_str() {
                "" => "no licence named".to_owned(),
                license => format!("licence {license}"),
            };
            let (name, role, format) = (&file.name, &file.role, &file.format);
            self.line(
                depth,
                &format!("file `{name}`: {role}, {format}, {}, {license}", size(file.size)),
            );
            self.line(depth + 1, &format!("sha256 {}", file.sha256));
            if let Some(url) = &file.url {
                self.line(depth + 1, &format!("read at run time from {url}"));
            }
        }
        if let Some(shard) = &it.shard {
            self.line(depth, &format!("shard {} of {}", shard.number + 1, shard.count));
        }
        if let Some(model) = &it.model {
            self.model(model, depth);
        }
        for remark in &it.remarks {
            self.line(depth, &format!("remark: {remark}"));
        }
    }

    fn nested(&mut self, nested: &Nested, depth: usize) {
        let text = match nested.kind {
            NestedKind::CoreModule => format!(
                "core module, {}: code {}, data {}",
                size(nested.size),
                size(nested.code_bytes),
                size(nested.data_bytes)
            ),
            NestedKind::Component => format!("component, {}", size(nested.size)),
        };
        self.line(depth, &text);
        for inner in &nested.contents {
            self.nested(inner, depth + 1);
        }
    }

    fn model(&mut self, model: &ModelFile, depth: usize) {
        self.line(
            depth,
            &format!(
                "GGUF version {}: {} parameters in {} tensors",
                model.gguf_version, model.parameters, model.tensors
            ),
        );
        for share in &model.tensor_types {
            self.line(
                depth + 1,
                &format!(
                    "{:<6} {:>5} tensors, {:>9}, {:>5.1}% of the bytes",
                    share.tensor_type,
                    share.tensors,
                    size(share.bytes),
                    100.0 * share.share_of_bytes
                ),
            );
        }
        for entry in &model.metadata {
            let value = entry.value.to_string();
            let mut short: String = value.chars().take(VALUE_CHARS_MAX).collect();
            if short.len() < value.len() {
                short += "...";
            }
            self.line(depth + 1, &format!("{} = {short}", entry.key));
        }
    }
}

fn called(it: &Inspection) -> String {
    let version = it.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    it.name.as_ref().map(|name| format!(", `{name}`{version}")).unwrap_or_default()
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_a_file_do_not_control_the_terminal() {
        let mut text = Text::default();
        text.line(1, "a\x1b[2Jb\nc");
        assert_eq!(text.0, "  a\u{fffd}[2Jb\u{fffd}c\n");
    }
}
