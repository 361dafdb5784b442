//! What users write to say which model: `hf:`, `oci:` and `https:` references.

use std::fmt;
use std::path::PathBuf;

use crate::address::{Address, decode_path, is_host, is_loopback, is_port};
use crate::digest::Digest;
use crate::offer::of_address;
use trefoil_gguf::SplitName;

/// Longest reference, in bytes.
const REFERENCE_BYTES_MAX: usize = 16 << 10;

/// Longest piece of a path that a reference or a server names, in bytes: what file systems take,
/// less what we append.
pub(crate) const NAME_BYTES_MAX: usize = 255 - ".partial.json.new".len();

/// Longest tag, in bytes, by the OCI distribution specification.
const TAG_BYTES_MAX: usize = 128;

/// Most folders around a file in a repository.
const FOLDERS_MAX: usize = 8;

/// Where a model can be downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A repository of a hub that speaks Hugging Face's protocol.
    HuggingFace {
        /// The user or organisation.
        owner: String,
        /// The repository's name.
        repository: String,
        /// A branch, tag or commit; `main` if there is none.
        revision: Option<String>,
        /// Which of its files.
        pick: Pick,
    },
    /// One file.
    Web(Address),
    /// An artifact in a registry that speaks the OCI distribution protocol.
    Oci {
        /// Host and perhaps port.
        registry: String,
        /// Its path in the registry.
        repository: String,
        /// A tag, or `sha256:` and a digest.
        version: String,
    },
}

/// Which file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// The usual one: see [`crate::QUANTISATIONS`].
    Usual,
    /// The file whose name has this quantisation, as `Q4_K_M`.
    Quantisation(String),
    /// The file at this path.
    File(String),
}

/// Why a reference cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` does not name a model: {problem}")]
pub struct ReferenceError {
    /// The reference as written.
    pub text: String,
    /// What is wrong, and what is right.
    pub problem: String,
}

const HF_FORMS: &str = "write `hf:OWNER/REPOSITORY/FILE.gguf`, `hf:OWNER/REPOSITORY` or \
                        `hf:OWNER/REPOSITORY:Q4_K_M`, with `@REVISION` behind the repository if \
                        need be";
const OCI_FORMS: &str = "write `oci:REGISTRY/REPOSITORY:TAG` or \
                         `oci:REGISTRY/REPOSITORY@sha256:DIGEST`";

impl Reference {
    /// Reads a reference; `None` if the text has none of the schemes, so that it is the name of
    /// something else.
    ///
    /// # Errors
    /// [`ReferenceError`] if it has one of the schemes and is wrong.
    pub fn parse(text: &str) -> Result<Option<Self>, ReferenceError> {
        let error = |problem: String| {
            let text = text.chars().take(200).collect();
            ReferenceError { text, problem }
        };
        if text.len() > REFERENCE_BYTES_MAX {
            return Err(error(format!("it is longer than {REFERENCE_BYTES_MAX} bytes")));
        }
        let Some((scheme, rest)) = text.split_once(':') else { return Ok(None) };
        match scheme.to_ascii_lowercase().as_str() {
            "hf" => hugging_face(rest).map(Some).ok_or_else(|| error(HF_FORMS.into())),
            "oci" => oci(rest).map(Some).ok_or_else(|| error(OCI_FORMS.into())),
            "http" | "https" => {
                let address = Address::parse(text).map_err(error)?;
                Ok(Some(page_of_hugging_face(&address).unwrap_or(Reference::Web(address))))
            }
            _ => Ok(None),
        }
    }

    /// The folder of the cache for its files, relative to the models' folder.
    pub(crate) fn folder(&self) -> PathBuf {
        match self {
            Reference::HuggingFace { owner, repository, revision, .. } => {
                let revision = revision.as_ref().map(|it| format!("@{it}")).unwrap_or_default();
                ["hf", owner, &format!("{repository}{revision}")].iter().collect()
            }
            Reference::Web(address) => {
                let host = match address.port() {
                    Some(port) => format!("{}_{port}", address.host()),
                    None => address.host().to_owned(),
                };
                // Addresses that differ in the query alone are different files.
                let digest = Digest::of(address.full().as_bytes());
                let host = host.replace([':', '[', ']'], "_");
                ["https", &host, &digest.as_str()[..16]].iter().collect()
            }
            Reference::Oci { registry, repository, version } => {
                let registry = registry.replace([':', '[', ']'], "_");
                // No tag has a `+`.
                let version = version.replace(':', "+");
                let mut folder: PathBuf = ["oci", &registry].iter().collect();
                folder.extend(repository.split('/'));
                folder.join(format!("@{version}"))
            }
        }
    }

    /// The reference of the first file, if this one names another of a split model.
    pub(crate) fn first(&self) -> Reference {
        let mut first = self.clone();
        match &mut first {
            Reference::HuggingFace { pick: Pick::File(path), .. } => {
                if let Some(name) = SplitName::parse(path).and_then(|split| split.all().next()) {
                    *path = name;
                }
            }
            Reference::Web(address) => {
                if let Some(file) = of_address(address).ok().and_then(|it| it.into_iter().next()) {
                    *address = file.address;
                }
            }
            _ => {}
        }
        first
    }

    /// Whether the registry is on this machine.
    pub(crate) fn registry_is_loopback(registry: &str) -> bool {
        is_loopback(host_and_port(registry).0)
    }
}

/// The canonical spelling.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::HuggingFace { owner, repository, revision, pick } => {
                write!(f, "hf:{owner}/{repository}")?;
                if let Some(revision) = revision {
                    write!(f, "@{revision}")?;
                }
                match pick {
                    Pick::Usual => Ok(()),
                    Pick::Quantisation(name) => write!(f, ":{name}"),
                    Pick::File(path) => write!(f, "/{path}"),
                }
            }
            Reference::Web(address) => write!(f, "{address}"),
            Reference::Oci { registry, repository, version } => {
                let separator = if version.contains(':') { '@' } else { ':' };
                write!(f, "oci:{registry}/{repository}{separator}{version}")
            }
        }
    }
}

/// `OWNER/REPOSITORY[@REVISION][:QUANTISATION | /FILE]`.
fn hugging_face(text: &str) -> Option<Reference> {
    let (owner, rest) = text.split_once('/')?;
    let end = rest.find([':', '/']).unwrap_or(rest.len());
    let (repository, pick) = rest.split_at(end);
    let (repository, revision) = match repository.split_once('@') {
        Some((repository, revision)) => (repository, Some(revision)),
        None => (repository, None),
    };
    let pick = match pick.as_bytes().first() {
        None => Pick::Usual,
        Some(b':') if is_quantisation(&pick[1..]) => Pick::Quantisation(pick[1..].into()),
        Some(b'/') if is_gguf_path(&pick[1..]) => Pick::File(pick[1..].into()),
        Some(_) => return None,
    };
    let are_names = [owner, repository].into_iter().chain(revision).all(is_plain);
    // In the cache they are one name, with an `@` between them.
    let length = repository.len() + revision.map_or(0, |it| 1 + it.len());
    (are_names && length <= NAME_BYTES_MAX).then(|| Reference::HuggingFace {
        owner: owner.into(),
        repository: repository.into(),
        revision: revision.map(Into::into),
        pick,
    })
}

/// People paste the address of a file's page or download; by way of the hub it is checked.
fn page_of_hugging_face(address: &Address) -> Option<Reference> {
    if !address.is_https() || !["huggingface.co", "hf.co"].contains(&address.host()) {
        return None;
    }
    let path = decode_path(address.path())?;
    let mut pieces = path.trim_start_matches('/').splitn(5, '/');
    let (owner, repository) = (pieces.next()?, pieces.next()?);
    let (view, revision, file) = (pieces.next()?, pieces.next()?, pieces.next()?);
    if !["resolve", "blob"].contains(&view) {
        return None;
    }
    let revision = if revision == "main" { String::new() } else { format!("@{revision}") };
    hugging_face(&format!("{owner}/{repository}{revision}/{file}"))
}

/// `REGISTRY/REPOSITORY:TAG` or `REGISTRY/REPOSITORY@sha256:DIGEST`.
fn oci(text: &str) -> Option<Reference> {
    let (registry, rest) = text.split_once('/')?;
    let (repository, version) = match rest.split_once('@') {
        Some((repository, digest)) => {
            let hex = digest.strip_prefix("sha256:")?;
            (repository, format!("sha256:{}", Digest::parse(hex)?))
        }
        None => match rest.split_once(':') {
            Some((_, tag)) if !is_plain(tag) || tag.len() > TAG_BYTES_MAX => return None,
            Some((repository, tag)) => (repository, tag.to_owned()),
            None => (rest, "latest".to_owned()),
        },
    };
    let (host, port) = host_and_port(registry);
    // An underscore stands in the cache for what no folder's name should have.
    let is_host = is_host(host) && !host.contains('_') && port.is_none_or(is_port);
    // A registry is told from a namespace as Docker does.
    let is_registry = host.contains(['.', '[']) || port.is_some() || host == "localhost";
    let pieces: Vec<&str> = repository.split('/').collect();
    let is_repository = pieces.len() <= FOLDERS_MAX && pieces.iter().all(|it| is_plain(it));
    (is_host && is_registry && is_repository).then(|| Reference::Oci {
        registry: registry.into(),
        repository: repository.into(),
        version,
    })
}

fn host_and_port(registry: &str) -> (&str, Option<&str>) {
    match registry.rsplit_once(':') {
        // The colons of an IPv6 address are within brackets.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (registry, None),
    }
}

/// Whether a text is a piece of a path that means the same everywhere: no separators, no `..`,
/// nothing hidden.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_quantisation(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Whether a text, from a user or a server, can be a file's name in the cache.
pub(crate) fn is_file_name(text: &str) -> bool {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "._-+=@,()[] ".contains(c);
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && !text.starts_with(['.', ' '])
        && !text.ends_with([' ', '.'])
        && text.chars().all(is_known)
}

/// Whether a text is the path of a GGUF file in a repository, and can be one in the cache.
pub(crate) fn is_gguf_path(text: &str) -> bool {
    let pieces: Vec<&str> = text.split('/').collect();
    pieces.len() <= FOLDERS_MAX
        && pieces.iter().all(|piece| is_file_name(piece))
        && text.to_ascii_lowercase().ends_with(".gguf")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Reference {
        Reference::parse(text).expect(text).expect(text)
    }

    #[test]
    fn references_are_spelled_canonically() {
        for (text, canonical, folder) in [
            ("hf:o/r", "hf:o/r", "hf/o/r"),
            ("hf:o/r.x-GGUF:Q4_K_M", "hf:o/r.x-GGUF:Q4_K_M", "hf/o/r.x-GGUF"),
            ("HF:o/r@v1:q8_0", "hf:o/r@v1:q8_0", "hf/o/r@v1"),
            ("hf:o/r/a b/m.gguf", "hf:o/r/a b/m.gguf", "hf/o/r"),
            ("hf:o/r@abc/m.GGUF", "hf:o/r@abc/m.GGUF", "hf/o/r@abc"),
            (
                "https://huggingface.co/o/r/resolve/main/m.gguf?download=true",
                "hf:o/r/m.gguf",
                "hf/o/r",
            ),
            ("https://huggingface.co/o/r/blob/v1/d/m.gguf", "hf:o/r@v1/d/m.gguf", "hf/o/r@v1"),
            (
                "oci:localhost:5000/a/b:1.0",
                "oci:localhost:5000/a/b:1.0",
                "oci/localhost_5000/a/b/@1.0",
            ),
            ("oci:r.example/m", "oci:r.example/m:latest", "oci/r.example/m/@latest"),
            ("oci:[::1]:5000/m:t", "oci:[::1]:5000/m:t", "oci/___1__5000/m/@t"),
        ] {
            let reference = parse(text);
            assert_eq!(reference.to_string(), canonical);
            assert_eq!(reference.folder(), PathBuf::from(folder));
        }
        let digest = format!("oci:r.example/m@sha256:{}", "0".repeat(64));
        assert_eq!(parse(&digest).to_string(), digest);
    }

    #[test]
    fn the_query_of_an_address_is_kept_out_of_names_but_tells_files_apart() {
        let (a, b) = (parse("https://h/m.gguf?a"), parse("https://h/m.gguf?b"));
        assert_eq!(a.to_string(), "https://h/m.gguf");
        assert_ne!(a.folder(), b.folder());
    }

    #[test]
    fn a_tag_that_looks_like_a_digest_is_another_artifact() {
        let hex = "0".repeat(64);
        let digest = parse(&format!("oci:r.example/m@sha256:{hex}"));
        let tag = parse(&format!("oci:r.example/m:sha256_{hex}"));
        assert_ne!(digest.folder(), tag.folder());
    }

    #[test]
    fn what_could_leave_the_cache_is_refused() {
        for text in [
            "hf:",
            "hf:o",
            "hf:o/",
            "hf:/r",
            "hf:../r",
            "hf:o/..",
            "hf:o/r/../m.gguf",
            "hf:o/r//m.gguf",
            "hf:o/r/m.bin",
            "hf:o/r/.m.gguf",
            "hf:o/r@/m.gguf",
            "hf:o/r@..",
            "hf:o/r:",
            "hf:o/r:Q4/K",
            "hf:o/r/a\\m.gguf",
            "hf:o/r/m\n.gguf",
            "oci:",
            "oci:m",
            "oci:library/m",
            "oci:h.x/../m:t",
            "oci:h.x/m:../t",
            "oci:h.x/m:t:/../../../t",
            "oci:h.x/m@md5:00",
            "oci:h.x:port/m:t",
            "oci:h.x/m@sha256:00",
            "oci:../m:t",
            "oci:h.x:+80/m:t",
            "oci:h.x:000080/m:t",
            "oci:[x]/m:t",
            "https://",
            "https://a:b@h/m.gguf",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
        assert!(Reference::parse(&format!("hf:o/{}", "r".repeat(300))).is_err());
        let half = "r".repeat(200);
        assert!(Reference::parse(&format!("hf:o/{half}@{half}")).is_err());
        for text in ["smollm2", "gemma3:270m", "file:x.gguf", "C:\\x.gguf", "./m.gguf"] {
            assert_eq!(Reference::parse(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn errors_say_what_is_right() {
        let error = Reference::parse("hf:o").expect_err("no repository").to_string();
        assert!(error.contains("`hf:o`") && error.contains("hf:OWNER/REPOSITORY"), "{error}");
    }
}
