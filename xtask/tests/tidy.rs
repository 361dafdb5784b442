//! The layers point one way: checks the dependency edges that ARCHITECTURE.md promises, and what
//! else holds for the tree as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each crate may depend on besides libraries from elsewhere. Development dependencies do
/// not count.
const LAYERS: &[(&str, &[&str])] = &[
    ("trefoil-contract", &[]),
    ("trefoil-gguf", &[]),
    ("trefoil-kernels", &[]),
    ("trefoil-remote", &[]),
    ("trefoil-settings", &["trefoil-contract"]),
    ("trefoil-tokenizer", &["trefoil-gguf"]),
    ("trefoil-constraints", &["trefoil-contract"]),
    (
        "trefoil-generation",
        &["trefoil-constraints", "trefoil-contract", "trefoil-settings", "trefoil-tokenizer"],
    ),
    (
        "trefoil-decoder",
        &["trefoil-contract", "trefoil-generation", "trefoil-gguf", "trefoil-kernels"],
    ),
    (
        "trefoil-engine",
        &[
            "trefoil-contract",
            "trefoil-decoder",
            "trefoil-generation",
            "trefoil-gguf",
            "trefoil-settings",
            "trefoil-tokenizer",
        ],
    ),
    ("trefoil-fixtures", &["trefoil-gguf"]),
    (
        "trefoil-compose",
        // The kernels say how weights lie in memory: `pack --for cpu` stores them so.
        &[
            "trefoil-contract",
            "trefoil-gguf",
            "trefoil-kernels",
            "trefoil-remote",
            "trefoil-settings",
        ],
    ),
    ("trefoil-bundle", &[]),
    ("trefoil-host", &["trefoil-contract"]),
    ("trefoil-hub", &["trefoil-gguf"]),
    ("trefoil-openai", &["trefoil-contract"]),
    ("trefoil-server", &["trefoil-contract", "trefoil-openai"]),
    ("trefoil-web", &["trefoil-compose"]),
    (
        "trefoil",
        &[
            "trefoil-bundle",
            "trefoil-compose",
            "trefoil-contract",
            "trefoil-gguf",
            "trefoil-host",
            "trefoil-hub",
            "trefoil-remote",
            "trefoil-server",
            "trefoil-settings",
            "trefoil-web",
        ],
    ),
    ("trefoil-engine-component", &["trefoil-contract", "trefoil-engine"]),
    ("trefoil-model-file-component", &["trefoil-contract", "trefoil-gguf"]),
    ("trefoil-model-http-component", &["trefoil-contract", "trefoil-remote"]),
    ("trefoil-solo-component", &[]),
    ("trefoil-server-component", &["trefoil-contract", "trefoil-openai"]),
    ("trefoil-chat-component", &["trefoil-contract", "trefoil-settings"]),
    ("trefoil-example-configuration", &[]),
    ("trefoil-example-fingerprint", &[]),
    (
        "trefoil-fuzz",
        // A test in its own right, which is why it may use the fixtures.
        &[
            "trefoil-compose",
            "trefoil-constraints",
            "trefoil-contract",
            "trefoil-decoder",
            "trefoil-fixtures",
            "trefoil-generation",
            "trefoil-gguf",
            "trefoil-hub",
            "trefoil-remote",
            "trefoil-settings",
            "trefoil-tokenizer",
        ],
    ),
    ("xtask", &["trefoil-settings"]),
];

/// Libraries that only one crate may name.
const OWNERS: &[(&str, &[&str])] = &[
    ("wasmtime", &["trefoil-host"]),
    ("wasmtime-wasi", &["trefoil-host"]),
    ("wasmtime-wasi-http", &["trefoil-host"]),
    ("wac-graph", &["trefoil-compose"]),
    ("minijinja", &["trefoil-generation"]),
    ("llguidance", &["trefoil-constraints"]),
    ("indicatif", &["trefoil"]),
    ("ureq", &["trefoil-hub"]),
    ("axum", &["trefoil-server"]),
    ("js-component-bindgen", &["trefoil-web"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Each member of the workspace with the names of what it depends on.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata works in the workspace");
    let normal = |package: &cargo_metadata::Package| {
        package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal)
            .map(|dependency| dependency.name.clone())
            .collect()
    };
    metadata.packages.iter().map(|it| (it.name.to_string(), normal(it))).collect()
}

#[test]
fn crates_depend_only_on_the_layers_below() {
    let dependencies = dependencies();
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let members: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    let listed: BTreeSet<&str> = layers.keys().copied().collect();
    assert_eq!(members, listed, "every member of the workspace has a row in LAYERS");
    for (name, uses) in &dependencies {
        let ours: BTreeSet<&str> =
            uses.iter().map(String::as_str).filter(|it| members.contains(it)).collect();
        let allowed: BTreeSet<&str> = layers[name.as_str()].iter().copied().collect();
        let more: Vec<_> = ours.difference(&allowed).collect();
        assert!(more.is_empty(), "`{name}` must not depend on {more:?}");
        let fewer: Vec<_> = allowed.difference(&ours).collect();
        assert!(fewer.is_empty(), "LAYERS lets `{name}` depend on {fewer:?}, which it does not");
    }
}

#[test]
fn some_libraries_have_one_owner() {
    for (name, uses) in dependencies() {
        for (library, owners) in OWNERS {
            assert!(
                !uses.contains(*library) || owners.contains(&name.as_str()),
                "`{name}` names `{library}`, which belongs to {owners:?}"
            );
        }
    }
}

/// The files that git tracks.
fn tracked() -> Vec<PathBuf> {
    let output = std::process::Command::new("git")
        .current_dir(root())
        .args(["ls-files", "-z"])
        .output()
        .expect("git runs");
    assert!(output.status.success(), "the tests run in a git checkout");
    let names = String::from_utf8(output.stdout).expect("file names are UTF-8");
    names.split_terminator('\0').map(|name| root().join(name)).collect()
}

#[test]
fn no_weights_or_large_files_are_committed() {
    const BYTES_MAX: u64 = 1_000_000;
    for path in tracked() {
        let Ok(metadata) = path.metadata() else { continue };
        assert!(metadata.len() <= BYTES_MAX, "{} has {} bytes", path.display(), metadata.len());
        let extension = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
        // Models of random numbers, which `cargo xtask golden` made.
        let is_generated = path.starts_with(root().join("tests/reference"));
        let forbidden: &[_] =
            if is_generated { &["wasm", "cwasm"] } else { &["gguf", "wasm", "cwasm"] };
        assert!(!forbidden.contains(&extension), "{}", path.display());
    }
}

#[test]
fn every_wit_item_is_documented() {
    let folder = root().join("wit");
    for entry in std::fs::read_dir(folder).expect("wit/ exists") {
        let path = entry.expect("wit/ can be listed").path();
        let text = std::fs::read_to_string(&path).expect("WIT files are text");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (index, line) in lines.iter().enumerate() {
            let is_item =
                ["interface ", "record ", "variant ", "enum ", "flags ", "resource ", "world "]
                    .iter()
                    .any(|word| line.starts_with(word))
                    || line.contains(": func(")
                    || line.contains(": static func(");
            if is_item {
                let before = index.checked_sub(1).map_or("", |before| lines[before]);
                assert!(before.starts_with("///"), "{}:{}: {line}", path.display(), index + 1);
            }
        }
    }
}
