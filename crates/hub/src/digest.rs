//! SHA-256 digests as text.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// Bytes read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// A SHA-256 in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Takes 64 hexadecimal digits, in either case; `None` for everything else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then(|| Digest(text.to_ascii_lowercase()))
    }

    /// The digest of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = Hash::default();
        hash.update(bytes);
        hash.finish()
    }

    /// The digest of a file. `progress` gets the bytes done and ends the reading with `false`.
    ///
    /// # Errors
    /// Those of reading; [`io::ErrorKind::Interrupted`] where `progress` said so.
    pub fn of_file(path: &Path, progress: &mut dyn FnMut(u64) -> bool) -> io::Result<Self> {
        let mut hash = Hash::default();
        hash.read(&mut File::open(path)?, u64::MAX, progress)?;
        Ok(hash.finish())
    }

    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Digest::parse(&text).ok_or("expected 64 hexadecimal digits")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

/// A digest that is being computed.
#[derive(Default, Clone)]
pub(crate) struct Hash(Sha256);

impl Hash {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Takes in what a reader gives, `bytes_max` at most, and returns how much that was.
    pub(crate) fn read(
        &mut self,
        reader: &mut dyn Read,
        bytes_max: u64,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> io::Result<u64> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut reader = reader.take(bytes_max);
        let mut done = 0;
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => return Ok(done),
                Ok(count) => count,
                // A signal, not a cancellation.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.update(&buffer[..count]);
            done += count as u64;
            if !progress(done) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_64_digits() {
        // SHA-256 of `abc`, from FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").as_str(), abc);
        assert_eq!(Digest::parse(&abc.to_ascii_uppercase()), Some(Digest::of(b"abc")));
        for text in ["", &abc[1..], &format!("{abc}0"), &abc.replace('b', "g")] {
            assert_eq!(Digest::parse(text), None, "{text}");
        }
    }
}
