use std::fmt;

/// A list of byte strings in one buffer (a vocabulary has 50,000 to 300,000).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Strings {
    bytes: Vec<u8>,
    /// Where each string ends in `bytes`.
    ends: Vec<u32>,
}

impl Strings {
    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One string; GGUF means UTF-8 but files do not always keep to it.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(previous) => *self.ends.get(previous)?,
            None => 0,
        };
        self.bytes.get(start as usize..end as usize)
    }

    /// All in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator + '_ {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    /// Adds a string at the end. False, and nothing added, where all strings together would
    /// exceed 4 GiB or memory.
    #[must_use]
    pub fn push(&mut self, string: &[u8]) -> bool {
        let begun = self.bytes.len();
        if self.bytes.try_reserve(string.len()).is_err() {
            return false;
        }
        self.bytes.extend_from_slice(string);
        let added = self.end_string();
        if !added {
            self.bytes.truncate(begun);
        }
        added
    }

    /// Makes room for `count` strings; false where memory does not suffice.
    pub(crate) fn reserve(&mut self, count: usize) -> bool {
        self.ends.try_reserve_exact(count).is_ok()
    }

    /// The buffer, for appending the next string to. [`Strings::end_string`] completes it.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Makes one string of what was appended since the last one ended; false beyond 4 GiB.
    pub(crate) fn end_string(&mut self) -> bool {
        match u32::try_from(self.bytes.len()) {
            Ok(end) if self.ends.try_reserve(1).is_ok() => {
                self.ends.push(end);
                true
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Strings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(String::from_utf8_lossy)).finish()
    }
}

impl<S: AsRef<[u8]>> FromIterator<S> for Strings {
    /// # Panics
    /// Where the strings together exceed 4 GiB.
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut all = Strings::default();
        for string in strings {
            assert!(all.push(string.as_ref()), "the strings together exceed 4 GiB");
        }
        all
    }
}
