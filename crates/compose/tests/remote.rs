//! Models that are read over HTTP: what the composer writes into the ready-made component.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::ops::ControlFlow;

use support::*;
use trefoil_compose::{
    Component, OutputError, PackError, PartRecord, Parts, compose, configuration, inspect,
    model_over_http,
};
use trefoil_remote::{Manifest, PLACE_BYTES, Url, place};
use wasm_encoder::{ComponentSectionId, Encode};

/// A model component with a place for a manifest (in a custom section: no code reads it here).
fn template() -> Vec<u8> {
    let mut bytes = stub(None, "model-component");
    let mut payload = Vec::new();
    "place".encode(&mut payload);
    payload.extend_from_slice(&place());
    bytes.push(ComponentSectionId::CoreCustom as u8);
    payload.encode(&mut bytes);
    bytes
}

fn url() -> Url {
    Url::parse("https://h/tiny.Q8_0.gguf?download=true").unwrap()
}

fn remote(folder: &Folder, gguf: &[u8]) -> (Component, PartRecord) {
    model_over_http(&template(), &url(), &folder.file("copy.gguf", gguf), &mut ()).unwrap()
}

#[test]
fn the_manifest_describes_the_copy() {
    use sha2::{Digest, Sha256};
    let folder = Folder::new();
    let bytes = gguf("Tiny", 3 << 20);
    let (component, part) = remote(&folder, &bytes);
    let digest: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!((part.size, &part.sha256), (bytes.len() as u64, &digest));
    assert_eq!(part.url.as_deref(), Some("https://h/tiny.Q8_0.gguf?download=true"));

    let path = folder.path("m.wasm");
    component.write(&path, &mut ()).unwrap();
    let written = fs::read(&path).unwrap();
    let at = written.windows(24).position(|window| window == &place()[..24]).unwrap();
    let manifest = Manifest::from_place(&written[at..at + PLACE_BYTES]).unwrap();
    assert_eq!(manifest.url, url());
    assert_eq!(manifest.name, "Tiny");
    assert_eq!(manifest.digests.size, bytes.len() as u64);
    let chunks: Vec<[u8; 32]> =
        bytes.chunks(1 << 20).map(|chunk| Sha256::digest(chunk).into()).collect();
    assert_eq!(manifest.digests.chunks, chunks);
}

#[test]
fn a_model_without_a_name_is_called_as_its_address() {
    let folder = Folder::new();
    let (component, part) = remote(&folder, &gguf("", 10));
    assert_eq!(part.name, "tiny.Q8_0");
    assert_eq!(component.name(), Some("tiny.Q8_0"));
}

#[test]
fn a_composition_tells_address_and_digest() {
    let folder = Folder::new();
    let (model, part) = remote(&folder, &gguf("Tiny", 10));
    let parts = Parts {
        engine: engine(),
        model: Some(model.into()),
        configuration: configuration(&[]).unwrap(),
        collective: Some(collective()),
        app: None,
    };
    let out = folder.path("out.wasm");
    compose(&parts, &out, &mut ()).unwrap();
    let inspection = inspect(&out).unwrap();
    let files: Vec<_> = inspection.parts.iter().flat_map(|it| &it.inspection.files).collect();
    assert_eq!(files, [&part]);
}

#[test]
fn bad_copies_and_templates_are_refused() {
    let folder = Folder::new();
    let refused = |template: &[u8], copy: &str| {
        model_over_http(template, &url(), &folder.path(copy), &mut ()).unwrap_err().to_string()
    };
    folder.file("text", b"hello");
    folder.file("good.gguf", &gguf("Tiny", 10));
    assert!(refused(&template(), "absent").contains("absent"));
    assert!(refused(&template(), "text").contains("not a usable GGUF file"));
    assert!(refused(&stub(None, "model-component"), "good.gguf").contains("0 places"));
    let mut cancel = |_, _| ControlFlow::Break(());
    let cancelled = model_over_http(&template(), &url(), &folder.path("good.gguf"), &mut cancel);
    assert!(matches!(cancelled, Err(PackError::Output(OutputError::Cancelled))));
}
