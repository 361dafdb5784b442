//! The programs that Trefoil is compared with, built once for each machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cache, command, root};

const LLAMA: &str = "llama-cpp-python==0.3.36";
const CANDLE: &str = "candle-0.11.0";

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) enum Depth {
    Quick,
    /// Without a deep context.
    Short,
    Full,
}

pub(crate) struct Peers {
    python: PathBuf,
    candle: PathBuf,
}

impl Peers {
    /// Builds what is missing, for this machine's processor; minutes the first time.
    pub(crate) fn prepare() -> Result<Peers> {
        let folder = cache()?.join("peers");
        Ok(Peers { python: llama(&folder)?, candle: candle(&folder)? })
    }

    /// llama.cpp, measured by `peers/llama.py`.
    pub(crate) fn llama(&self, model: &Path, threads: &str, depth: Depth) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(root().join("xtask/peers/llama.py")).arg(model).arg(threads);
        command.args(match depth {
            Depth::Quick => &["--tests", "pp128,tg128"],
            Depth::Short => &["--tests", "pp128,pp512,tg128"],
            Depth::Full => &["--tests", "pp128,pp512,tg128,tg128@2048"],
        });
        command
    }

    /// candle, measured by `peers/candle`.
    pub(crate) fn candle(&self, model: &Path, threads: &str) -> Command {
        let mut command = Command::new(&self.candle);
        command.arg(model).arg(threads);
        command
    }
}

/// A Python that has llama.cpp, built where it is missing.
pub(crate) fn python() -> Result<PathBuf> {
    llama(&cache()?.join("peers"))
}

fn llama(folder: &Path) -> Result<PathBuf> {
    let venv = folder.join(LLAMA.replace("==", "-"));
    let python = venv.join("bin").join("python");
    let mut works = Command::new(&python);
    if works.args(["-c", "import llama_cpp"]).output().is_ok_and(|it| it.status.success()) {
        return Ok(python);
    }
    println!("building {LLAMA} (minutes, once)");
    let cmake = Command::new("cmake").arg("--version").output();
    cmake.context("cmake is needed to build llama.cpp; on Debian: apt-get install cmake")?;
    command::run_quietly(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    install.args(["--no-binary", "llama-cpp-python", LLAMA]);
    install.env("CMAKE_ARGS", "-DGGML_NATIVE=ON");
    command::run_quietly(&mut install)?;
    Ok(python)
}

fn candle(folder: &Path) -> Result<PathBuf> {
    let target = folder.join(CANDLE);
    let mut build = Command::new("cargo");
    build
        .current_dir(root().join("xtask/peers/candle"))
        .args(["build", "--locked", "--release", "--quiet"])
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", "-Ctarget-cpu=native");
    command::run_quietly(&mut build)?;
    Ok(target.join("release").join("trefoil-peer-candle"))
}
