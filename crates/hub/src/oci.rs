//! Registries of artifacts.
//!
//! The protocols: OCI distribution specification 1.1 (pulling manifests and blobs), OCI image
//! specification 1.1 (manifests), and the token authentication that Docker's registry documents,
//! without an account.

use serde::Deserialize;

use crate::address::{Address, encode_path};
use crate::client::{Client, Request};
use crate::digest::Digest;
use crate::failure::{ClientError, PullError};
use crate::offer::{Offer, RemoteFile};
use crate::progress::{Event, Progress};
use crate::reference::{Reference, is_gguf_path};
use trefoil_gguf::{SPLIT_FILES_MAX, SplitName};

/// Kinds of manifests that are understood.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.v2+json, \
                         application/vnd.oci.image.index.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json";

/// Media types of layers that are GGUF files: Docker's, Ollama's.
const GGUF_LAYERS: [&str; 2] =
    ["application/vnd.docker.ai.gguf.v3", "application/vnd.ollama.image.model"];

/// The annotation with a file's name.
const TITLE: &str = "org.opencontainers.image.title";

/// Longest token, in bytes: they go into a header.
const TOKEN_BYTES_MAX: usize = 32 << 10;

/// Where a registry wants a token from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    realm: String,
    /// Whether the registry that wants it is asked without encryption.
    plain: bool,
    service: Option<String>,
    scope: Option<String>,
}

/// An artifact's place.
pub(crate) struct Artifact<'a> {
    pub(crate) registry: &'a str,
    pub(crate) repository: &'a str,
    /// A tag or a digest.
    pub(crate) version: &'a str,
}

#[derive(Deserialize)]
pub(crate) struct Manifest {
    #[serde(default)]
    layers: Vec<Descriptor>,
    /// Of an index.
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

impl Manifest {
    pub(crate) fn parse(document: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(document)
    }
}

/// A token's answer: the specification names both keys.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Artifact<'_> {
    pub(crate) fn offer(
        &self,
        client: &Client,
        progress: &mut dyn Progress,
    ) -> Result<Offer, PullError> {
        let mut access = Access::default();
        let (mut manifest, mut digest) =
            self.manifest(client, &mut access, self.version, progress)?;
        if manifest.layers.is_empty()
            && let Some(first) = manifest.manifests.first()
        {
            // One model for all platforms: they would differ in what a model does not have.
            let version = format!("sha256:{}", self.digest(first)?);
            (manifest, digest) = self.manifest(client, &mut access, &version, progress)?;
        }
        let files = self.files(&manifest, &access)?;
        Ok(Offer { files, revision: Some(format!("sha256:{digest}")), license: None })
    }

    /// The files of a manifest.
    pub(crate) fn files(
        &self,
        manifest: &Manifest,
        access: &Access,
    ) -> Result<Vec<RemoteFile>, PullError> {
        let layers = model_layers(&manifest.layers)
            .map_err(|problem| PullError::NoFile { place: self.to_string(), problem })?;
        let names = file_names(&layers);
        let file = |(name, layer): (String, &&Descriptor)| {
            let sha256 = self.digest(layer)?;
            let address = self.at(&format!("blobs/sha256:{sha256}"))?;
            let mut file = RemoteFile::new(name, address);
            file.size = Some(layer.size);
            file.sha256 = Some(sha256);
            file.bearer = access.token.clone();
            file.challenge = access.challenge.clone();
            Ok(file)
        };
        names.into_iter().zip(&layers).map(file).collect()
    }

    /// The digest by which something can be asked for; a registry's other texts stay out of
    /// addresses.
    fn digest(&self, descriptor: &Descriptor) -> Result<Digest, PullError> {
        let digest = descriptor.digest.strip_prefix("sha256:").and_then(Digest::parse);
        digest.ok_or_else(|| PullError::NoFile {
            place: self.to_string(),
            problem: format!("its digest `{}` is no SHA-256", short(&descriptor.digest)),
        })
    }

    /// A manifest and its digest.
    fn manifest(
        &self,
        client: &Client,
        access: &mut Access,
        version: &str,
        progress: &mut dyn Progress,
    ) -> Result<(Manifest, Digest), PullError> {
        let address = self.at(&format!("manifests/{version}"))?;
        progress.event(Event::Asking { host: address.host() });
        let mut document = self.ask(client, access, &address, progress)?;
        if document.is_none() && access.renew(client, progress)? {
            document = self.ask(client, access, &address, progress)?;
        }
        let malformed = |problem| ClientError::Malformed { address: address.clone(), problem };
        let document = document
            .ok_or_else(|| malformed("it refuses its own token (HTTP status 401)".into()))?;
        let digest = Digest::of(&document);
        if let Some(wanted) = version.strip_prefix("sha256:")
            && wanted != digest.as_str()
        {
            let problem = format!("the manifest has the SHA-256 {digest}, {wanted} was wanted");
            return Err(malformed(problem).into());
        }
        let manifest = Manifest::parse(&document);
        Ok((manifest.map_err(|error| malformed(error.to_string()))?, digest))
    }

    /// The manifest's bytes, or nothing if a token is wanted.
    fn ask(
        &self,
        client: &Client,
        access: &mut Access,
        address: &Address,
        progress: &mut dyn Progress,
    ) -> Result<Option<Vec<u8>>, PullError> {
        let mut request = Request::document(address);
        request.headers.push(("accept", MANIFESTS.into()));
        request.bearer = access.token.as_deref();
        let (response, document) = client.document(&request, progress)?;
        if response.status() == 200 {
            return Ok(Some(document));
        }
        let challenge = response.header("www-authenticate");
        match challenge.as_deref().and_then(Challenge::parse) {
            Some(challenge) => {
                let plain = !response.address.is_https();
                access.challenge = Some(Challenge { plain, ..challenge });
            }
            None => return Err(response.refusal(&document).into()),
        }
        Ok(None)
    }

    fn at(&self, path: &str) -> Result<Address, PullError> {
        // As Docker does: registries on this machine need no certificate.
        let scheme = if Reference::registry_is_loopback(self.registry) { "http" } else { "https" };
        let text = format!("{scheme}://{}/v2/{}/{path}", self.registry, self.repository);
        Address::parse(&text).map_err(|problem| PullError::Endpoint { address: text, problem })
    }
}

impl std::fmt::Display for Artifact<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)
    }
}

/// What the registry wants before it gives anything.
#[derive(Default)]
pub(crate) struct Access {
    challenge: Option<Challenge>,
    token: Option<String>,
}

impl Access {
    /// Gets a token; `false` if none is wanted.
    fn renew(&mut self, client: &Client, progress: &mut dyn Progress) -> Result<bool, ClientError> {
        let Some(challenge) = &self.challenge else { return Ok(false) };
        self.token = Some(challenge.token(client, progress)?);
        Ok(true)
    }
}

impl Challenge {
    /// Reads `Bearer realm="...",service="...",scope="..."` (RFC 6750).
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.trim_start().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut challenge =
            Challenge { realm: String::new(), plain: false, service: None, scope: None };
        while let Some((name, after)) = rest.split_once("=\"") {
            let (value, after) = after.split_once('"')?;
            match name.trim_matches([',', ' ']).to_ascii_lowercase().as_str() {
                "realm" => challenge.realm = value.into(),
                "service" => challenge.service = Some(value.into()),
                "scope" => challenge.scope = Some(value.into()),
                _ => {}
            }
            rest = after;
        }
        (!challenge.realm.is_empty()).then_some(challenge)
    }

    /// Asks for a token, as nobody in particular.
    pub(crate) fn token(
        &self,
        client: &Client,
        progress: &mut dyn Progress,
    ) -> Result<String, ClientError> {
        let address = self.address()?;
        let (response, document) = client.document(&Request::document(&address), progress)?;
        if response.status() != 200 {
            return Err(response.refusal(&document));
        }
        let malformed = || ClientError::Malformed { address, problem: "it gives no token".into() };
        token(&document).ok_or_else(malformed)
    }

    /// Where the token is.
    pub(crate) fn address(&self) -> Result<Address, ClientError> {
        let mut text = self.realm.clone();
        for (name, value) in [("service", &self.service), ("scope", &self.scope)] {
            if let Some(value) = value {
                let separator = if text.contains('?') { '&' } else { '?' };
                text.push_str(&format!("{separator}{name}={}", encode_path(value)));
            }
        }
        let address = Address::parse(&text)
            .map_err(|problem| ClientError::Realm { realm: short(&self.realm), problem })?;
        if !address.is_https() && !self.plain {
            return Err(ClientError::Realm {
                realm: address.to_string(),
                problem: "it is not encrypted, but the registry is".into(),
            });
        }
        Ok(address)
    }
}

/// The token in an answer, if it can be one: it goes into a header.
pub(crate) fn token(document: &[u8]) -> Option<String> {
    let is_token = |text: &String| {
        (1..=TOKEN_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let token: Token = serde_json::from_slice(document).ok()?;
    token.token.or(token.access_token).filter(is_token)
}

/// The layers that are the model: by their media type, else by their name, else the largest.
fn model_layers(layers: &[Descriptor]) -> Result<Vec<&Descriptor>, String> {
    let by_type = |it: &&Descriptor| {
        GGUF_LAYERS.contains(&it.media_type.as_str())
            || it.media_type.to_ascii_lowercase().contains("gguf")
    };
    let by_name = |it: &&Descriptor| {
        it.annotations.get(TITLE).is_some_and(|it| it.to_ascii_lowercase().ends_with(".gguf"))
    };
    let mut found: Vec<&Descriptor> = layers.iter().filter(by_type).collect();
    if found.is_empty() {
        found = layers.iter().filter(by_name).collect();
    }
    if found.is_empty() {
        found.extend(layers.iter().max_by_key(|it| it.size));
    }
    if found.len() > SPLIT_FILES_MAX as usize {
        return Err(format!("it has {} files, more than {SPLIT_FILES_MAX}", found.len()));
    }
    let number = |it: &&Descriptor| {
        it.annotations.get(TITLE).and_then(|it| SplitName::parse(it)).map(|it| it.number)
    };
    // Those without a number keep their order.
    found.sort_by_key(number);
    if found.is_empty() { Err("it has no layers".into()) } else { Ok(found) }
}

/// The names that the layers of a model get: their titles if these are names of one model's files
/// in order, else made-up ones.
fn file_names(layers: &[&Descriptor]) -> Vec<String> {
    let count = layers.len();
    let titles: Option<Vec<String>> = layers
        .iter()
        .map(|layer| layer.annotations.get(TITLE).filter(|it| is_gguf_path(it)).cloned())
        .collect();
    let fit = |titles: &Vec<String>| match SplitName::parse(&titles[0]) {
        Some(split) => split.all().eq(titles.iter().cloned()),
        None => count == 1,
    };
    titles.filter(fit).unwrap_or_else(|| match count {
        1 => vec!["model.gguf".into()],
        _ => (1..=count).map(|it| format!("model-{it:05}-of-{count:05}.gguf")).collect(),
    })
}

/// A server's text in an error.
fn short(text: &str) -> String {
    crate::client::printable(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(media_type: &str, size: u64, title: Option<&str>) -> Descriptor {
        let annotations = title.map(|it| (TITLE.into(), it.into())).into_iter().collect();
        let digest = format!("sha256:{size:064x}");
        Descriptor { media_type: media_type.into(), digest, size, annotations }
    }

    fn sizes(layers: &[Descriptor]) -> Vec<u64> {
        model_layers(layers).expect("found").iter().map(|it| it.size).collect()
    }

    #[test]
    fn the_model_is_found_by_type_then_name_then_size() {
        let layers = [
            layer("application/vnd.ollama.image.license", 9, None),
            layer("application/vnd.ollama.image.model", 5, None),
        ];
        assert_eq!(sizes(&layers), [5]);
        assert_eq!(sizes(&[layer("x", 9, None), layer("x", 5, Some("m.gguf"))]), [5]);
        assert_eq!(sizes(&[layer("x", 9, None), layer("x", 5, None)]), [9]);
        assert!(model_layers(&[]).is_err());
    }

    #[test]
    fn split_layers_are_put_in_order() {
        let second = layer(GGUF_LAYERS[0], 2, Some("m-00002-of-00002.gguf"));
        let first = layer(GGUF_LAYERS[0], 1, Some("m-00001-of-00002.gguf"));
        let layers = [second, first];
        let layers = model_layers(&layers).expect("found");
        assert_eq!(layers.iter().map(|it| it.size).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(file_names(&layers), ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]);
        let made_up = ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf"];
        assert_eq!(file_names(&[layers[1], layers[0]]), made_up);
        assert_eq!(file_names(&[&layer("x", 1, Some("../../m.gguf"))]), ["model.gguf"]);
        assert_eq!(file_names(&layers[..1]), ["model.gguf"]);
    }

    #[test]
    fn challenges_are_read() {
        let header = r#"Bearer realm="https://a/t",service="r.io",scope="repository:m:pull,push""#;
        let challenge = Challenge::parse(header).expect("is one");
        assert_eq!(challenge.realm, "https://a/t");
        assert_eq!(challenge.scope.as_deref(), Some("repository:m:pull,push"));
        for header in ["", "Basic realm=\"x\"", "Bearer", "Bearer scope=\"x\"", "Bearer realm=\"x"]
        {
            assert_eq!(Challenge::parse(header), None, "{header}");
        }
    }
}
