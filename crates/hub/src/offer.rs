//! What a reference offers for download.

use crate::address::{Address, decode_path};
use crate::digest::Digest;
use crate::oci::Challenge;
use crate::reference::is_file_name;
use trefoil_gguf::SplitName;

/// The files of a model, as its source describes them.
#[derive(Debug)]
pub(crate) struct Offer {
    /// In the order of the split; one in most cases.
    pub(crate) files: Vec<RemoteFile>,
    /// The commit or manifest that was found.
    pub(crate) revision: Option<String>,
    /// As the source names it.
    pub(crate) license: Option<String>,
}

/// A file to download.
#[derive(Debug, Clone)]
pub(crate) struct RemoteFile {
    /// Its path in the model's folder: valid by [`crate::reference::is_gguf_path`].
    pub(crate) name: String,
    pub(crate) address: Address,
    /// In bytes, if the source says so.
    pub(crate) size: Option<u64>,
    /// If the source says so.
    pub(crate) sha256: Option<Digest>,
    /// For the origin of the address.
    pub(crate) bearer: Option<String>,
    /// How a bearer token that has expired is replaced.
    pub(crate) challenge: Option<Challenge>,
}

impl RemoteFile {
    pub(crate) fn new(name: String, address: Address) -> Self {
        RemoteFile { name, address, size: None, sha256: None, bearer: None, challenge: None }
    }
}

/// The files that an address stands for: all of them if the name is that of a split model.
///
/// # Errors
/// A text for people.
pub(crate) fn of_address(address: &Address) -> Result<Vec<RemoteFile>, String> {
    let last = address.path().rsplit('/').next().unwrap_or_default();
    let name = decode_path(last).filter(|name| is_file_name(name));
    // Download links without a name in them exist.
    let name = match name {
        Some(name) if name.to_ascii_lowercase().ends_with(".gguf") => name,
        _ => return Ok(vec![RemoteFile::new("model.gguf".into(), address.clone())]),
    };
    let Some(split) = SplitName::parse(&name) else {
        return Ok(vec![RemoteFile::new(name, address.clone())]);
    };
    let end = end(&name);
    let of_name = |other: String| {
        let address = address.with_end(end, self::end(&other))?;
        Some(RemoteFile::new(other, address))
    };
    let files: Option<Vec<_>> = split.all().map(of_name).collect();
    files.ok_or_else(|| format!("`{address}` is one of several files; the others have no address"))
}

/// What differs between the names of the files of a split model.
fn end(name: &str) -> &str {
    &name[name.len() - "-00001-of-00003.gguf".len()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(String, String)> {
        let files = of_address(&Address::parse(text).expect("valid")).expect("usable");
        files.into_iter().map(|file| (file.name, file.address.full())).collect()
    }

    #[test]
    fn the_name_is_the_last_piece_of_the_path() {
        let name = |text| names(text).remove(0).0;
        assert_eq!(name("https://h/a/m%20x.gguf?y=/z.gguf"), "m x.gguf");
        for text in
            ["https://h/", "https://h/get?m.gguf", "https://h/..%2Fm.gguf", "https://h/a.zip"]
        {
            assert_eq!(name(text), "model.gguf", "{text}");
        }
    }

    #[test]
    fn a_split_model_is_all_of_its_files() {
        let files = names("https://h/m-00002-of-00002.gguf?t=1");
        assert_eq!(
            files,
            [
                ("m-00001-of-00002.gguf".into(), "https://h/m-00001-of-00002.gguf?t=1".into()),
                ("m-00002-of-00002.gguf".into(), "https://h/m-00002-of-00002.gguf?t=1".into()),
            ] as [(String, String); 2]
        );
        // The name may stand in the query as well, and in itself.
        let twice =
            "https://h/a-00001-of-00002-00001-of-00002.gguf?x=a-00001-of-00002-00001-of-00002.gguf";
        assert_eq!(
            names(twice)[1].1,
            "https://h/a-00001-of-00002-00002-of-00002.gguf?x=a-00001-of-00002-00001-of-00002.gguf"
        );
        let encoded = Address::parse("https://h/m%2D00001-of-00002.gguf").expect("valid");
        let error = of_address(&encoded).expect_err("it cannot be changed");
        assert!(error.contains("no address"), "{error}");
    }
}
