use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::{Cache, Interrupt};

/// A SHA-256 in lower-case hexadecimal.
pub type Sha256Hex = String;

/// Bytes read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Digests that the memo keeps; the oldest fall out.
const ENTRIES_MAX: usize = 1024;

/// A memo larger than this is not ours and is ignored.
const INDEX_BYTES_MAX: u64 = 4 << 20;

/// A file that changed so recently may change again within its time stamp's resolution, so its
/// digest is not remembered.
const SETTLED: Duration = Duration::from_secs(2);

/// The digest of a file's content. With a cache, a file of the same path, length, inode and time
/// of change is not read again. `progress` gets bytes done and bytes in all.
///
/// # Errors
/// Those of reading; [`io::ErrorKind::Interrupted`] if the interrupt was raised.
pub fn sha256_of_file(
    path: &Path,
    cache: Option<&Cache>,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<Sha256Hex> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let stamp = Stamp::of(path, &metadata);
    if let (Some(cache), Some(stamp)) = (cache, &stamp)
        && let Some(digest) = stamp.recall(cache)
    {
        return Ok(digest);
    }
    let digest = hash(&mut file, metadata.len(), interrupt, progress)?;
    // Without the memo the next start is slower, nothing else; so its errors are no errors.
    if let (Some(cache), Some(stamp)) = (cache, stamp)
        && stamp.settled(&metadata)
        && Stamp::of(path, &file.metadata()?).as_ref() == Some(&stamp)
    {
        let _ = stamp.remember(cache, &digest, interrupt);
    }
    Ok(digest)
}

fn hash(
    file: &mut File,
    length: u64,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<Sha256Hex> {
    let mut sha = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut done = 0u64;
    loop {
        if interrupt.is_raised() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"));
        }
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&sha.finalize())),
            Ok(count) => count,
            // A signal, not our interrupt.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sha.update(&buffer[..count]);
        done += count as u64;
        progress(done, length.max(done));
    }
}

/// The digest of bytes in memory.
pub fn sha256_of_bytes(bytes: &[u8]) -> Sha256Hex {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> Sha256Hex {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What tells a version of a file from another without reading it: a line of the memo, with the
/// path last because it may hold spaces.
#[derive(PartialEq)]
struct Stamp(String);

impl Stamp {
    /// `None` where the file cannot be described in a line.
    fn of(path: &Path, metadata: &Metadata) -> Option<Self> {
        let path = fs::canonicalize(path).ok()?;
        let path = path.to_str().filter(|path| !path.contains('\n'))?;
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            format!("{}.{}.{}", metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
        };
        #[cfg(not(unix))]
        let identity = "-";
        Some(Stamp(format!("{} {modified} {identity} {path}", metadata.len())))
    }

    fn settled(&self, metadata: &Metadata) -> bool {
        let age = metadata.modified().map(|time| SystemTime::now().duration_since(time));
        matches!(age, Ok(Ok(age)) if age > SETTLED)
    }

    fn path(&self) -> &str {
        self.0.splitn(4, ' ').nth(3).unwrap_or_default()
    }

    fn recall(&self, cache: &Cache) -> Option<Sha256Hex> {
        let index = read_index(cache);
        let line = index.lines().rfind(|line| line.get(65..) == Some(&self.0))?;
        let digest = line.get(..64)?;
        digest.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| digest.to_owned())
    }

    fn remember(
        &self,
        cache: &Cache,
        digest: &str,
        interrupt: &Interrupt,
    ) -> Result<(), crate::CacheError> {
        let index = read_index(cache);
        let other = |line: &&str| {
            line.get(65..).and_then(|rest| rest.splitn(4, ' ').nth(3)) != Some(self.path())
        };
        let mut lines: Vec<&str> = index.lines().filter(other).collect();
        let line = format!("{digest} {}", self.0);
        lines.push(&line);
        let kept = &lines[lines.len().saturating_sub(ENTRIES_MAX)..];
        let text = kept.join("\n") + "\n";
        cache.write(&cache.digest_index(), text.as_bytes(), interrupt)
    }
}

fn read_index(cache: &Cache) -> String {
    let path = cache.digest_index();
    match fs::metadata(&path) {
        Ok(metadata) if metadata.len() <= INDEX_BYTES_MAX => {
            fs::read_to_string(path).unwrap_or_default()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `abc`, from FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn old_file(path: &Path, content: &[u8], age: u64) {
        fs::write(path, content).expect("writes");
        let time = SystemTime::now() - Duration::from_secs(age);
        File::options()
            .write(true)
            .open(path)
            .and_then(|file| file.set_modified(time))
            .expect("sets the time");
    }

    fn digest(path: &Path, cache: &Cache) -> (String, u64) {
        let mut read = 0;
        let digest =
            sha256_of_file(path, Some(cache), &Interrupt::new(), &mut |done, _| read = done)
                .expect("readable");
        (digest, read)
    }

    #[test]
    fn an_unchanged_file_is_read_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path().join("c")).expect("opens");
        let path = folder.path().join("a file");
        old_file(&path, b"abc", 100);
        assert_eq!(digest(&path, &cache), (ABC.into(), 3));
        assert_eq!(digest(&path, &cache), (ABC.into(), 0));
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path().join("c")).expect("opens");
        let path = folder.path().join("file");
        old_file(&path, b"abd", 100);
        assert_ne!(digest(&path, &cache).0, ABC);
        old_file(&path, b"abc", 90);
        assert_eq!(digest(&path, &cache), (ABC.into(), 3));
    }

    #[test]
    fn a_file_that_just_changed_is_not_remembered() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path().join("c")).expect("opens");
        let path = folder.path().join("file");
        fs::write(&path, b"abc").expect("writes");
        digest(&path, &cache);
        assert_eq!(digest(&path, &cache).1, 3);
    }

    #[test]
    fn a_damaged_memo_is_ignored() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path().join("c")).expect("opens");
        let path = folder.path().join("file");
        old_file(&path, b"abc", 100);
        for memo in [&b"\xff\xfe"[..], b"short\n", "ä".repeat(100).as_bytes()] {
            fs::write(cache.digest_index(), memo).expect("writes");
            assert_eq!(digest(&path, &cache).0, ABC);
        }
    }
}
