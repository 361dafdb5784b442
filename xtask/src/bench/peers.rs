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
    /// llama.cpp's server, with all of its defaults.
    pub(crate) llama_server: PathBuf,
}

impl Peers {
    /// Builds what is missing, for this machine's processor; minutes the first time.
    pub(crate) fn prepare() -> Result<Peers> {
        let folder = cache()?.join("peers");
        let python = llama(&folder)?;
        let llama_server = llama_server(&folder, &python)?;
        Ok(Peers { python, candle: candle(&folder)?, llama_server })
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

/// Built from the source inside the package that the library comes from.
fn llama_server(folder: &Path, python: &Path) -> Result<PathBuf> {
    let folder = folder.join(LLAMA.replace("==", "-") + "-server");
    let server = folder.join("llama-server");
    if server.exists() {
        return Ok(server);
    }
    println!("building the server of {LLAMA} (minutes, once)");
    let work = folder.join("work");
    std::fs::create_dir_all(&work)?;
    let mut download = Command::new(python);
    download.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"]);
    download.args(["--no-deps", "--no-binary", "llama-cpp-python", LLAMA, "--dest"]).arg(&work);
    command::run_quietly(&mut download)?;
    let name = LLAMA.replace("==", "-").replace("llama-cpp-python", "llama_cpp_python");
    let archive = work.join(format!("{name}.tar.gz"));
    command::run_quietly(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&work))?;
    let (source, build) = (work.join(name).join("vendor/llama.cpp"), work.join("build"));
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(source).arg("-B").arg(&build);
    configure.args(["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF"]);
    // No page, no encryption: nothing is fetched, and no library is needed.
    configure.args(["-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF"]);
    configure.args(["-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF"]);
    command::run_quietly(&mut configure)?;
    let mut make = Command::new("cmake");
    let jobs = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    make.arg("--build").arg(&build).args(["--target", "llama-server", "--parallel", &jobs]);
    command::run_quietly(&mut make)?;
    std::fs::rename(build.join("bin").join("llama-server"), &server)?;
    std::fs::remove_dir_all(work)?;
    Ok(server)
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
