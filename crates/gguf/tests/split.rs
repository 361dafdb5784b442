//! Models in several files.
#![allow(clippy::unwrap_used)]

use trefoil_gguf::{Gguf, Joined, Source, SplitError, SplitName, TensorType, Value, Writer};

/// Tensors of the model, by file.
fn tensors() -> Vec<Vec<(&'static str, Vec<u8>)>> {
    let bytes = |seed: u8, length: usize| (0..length).map(|i| i as u8 ^ seed).collect();
    vec![
        vec![("a", bytes(1, 5)), ("b", bytes(2, 64))],
        vec![],
        vec![("c", bytes(3, 33)), ("d", bytes(4, 1))],
        vec![("e", bytes(5, 100))],
    ]
}

fn file(number: usize, count: usize, total: Option<u32>) -> Vec<u8> {
    let mut writer = Writer::new();
    if number == 0 {
        writer.value("general.architecture", "llama").value("general.name", "Split");
    }
    writer
        .value("split.no", Value::U16(number as u16))
        .value("split.count", Value::U16(count as u16));
    if let Some(total) = total {
        writer.value("split.tensors.count", Value::I32(total as i32));
    }
    for (name, data) in &tensors()[number] {
        writer.tensor(*name, &[data.len() as u64], TensorType::I8, data.clone());
    }
    writer.to_bytes().unwrap()
}

fn files() -> Vec<Vec<u8>> {
    (0..4).map(|number| file(number, 4, Some(5))).collect()
}

#[test]
fn joined_files_read_as_one_model() {
    let joined = Joined::new(files()).unwrap();
    let gguf = Gguf::read(&joined).unwrap();
    let keys: Vec<_> = gguf.metadata.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["general.architecture", "general.name"]);
    let expected: Vec<_> = tensors().into_iter().flatten().collect();
    assert_eq!(gguf.tensors.len(), expected.len());
    for (tensor, (name, data)) in gguf.tensors.iter().zip(expected) {
        assert_eq!(tensor.name, name);
        let mut found = vec![0; data.len()];
        joined.read_at(tensor.offset, &mut found).unwrap();
        assert_eq!(found, data, "{name}");
    }
}

#[test]
fn reads_of_any_length_give_the_same_bytes() {
    let joined = Joined::new(files()).unwrap();
    let size = joined.size() as usize;
    let mut whole = vec![0; size];
    joined.read_at(0, &mut whole).unwrap();
    for length in [1, 7, 32, 63, size - 1] {
        for start in 0..size - length {
            let mut piece = vec![0xee; length];
            joined.read_at(start as u64, &mut piece).unwrap();
            assert_eq!(piece, whole[start..start + length], "{length} bytes at {start}");
        }
    }
    assert!(joined.read_at(joined.size(), &mut [0]).is_err());
}

#[test]
fn files_in_the_wrong_place_are_refused() {
    let mut swapped = files();
    swapped.swap(1, 2);
    let error = Joined::new(swapped).err().unwrap();
    let SplitError::Place { number: 1, count: 4, found: 3, found_count: 4 } = error else {
        panic!("{error}")
    };
    assert_eq!(
        error.to_string(),
        "it says that it is file 3 of 4, but was given as file 2 of 4: download it again, or give \
         it the name that it had"
    );
    let error = Joined::new(files()[..3].to_vec()).err().unwrap();
    assert!(matches!(error, SplitError::Place { number: 0, count: 3, .. }), "{error}");
}

#[test]
fn a_wrong_number_of_tensors_is_refused() {
    let mut files = files();
    files[0] = file(0, 4, Some(6));
    let error = Joined::new(files).err().unwrap();
    assert_eq!(error, SplitError::Tensors { count: 4, found: 5, expected: 6 });
}

#[test]
fn a_damaged_file_is_named_by_its_number() {
    let mut files = files();
    files[2].truncate(20);
    let error = Joined::new(files).err().unwrap();
    assert_eq!(error.number(), 2);
}

#[test]
fn names_are_taken_apart_and_made() {
    let name = SplitName::parse("dir/m-Q4-00002-of-00003.gguf").unwrap();
    assert_eq!(name, SplitName { stem: "dir/m-Q4", number: 2, count: 3 });
    let all: Vec<_> = name.all().collect();
    assert_eq!(
        all,
        [
            "dir/m-Q4-00001-of-00003.gguf",
            "dir/m-Q4-00002-of-00003.gguf",
            "dir/m-Q4-00003-of-00003.gguf"
        ]
    );
    for other in [
        "m.gguf",
        "m-00000-of-00003.gguf",
        "m-00004-of-00003.gguf",
        "m-0001-of-0003.gguf",
        "m-00001-of-00003",
        "-of-.gguf",
        "m-+0001-of-00003.gguf",
        "m-00001-of-99999.gguf",
        "m-00001-of-00003.bin",
        "ä-00001-of-0003.gguf",
        "",
    ] {
        assert_eq!(SplitName::parse(other), None, "{other}");
    }
}
