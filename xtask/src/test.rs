//! Everything that CI checks, in stages.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::tools::Runtimes;
use crate::{command, model, npm, root, target, tools};

/// Crates that test natively, with debug assertions and overflow checks.
const NATIVE: &[&str] = &[
    "trefoil-compose",
    "trefoil-constraints",
    "trefoil-contract",
    "trefoil-decoder",
    "trefoil-engine",
    "trefoil-fixtures",
    "trefoil-fuzz",
    "trefoil-generation",
    "trefoil-gguf",
    "trefoil-hub",
    "trefoil-kernels",
    "trefoil-openai",
    "trefoil-remote",
    "trefoil-server",
    "trefoil-settings",
    "trefoil-tokenizer",
    "xtask",
];

/// Crates whose tests run compositions: built optimised, since they compile and execute models.
const HOSTED: &[&str] = &["trefoil-bundle", "trefoil-host", "trefoil-web", "trefoil"];

/// Instruction sets that the kernels' tests run on, in WebAssembly.
const KERNEL_FEATURES: &[(&str, &str)] = &[
    ("kernels on wasm without SIMD", ""),
    ("kernels on wasm with simd128", "+simd128"),
    ("kernels on wasm with relaxed SIMD", "+simd128,+relaxed-simd"),
];

/// What the stages need and what they leave.
struct Session {
    all: bool,
    smollm2: std::path::PathBuf,
    gemma3: std::path::PathBuf,
    runtimes: Runtimes,
    npm: std::path::PathBuf,
    /// The package `@trefoil/llm`, installed.
    npm_package: std::path::PathBuf,
    chromium: std::path::PathBuf,
    /// Only for what `--all` adds.
    wasmtime_aarch64: Option<std::path::PathBuf>,
    /// Likewise.
    wash: Option<std::path::PathBuf>,
    /// Likewise.
    registry: Option<std::path::PathBuf>,
    /// Likewise.
    firefox: Option<std::path::PathBuf>,
    /// The test runners' own summary lines.
    summaries: Vec<String>,
    times: Vec<(String, Duration, bool)>,
}

/// Runs the stages, all of them or those whose names contain one of the words.
pub(crate) fn run(all: bool, only: &[String]) -> Result<()> {
    let begin = Instant::now();
    println!("==> set-up");
    tools::rust()?;
    if all {
        tools::fuzzer()?;
    }
    let npm = tools::npm()?;
    let runtimes = tools::runtimes(&npm)?;
    let npm_package = npm::install(&npm, &npm::pack(&npm)?)?;
    let mut session = Session {
        all,
        chromium: tools::chromium()?,
        npm_package,
        npm,
        smollm2: model::smollm2()?,
        gemma3: model::gemma3()?,
        wasmtime_aarch64: all.then(|| tools::wasmtime_aarch64(&runtimes.python)).transpose()?,
        wash: all.then(|| tools::wash(&runtimes.python)).transpose()?,
        registry: all.then(tools::registry).transpose()?,
        firefox: all.then(tools::firefox).transpose()?,
        runtimes,
        summaries: Vec::new(),
        times: Vec::new(),
    };
    session.times.push(("set-up".into(), begin.elapsed(), true));

    let mut stages = stages(&session);
    let names: Vec<_> = stages.iter().map(|stage| stage.name.clone()).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|word| name.contains(word));
    stages.retain(|stage| wanted(&stage.name));
    ensure!(!stages.is_empty(), "no stage is called so; there are: {}", names.join(", "));
    for stage in stages {
        session.stage(stage)?;
    }
    session.report()
}

struct Stage {
    name: String,
    command: Command,
}

fn stages(session: &Session) -> Vec<Stage> {
    let mut stages = Vec::new();
    let mut add = |name: &str, command: Command| {
        stages.push(Stage { name: name.to_owned(), command });
    };
    let cargo = |arguments: &[&str]| tools::cargo(&session.npm, arguments);
    let packages = |command: &mut Command, names: &[&str]| {
        for name in names {
            command.args(["--package", name]);
        }
    };

    add("format", cargo(&["fmt", "--all", "--check"]));
    let mut page = tools::with_npm(&session.npm, &["run", "--silent", "check"]);
    page.current_dir(root().join("web"));
    add("page", page);
    let mut native = cargo(&["test", "--locked", "--no-fail-fast"]);
    packages(&mut native, NATIVE);
    session.environment(&mut native);
    add("native", native);

    for (name, features) in KERNEL_FEATURES {
        let mut kernels = cargo(&["test", "--locked", "--release", "--target", "wasm32-wasip1"]);
        kernels.args(["--package", "trefoil-kernels", "--lib", "--tests", "--target-dir"]);
        kernels.arg(target().join("kernels"));
        kernels.env("RUSTFLAGS", format!("-Ctarget-feature={features}"));
        let runner = format!("{} run", session.runtimes.wasmtime.display());
        kernels.env("CARGO_TARGET_WASM32_WASIP1_RUNNER", runner);
        add(name, kernels);
    }

    let mut clippy = cargo(&["clippy", "--locked", "--release", "--workspace", "--all-targets"]);
    clippy.args(["--", "-D", "warnings"]);
    add("clippy", clippy);

    let mut hosted = cargo(&["test", "--locked", "--release", "--no-fail-fast"]);
    packages(&mut hosted, HOSTED);
    if session.all {
        hosted.args(["--features", "trefoil/exhaustive"]);
    }
    session.environment(&mut hosted);
    add("hosted", hosted);

    if session.all {
        add("instructions", cargo(&["xtask", "bench", "--instructions"]));
        for target in fuzz_targets() {
            let mut fuzz = cargo(&["+nightly", "fuzz", "run", "--features", "libfuzzer", &target]);
            fuzz.args(["--", "-max_total_time=60"]);
            add(&format!("fuzz {target}"), fuzz);
        }
    }
    stages
}

/// The names of the fuzz targets, from their files.
fn fuzz_targets() -> Vec<String> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            Path::new(&entry.ok()?.file_name()).file_stem()?.to_str().map(Into::into)
        })
        .collect();
    names.sort();
    names
}

impl Session {
    /// Tells tests where the things are that do not come with a clone.
    fn environment(&self, command: &mut Command) {
        command
            .env("TREFOIL_SMOLLM2", &self.smollm2)
            .env("TREFOIL_GEMMA3", &self.gemma3)
            .env("TREFOIL_PYTHON", &self.runtimes.python)
            .env("TREFOIL_WASMTIME", &self.runtimes.wasmtime)
            .env("TREFOIL_NODE_PACKAGES", &self.runtimes.node_packages)
            .env("TREFOIL_CHROMIUM", &self.chromium)
            .env("TREFOIL_NPM_PACKAGE", &self.npm_package);
        let of_all = [
            ("TREFOIL_WASMTIME_AARCH64", &self.wasmtime_aarch64),
            ("TREFOIL_WASH", &self.wash),
            ("TREFOIL_REGISTRY", &self.registry),
            ("TREFOIL_FIREFOX", &self.firefox),
        ];
        command.envs(of_all.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?))));
    }

    fn stage(&mut self, mut stage: Stage) -> Result<()> {
        println!("\n==> {}: {}", stage.name, command::show(&stage.command));
        let begin = Instant::now();
        let is_summary = |line: &str| line.starts_with("test result:");
        let (passed, summaries) = command::run_and_keep(&mut stage.command, is_summary)?;
        self.summaries.extend(summaries);
        self.times.push((stage.name, begin.elapsed(), passed));
        Ok(())
    }

    fn report(&self) -> Result<()> {
        println!("\n==> stages");
        for (name, time, passed) in &self.times {
            let outcome = if *passed { "passed" } else { "FAILED" };
            println!("{outcome}  {:6.1} min  {name}", time.as_secs_f64() / 60.0);
        }
        println!();
        for summary in &self.summaries {
            println!("{summary}");
        }
        let failed: Vec<_> =
            self.times.iter().filter(|stage| !stage.2).map(|stage| stage.0.as_str()).collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_is_tested_in_a_stage() {
        let metadata = cargo_metadata::MetadataCommand::new()
            .manifest_path(root().join("Cargo.toml"))
            .no_deps()
            .exec()
            .expect("the workspace's metadata");
        let crates = metadata.packages.iter().filter(|package| {
            let path = package.manifest_path.as_str();
            path.starts_with(root().join("crates").to_string_lossy().as_ref())
        });
        let missing: Vec<_> = crates
            .map(|package| package.name.as_str())
            .filter(|name| !NATIVE.contains(name) && !HOSTED.contains(name))
            .collect();
        assert!(missing.is_empty(), "no stage tests {missing:?}");
    }
}
