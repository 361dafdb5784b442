//! Packing.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::ops::ControlFlow;

use support::*;
use trefoil_compose::{OutputError, PackError, PackOptions, pack};
use trefoil_fixtures::{TinyLlama, split_gguf, tiny_llama};
use wasmparser::{DataKind, Parser, Payload};

/// Passive data of all core modules, in order.
fn passive(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::DataSection(section) = payload.unwrap() {
            for data in section {
                let data = data.unwrap();
                if matches!(data.kind, DataKind::Passive) {
                    segments.push(data.data.to_vec());
                }
            }
        }
    }
    segments
}

#[test]
fn the_segments_are_the_file() {
    let folder = Folder::new();
    // Below one segment, exactly on a border, and above 64 segments (a second table).
    let header = gguf("tiny", 0).len();
    for elements in [1, 100, (1 << 20) - header, (1 << 20) - header + 1, 66 << 20] {
        let bytes = gguf("tiny", elements);
        let path = folder.file("m.gguf", &bytes);
        let out = folder.path("m.wasm");
        let part = pack(&path, &out, &PackOptions::default(), &mut ()).unwrap();
        assert_eq!(part.size, bytes.len() as u64);
        let packed = fs::read(&out).unwrap();
        validate(&packed);
        let segments = passive(&packed);
        assert_eq!(segments.len(), bytes.len().div_ceil(1 << 20));
        assert!(segments[..segments.len() - 1].iter().all(|data| data.len() == 1 << 20));
        assert!(segments.concat() == bytes);
        let (imports, exports) = externs(&out);
        assert_eq!(imports, ["trefoil:llm/types@0.1.0"]);
        assert_eq!(exports, ["trefoil:llm/model@0.1.0"]);
    }
}

#[test]
fn the_part_says_what_the_file_says() {
    use sha2::{Digest, Sha256};
    let folder = Folder::new();
    let bytes = gguf("Tiny Model", 10);
    let digest: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    let path = folder.file("m.gguf", &bytes);
    let out = folder.path("m.wasm");
    let part = pack(&path, &out, &PackOptions::default(), &mut ()).unwrap();
    assert_eq!(part.name, "Tiny Model");
    assert_eq!(part.format, "gguf");
    assert_eq!(part.license, "apache-2.0");
    assert_eq!(part.sha256, digest);
    let packed = fs::read(&out).unwrap();
    let occurs = |text: &str| packed.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(occurs("Tiny Model") && occurs(&digest) && occurs("apache-2.0"));
}

#[test]
fn a_model_without_a_name_is_called_as_its_file() {
    let folder = Folder::new();
    let path = folder.file("my-model.Q4.gguf", &gguf("", 10));
    assert_eq!(
        pack(&path, &folder.path("m.wasm"), &PackOptions::default(), &mut ()).unwrap().name,
        "my-model.Q4"
    );
}

#[test]
fn the_same_file_gives_the_same_bytes() {
    let folder = Folder::new();
    let path = folder.file("m.gguf", &gguf("tiny", 5000));
    pack(&path, &folder.path("a.wasm"), &PackOptions::default(), &mut ()).unwrap();
    pack(&path, &folder.path("b.wasm"), &PackOptions::default(), &mut ()).unwrap();
    assert!(fs::read(folder.path("a.wasm")).unwrap() == fs::read(folder.path("b.wasm")).unwrap());
}

#[test]
fn a_file_too_large_is_refused_by_name() {
    let folder = Folder::new();
    let path = folder.file("huge.gguf", &gguf("tiny", 64));
    // Sparse: takes no space.
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4 << 30).unwrap();
    let error = pack(&path, &folder.path("m.wasm"), &PackOptions::default(), &mut ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("huge.gguf") && error.contains("file:PATH"), "{error}");
}

#[test]
fn a_model_in_several_files_is_packed_as_one() {
    let folder = Folder::new();
    let whole = tiny_llama(&TinyLlama::default());
    for (number, file) in (1..).zip(split_gguf(&whole, 3)) {
        folder.file(&format!("m-0000{number}-of-00003.gguf"), &file);
    }
    let out = folder.path("m.wasm");
    let part = pack(&folder.path("m-00001-of-00003.gguf"), &out, &PackOptions::default(), &mut ());
    assert_eq!(part.unwrap().name, "Tiny Llama");
    let packed = passive(&fs::read(&out).unwrap()).concat();
    // The tiny model has no keys or gaps that the joined file would not have.
    assert!(packed == whole);
}

#[test]
fn what_is_no_gguf_is_refused_by_name() {
    let folder = Folder::new();
    let path = folder.file("notes.txt", b"not a model");
    let error = pack(&path, &folder.path("m.wasm"), &PackOptions::default(), &mut ()).unwrap_err();
    assert!(matches!(error, PackError::Gguf { .. }), "{error}");
    assert!(error.to_string().contains("notes.txt"), "{error}");
    assert_eq!(folder.names(), ["notes.txt"]);
}

#[test]
fn progress_reaches_the_end_and_cancelling_leaves_nothing() {
    let folder = Folder::new();
    let bytes = gguf("tiny", 5 << 20);
    let path = folder.file("m.gguf", &bytes);
    let mut calls = Vec::new();
    pack(&path, &folder.path("m.wasm"), &PackOptions::default(), &mut |done: u64, total: u64| {
        calls.push((done, total));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(calls.iter().all(|(done, total)| done <= total));
    // Once for the digest, once for the result.
    let size = fs::metadata(folder.path("m.wasm")).unwrap().len();
    assert!(calls.contains(&(bytes.len() as u64, bytes.len() as u64)));
    assert_eq!(calls.last(), Some(&(size, size)));

    for stop_at in 0..calls.len() {
        let mut count = 0;
        let error =
            pack(&path, &folder.path("n.wasm"), &PackOptions::default(), &mut |_: u64, _: u64| {
                count += 1;
                if count > stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        let error = error.unwrap_err();
        assert!(matches!(error, PackError::Output(OutputError::Cancelled)), "{error}");
        assert_eq!(folder.names(), ["m.gguf", "m.wasm"]);
    }
}

#[cfg(unix)]
#[test]
fn the_result_can_be_read_by_others() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.file("m.gguf", &gguf("tiny", 64));
    pack(&path, &folder.path("m.wasm"), &PackOptions::default(), &mut ()).unwrap();
    let mode = |name| fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("m.wasm"), mode("m.gguf"), "as any other new file");
}

#[test]
fn configuration_errors_name_file_and_line() {
    let folder = Folder::new();
    let path = folder.file("trefoil.toml", b"top-k = 3\ntemperatur = 1\n");
    let error = trefoil_compose::settings_from_toml(&path).unwrap_err().to_string();
    assert!(error.contains("trefoil.toml`: line 2: ") && error.contains("temperatur"), "{error}");
}
