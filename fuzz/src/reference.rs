use std::collections::BTreeSet;
use std::path::{Component, Path};

use trefoil_gguf::SPLIT_FILES_MAX;
use trefoil_hub::fuzzing::{self, Offered};
use trefoil_hub::{Address, Pick, Reference, can_be_pulled, entry};

/// Longest name of a file, in bytes, that all usual file systems take.
const NAME_BYTES_MAX: usize = 255;

/// Longest error, in bytes: one may list 20 paths of eight names.
const ERROR_BYTES_MAX: usize = 20 * 8 * (NAME_BYTES_MAX + 10);

/// Names of models, and what hubs, registries and the cache say of them. Every line is read as a
/// name and as headers; the whole, and all below the first line, as a document. Nothing leads out
/// of the cache or to another server.
pub fn reference(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let references: Vec<Reference> = text.lines().filter_map(name).collect();
    for (one, other) in references.iter().zip(references.iter().skip(1)) {
        if fuzzing::folder(one) == fuzzing::folder(other) {
            assert_eq!(model(one), model(other), "one folder for two models");
        }
    }
    text.lines().for_each(header);
    let pick = references.first().map_or(Pick::Usual, |it| match it {
        Reference::HuggingFace { pick, .. } => pick.clone(),
        _ => Pick::Usual,
    });
    document(data, &pick);
    if let Some(end) = data.iter().position(|byte| *byte == b'\n') {
        document(&data[end + 1..], &pick);
    }
}

/// What users write.
fn name(text: &str) -> Option<Reference> {
    let catalogued = entry(text).map(|entry| entry.reference());
    let reference = match Reference::parse(text) {
        Ok(reference) => catalogued.or(reference),
        Err(error) => {
            assert!(error.to_string().len() <= ERROR_BYTES_MAX, "{error}");
            None
        }
    };
    assert_eq!(can_be_pulled(text), reference.is_some());
    let reference = reference?;
    for reference in [&reference, &fuzzing::first(&reference)] {
        let printed = reference.to_string();
        let again = Reference::parse(&printed);
        match reference {
            // Shown without its query, which may be secret.
            Reference::Web(address) => {
                let full = Address::parse(&fuzzing::full(address));
                assert_eq!(full.as_ref(), Ok(address));
                assert_eq!(again.map(|it| it.map(|it| it.to_string())), Ok(Some(printed)));
            }
            _ => assert_eq!(again.as_ref(), Ok(&Some(reference.clone())), "{printed}"),
        }
        let folder = fuzzing::folder(reference);
        is_inside(&folder);
        assert!(folder.components().count() >= 3, "{folder:?} would hold the folders of others");
        assert_eq!(fuzzing::first(&fuzzing::first(reference)), fuzzing::first(reference));
    }
    if let Reference::Web(address) = &reference {
        match fuzzing::of_address(address) {
            Ok(files) => are_named_files(&files, address.host()),
            Err(problem) => assert!(problem.len() <= 2 * text.len() + ERROR_BYTES_MAX),
        }
    }
    Some(reference)
}

/// What a reference says of its model, apart from the file of it.
fn model(reference: &Reference) -> String {
    match reference.clone() {
        Reference::HuggingFace { owner, repository, revision, .. } => {
            let pick = Pick::Usual;
            Reference::HuggingFace { owner, repository, revision, pick }.to_string()
        }
        Reference::Web(address) => fuzzing::full(&address),
        oci => oci.to_string(),
    }
}

/// What a server says of an answer.
fn header(text: &str) {
    if let Some((first, last, size)) = fuzzing::content_range(text) {
        assert!(first <= last && last < size, "{text}");
    }
    match fuzzing::of_challenge(text) {
        Some(Ok(address)) => is_sendable(&fuzzing::full(&address), address.host()),
        Some(Err(error)) => assert!(error.to_string().len() <= text.len() + ERROR_BYTES_MAX),
        None => {}
    }
}

/// What a server answers, and what lies in the cache.
fn document(data: &[u8], pick: &Pick) {
    let hub = Address::parse("https://hub.example").expect("is an address");
    match fuzzing::of_repository(data, &hub, pick) {
        Ok(files) => are_named_files(&files, "hub.example"),
        Err(error) => assert!(error.to_string().len() <= ERROR_BYTES_MAX, "{error}"),
    }
    match fuzzing::of_manifest(data, "registry.example:5000") {
        Ok(files) => are_files(&files.unwrap_or_default(), "registry.example"),
        Err(error) => assert!(error.to_string().len() <= ERROR_BYTES_MAX, "{error}"),
    }
    if let Some(token) = fuzzing::token(data) {
        assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if let Some(names) = std::str::from_utf8(data).ok().and_then(fuzzing::recorded) {
        assert!(!names.is_empty());
        names.iter().for_each(|name| is_inside(Path::new(name)));
    }
}

/// What may be downloaded: bounded, inside the model's folder, of one server, no place twice.
fn are_files(files: &[Offered], host: &str) {
    assert!(files.len() <= SPLIT_FILES_MAX as usize);
    for file in files {
        is_inside(Path::new(&file.name));
        assert!(file.name.to_ascii_lowercase().ends_with(".gguf"), "{file:?}");
        is_sendable(&file.address, host);
    }
    let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names.len(), files.len(), "{files:?}");
}

/// Files that have names of their own where they come from.
fn are_named_files(files: &[Offered], host: &str) {
    are_files(files, host);
    let addresses: BTreeSet<&str> = files.iter().map(|file| file.address.as_str()).collect();
    assert_eq!(addresses.len(), files.len(), "{files:?}");
}

/// An address that goes into a request must be one line of it, and stay with its server.
fn is_sendable(address: &str, host: &str) {
    assert!(!address.contains(|c: char| c.is_control() || c == ' '), "{address:?}");
    let parsed = Address::parse(address).expect("it was one");
    assert_eq!(parsed.host(), host, "{address}");
}

/// A path that means the same below every folder, and that file systems take.
fn is_inside(path: &Path) {
    for component in path.components() {
        let Component::Normal(name) = component else { panic!("{path:?}") };
        let name = name.to_str().expect("is text");
        assert!(name.len() <= NAME_BYTES_MAX, "{path:?}");
        assert!(!name.contains(['\\', ':', '/', '\0']) && !name.starts_with('.'), "{path:?}");
        assert!(!name.contains(char::is_control), "{path:?}");
    }
}
