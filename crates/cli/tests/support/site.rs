//! What `trefoil web` has written.

#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// The manifest of a folder.
pub fn manifest(folder: &Path) -> Value {
    let bytes = fs::read(folder.join("trefoil.json")).expect("a manifest");
    serde_json::from_slice(&bytes).expect("is JSON")
}

/// The bytes of all files below a folder, by their paths.
pub fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let below = tree(&path).into_iter();
            files.extend(below.map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            files.insert(name, fs::read(&path).expect("readable"));
        }
    }
    files
}

/// In lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    trefoil_host::sha256_of_bytes(bytes).to_string()
}
