//! Inspecting.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use support::*;
use trefoil_compose::{
    InspectError, Kind, NestedKind, Parts, Role, compose, configuration, inspect,
};
use trefoil_gguf::{Array, Strings, TensorType, Value, Writer};

#[test]
fn every_kind_of_file_is_told() {
    let folder = Folder::new();
    let types = stub(None, "types-component");
    let other = stub(Some("package test:app; world app { import host: func(); }"), "app");
    let cases = [
        (gguf("tiny", 10), Kind::Gguf),
        (b"\0asm\x01\0\0\0".to_vec(), Kind::CoreModule),
        (stub(None, "model-component"), Kind::Model),
        (stub(None, "configuration-component"), Kind::Configuration),
        (stub(None, "engine-component"), Kind::Engine),
        (stub(None, "collective-component"), Kind::Collective),
        (stub(Some(APP), "app"), Kind::App),
        (types, Kind::Types),
        (other, Kind::Other),
    ];
    for (bytes, kind) in cases {
        let path = folder.file("file", &bytes);
        let inspection = inspect(&path).unwrap();
        assert_eq!(inspection.kind, kind);
        assert_eq!(inspection.size, bytes.len() as u64);
        assert_eq!(inspection.remarks, Vec::<String>::new());
    }
    let path = folder.file("file", b"something else");
    assert!(matches!(inspect(&path), Err(InspectError::Unknown { .. })));
    let path = folder.file("file", b"");
    assert!(matches!(inspect(&path), Err(InspectError::Unknown { .. })));
}

#[test]
fn a_composition_is_shown_with_its_parts() {
    let folder = Folder::new();
    let out = folder.path("out.wasm");
    let record = compose(&folder.parts(), &out, &mut ()).unwrap();
    let inspection = inspect(&out).unwrap();
    assert_eq!(inspection.kind, Kind::Composition);
    assert_eq!(inspection.imports, ["test:app/host"]);
    assert_eq!(inspection.exports, ["test:app/greet"]);
    assert_eq!(inspection.tool, Some(record.tool.clone()));
    let kinds: Vec<_> = inspection.parts.iter().map(|part| part.inspection.kind).collect();
    let expected =
        [Kind::Types, Kind::Collective, Kind::Configuration, Kind::Model, Kind::Engine, Kind::App];
    assert_eq!(kinds, expected);
    for (part, recorded) in inspection.parts.iter().zip(&record.parts) {
        assert_eq!((part.role, part.offset), (recorded.role, recorded.offset));
        assert_eq!(part.sha256, recorded.sha256);
        assert_eq!(part.inspection.size, recorded.length);
        assert_eq!(part.inspection.name.as_deref(), Some(recorded.name.as_str()));
    }
    // The model's header is read through the composition.
    let model = inspection.parts.iter().find(|part| part.role == Role::Model).unwrap();
    assert_eq!(model.inspection.model.as_ref().unwrap().parameters, 3 << 20);
    assert_eq!(model.inspection.files[0].name, "tiny");
    let module = &model.inspection.contents[0];
    assert_eq!(module.kind, NestedKind::CoreModule);
    assert!(module.data_bytes > 3 << 20);
    // And it can be written as JSON.
    assert!(serde_json::to_string(&inspection).unwrap().contains("\"role\":\"model\""));
}

#[test]
fn a_damaged_record_does_not_hide_the_rest() {
    let folder = Folder::new();
    let out = folder.path("out.wasm");
    compose(&Parts { app: None, ..folder.parts() }, &out, &mut ()).unwrap();
    let mut bytes = fs::read(&out).unwrap();
    let end = bytes.len();
    bytes[end - 1] = b'x';
    let inspection = inspect(&folder.file("broken.wasm", &bytes)).unwrap();
    assert_eq!(inspection.kind, Kind::Composition);
    assert_eq!(inspection.remarks.len(), 1);
    assert!(!inspection.contents.is_empty());
}

#[test]
fn a_model_file_is_summed_up_and_long_lists_are_abbreviated() {
    let mut writer = Writer::new();
    let mut tokens = Strings::default();
    for token in 0..1000 {
        assert!(tokens.push(format!("t{token}").as_bytes()));
    }
    writer.value("general.architecture", "llama");
    writer.value("tokens", Value::Array(Array::String(tokens)));
    writer.value("short", Value::Array(Array::U32(vec![1, 2])));
    writer.value("huge", Value::U64(u64::MAX));
    writer.value("infinite", Value::F32(f32::INFINITY));
    writer.tensor("a", &[32, 3], TensorType::Q8_0, vec![0; 3 * 34]);
    writer.tensor("b", &[32], TensorType::F32, vec![0; 128]);
    let folder = Folder::new();
    let path = folder.file("m.gguf", &writer.to_bytes().unwrap());
    let model = inspect(&path).unwrap().model.unwrap();
    assert_eq!((model.tensors, model.parameters), (2, 128));
    let types: Vec<_> = model
        .tensor_types
        .iter()
        .map(|share| (share.tensor_type, share.tensors, share.elements, share.bytes))
        .collect();
    assert_eq!(types, [("F32", 1, 32, 128), ("Q8_0", 1, 96, 102)]);
    assert_eq!(model.tensor_types[1].share_of_elements, 0.75);
    let value = |key: &str| {
        let entry = model.metadata.iter().find(|entry| entry.key == key);
        entry.unwrap().value.to_string()
    };
    assert_eq!(value("general.architecture"), "\"llama\"");
    // The order of keys depends on which crates are built with this one.
    let tokens: serde_json::Value = serde_json::from_str(&value("tokens")).unwrap();
    let first: Vec<_> = (0..8).map(|number| format!("t{number}")).collect();
    assert_eq!(tokens, serde_json::json!({ "first": first, "length": 1000 }));
    assert_eq!(value("short"), "[1,2]");
    assert_eq!(value("huge"), u64::MAX.to_string());
    assert_eq!(value("infinite"), "\"inf\"");
}

#[test]
fn a_configuration_of_ours_is_one() {
    let folder = Folder::new();
    let path = folder.path("c.wasm");
    configuration(&[]).unwrap().write(&path, &mut ()).unwrap();
    validate(&fs::read(&path).unwrap());
    assert_eq!(inspect(&path).unwrap().kind, Kind::Configuration);
}
