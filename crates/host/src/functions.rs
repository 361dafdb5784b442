//! Native code of single functions. Compositions differ in their models and settings, but seldom in
//! their engine, which is nearly all of their code: what was compiled for one need not be compiled
//! for the next.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use wasmtime::CacheStore;

/// Bytes of a file at most; a larger one begins anew with what was of use last.
const FILE_BYTES_MAX: usize = 128 << 20;

/// Bytes of an entry before its code: SHA-256 of what was compiled, and the code's length.
const HEAD_BYTES: usize = 32 + 4;
const DIGEST_BYTES: usize = 32;

type Key = [u8; 32];

/// The functions that are at hand while something is compiled.
#[derive(Default)]
pub(crate) struct Functions {
    known: Mutex<Known>,
    /// Held while something is compiled. One after the other, because each takes all processors.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// As the file has them.
    file: Vec<u8>,
    /// Where in the file the code of a function is.
    places: HashMap<Key, std::ops::Range<usize>>,
    /// Those that were asked for.
    used: Vec<Key>,
    /// Those that were compiled.
    new: HashMap<Key, Vec<u8>>,
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.lock();
        write!(f, "{} functions, {} new ones", known.places.len(), known.new.len())
    }
}

impl Functions {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else compiles: what is at hand belongs to one component at a time.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes those of a file to hand. Where there is none, or a damaged one, all is compiled.
    pub(crate) fn load(&self, path: &Path) {
        let mut known = Known { file: fs::read(path).unwrap_or_default(), ..Known::default() };
        known.places = places(&known.file).unwrap_or_default();
        *self.lock() = known;
    }

    /// What the file should be from now on, if that is another one than it was; forgets all.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        let Known { mut file, mut places, used, new } = std::mem::take(&mut *self.lock());
        if new.is_empty() {
            return None;
        }
        let new_bytes: usize = new.values().map(|code| HEAD_BYTES + code.len()).sum();
        if file.len() + new_bytes > FILE_BYTES_MAX {
            let mut kept = Vec::new();
            for key in &used {
                if let Some(place) = places.remove(key) {
                    push(key, &file[place], &mut kept);
                }
            }
            file = kept;
        } else {
            file.truncate(file.len().saturating_sub(DIGEST_BYTES));
        }
        // In an order of their own, so that the same work gives the same file.
        let mut new: Vec<_> = new.iter().collect();
        new.sort_unstable_by_key(|(key, _)| **key);
        new.into_iter().for_each(|(key, code)| push(key, code, &mut file));
        let digest = Sha256::digest(&file);
        file.extend_from_slice(&digest);
        Some(file)
    }
}

fn push(key: &Key, code: &[u8], file: &mut Vec<u8>) {
    // Far below 4 GiB: the limit of a function's body in WebAssembly is 7 MiB.
    file.extend_from_slice(key);
    file.extend_from_slice(&(code.len() as u32).to_le_bytes());
    file.extend_from_slice(code);
}

/// Where the code of each function is; `None` where the file is damaged.
fn places(file: &[u8]) -> Option<HashMap<Key, std::ops::Range<usize>>> {
    let (entries, digest) = file.split_at_checked(file.len().checked_sub(DIGEST_BYTES)?)?;
    if Sha256::digest(entries).as_slice() != digest {
        return None;
    }
    let mut places = HashMap::new();
    let mut at = 0;
    while at < entries.len() {
        let (key, rest) = entries[at..].split_first_chunk()?;
        let (length, _) = rest.split_first_chunk()?;
        let begin = at + HEAD_BYTES;
        let end = begin.checked_add(u32::from_le_bytes(*length) as usize)?;
        if end > entries.len() {
            return None;
        }
        places.insert(*key, begin..end);
        at = end;
    }
    Some(places)
}

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let key = key.try_into().ok()?;
        let mut known = self.lock();
        let code = match known.places.get(&key).cloned() {
            Some(place) => known.file[place].to_vec(),
            None => return known.new.get(&key).cloned().map(Cow::Owned),
        };
        known.used.push(key);
        Some(Cow::Owned(code))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let Ok(key) = key.try_into() else { return false };
        self.lock().new.insert(key, value);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Key = [1; 32];
    const TWO: Key = [2; 32];

    #[test]
    fn a_file_gives_what_was_put_into_it_unless_it_is_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("functions");
        let functions = Functions::default();
        functions.load(&path);
        assert!(functions.insert(&ONE, b"code".to_vec()));
        assert!(!functions.insert(b"no key", Vec::new()));
        assert_eq!(functions.get(&ONE).as_deref(), Some(b"code".as_slice()));
        let file = functions.take().expect("is new");
        assert_eq!(functions.get(&ONE), None, "nothing is kept in memory");

        fs::write(&path, &file).expect("is written");
        functions.load(&path);
        assert_eq!(functions.get(&ONE).as_deref(), Some(b"code".as_slice()));
        assert_eq!(functions.take(), None, "nothing is new");
        functions.load(&path);
        functions.insert(&TWO, Vec::new());
        let longer = functions.take().expect("is new");
        assert_eq!(longer.len(), file.len() + HEAD_BYTES);
        fs::write(&path, &longer).expect("is written");
        functions.load(&path);
        assert_eq!(functions.get(&TWO).as_deref(), Some([].as_slice()));
        assert!(functions.get(&ONE).is_some());

        for at in [0, 33, 40, longer.len() - 1] {
            let mut damaged = longer.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).expect("is written");
            functions.load(&path);
            assert_eq!((functions.get(&ONE), functions.get(&TWO)), (None, None), "byte {at}");
        }
        fs::write(&path, &longer[..20]).expect("is written");
        functions.load(&path);
        assert_eq!(functions.get(&ONE), None);
    }

    #[test]
    fn a_file_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("functions");
        let functions = Functions::default();
        functions.insert(&ONE, vec![1; FILE_BYTES_MAX / 2]);
        functions.insert(&TWO, b"used".to_vec());
        fs::write(&path, functions.take().expect("is new")).expect("is written");
        functions.load(&path);
        assert!(functions.get(&TWO).is_some());
        functions.insert(&[3; 32], vec![3; FILE_BYTES_MAX / 2]);
        fs::write(&path, functions.take().expect("is new")).expect("is written");
        functions.load(&path);
        assert_eq!(functions.get(&ONE), None, "nobody asked for it");
        assert!(functions.get(&TWO).is_some() && functions.get(&[3; 32]).is_some());
    }
}
