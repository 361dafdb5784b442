//! Any bytes are refused or understood; none make the reader panic.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::OnceLock;

use proptest::prelude::*;
use support::*;
use trefoil_compose::{Component, PackOptions, Parts, compose, configuration, inspect};

fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let folder = Folder::new();
        let out = folder.path("out.wasm");
        let path = folder.file("m.gguf", &gguf("tiny", 6000));
        let packed = folder.path("m.wasm");
        trefoil_compose::pack(&path, &packed, &PackOptions::default(), &mut ()).unwrap();
        let model = Component::from_path(&packed).unwrap();
        compose(&Parts { model: Some(model.into()), ..folder.parts() }, &out, &mut ()).unwrap();
        vec![
            std::fs::read(packed).unwrap(),
            std::fs::read(out).unwrap(),
            stub(Some(APP), "app"),
            stub(None, "engine-component"),
        ]
    })
}

/// Whatever it says, it returns.
fn read(bytes: &[u8]) -> Option<Component> {
    let folder = Folder::new();
    let path = folder.file("any", bytes);
    let _ = inspect(&path);
    let component = Component::from_bytes(bytes.to_vec(), "any").ok()?;
    assert_eq!(component.size(), bytes.len() as u64);
    Some(component)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn changed_bytes_are_refused_or_understood(
        seed in 0usize..4, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = seeds()[seed].clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // What is still readable can be given as any part without a panic.
        if let Some(component) = read(&bytes) {
            let folder = Folder::new();
            let parts = Parts {
                engine: engine(),
                model: Some(component.clone().into()),
                configuration: configuration(&[]).unwrap(),
                collective: None,
                app: Some(component),
            };
            let _ = compose(&parts, &folder.path("out.wasm"), &mut ());
        }
    }

    #[test]
    fn cut_files_are_refused_or_understood(seed in 0usize..4, at in any::<prop::sample::Index>()) {
        let bytes = &seeds()[seed];
        read(&bytes[..at.index(bytes.len())]);
    }

    #[test]
    fn any_bytes_behind_a_header_are_refused_or_understood(
        component in any::<bool>(), tail in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let mut bytes = if component { b"\0asm\x0d\0\x01\0".to_vec() } else { b"\0asm\x01\0\0\0".to_vec() };
        bytes.extend(tail);
        read(&bytes);
    }

    /// Bytes that nobody changed come out as they went in, whatever surrounds them.
    #[test]
    fn a_part_lies_in_the_composition_byte_for_byte(
        sizes in prop::collection::vec(0usize..20_000, 0..6), name in "[a-z]{0,10}"
    ) {
        let mut module = wasm_encoder::Module::new();
        let mut data = wasm_encoder::DataSection::new();
        for size in &sizes {
            data.passive((0..*size).map(|byte| byte as u8).collect::<Vec<_>>());
        }
        module.section(&data);
        let mut bytes = stub(None, "model-component");
        bytes.push(1);
        wasm_encoder::Encode::encode(module.as_slice(), &mut bytes);
        bytes.push(0);
        let custom = wasm_encoder::CustomSection { name: (&name).into(), data: (&[1, 2, 3][..]).into() };
        wasm_encoder::Encode::encode(&custom, &mut bytes);
        let folder = Folder::new();
        let out = folder.path("out.wasm");
        let parts = Parts {
            engine: engine(),
            model: Some(component(bytes.clone(), "any").into()),
            configuration: configuration(&[]).unwrap(),
            collective: None,
            app: None,
        };
        let record = compose(&parts, &out, &mut ()).unwrap();
        let whole = std::fs::read(&out).unwrap();
        validate(&whole);
        let part = record.part(trefoil_compose::Role::Model).unwrap();
        prop_assert!(whole[part.offset as usize..][..part.length as usize] == bytes);
    }
}

fn message(bytes: &[u8]) -> String {
    Component::from_bytes(bytes.to_vec(), "x").unwrap_err().to_string()
}

#[test]
fn faults_are_named_with_their_place() {
    let component = |tail: &[u8]| [b"\0asm\x0d\0\x01\0", tail].concat();
    let module = |tail: &[u8]| {
        let module = [b"\0asm\x01\0\0\0", tail].concat();
        component(&[&[1, module.len() as u8], module.as_slice()].concat())
    };
    let cases: &[(Vec<u8>, &str)] = &[
        (component(&[7, 100]), "at byte 9: a section of 100 bytes where 0 bytes are left"),
        (component(&[7, 0xff, 0xff, 0xff, 0xff, 0x7f]), "at byte 9: a number exceeds 32 bits"),
        (component(&[7, 0x80, 0x80, 0x80, 0x80, 0x80, 0]), "at byte 9: a number of more than five"),
        (component(&[7]), "at byte 9: it ends in the middle of a number"),
        (component(&[1, 3, 1, 2, 3]), "is not a WebAssembly file"),
        (component(&[0, 1, 9]), "at byte 10: a name of 9 bytes where 0 bytes are left"),
        (b"\0asm\x0e\0\x01\0".to_vec(), "of an unknown version"),
        (module(&[11, 2, 1, 9]), "at byte 22: a data segment of unknown mode 9"),
        (module(&[11, 6, 0xff, 0xff, 0xff, 0x7f, 0, 0]), "data segments; at most 100000 are known"),
        (module(&[11, 4, 1, 1, 9, 0]), "a data segment of 9 bytes where 1 bytes are left"),
        (module(&[11, 3, 0, 1, 2]), "bytes behind the last data segment"),
        (module(&[11, 3, 1, 0, 0x10]), "instruction 0x10 in the offset of a data segment"),
    ];
    for (bytes, expected) in cases {
        let message = message(bytes);
        assert!(message.contains(expected), "{message}\nnot {expected}");
    }
}

#[test]
fn nesting_is_bounded() {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    for _ in 0..100 {
        let mut outer = b"\0asm\x0d\0\x01\0".to_vec();
        outer.push(4);
        wasm_encoder::Encode::encode(bytes.as_slice(), &mut outer);
        bytes = outer;
    }
    assert!(message(&bytes).contains("nested deeper than 32 levels"));
    assert!(read(&bytes).is_none());
}
