use crate::ManifestError;

/// Why bytes of the file cannot be had. Addresses are told without their queries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The component does not know its file.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The program that runs the composition does not let it ask this host.
    #[error(
        "access to `{authority}` is not granted, where `{url}` is to be read; add \
         `--http {authority}` to the command that runs this file"
    )]
    Denied {
        /// What was asked for.
        url: String,
        /// Its host, and its port where it has one of its own.
        authority: String,
    },
    /// Time after time no answer, or a cut one.
    #[error(
        "`{url}` at byte {offset}: {cause} ({attempts} attempts); check the network and the \
         server, and try again"
    )]
    Unreachable {
        /// What was asked for.
        url: String,
        /// From where on.
        offset: u64,
        /// How often.
        attempts: u32,
        /// What happened last.
        cause: String,
    },
    /// An answer that no further attempt would change.
    #[error("`{url}` at byte {offset}: {cause}")]
    Refused {
        /// What was asked for.
        url: String,
        /// From where on.
        offset: u64,
        /// What was answered, and what can be done.
        cause: String,
    },
    /// The server sends the whole file instead of a range.
    #[error(
        "`{url}`: the server ignores ranges (it answered 200 to a request for bytes {first} to \
         {last}, not 206); the file has to lie on a server that serves ranges"
    )]
    Ranges {
        /// What was asked for.
        url: String,
        /// First byte of the range.
        first: u64,
        /// Its last byte.
        last: u64,
    },
    /// The file has another size.
    #[error(
        "`{url}` has {found} bytes, but had {expected} when this file was composed: it was \
         changed; compose again, or put the old file back"
    )]
    Size {
        /// What was asked for.
        url: String,
        /// Bytes by the manifest.
        expected: u64,
        /// Bytes by the server.
        found: u64,
    },
    /// A redirect that is not followed.
    #[error("`{url}` leads nowhere: {cause}")]
    Redirect {
        /// Where the redirect was met.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The bytes are others than those that were composed.
    #[error(
        "`{url}`: chunk {chunk} (bytes {first} to {last}) has the SHA-256 {found}, but had \
         {expected} when this file was composed{hint}; compose again if the file was replaced, \
         or put the old one back"
    )]
    Digest {
        /// Where it was read.
        url: String,
        /// Number of the chunk, from 0.
        chunk: u64,
        /// Its first byte.
        first: u64,
        /// Its last byte.
        last: u64,
        /// Digest of what came, in hexadecimal.
        found: String,
        /// Digest by the manifest, in hexadecimal.
        expected: String,
        /// What the entity tags say about it; may be empty.
        hint: String,
    },
}
