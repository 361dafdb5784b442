//! Builds the components that travel inside the `trefoil` binary.
//!
//! They are guests of this workspace, built by a second `cargo` with its own target directories
//! (the outer one holds the lock of the usual one). Those of the same features share one; the others
//! are built at the same time, because linking a guest takes long and one processor. Core modules
//! become components with `wit-component`; those for `wasm32-wasip2` already are.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use wit_component::ComponentEncoder;

/// One component: how it is built and what it is called.
struct Guest {
    /// Name of the file and, in capitals, of the constant.
    name: &'static str,
    package: &'static str,
    target: &'static str,
    features: &'static str,
}

const CORE: &str = "wasm32-unknown-unknown";
const WASI: &str = "wasm32-wasip2";

const GUESTS: &[Guest] = &[
    Guest {
        name: "engine_cpu",
        package: "trefoil-engine-component",
        target: CORE,
        features: "+simd128",
    },
    Guest {
        name: "engine_cpu_relaxed",
        package: "trefoil-engine-component",
        target: CORE,
        features: "+simd128,+relaxed-simd",
    },
    Guest { name: "solo", package: "trefoil-solo-component", target: CORE, features: "" },
    Guest {
        name: "model_file",
        package: "trefoil-model-file-component",
        target: CORE,
        features: "+simd128",
    },
    Guest {
        name: "model_http",
        package: "trefoil-model-http-component",
        target: CORE,
        features: "+simd128",
    },
    Guest {
        name: "server",
        package: "trefoil-server-component",
        target: CORE,
        features: "+simd128",
    },
    Guest { name: "chat", package: "trefoil-chat-component", target: WASI, features: "+simd128" },
];

/// The crates that guests are made of.
const GUEST_CRATES: &[&str] = &[
    "constraints",
    "contract",
    "decoder",
    "engine",
    "generation",
    "gguf",
    "kernels",
    "openai",
    "remote",
    "settings",
    "tokenizer",
];

fn main() -> Result<()> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = manifest.join("../..").canonicalize()?;
    let out = PathBuf::from(variable("OUT_DIR")?);
    for source in ["wit", "components", "Cargo.lock", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    for name in GUEST_CRATES {
        println!("cargo::rerun-if-changed={}", root.join("crates").join(name).display());
    }

    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for guest in GUESTS {
        groups.entry(guest.features).or_default().push(guest);
    }
    std::thread::scope(|scope| {
        let group = |guests: Vec<&'static Guest>| {
            let (root, out) = (&root, &out);
            scope.spawn(move || guests.into_iter().try_for_each(|guest| build(guest, root, out)))
        };
        let threads: Vec<_> = groups.into_values().map(group).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(built) => built,
            Err(_) => bail!("building a guest has panicked"),
        })
    })?;
    let mut constants = String::new();
    for guest in GUESTS {
        let path = file(guest, &out);
        constants.push_str(&format!(
            "/// The component `{}`.\npub const {}: &[u8] = include_bytes!({:?});\n",
            guest.name.replace('_', "-"),
            guest.name.to_uppercase(),
            path,
        ));
    }
    fs::write(out.join("components.rs"), constants)?;
    Ok(())
}

/// Where a component is written.
fn file(guest: &Guest, out: &Path) -> PathBuf {
    out.join(format!("{}.wasm", guest.name))
}

fn build(guest: &Guest, root: &Path, out: &Path) -> Result<()> {
    let component = component(guest, root, out)?;
    let path = file(guest, out);
    fs::write(&path, component).with_context(|| format!("writing {}", path.display()))
}

fn component(guest: &Guest, root: &Path, out: &Path) -> Result<Vec<u8>> {
    let features = match guest.features {
        "" => "plain".into(),
        features => features.replace(['+', ','], ""),
    };
    // Beside the outer build's folders, so that all its profiles share the guests' builds.
    let target_dir = out
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists())
        .unwrap_or(out)
        .join("guests")
        .join(features);
    // Paths of the building machine stay out of the components: same source, same bytes.
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let mut flags = vec![format!("--remap-path-prefix={}=trefoil", root.display())];
    if let Some(cargo_home) = cargo_home {
        flags.push(format!("--remap-path-prefix={}=cargo", cargo_home.display()));
    }
    if !guest.features.is_empty() {
        flags.push(format!("-Ctarget-feature={}", guest.features));
    }
    let mut command = Command::new(variable("CARGO")?);
    command
        .current_dir(root)
        .args(["build", "--quiet", "--profile", "component", "--locked"])
        .args(["--package", guest.package, "--target", guest.target])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    // What the outer build sets for itself would mislead the inner one.
    for name in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_TARGET_DIR"] {
        command.env_remove(name);
    }
    let output = command.output().context("starting cargo")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let cure = if text.contains("may not be installed") {
            format!("\nrun: rustup target add {} --toolchain 1.95.0", guest.target)
        } else {
            String::new()
        };
        bail!("building {} for {} failed:\n{text}{cure}", guest.package, guest.target);
    }
    let file = match guest.target {
        WASI => format!("{}.wasm", guest.package),
        _ => format!("{}.wasm", guest.package.replace('-', "_")),
    };
    let path = target_dir.join(guest.target).join("component").join(file);
    let module = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    if guest.target == WASI {
        return Ok(module);
    }
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .with_context(|| format!("componentizing {}", path.display()))
}

fn variable(name: &str) -> Result<OsString> {
    env::var_os(name).with_context(|| format!("cargo did not set {name}"))
}
