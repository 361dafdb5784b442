use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use trefoil_hub::{CATALOGUE, CachedFile, CachedModel, Models, Removed, Verdict};

use crate::exit;
use crate::hub::{self, mb};
use crate::session::{Session, print, print_json};

/// List, check and remove the models in the cache
///
/// Without an action this lists them. `trefoil pull` brings further ones; GGUF files that are put
/// into the folder (`trefoil cache path`, `models` in it) are models, too.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Action {
    /// List them
    List,
    /// Show the names that `trefoil pull` knows
    #[command(visible_alias = "catalog")]
    Catalogue,
    /// Remove models
    Remove {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Read models again and compare with the digests that are recorded
    Verify {
        /// Which; all without
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Remove what interrupted pulls left behind
    Clean {
        /// Also models that no command used for so many days; those that were put there by hand
        /// stay
        #[arg(long, value_name = "DAYS")]
        unused: Option<u32>,
    },
}

pub(crate) fn run(arguments: &Arguments, session: &Session) -> Result<i32> {
    let models = hub::models(session)?;
    let answer = match &arguments.action {
        None | Some(Action::List) => list(&models)?,
        Some(Action::Catalogue) => catalogue(&models)?,
        Some(Action::Remove { names }) => {
            let found = find(&models, names)?;
            let mut removed = Removed::default();
            for model in &found {
                removed.add(models.remove(model)?);
            }
            session.terminal.note(
                "what was composed and compiled of them stays: `trefoil cache clean` removes it",
            );
            removal(removed)
        }
        Some(Action::Verify { names }) => {
            let found = if names.is_empty() { models.list()? } else { find(&models, names)? };
            verify(&models, &found, session)?
        }
        Some(Action::Clean { unused }) => {
            let unused = unused.map(|days| Duration::from_secs(u64::from(days) * 86_400));
            removal(models.clean(unused)?)
        }
    };
    match arguments.json {
        true => print_json(&answer.json)?,
        false => print(printable(&answer.text).as_bytes())?,
    }
    Ok(answer.code)
}

/// An answer for people and for programs.
struct Answer {
    text: String,
    json: Value,
    code: i32,
}

fn find(models: &Models, names: &[String]) -> Result<Vec<CachedModel>> {
    // All are found before any is touched.
    let mut found = Vec::new();
    for name in names {
        match models.find(name)? {
            Some(model) => found.push(model),
            None => bail!("`{name}` is not in the cache; `trefoil models` lists what is"),
        }
    }
    Ok(found)
}

fn list(models: &Models) -> Result<Answer> {
    let found = models.list()?;
    let mut rows = vec![["NAME", "SIZE", "SHA-256", "PULLED", "USED", "FILE"].map(String::from)];
    for model in &found {
        let first = model.files.first();
        let digest = first.and_then(|file| file.sha256.as_ref()).map(|it| it.as_str()[..12].into());
        let place =
            |path: &Path| path.strip_prefix(models.folder()).unwrap_or(path).display().to_string();
        let files = match (first, model.files.len()) {
            (Some(file), 1) => place(&file.path),
            (Some(file), count) => format!("{} ({count} files)", place(&file.path)),
            (None, _) => String::new(),
        };
        rows.push([
            model.name.clone(),
            if model.complete { mb(model.size()) } else { "incomplete".into() },
            digest.unwrap_or_else(|| "-".into()),
            ago(model.pulled),
            ago(model.used),
            files,
        ]);
    }
    let text = match found.is_empty() {
        true => "no models yet; `trefoil pull smollm2` brings one, `trefoil models catalogue` \
                 shows others\n"
            .into(),
        false => table(&rows),
    };
    let models: Vec<_> = found.iter().map(as_json).collect();
    Ok(Answer { text, json: json!({ "models": models }), code: exit::OK })
}

fn as_json(model: &CachedModel) -> Value {
    let file = |file: &CachedFile| {
        json!({
            "path": file.path,
            "size": file.size,
            "sha256": file.sha256.as_ref().map(|it| it.as_str()),
        })
    };
    json!({
        "name": model.name,
        "source": model.source,
        "revision": model.revision,
        "license": model.license,
        "complete": model.complete,
        "size": model.size(),
        "files": model.files.iter().map(file).collect::<Vec<_>>(),
        "pulled": seconds(model.pulled),
        "used": seconds(model.used),
    })
}

fn catalogue(models: &Models) -> Result<Answer> {
    let there: Vec<String> =
        models.list()?.into_iter().filter(|it| it.complete).map(|it| it.name).collect();
    let is_there = |name: &str| there.iter().any(|it| it == name);
    let mut rows = vec![["NAME", "LICENCE", "TRIED", "HERE", "FROM"].map(String::from)];
    let yes_or_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    for entry in CATALOGUE {
        rows.push([
            entry.name.into(),
            entry.license.into(),
            yes_or_no(entry.is_tried()),
            yes_or_no(is_there(entry.name)),
            entry.reference().to_string(),
        ]);
    }
    let text = table(&rows)
        + "\nA family alone stands for its first entry. TRIED: run with Trefoil and pinned to that \
           file; of the others\nonly architecture and format are known to be supported.\n";
    let entry = |entry: &trefoil_hub::Entry| {
        json!({
            "name": entry.name,
            "source": entry.reference().to_string(),
            "license": entry.license,
            "tried": entry.is_tried(),
            "sha256": entry.sha256,
            "cached": is_there(entry.name),
        })
    };
    let entries: Vec<_> = CATALOGUE.iter().map(entry).collect();
    Ok(Answer { text, json: json!({ "catalogue": entries }), code: exit::OK })
}

fn verify(models: &Models, found: &[CachedModel], session: &Session) -> Result<Answer> {
    let mut answer = Answer { text: String::new(), json: Value::Null, code: exit::OK };
    let mut results = Vec::new();
    for file in found.iter().flat_map(|model| &model.files) {
        let bar = session.terminal.bar("checking", file.size);
        let verdict = models.verify(file, &mut |done| {
            bar.set_position(done);
            !session.interrupt.is_raised()
        });
        bar.finish_and_clear();
        let (word, detail) = match verdict? {
            Verdict::Intact => ("intact", String::new()),
            Verdict::Damaged { expected, found } => {
                answer.code = exit::FAILED;
                ("DAMAGED", format!(": its SHA-256 is {found}, expected {expected}"))
            }
            Verdict::Missing => {
                answer.code = exit::FAILED;
                ("MISSING", String::new())
            }
            Verdict::Unrecorded { found } => ("unrecorded", format!(": its SHA-256 is {found}")),
            _ => ("unknown", String::new()),
        };
        let _ = writeln!(answer.text, "{word:<10}  {}{detail}", file.path.display());
        results.push(json!({"path": file.path, "verdict": word.to_ascii_lowercase()}));
    }
    if answer.code != exit::OK {
        answer
            .text
            .push_str("remove what is damaged (`trefoil models remove`) and pull it again\n");
    }
    answer.json = json!({ "files": results });
    Ok(answer)
}

fn removal(removed: Removed) -> Answer {
    Answer {
        text: format!("removed {} files, {}\n", removed.files, mb(removed.bytes)),
        json: json!({ "files": removed.files, "bytes": removed.bytes }),
        code: exit::OK,
    }
}

/// Columns as wide as what stands in them.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

/// What others named may hold control characters, which a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

fn seconds(time: Option<SystemTime>) -> Option<u64> {
    Some(time?.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// How long ago something was.
fn ago(time: Option<SystemTime>) -> String {
    let Some(time) = time else { return "-".into() };
    let seconds = SystemTime::now().duration_since(time).unwrap_or_default().as_secs();
    match seconds {
        0..60 => "now".into(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_largest_unit() {
        let before = |seconds| Some(SystemTime::now() - Duration::from_secs(seconds));
        assert_eq!(ago(None), "-");
        for (seconds, text) in
            [(5, "now"), (125, "2 min ago"), (7300, "2 h ago"), (200_000, "2 d ago")]
        {
            assert_eq!(ago(before(seconds)), text);
        }
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["a".into(), "b".into()], ["long".into(), "c".into()]];
        assert_eq!(table(&rows), "a     b\nlong  c\n");
    }
}
