//! Models that a composition reads over HTTP when it runs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use trefoil_compose::{Component, model_over_http};
use trefoil_remote::{Scheme, Url};

use crate::exit::UsageError;
use crate::hub;
use crate::session::Session;
use crate::terminal::Meter;

/// Precedes a digest in an address, as its fragment.
const SHA256_FRAGMENT: &str = "sha256=";

/// What belongs to `--model https://...`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RemoteFlags {
    /// With https://: a copy of the file here, whose digests the composition holds to check what
    /// comes [default: what `trefoil pull` has brought from there]
    #[arg(long, value_name = "FILE")]
    model_copy: Option<PathBuf>,
    /// With https://: the SHA-256 that the file must have; also as https://HOST/PATH#sha256=HEX
    #[arg(long, value_name = "HEX")]
    model_sha256: Option<String>,
}

/// An address, and what the file there must be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    url: Url,
    sha256: Option<String>,
    copy: Option<PathBuf>,
}

impl RemoteFlags {
    /// Whether the flags belong to one of `models`, which may have names in front.
    pub(crate) fn check(&self, models: &[String]) -> Result<(), UsageError> {
        let count = models.iter().filter(|text| text.contains("://")).count();
        if count == 1 || (self.model_copy.is_none() && self.model_sha256.is_none()) {
            return Ok(());
        }
        Err(UsageError(format!(
            "`--model-copy` and `--model-sha256` belong to one `--model https://HOST/PATH`; there \
             are {count}"
        )))
    }

    /// The model that `text` names, if it is an address.
    pub(crate) fn model(&self, text: &str) -> Result<Option<Remote>> {
        if !is_address(text) {
            return Ok(None);
        }
        let url = Url::parse(text)
            .with_context(|| format!("`--model {text}` is no address that can be read"))?;
        let fragment = text.split_once('#').map(|(_, fragment)| fragment);
        let from_fragment = match fragment {
            None => None,
            Some(fragment) => match fragment.strip_prefix(SHA256_FRAGMENT) {
                Some(digest) => Some(digest),
                None => bail!("`#{fragment}` in `--model` is not `#{SHA256_FRAGMENT}HEX`"),
            },
        };
        let given = self.model_sha256.as_deref();
        let sha256 = match (given.or(from_fragment), from_fragment) {
            (Some(digest), Some(other)) if !digest.eq_ignore_ascii_case(other) => {
                bail!("`--model` and `--model-sha256` give different digests")
            }
            (Some(digest), _) => Some(sha256(digest)?),
            (None, _) => None,
        };
        // What comes is checked against what was composed; that this is the right file, an
        // unencrypted connection does not say.
        if url.scheme() == Scheme::Http && !url.is_loopback() && sha256.is_none() {
            bail!(
                "`{}` is not encrypted: anyone on the way can change the file, so say which one \
                 it must be (`--model-sha256 HEX`), or use https",
                url.shown()
            );
        }
        Ok(Some(Remote { url, sha256, copy: self.model_copy.clone() }))
    }
}

impl Remote {
    /// The ready-made `http` model component with this address, and the digests of the copy.
    pub(crate) fn component(&self, session: &Session) -> Result<Component> {
        let copy = match &self.copy {
            Some(copy) => copy.clone(),
            None => self.pulled(session).with_context(|| {
                format!(
                    "the digests of `{0}` are needed, so that the composition can check what it \
                     reads: give a copy as `--model-copy FILE`, or `trefoil pull {0}` first",
                    self.url.shown()
                )
            })?,
        };
        self.of_copy(&copy, session)
    }

    /// The file in the cache of models.
    fn pulled(&self, session: &Session) -> Result<PathBuf> {
        let url = self.url.to_string();
        hub::pull_if_absent(&url, session)?;
        hub::file_or_model(&url, session)
    }

    fn of_copy(&self, copy: &Path, session: &Session) -> Result<Component> {
        let mut meter = Meter::new(&session.terminal, &session.interrupt, "reading model");
        let template = trefoil_bundle::MODEL_HTTP;
        let (component, part) = model_over_http(template, &self.url, copy, &mut meter)?;
        if let Some(expected) = self.sha256.as_ref().filter(|expected| **expected != part.sha256) {
            bail!(
                "`{}` has the SHA-256 {}, but {expected} was asked for: it is another file, or \
                 damaged; download it again",
                copy.display(),
                part.sha256
            );
        }
        Ok(component)
    }
}

fn is_address(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")
    })
}

/// A digest as the record has it.
fn sha256(text: &str) -> Result<String> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("`{text}` is not a SHA-256: 64 hexadecimal digits were expected");
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn model(text: &str, sha256: Option<&str>) -> Result<Option<Remote>> {
        RemoteFlags { model_copy: None, model_sha256: sha256.map(Into::into) }.model(text)
    }

    fn remote(text: &str, sha256: Option<&str>) -> Remote {
        model(text, sha256).expect("is allowed").expect("is an address")
    }

    #[test]
    fn only_addresses_are_remote() {
        for text in ["m.gguf", "file:m.gguf", "smollm2", "ftp://h/m.gguf"] {
            assert_eq!(model(text, None).expect("is something else"), None, "{text}");
        }
        assert_eq!(remote("HTTPS://h/m.gguf", None).url.to_string(), "https://h/m.gguf");
    }

    #[test]
    fn a_digest_comes_as_a_flag_or_in_the_address() {
        let lower = Some(DIGEST.to_lowercase());
        let with_fragment = format!("https://h/m.gguf#sha256={DIGEST}");
        assert_eq!(remote(&with_fragment, None).sha256, lower);
        assert_eq!(remote(&with_fragment, Some(DIGEST)).sha256, lower);
        assert_eq!(remote("https://h/m.gguf", Some(DIGEST)).sha256, lower);
        assert_eq!(remote(&with_fragment, None).url.to_string(), "https://h/m.gguf");
        let cases = [
            (with_fragment.as_str(), Some("00"), "different digests"),
            ("https://h/m.gguf#sha256=12", None, "64 hexadecimal digits"),
            ("https://h/m.gguf#main", None, "`#main`"),
            ("https://u:p@h/m.gguf", None, "no address"),
        ];
        for (text, sha256, piece) in cases {
            let error = format!("{:#}", model(text, sha256).expect_err(text));
            assert!(error.contains(piece), "{error}");
        }
    }

    #[test]
    fn flags_belong_to_one_address() {
        let flags = RemoteFlags { model_copy: Some("c".into()), model_sha256: None };
        let check = |models: &[&str]| {
            flags.check(&models.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert!(check(&["a=https://h/m.gguf", "b=m.gguf"]).is_ok());
        assert!(check(&["m.gguf"]).is_err());
        assert!(check(&["https://h/a", "https://h/b"]).is_err());
    }

    #[test]
    fn an_unencrypted_address_elsewhere_needs_a_digest() {
        assert_eq!(remote("http://127.0.0.1:8000/m.gguf", None).sha256, None);
        let error = model("http://10.0.0.1/m.gguf", None).expect_err("is not encrypted");
        assert!(error.to_string().contains("`--model-sha256 HEX`"), "{error}");
        assert!(remote("http://10.0.0.1/m.gguf", Some(DIGEST)).sha256.is_some());
    }
}
