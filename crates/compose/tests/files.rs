//! What hosts take out of compositions: the files of models, and core modules one by one.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use support::*;
use trefoil_compose::{
    Component, Model, Models, Outline, PackOptions, PartFile, PartFileError, Parts, ReadAt,
    compose, pack,
};
use wasmparser::{Parser, Payload};

const MIB: usize = 1 << 20;

fn bytes(file: &PartFile) -> Vec<u8> {
    let mut bytes = vec![0; file.size() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn said(files: &[PartFile]) -> Vec<(&str, &str, u64)> {
    let said = files.iter().map(PartFile::part);
    said.map(|part| (part.name.as_str(), part.role.as_str(), part.size)).collect()
}

#[test]
fn files_come_out_of_models_and_compositions_as_they_went_in() {
    let folder = Folder::new();
    let (small, big) = (gguf("small", 1000), gguf("big", 5 * MIB));
    let (first, second) = (folder.file("small.gguf", &small), folder.file("big.gguf", &big));
    let in_shards = PackOptions { shard_bytes: Some(2 << 20), ..PackOptions::default() };
    let big_model = Model::from_gguf(&second, &in_shards, &mut ()).unwrap().models();
    let packed = folder.path("big.wasm");
    pack(&second, &packed, &in_shards, &mut ()).unwrap();
    let small_model = Model::from_gguf(&first, &PackOptions::default(), &mut ()).unwrap().models();
    let expected = [("tiny", "weights", small.len() as u64), ("big", "weights", big.len() as u64)];
    for big_model in [big_model, Component::from_path(&packed).unwrap().into()] {
        let models = small_model.clone().named("tiny").and(big_model);
        let out = folder.path("out.wasm");
        compose(&Parts { model: Some(models.clone()), ..folder.parts() }, &out, &mut ()).unwrap();
        for models in [models, Models::of_composition(&out).unwrap()] {
            let files = models.files().unwrap();
            assert_eq!(said(&files), expected);
            assert!(bytes(&files[0]) == small && bytes(&files[1]) == big);
        }
    }
}

#[test]
fn files_that_a_component_does_not_hold_are_refused_with_the_cure() {
    let folder = Folder::new();
    let foreign = component(stub(None, "model-component"), "mine");
    let error = Models::from(foreign).files().unwrap_err();
    assert!(matches!(error, PartFileError::NotPacked { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("`mine`") && text.contains(".gguf"), "{text}");

    // A part of the file is missing: what it says of its size is no longer true.
    let path = folder.path("m.wasm");
    let _ = folder.model();
    let text = fs::read(&path).unwrap();
    let size = gguf("tiny", 3 << 20).len().to_string();
    let at = text.windows(size.len()).rposition(|window| window == size.as_bytes()).unwrap();
    let mut lie = text.clone();
    lie[at + size.len() - 1] ^= 1;
    let lie = folder.file("lie.wasm", &lie);
    let error = Models::from(Component::from_path(&lie).unwrap()).files().unwrap_err();
    assert!(matches!(error, PartFileError::Damaged { .. }), "{error}");
}

/// The core modules of a component, whole.
fn modules(component: &[u8]) -> Vec<Vec<u8>> {
    let mut modules = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::ModuleSection { unchecked_range: range, .. } = payload.unwrap() {
            modules.push(component[range.start as usize..range.end as usize].to_vec());
        }
    }
    modules
}

fn composition(folder: &Folder) -> std::path::PathBuf {
    let out = folder.path("out.wasm");
    compose(&folder.parts(), &out, &mut ()).unwrap();
    out
}

#[test]
fn an_outline_is_small_and_leads_back_to_every_core_module() {
    let folder = Folder::new();
    let path = composition(&folder);
    let outline = Outline::read(&path).unwrap();
    validate(outline.bytes());
    assert!(outline.bytes().len() < 200 << 10);
    let whole = modules(&fs::read(&path).unwrap());
    let outlined = modules(outline.bytes());
    assert_eq!(whole.len(), outlined.len());
    let out = folder.path("module");
    for (whole, outlined) in whole.iter().zip(&outlined) {
        let module = outline.module(outlined).unwrap();
        assert_eq!(module.size(), whole.len() as u64);
        let sha256 = module.write(&out, &mut ()).unwrap();
        assert!(&fs::read(&out).unwrap() == whole);
        assert_eq!(sha256.len(), 64);
    }
    assert!(outline.module(&whole[0]).is_none());
    assert!(Outline::read(Path::new("absent")).is_err());
}

#[test]
fn without_a_model_the_composition_leaves_its_place_open() {
    let folder = Folder::new();
    let out = folder.path("out.wasm");
    let parts = Parts { model: None, collective: None, app: None, ..folder.parts() };
    compose(&parts, &out, &mut ()).unwrap();
    validate(&fs::read(&out).unwrap());
    let (imports, exports) = externs(&out);
    for name in ["collective", "model"] {
        let name = format!("trefoil:llm/{name}@0.1.0");
        assert!(imports.contains(&name), "{imports:?}");
    }
    assert!(exports.contains(&"trefoil:llm/inference@0.1.0".to_owned()), "{exports:?}");
}
