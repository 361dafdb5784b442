//! A real model.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::*;
use trefoil_compose::{Kind, PackOptions, Parts, Role, compose, inspect, pack};

fn smollm2() -> PathBuf {
    let path = std::env::var_os("TREFOIL_SMOLLM2");
    path.expect("run `cargo xtask test`, which fetches the model and sets TREFOIL_SMOLLM2").into()
}

#[test]
fn smollm2_is_packed_in_seconds_and_found_again_in_the_composition() {
    let folder = Folder::new();
    let (packed, out) = (folder.path("smollm2.wasm"), folder.path("out.wasm"));
    let begin = Instant::now();
    let part = pack(&smollm2(), &packed, &PackOptions::default(), &mut ()).unwrap();
    let packing = begin.elapsed();
    assert!(packing < Duration::from_secs(10), "{packing:?}");
    assert_eq!(part.size, 98_362_432);
    assert_eq!(part.license, "apache-2.0");
    let model = trefoil_compose::Component::from_path(&packed).unwrap();
    compose(&Parts { model: Some(model.into()), ..folder.parts() }, &out, &mut ()).unwrap();
    let inspection = inspect(&out).unwrap();
    assert_eq!(inspection.kind, Kind::Composition);
    let model = inspection.parts.iter().find(|part| part.role == Role::Model).unwrap();
    assert_eq!(model.inspection.files[0].sha256, part.sha256);
    let header = model.inspection.model.as_ref().unwrap();
    assert_eq!(header.parameters, 134_515_008);
    assert_eq!(header.tensors, 272);
}
