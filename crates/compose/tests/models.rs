//! Models in shards, and several models in one composition.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use support::*;
use trefoil_compose::{
    Change, Changes, Component, ComposeError, Kind, Models, PackError, PackOptions, Parts, Role,
    SHARD_BYTES_MAX, Shard, compose, inspect, pack, recompose,
};
use wasmparser::{DataKind, Parser, Payload};

const MIB: usize = 1 << 20;

fn in_shards(mebibytes: usize) -> PackOptions {
    PackOptions { shard_bytes: Some((mebibytes * MIB) as u64), ..PackOptions::default() }
}

/// Passive data of a component, in order.
fn passive(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::DataSection(section) = payload.unwrap() {
            let passive = section.into_iter().map(|data| data.unwrap());
            let passive = passive.filter(|data| matches!(data.kind, DataKind::Passive));
            all.extend(passive.flat_map(|data| data.data.to_vec()));
        }
    }
    all
}

/// The parts of a role, as they lie in a file.
fn parts(path: &Path, role: Role) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let record = trefoil_compose::Record::read(path).unwrap();
    let parts = record.parts.iter().filter(|part| part.role == role);
    parts.map(|part| bytes[part.offset as usize..][..part.length as usize].to_vec()).collect()
}

#[test]
fn shards_hold_the_file_and_each_the_beginning_of_the_next() {
    let folder = Folder::new();
    let bytes = gguf("tiny", 5 * MIB);
    let path = folder.file("big.gguf", &bytes);
    let (packed, composed) = (folder.path("shards.wasm"), folder.path("out.wasm"));
    let part = pack(&path, &packed, &in_shards(2), &mut ()).unwrap();
    assert_eq!(part.size, bytes.len() as u64);
    validate(&fs::read(&packed).unwrap());
    let (imports, exports) = externs(&packed);
    assert_eq!((imports.len(), exports.last().unwrap().as_str()), (0, "trefoil:llm/model@0.1.0"));

    // Alone, and taken apart again in a composition.
    let model = Component::from_path(&packed).unwrap();
    assert_eq!(model.kind(), Kind::Model);
    compose(&Parts { model: Some(model.into()), ..folder.parts() }, &composed, &mut ()).unwrap();
    validate(&fs::read(&composed).unwrap());
    for file in [&packed, &composed] {
        let shards = parts(file, Role::Model);
        assert_eq!(shards.len(), 3);
        for (number, shard) in shards.iter().enumerate() {
            let start = number * 2 * MIB;
            let end = (start + 3 * MIB).min(bytes.len());
            assert!(passive(shard) == bytes[start..end], "shard {number}");
        }
        assert_eq!(parts(file, Role::Router).len(), 1);
    }
    assert_eq!(externs(&composed).0, ["test:app/host"]);
}

#[test]
fn a_model_in_shards_is_inspected_as_one() {
    let folder = Folder::new();
    let path = folder.file("big.gguf", &gguf("tiny", 3 * MIB));
    let packed = folder.path("shards.wasm");
    pack(&path, &packed, &in_shards(2), &mut ()).unwrap();
    let inspection = inspect(&packed).unwrap();
    assert_eq!((inspection.kind, inspection.remarks.len()), (Kind::Model, 0));
    assert_eq!(inspection.model_file().unwrap().parameters, 3 << 20);
    let shards: Vec<_> = inspection.parts.iter().filter_map(|part| part.inspection.shard).collect();
    let shard = |Shard { number, count, stride, .. }: &Shard| (*number, *count, *stride);
    let shards: Vec<_> = shards.iter().map(shard).collect();
    assert_eq!(shards, [(0, 2, 2 << 20), (1, 2, 2 << 20)]);
}

#[test]
fn the_same_file_gives_the_same_bytes() {
    let folder = Folder::new();
    let path = folder.file("big.gguf", &gguf("tiny", 3 * MIB));
    let (a, b, c) = (folder.path("a.wasm"), folder.path("b.wasm"), folder.path("c.wasm"));
    pack(&path, &a, &in_shards(1), &mut ()).unwrap();
    let model = trefoil_compose::Model::from_gguf(&path, &in_shards(1), &mut ()).unwrap();
    let packed: Models = Component::from_path(&a).unwrap().into();
    compose(&Parts { model: Some(packed), ..folder.parts() }, &b, &mut ()).unwrap();
    compose(&Parts { model: Some(model.models()), ..folder.parts() }, &c, &mut ()).unwrap();
    assert!(fs::read(b).unwrap() == fs::read(c).unwrap());
}

#[test]
fn recomposing_keeps_exchanges_and_removes_all_models() {
    let folder = Folder::new();
    let path = folder.file("big.gguf", &gguf("tiny", 3 * MIB));
    let (packed, first, second) =
        (folder.path("shards.wasm"), folder.path("first.wasm"), folder.path("second.wasm"));
    pack(&path, &packed, &in_shards(1), &mut ()).unwrap();
    let model: Models = Component::from_path(&packed).unwrap().into();
    let parts = folder.parts();
    compose(&Parts { model: Some(model.clone()), ..folder.parts() }, &first, &mut ()).unwrap();

    let there_and_back = |away: Changes, back: Changes| {
        recompose(&first, &away, &second, &mut ()).unwrap();
        validate(&fs::read(&second).unwrap());
        let third = folder.path("third.wasm");
        recompose(&second, &back, &third, &mut ()).unwrap();
        assert!(fs::read(&first).unwrap() == fs::read(&third).unwrap());
    };
    there_and_back(
        Changes { app: Change::Remove, ..Changes::default() },
        Changes { app: Change::Replace(parts.app.unwrap()), ..Changes::default() },
    );
    there_and_back(
        Changes { model: Change::Replace(parts.model.unwrap()), ..Changes::default() },
        Changes { model: Change::Replace(model.clone()), ..Changes::default() },
    );
    there_and_back(
        Changes { model: Change::Remove, ..Changes::default() },
        Changes { model: Change::Replace(model), ..Changes::default() },
    );
}

#[test]
fn models_of_one_name_are_refused_unless_one_is_renamed() {
    let folder = Folder::new();
    let out = folder.path("out.wasm");
    let model: Models = folder.model().into();
    let both = model.clone().and(model.clone());
    let error = compose(&Parts { model: Some(both), ..folder.parts() }, &out, &mut ()).unwrap_err();
    assert!(matches!(&error, ComposeError::SameName { name } if name == "tiny"), "{error}");
    assert!(!out.exists());
    let both = model.clone().and(model.named("second"));
    compose(&Parts { model: Some(both), ..folder.parts() }, &out, &mut ()).unwrap();
    validate(&fs::read(&out).unwrap());
    assert_eq!(parts(&out, Role::Model).len(), 2);
}

#[test]
fn what_is_no_model_among_several_is_refused_by_name() {
    let folder = Folder::new();
    let model = Models::from(folder.model()).and(engine().into());
    let out = folder.path("out.wasm");
    let error =
        compose(&Parts { model: Some(model), ..folder.parts() }, &out, &mut ()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`--model`") || text.contains("--model, `cpu`"), "{text}");
}

#[test]
fn sizes_of_shards_have_bounds() {
    let folder = Folder::new();
    let path = folder.file("big.gguf", &gguf("tiny", 64));
    for bytes in [0, 1, (1 << 20) - 1, SHARD_BYTES_MAX + 1, u64::MAX] {
        let options = PackOptions { shard_bytes: Some(bytes), ..PackOptions::default() };
        let error = pack(&path, &folder.path("shards.wasm"), &options, &mut ()).unwrap_err();
        assert!(matches!(error, PackError::ShardBytes(_)), "{error}");
    }
    assert_eq!(folder.names(), ["big.gguf"]);
}

#[test]
fn a_shard_that_is_missing_or_foreign_is_noticed() {
    let folder = Folder::new();
    let path = folder.file("big.gguf", &gguf("tiny", 3 * MIB));
    let packed = folder.path("shards.wasm");
    pack(&path, &packed, &in_shards(1), &mut ()).unwrap();
    let bytes = fs::read(&packed).unwrap();
    // The record calls a shard something else: of the same length, so that all else fits.
    let at = |text: &[u8]| bytes.windows(text.len()).rposition(|window| window == text).unwrap();
    let mut damaged = bytes.clone();
    damaged[at(b"\"role\":\"model\"")..][..14].copy_from_slice(b"\"role\":\"types\"");
    let path = folder.file("damaged.wasm", &damaged);
    let model = Component::from_path(&path).unwrap();
    let out = folder.path("out.wasm");
    let parts = Parts { model: Some(model.into()), ..folder.parts() };
    let error = compose(&parts, &out, &mut ()).unwrap_err();
    assert!(error.to_string().contains("damaged.wasm"), "{error}");
    assert!(!out.exists());
}
