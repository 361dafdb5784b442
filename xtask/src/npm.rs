//! The npm package `@trefoil/llm`: built, packed, and tried.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{command, root, target, tools};

/// What a program has to find in the package.
const NAMES: &[&str] = &["load", "openai"];

/// Makes the tarball and tries whether it can be installed and imported.
pub(crate) fn run() -> Result<()> {
    let npm = tools::npm()?;
    let tarball = pack(&npm)?;
    let package = install(&npm, &tarball)?;
    let node = tools::node(&npm)?.join("node_modules/.bin/node");
    let script = "import('@trefoil/llm').then((it) => console.log(Object.keys(it).join()))";
    let folder = package.ancestors().nth(3).context("the folder of the installation")?;
    let output =
        Command::new(node).current_dir(folder).args(["--eval", script]).output().context("node")?;
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Vec<_> = found.trim().split(',').collect();
    for name in NAMES {
        ensure!(
            found.contains(name),
            "the installed package does not export `{name}`: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let bytes = fs::metadata(&tarball)?.len();
    println!("{} ({} KB), which exports {}", tarball.display(), bytes / 1000, found.join(", "));
    Ok(())
}

/// Builds the package and packs it into a tarball.
pub(crate) fn pack(npm: &Path) -> Result<PathBuf> {
    tools::web_packages(npm)?;
    let web = root().join("web");
    let mut build = tools::with_npm(npm, &["run", "--silent", "build:package"]);
    command::run_quietly(build.current_dir(&web))?;
    let package = web.join("dist/package");
    fs::copy(root().join("LICENSE"), package.join("LICENSE"))?;
    let folder = target().join("npm");
    fs::create_dir_all(&folder)?;
    let mut pack = tools::with_npm(npm, &["pack", "--silent", "--pack-destination"]);
    let output = pack.current_dir(&web).arg(&folder).arg("./dist/package").output()?;
    ensure!(
        output.status.success(),
        "npm pack failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let name = String::from_utf8(output.stdout)?;
    let tarball = folder.join(name.trim());
    ensure!(tarball.is_file(), "npm pack made no {}", tarball.display());
    Ok(tarball)
}

/// Installs a tarball as its users do, and returns the package's folder.
pub(crate) fn install(npm: &Path, tarball: &Path) -> Result<PathBuf> {
    let folder = target().join("npm").join("installed");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("package.json"), "{ \"private\": true, \"type\": \"module\" }\n")?;
    let arguments = ["install", "--no-audit", "--no-fund", "--loglevel=error"];
    let mut install = tools::with_npm(npm, &arguments);
    command::run_quietly(install.current_dir(&folder).arg(tarball))?;
    Ok(folder.join("node_modules/@trefoil/llm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_has_the_version_of_the_workspace() {
        let json = fs::read(root().join("web/package.npm.json")).expect("its description");
        let json: serde_json::Value = serde_json::from_slice(&json).expect("is JSON");
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    }
}
