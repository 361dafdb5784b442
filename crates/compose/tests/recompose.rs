//! Recomposing.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::PathBuf;

use support::*;
use trefoil_compose::{
    Change, Changes, ComposeError, Parts, Role, cache_key, compose, configuration, recompose,
};
use trefoil_contract::{Setting, Value};

fn composed(folder: &Folder) -> PathBuf {
    let out = folder.path("first.wasm");
    compose(&folder.parts(), &out, &mut ()).unwrap();
    out
}

fn warm() -> trefoil_compose::Component {
    configuration(&[Setting::new("temperature", Value::Number(1.5))]).unwrap()
}

#[test]
fn no_change_gives_the_same_bytes() {
    let folder = Folder::new();
    let (first, second) = (composed(&folder), folder.path("second.wasm"));
    recompose(&first, &Changes::default(), &second, &mut ()).unwrap();
    assert!(fs::read(first).unwrap() == fs::read(second).unwrap());
}

#[test]
fn a_swapped_part_gives_the_bytes_of_composing_anew() {
    let folder = Folder::new();
    let (first, second, third) =
        (composed(&folder), folder.path("second.wasm"), folder.path("third.wasm"));
    let changes = Changes { configuration: Change::Replace(warm()), ..Changes::default() };
    recompose(&first, &changes, &second, &mut ()).unwrap();
    compose(&Parts { configuration: warm(), ..folder.parts() }, &third, &mut ()).unwrap();
    assert!(fs::read(&first).unwrap() != fs::read(&second).unwrap());
    assert!(fs::read(second).unwrap() == fs::read(third).unwrap());
}

#[test]
fn the_app_can_be_dropped_and_added_again() {
    let folder = Folder::new();
    let (first, second, third) =
        (composed(&folder), folder.path("second.wasm"), folder.path("third.wasm"));
    let drop = Changes { app: Change::Remove, ..Changes::default() };
    let record = recompose(&first, &drop, &second, &mut ()).unwrap();
    assert!(record.part(Role::App).is_none());
    assert!(externs(&second).1.contains(&"trefoil:llm/inference@0.1.0".into()));
    let add = Changes { app: Change::Replace(app()), ..Changes::default() };
    recompose(&second, &add, &third, &mut ()).unwrap();
    assert!(fs::read(first).unwrap() == fs::read(third).unwrap());
}

#[test]
fn an_opened_slot_becomes_an_import() {
    let folder = Folder::new();
    let first = composed(&folder);
    for (role, changes) in [
        ("collective", Changes { collective: Change::Remove, ..Changes::default() }),
        ("configuration", Changes { configuration: Change::Remove, ..Changes::default() }),
        ("model", Changes { model: Change::Remove, ..Changes::default() }),
    ] {
        let second = folder.path("second.wasm");
        recompose(&first, &changes, &second, &mut ()).unwrap();
        validate(&fs::read(&second).unwrap());
        let (imports, exports) = externs(&second);
        assert!(imports.contains(&format!("trefoil:llm/{role}@0.1.0")), "{imports:?}");
        let (beside, own) = exports.split_at(exports.len() - 1);
        assert_eq!(own, ["test:app/greet"]);
        // Who provides the collective runs the other instances.
        let worker = beside.contains(&"trefoil:llm/worker@0.1.0".into());
        assert_eq!(worker, role == "collective", "{exports:?}");
    }
}

#[test]
fn a_filled_slot_gives_the_bytes_of_composing_anew() {
    let folder = Folder::new();
    let (first, second, third) =
        (composed(&folder), folder.path("second.wasm"), folder.path("third.wasm"));
    let open = Changes { collective: Change::Remove, ..Changes::default() };
    recompose(&first, &open, &second, &mut ()).unwrap();
    let fill = Changes { collective: Change::Replace(collective()), ..Changes::default() };
    recompose(&second, &fill, &third, &mut ()).unwrap();
    assert!(fs::read(first).unwrap() == fs::read(third).unwrap());
}

#[test]
fn the_engine_cannot_be_removed() {
    let folder = Folder::new();
    let first = composed(&folder);
    let changes = Changes { engine: Change::Remove, ..Changes::default() };
    let error = recompose(&first, &changes, &folder.path("second.wasm"), &mut ()).unwrap_err();
    assert!(matches!(error, ComposeError::Change(_)), "{error}");
}

#[test]
fn an_altered_part_is_refused_and_nothing_is_left() {
    let folder = Folder::new();
    let first = composed(&folder);
    let mut bytes = fs::read(&first).unwrap();
    let record = trefoil_compose::Record::read(&first).unwrap();
    let model = record.part(Role::Model).unwrap();
    // In the weights, so that the structure stays sound.
    bytes[(model.offset + model.length / 2) as usize] ^= 1;
    fs::write(&first, bytes).unwrap();
    let before = folder.names();
    let error =
        recompose(&first, &Changes::default(), &folder.path("second.wasm"), &mut ()).unwrap_err();
    assert!(matches!(&error, ComposeError::DigestMismatch { role: Role::Model, .. }), "{error}");
    assert_eq!(folder.names(), before);
}

#[test]
fn a_file_without_a_record_is_refused() {
    let folder = Folder::new();
    let path = folder.file("app.wasm", &stub(Some(APP), "app"));
    let error = recompose(&path, &Changes::default(), &folder.path("out.wasm"), &mut ());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("has no `trefoil:composition` record"), "{error}");
}

#[test]
fn a_record_that_points_elsewhere_is_refused() {
    let folder = Folder::new();
    let first = composed(&folder);
    let bytes = fs::read(&first).unwrap();
    let record = trefoil_compose::Record::read(&first).unwrap();
    let at = |role| record.part(role).unwrap().offset.to_string();
    let length = |role| record.part(role).unwrap().length.to_string();
    let text = String::from_utf8_lossy(&bytes[bytes.len() - 3000..]).into_owned();
    let json = &text[text.rfind("{\"version\"").unwrap()..];
    let forged = [
        json.replace(&at(Role::Model), "18446744073709551615"),
        json.replace(&at(Role::Model), &at(Role::Engine)),
        json.replace(&length(Role::Engine), "12"),
        json.replace("\"role\":\"engine\"", "\"role\":\"model\""),
        json.replace("\"role\":\"engine\"", "\"role\":\"collective\""),
        json.replace("\"version\":1", "\"version\":2"),
        "{}".into(),
    ];
    for json in forged {
        let mut bytes = bytes.clone();
        let section = wasm_encoder::CustomSection {
            name: "trefoil:composition".into(),
            data: json.as_bytes().into(),
        };
        bytes.push(0);
        wasm_encoder::Encode::encode(&section, &mut bytes);
        let path = folder.file("forged.wasm", &bytes);
        let error = recompose(&path, &Changes::default(), &folder.path("out.wasm"), &mut ());
        assert!(error.is_err(), "{json}");
    }
}

#[test]
fn a_composition_is_not_taken_for_a_part() {
    let folder = Folder::new();
    let first = composed(&folder);
    let engine = trefoil_compose::Component::from_path(&first).unwrap();
    let changes = Changes { engine: Change::Replace(engine), ..Changes::default() };
    let error = recompose(&first, &changes, &folder.path("out.wasm"), &mut ()).unwrap_err();
    assert!(matches!(error, ComposeError::AlreadyComposed { .. }), "{error}");
}

#[test]
fn the_cache_key_follows_the_inputs() {
    let folder = Folder::new();
    let first = composed(&folder);
    let key = |changes: &Changes| cache_key(&first, changes).unwrap();
    let none = key(&Changes::default());
    assert_eq!(none.len(), 64);
    assert_eq!(none, key(&Changes::default()));
    let dropped = key(&Changes { app: Change::Remove, ..Changes::default() });
    let swapped = key(&Changes { app: Change::Replace(app()), ..Changes::default() });
    let warmer = key(&Changes { configuration: Change::Replace(warm()), ..Changes::default() });
    let cold = Change::Replace(configuration(&[]).unwrap());
    let colder = key(&Changes { configuration: cold, ..Changes::default() });
    let keys = [none.clone(), dropped, swapped, warmer, colder];
    for (index, key) in keys.iter().enumerate() {
        assert!(keys[..index].iter().all(|other| other != key));
    }
    // Another file of the same record and length: written later, so the key changes.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let bytes = fs::read(&first).unwrap();
    fs::write(&first, bytes).unwrap();
    assert_ne!(none, key(&Changes::default()));
}
