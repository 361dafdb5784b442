//! Components and model files for the tests, made without a compiler.
#![allow(dead_code, missing_docs, unreachable_pub)] // each test file uses its own share

use std::path::{Path, PathBuf};

use trefoil_compose::{Component, PackOptions, Parts, configuration};
use trefoil_gguf::{TensorType, Writer};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

/// A component of a world of the contract, or of `text`, a package that may use the contract.
/// Its functions trap.
pub fn stub(text: Option<&str>, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let (mut package, _) = resolve.push_dir(&wit).expect("the contract's WIT");
    if let Some(text) = text {
        package = resolve.push_source("test.wit", text).expect("the test's WIT");
    }
    let world = resolve.select_world(&[package], Some(world)).expect("the world");
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, true)
        .expect("metadata");
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .expect("a component")
}

pub const APP: &str = "
    package test:app;
    interface greet { hello: func() -> string; }
    interface host { log: func(text: string); }
    world app {
        import host;
        import trefoil:llm/inference@0.1.0;
        export greet;
    }";

pub fn component(bytes: Vec<u8>, name: &str) -> Component {
    Component::from_bytes(bytes, name).expect("a component")
}
pub fn engine() -> Component {
    component(stub(None, "engine-component"), "cpu")
}
pub fn collective() -> Component {
    component(stub(None, "collective-component"), "solo")
}
pub fn app() -> Component {
    component(stub(Some(APP), "app"), "greeter")
}

/// A small GGUF with one tensor of `elements` bytes.
pub fn gguf(name: &str, elements: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..elements).map(|i| (i * 7 + i / 251) as u8).collect();
    let mut writer = Writer::new();
    writer.value("general.architecture", "llama");
    if !name.is_empty() {
        writer.value("general.name", name);
    }
    writer.value("general.license", "apache-2.0");
    writer.tensor("w", &[elements as u64], TensorType::I8, data);
    writer.to_bytes().expect("a GGUF")
}

/// A folder that goes away with the test, with a model file in it.
pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a folder"))
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    }
    /// Names of the files that are there.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.0.path())
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into())
            .collect();
        names.sort();
        names
    }
    pub fn model(&self) -> Component {
        let path = self.file("m.gguf", &gguf("tiny", 3 << 20));
        let packed = self.path("m.wasm");
        trefoil_compose::pack(&path, &packed, &PackOptions::default(), &mut ()).expect("packs");
        Component::from_path(&packed).expect("a component")
    }
    pub fn parts(&self) -> Parts {
        Parts {
            engine: engine(),
            model: Some(self.model().into()),
            configuration: configuration(&[]).expect("a configuration"),
            collective: Some(collective()),
            app: Some(app()),
        }
    }
}

pub fn validate(bytes: &[u8]) {
    wasmparser::Validator::new().validate_all(bytes).expect("a valid component");
}

/// Names of imports and exports, in order.
pub fn externs(path: &Path) -> (Vec<String>, Vec<String>) {
    let component = Component::from_path(path).expect("a component");
    (component.imports().to_vec(), component.exports().to_vec())
}
