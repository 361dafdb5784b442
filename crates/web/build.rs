//! Builds the page that travels inside the `trefoil` binary, from the TypeScript in `web/`.
//!
//! `TREFOIL_NPM` names an npm in place of the usual one; `TREFOIL_WEB_PAGE` a folder with a page that
//! was built before (`npm run build:page` writes it to `web/dist/page`), for machines without npm.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// What of `web/` the page is made of.
const SOURCES: &[&str] =
    &[".npmrc", "build.mjs", "package-lock.json", "package.json", "src", "tsconfig.json"];
/// What a page has at least.
const ENTRIES: &[&str] = &["index.html", "sw.js"];

fn main() -> Result<()> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    println!("cargo::rerun-if-env-changed=TREFOIL_NPM");
    println!("cargo::rerun-if-env-changed=TREFOIL_WEB_PAGE");
    let page = match env::var_os("TREFOIL_WEB_PAGE") {
        Some(folder) => {
            println!("cargo::rerun-if-changed={}", Path::new(&folder).display());
            PathBuf::from(folder)
        }
        None => build(&manifest.join("../../web").canonicalize()?, &out.join("web"))?,
    };
    let mut files = Vec::new();
    list(&page, Path::new(""), &mut files)?;
    files.sort();
    for entry in ENTRIES {
        let is_there = files.iter().any(|name| name == entry);
        ensure!(is_there, "{} is no page: it has no {entry}", page.display());
    }
    let mut text = String::from("/// The page's files: names with `/`, and bytes.\n");
    text.push_str("pub(crate) static PAGE: &[(&str, &[u8])] = &[\n");
    for name in files {
        text.push_str(&format!("    ({name:?}, include_bytes!({:?})),\n", page.join(&name)));
    }
    text.push_str("];\n");
    fs::write(out.join("page.rs"), text)?;
    Ok(())
}

/// Builds the page in a copy of its sources: nothing is written into the source tree.
fn build(source: &Path, work: &Path) -> Result<PathBuf> {
    fs::create_dir_all(work)?;
    let lock = fs::read(source.join("package-lock.json")).context("reading web/")?;
    let stamp = work.join("installed");
    for name in SOURCES {
        let from = source.join(name);
        println!("cargo::rerun-if-changed={}", from.display());
        let to = work.join(name);
        if to.is_dir() {
            fs::remove_dir_all(&to)?;
        }
        copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
    }
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return page(work);
    }
    npm(work, &["ci", "--ignore-scripts", "--omit=dev", "--loglevel=error"])?;
    fs::write(stamp, lock)?;
    page(work)
}

fn page(work: &Path) -> Result<PathBuf> {
    npm(work, &["run", "--silent", "build:page"])?;
    Ok(work.join("dist/page"))
}

fn npm(folder: &Path, arguments: &[&str]) -> Result<()> {
    let usual = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let npm = env::var_os("TREFOIL_NPM").unwrap_or_else(|| usual.into());
    let mut command = Command::new(&npm);
    command.current_dir(folder).args(arguments);
    // Its own Node.js stands beside it.
    if let Some(parent) = Path::new(&npm).parent().filter(|parent| parent.is_absolute()) {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = [parent.to_owned()].into_iter().chain(env::split_paths(&path));
        command.env("PATH", env::join_paths(folders)?);
    }
    let output = command.output().with_context(|| {
        format!(
            "`{}` could not be started: npm is needed to build the page; on Debian: apt-get \
             install npm. Or let TREFOIL_NPM name an npm, or TREFOIL_WEB_PAGE a page that was built \
             before",
            npm.display()
        )
    })?;
    if !output.status.success() {
        bail!(
            "npm {} in {} failed:\n{}{}",
            arguments.join(" "),
            folder.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        fs::copy(from, to)?;
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Names of all files below a folder, with `/`.
fn list(folder: &Path, below: &Path, names: &mut Vec<String>) -> Result<()> {
    let here = folder.join(below);
    for entry in fs::read_dir(&here).with_context(|| format!("reading {}", here.display()))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        if entry.path().is_dir() {
            list(folder, &name, names)?;
        } else {
            let parts: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
            names.push(parts.join("/"));
        }
    }
    Ok(())
}

fn variable(name: &str) -> Result<OsString> {
    env::var_os(name).with_context(|| format!("cargo did not set {name}"))
}
