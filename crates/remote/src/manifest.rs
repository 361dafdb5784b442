//! What a model component knows about its file, and how it lies in the component.

use crate::digests::{CHUNKS_MAX, Digests, SIZE_MAX, Sha256Bytes, chunk_bytes};
use crate::{Url, UrlError};

/// Bytes that a model component keeps free for its manifest: an address, texts, and the digests of
/// the most chunks.
pub const PLACE_BYTES: usize = MARKER.len() + 4 + MANIFEST_BYTES_MAX;

const MANIFEST_BYTES_MAX: usize =
    CHUNKS_MAX as usize * size_of::<Sha256Bytes>() + crate::URL_BYTES_MAX + 4 * TEXT_BYTES_MAX;

/// Longest name, licence and entity tag, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// Stands before the manifest, so that the composer finds its place.
const MARKER: &[u8; 24] = b"trefoil:model-http-data\0";

/// A place without a manifest, for a model component's static data.
pub const fn place() -> [u8; PLACE_BYTES] {
    let mut bytes = [0; PLACE_BYTES];
    let mut index = 0;
    while index < MARKER.len() {
        bytes[index] = MARKER[index];
        index += 1;
    }
    bytes
}

/// Where a model's file is, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Where the file is.
    pub url: Url,
    /// The model's name.
    pub name: String,
    /// SPDX identifier or the file's own words; empty where unknown.
    pub license: String,
    /// The file's digests and size.
    pub digests: Digests,
}

/// Why there is no manifest, or none can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Nothing was written into the place.
    #[error(
        "this `http` model component has no address: compose it with `--model https://HOST/PATH`"
    )]
    Absent,
    /// What was written is no manifest.
    #[error("the address and the digests in this `http` model component are damaged: {0}")]
    Damaged(&'static str),
    /// The address in it is none.
    #[error("the address in this `http` model component is damaged: {0}")]
    Url(#[from] UrlError),
    /// The component has no place, or several.
    #[error("the component has {0} places for a manifest, not one")]
    Places(usize),
    /// More than [`SIZE_MAX`].
    #[error("the file has {0} bytes; at most {SIZE_MAX} are read over HTTP")]
    TooLarge(u64),
}

impl Manifest {
    /// Writes the manifest into a component's place.
    ///
    /// # Errors
    /// [`ManifestError::Places`], [`ManifestError::TooLarge`]
    pub fn write_into(&self, component: &mut [u8]) -> Result<(), ManifestError> {
        if self.digests.size > SIZE_MAX {
            return Err(ManifestError::TooLarge(self.digests.size));
        }
        let marker = |bytes: &&[u8]| *bytes == MARKER;
        let places = component.windows(MARKER.len()).filter(marker).count();
        let found = component.windows(MARKER.len()).position(|bytes| bytes == MARKER);
        let place = match (places, found) {
            (1, Some(at)) => component.get_mut(at + MARKER.len()..at + PLACE_BYTES),
            _ => return Err(ManifestError::Places(places)),
        };
        let place = place.ok_or(ManifestError::Places(0))?;
        let bytes = self.to_bytes();
        place.fill(0);
        place[..4].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        place[4..4 + bytes.len()].copy_from_slice(&bytes);
        Ok(())
    }

    /// Length-prefixed texts, the size, the digests: numbers are little-endian.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in [self.url.to_string().as_str(), clipped(&self.name), clipped(&self.license)] {
            bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(&self.digests.size.to_le_bytes());
        bytes.extend_from_slice(&self.digests.sha256);
        self.digests.chunks.iter().for_each(|digest| bytes.extend_from_slice(digest));
        bytes
    }

    /// Reads a manifest out of a component's place, the marker included.
    ///
    /// # Errors
    /// [`ManifestError`]
    pub fn from_place(place: &[u8]) -> Result<Manifest, ManifestError> {
        let mut rest = place.get(MARKER.len()..).ok_or(ManifestError::Absent)?;
        let length = u32::from_le_bytes(take(&mut rest)?) as usize;
        if length == 0 {
            return Err(ManifestError::Absent);
        }
        let mut rest = rest.get(..length).ok_or(ManifestError::Damaged("it ends early"))?;
        let (url, name) = (text(&mut rest)?, text(&mut rest)?);
        let license = text(&mut rest)?;
        let size = u64::from_le_bytes(take(&mut rest)?);
        let sha256 = take(&mut rest)?;
        let (chunks, more) = rest.as_chunks();
        let chunk_count = size.div_ceil(chunk_bytes(size));
        if size > SIZE_MAX || !more.is_empty() || chunks.len() as u64 != chunk_count {
            return Err(ManifestError::Damaged("its digests do not fit its size"));
        }
        let digests = Digests { size, sha256, chunks: chunks.to_vec() };
        Ok(Manifest { url: Url::parse(&url)?, name, license, digests })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ManifestError> {
    let (taken, more) = rest.split_first_chunk().ok_or(ManifestError::Damaged("it ends early"))?;
    *rest = more;
    Ok(*taken)
}

fn text(rest: &mut &[u8]) -> Result<String, ManifestError> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (bytes, more) =
        rest.split_at_checked(length).ok_or(ManifestError::Damaged("a text ends early"))?;
    *rest = more;
    String::from_utf8(bytes.to_vec()).map_err(|_| ManifestError::Damaged("a text is not UTF-8"))
}

fn clipped(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digester;

    fn manifest() -> Manifest {
        let mut digester = Digester::new(3);
        digester.update(b"abc");
        Manifest {
            url: Url::parse("https://h/m.gguf").expect("is an address"),
            name: "Tiny".into(),
            license: "mit".into(),
            digests: digester.finish().expect("three bytes"),
        }
    }

    fn component() -> Vec<u8> {
        [b"head".as_slice(), &place(), b"tail"].concat()
    }

    #[test]
    fn a_manifest_comes_back_out_of_its_place() {
        let mut component = component();
        manifest().write_into(&mut component).expect("has a place");
        assert!(component.starts_with(b"headtrefoil:") && component.ends_with(b"\0tail"));
        let place = &component[4..4 + PLACE_BYTES];
        assert_eq!(Manifest::from_place(place), Ok(manifest()));
    }

    #[test]
    fn the_largest_manifest_fits() {
        let url = format!("https://h/{}", "x".repeat(crate::URL_BYTES_MAX - 10));
        let long = "é".repeat(1000);
        let manifest = Manifest {
            url: Url::parse(&url).expect("is an address"),
            name: long.clone(),
            license: long,
            digests: Digests {
                size: SIZE_MAX,
                sha256: [1; 32],
                chunks: vec![[2; 32]; CHUNKS_MAX as usize],
            },
        };
        let mut component = component();
        manifest.write_into(&mut component).expect("fits");
        let read = Manifest::from_place(&component[4..4 + PLACE_BYTES]).expect("is one");
        assert_eq!(read.digests, manifest.digests);
        assert_eq!(read.name, "é".repeat(512));
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        assert_eq!(Manifest::from_place(&place()), Err(ManifestError::Absent));
        assert_eq!(manifest().write_into(&mut b"no place".to_vec()), Err(ManifestError::Places(0)));
        let mut twice = [component(), component()].concat();
        assert_eq!(manifest().write_into(&mut twice), Err(ManifestError::Places(2)));
        let mut cut = component();
        cut.truncate(1000);
        assert_eq!(manifest().write_into(&mut cut), Err(ManifestError::Places(0)));

        let mut good = component();
        manifest().write_into(&mut good).expect("has a place");
        let good = &good[4..4 + PLACE_BYTES];
        let length = usize::from(good[MARKER.len()]);
        // Every truncation, and every changed byte that decides a length.
        for shorter in 1..length {
            let mut bytes = good.to_vec();
            bytes[MARKER.len()] = shorter as u8;
            assert!(Manifest::from_place(&bytes).is_err(), "{shorter}");
        }
        for at in MARKER.len()..MARKER.len() + 4 + length {
            let mut bytes = good.to_vec();
            bytes[at] = bytes[at].wrapping_add(128);
            // It may be another valid manifest, or none; it must not panic.
            let _ = Manifest::from_place(&bytes);
        }
    }
}
