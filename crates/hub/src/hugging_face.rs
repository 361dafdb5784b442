//! Repositories of Hugging Face, and of hubs that speak its protocol.
//!
//! The protocol: <https://huggingface.co/docs/hub/api>, and `HfApi.model_info` of
//! `huggingface_hub`, which asks with `blobs=true` for sizes and digests.

use serde::Deserialize;

use crate::address::{Address, encode_path};
use crate::client::{Client, Request, printable};
use crate::digest::Digest;
use crate::failure::{ClientError, PullError};
use crate::offer::{Offer, RemoteFile};
use crate::progress::{Event, Progress};
use crate::reference::{Pick, is_gguf_path};
use trefoil_gguf::SplitName;

/// Quantisations in the order in which one is taken where none is asked for: the smallest of good
/// quality first.
pub const QUANTISATIONS: &[&str] =
    &["Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "Q5_K_M", "Q5_K_S", "Q6_K", "Q8_0", "F16", "BF16", "F32"];

/// Most files that an error lists.
const LISTED_MAX: usize = 20;

/// Where the hub is.
pub(crate) struct Endpoint<'a> {
    pub(crate) address: &'a Address,
    pub(crate) token: Option<&'a str>,
}

/// A repository at a revision.
pub(crate) struct Repository<'a> {
    pub(crate) owner: &'a str,
    pub(crate) name: &'a str,
    pub(crate) revision: Option<&'a str>,
}

#[derive(Deserialize)]
struct Info {
    /// The commit.
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Endpoint<'_> {
    pub(crate) fn offer(
        &self,
        client: &Client,
        repository: &Repository<'_>,
        pick: &Pick,
        progress: &mut dyn Progress,
    ) -> Result<Offer, PullError> {
        let Repository { owner, name, revision } = repository;
        let revision_path = revision.map(|it| format!("/revision/{it}")).unwrap_or_default();
        let path = format!("/api/models/{owner}/{name}{revision_path}?blobs=true");
        let address = self.at(&path)?;
        progress.event(Event::Asking { host: address.host() });
        let mut request = Request::document(&address);
        request.bearer = self.token;
        let (response, document) = client.document(&request, progress)?;
        if response.status() != 200 {
            return Err(response.refusal(&document).into());
        }
        self.read(&document, repository, pick, &address)
    }

    /// What a repository offers, from the answer of the address that was asked.
    pub(crate) fn read(
        &self,
        document: &[u8],
        repository: &Repository<'_>,
        pick: &Pick,
        asked: &Address,
    ) -> Result<Offer, PullError> {
        let Repository { owner, name, revision } = repository;
        let malformed = |problem| ClientError::Malformed { address: asked.clone(), problem };
        let info: Info =
            serde_json::from_slice(document).map_err(|error| malformed(error.to_string()))?;
        // The commit goes into addresses; what is none is not used.
        let is_commit =
            |text: &String| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let commit = info.sha.filter(is_commit);
        let at = commit.as_deref().or(*revision).unwrap_or("main");

        let files: Vec<&Sibling> =
            info.siblings.iter().filter(|it| is_gguf_path(&it.rfilename)).collect();
        let names: Vec<&str> = files.iter().map(|it| it.rfilename.as_str()).collect();
        let chosen = choose(&names, pick)
            .map_err(|problem| PullError::NoFile { place: format!("{owner}/{name}"), problem })?;
        let file = |path: String| {
            let sibling = files.iter().find(|it| it.rfilename == path);
            let lfs = sibling.and_then(|it| it.lfs.as_ref());
            let encoded = encode_path(&path);
            let address = self.at(&format!("/{owner}/{name}/resolve/{at}/{encoded}"))?;
            let mut file = RemoteFile::new(path, address);
            file.size = lfs.and_then(|it| it.size).or(sibling.and_then(|it| it.size));
            let sha256 = lfs.and_then(|it| it.sha256.as_deref());
            // Some mirrors write `sha256:` before the digits.
            let sha256 = sha256.map(|text| text.strip_prefix("sha256:").unwrap_or(text));
            file.sha256 = sha256.and_then(Digest::parse);
            file.bearer = self.token.map(Into::into);
            Ok(file)
        };
        let files = chosen.into_iter().map(file).collect::<Result<_, PullError>>()?;
        let license = info.tags.iter().find_map(|tag| tag.strip_prefix("license:"));
        Ok(Offer { files, revision: commit, license: license.map(printable) })
    }

    fn at(&self, path: &str) -> Result<Address, PullError> {
        let error = |problem| PullError::Endpoint { address: self.address.to_string(), problem };
        self.address.at(path).map_err(error)
    }
}

/// Chooses among the paths of a repository: the files of one model, in order.
pub(crate) fn choose<'a>(paths: &[&'a str], pick: &Pick) -> Result<Vec<String>, String> {
    if paths.is_empty() {
        return Err("it has no GGUF files".into());
    }
    let listed = || format!("it has {}", list(paths));
    let path: &str = match pick {
        Pick::File(path) => paths
            .iter()
            .find(|it| *it == path)
            .ok_or_else(|| format!("there is no file `{path}`; {}", listed()))?,
        Pick::Quantisation(wanted) => {
            let found = of_quantisation(paths, wanted);
            match found.as_slice() {
                [] => return Err(format!("no file's name ends in `{wanted}`; {}", listed())),
                [path] => path,
                several => {
                    return Err(format!(
                        "the names of {} files end in `{wanted}` ({}); give one of them in full",
                        several.len(),
                        list(several)
                    ));
                }
            }
        }
        Pick::Usual => {
            let only = |found: Vec<&'a str>| match found.as_slice() {
                [path] => Some(*path),
                _ => None,
            };
            let usual = QUANTISATIONS.iter().find_map(|name| only(of_quantisation(paths, name)));
            let models = || only(paths.iter().copied().filter(|it| is_model(it)).collect());
            usual.or_else(models).ok_or_else(|| format!("say which file; {}", listed()))?
        }
    };
    whole(path, paths)
}

/// Paths for an error, not all if they are many.
fn list(paths: &[&str]) -> String {
    let more = paths.len().saturating_sub(LISTED_MAX);
    let names: Vec<_> = paths.iter().take(LISTED_MAX).map(|it| format!("`{it}`")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

/// All files of the model that a file belongs to.
fn whole(path: &str, paths: &[&str]) -> Result<Vec<String>, String> {
    let Some(split) = SplitName::parse(path) else { return Ok(vec![path.into()]) };
    let names: Vec<String> = split.all().collect();
    match names.iter().find(|name| !paths.contains(&name.as_str())) {
        Some(missing) => {
            Err(format!("`{path}` is one of several files, and `{missing}` is missing"))
        }
        None => Ok(names),
    }
}

/// Files whose names end in a quantisation; of a split model, the first.
fn of_quantisation<'a>(paths: &[&'a str], wanted: &str) -> Vec<&'a str> {
    let wanted = wanted.to_ascii_lowercase();
    let ends_so = |path: &&&str| {
        let stem = SplitName::parse(path).map_or(&path[..path.len() - ".gguf".len()], |it| it.stem);
        let stem = stem.to_ascii_lowercase();
        let before = stem.strip_suffix(&wanted).map(|before| before.chars().next_back());
        matches!(before, Some(None | Some('-' | '.' | '_' | '/'))) && is_model(path)
    };
    paths.iter().filter(ends_so).copied().collect()
}

/// Whether a file is a model's first: neither another piece of it nor the projector of images.
fn is_model(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    !name.contains("mmproj") && SplitName::parse(path).is_none_or(|it| it.number == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: &[&str] = &[
        "m-f16.gguf",
        "m-Q4_K_M.gguf",
        "m-q8_0.gguf",
        "mmproj-m-Q4_K_M.gguf",
        "m-IQ4_K_M.gguf",
        "big/m.Q6_K-00001-of-00002.gguf",
        "big/m.Q6_K-00002-of-00002.gguf",
    ];

    fn quantisation(name: &str) -> Result<Vec<String>, String> {
        choose(PATHS, &Pick::Quantisation(name.into()))
    }

    #[test]
    fn quantisations_are_the_end_of_a_name() {
        assert_eq!(quantisation("q4_k_m"), Ok(vec!["m-Q4_K_M.gguf".into()]));
        assert_eq!(quantisation("Q8_0"), Ok(vec!["m-q8_0.gguf".into()]));
        let error = quantisation("4_K_M").expect_err("not a whole word");
        assert!(error.contains("m-q8_0.gguf"), "{error}");
    }

    #[test]
    fn a_split_model_comes_as_a_whole() {
        let files = quantisation("Q6_K").expect("is there");
        assert_eq!(files, ["big/m.Q6_K-00001-of-00002.gguf", "big/m.Q6_K-00002-of-00002.gguf"]);
        let second = Pick::File(PATHS[6].into());
        assert_eq!(choose(PATHS, &second), Ok(files));
        let error = choose(&PATHS[6..], &second).expect_err("the first is missing");
        assert!(error.contains("00001-of-00002.gguf` is missing"), "{error}");
    }

    #[test]
    fn without_a_wish_the_usual_quantisation_is_taken() {
        assert_eq!(choose(PATHS, &Pick::Usual), Ok(vec!["m-Q4_K_M.gguf".into()]));
        assert_eq!(choose(&["odd.gguf"], &Pick::Usual), Ok(vec!["odd.gguf".into()]));
        let error = choose(&["a.gguf", "b.gguf"], &Pick::Usual).expect_err("ambiguous");
        assert!(error.contains("`a.gguf`, `b.gguf`"), "{error}");
        assert!(choose(&[], &Pick::Usual).is_err());
    }
}
