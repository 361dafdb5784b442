//! Models that are split into several files: `NAME-00001-of-00003.gguf`.
//!
//! Each file has a header of its own; the first has the model's metadata. Names and keys:
//! `llama-model-loader.cpp` (`llama_split_path`, `LLM_KV_SPLIT_COUNT`) in llama.cpp.

use std::ops::Range;

use crate::{Error, Gguf, MAGIC, Source, push_key_value};

/// Key with the number of a model's files.
pub const SPLIT_COUNT_KEY: &str = "split.count";
/// Key with a file's number, from 0.
const SPLIT_NUMBER_KEY: &str = "split.no";
/// Key with the number of tensors in all files.
const SPLIT_TENSORS_KEY: &str = "split.tensors.count";
/// Keys that concern a file and not the model begin so.
const SPLIT_PREFIX: &str = "split.";

/// Most files of a model. Their numbers have five digits; real ones have below 100.
pub const SPLIT_FILES_MAX: u32 = 1000;

/// Why several files are not one model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// A file cannot be used.
    #[error("{source}")]
    File {
        /// From 0.
        number: usize,
        /// Where and what.
        source: Box<Error>,
    },
    /// A file is not the one that belongs there.
    #[error(
        "it says that it is file {found} of {found_count}, but was given as file {} of {count}: \
         download it again, or give it the name that it had", .number + 1
    )]
    Place {
        /// From 0.
        number: usize,
        /// Files given.
        count: usize,
        /// What it says, from 1; 0 where it says nothing.
        found: u32,
        /// Files by what it says.
        found_count: u32,
    },
    /// The files do not have the tensors that the first one promises.
    #[error(
        "the {count} files have {found} tensors, the first one promises {expected}: download them \
         again"
    )]
    Tensors {
        /// Files.
        count: usize,
        /// Tensors in them.
        found: u64,
        /// By the first file.
        expected: u32,
    },
    /// A file's tensors do not stand where the first file's alignment wants them.
    #[error(
        "its tensors are aligned to {found} bytes, those of the first file to {expected}: make the \
         files again with a current converter"
    )]
    Alignment {
        /// From 0.
        number: usize,
        /// Of this file.
        found: u32,
        /// Of the first one.
        expected: u32,
    },
}

impl SplitError {
    /// The file that is to blame, from 0.
    pub fn number(&self) -> usize {
        match self {
            SplitError::File { number, .. }
            | SplitError::Place { number, .. }
            | SplitError::Alignment { number, .. } => *number,
            SplitError::Tensors { .. } => 0,
        }
    }
}

/// The name of one of several files, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitName<'a> {
    /// All before `-00001-of-00003.gguf`.
    pub stem: &'a str,
    /// From 1.
    pub number: u32,
    /// Number of files, at least 1.
    pub count: u32,
}

impl<'a> SplitName<'a> {
    /// Takes a file's name or path apart if it has this form.
    pub fn parse(name: &'a str) -> Option<SplitName<'a>> {
        let (rest, extension) = name.split_at_checked(name.len().checked_sub(".gguf".len())?)?;
        let (rest, count) = rest.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let parse = |digits: &str| {
            let is_number = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse::<u32>().ok()).flatten()
        };
        let (number, count) = (parse(number)?, parse(count)?);
        let is_valid = extension.eq_ignore_ascii_case(".gguf")
            && (1..=count).contains(&number)
            && count <= SPLIT_FILES_MAX;
        is_valid.then_some(SplitName { stem, number, count })
    }

    /// The names of all files, in order.
    pub fn all(&self) -> impl Iterator<Item = String> + use<> {
        let (stem, count) = (self.stem.to_owned(), self.count);
        (1..=count).map(move |number| format!("{stem}-{number:05}-of-{count:05}.gguf"))
    }
}

/// Several files, read as the one file that the model would be.
pub struct Joined<S> {
    files: Vec<S>,
    /// All before the tensors' data.
    header: Vec<u8>,
    data: Vec<Stretch>,
    size: u64,
}

/// The data of a file.
struct Stretch {
    /// In the joined file.
    start: u64,
    /// In its own.
    data: Range<u64>,
}

impl<S: Source> Joined<S> {
    /// Joins the files of a model, which stand in order.
    ///
    /// # Errors
    /// [`SplitError`]. Whether tensors occur twice shows when the result is read.
    pub fn new(files: Vec<S>) -> Result<Joined<S>, SplitError> {
        let count = files.len();
        let mut headers = Vec::with_capacity(count);
        for (number, file) in files.iter().enumerate() {
            let fail = |source| SplitError::File { number, source: Box::new(source) };
            let gguf = Gguf::read(file).map_err(fail)?;
            let key = |key| gguf.metadata.u32(key).map_err(fail);
            let found = key(SPLIT_NUMBER_KEY)?.map_or(0, |number| number.saturating_add(1));
            let found_count = key(SPLIT_COUNT_KEY)?.unwrap_or(0);
            if (found as usize, found_count as usize) != (number + 1, count) {
                return Err(SplitError::Place { number, count, found, found_count });
            }
            headers.push(gguf);
        }
        let Some(first) = headers.first() else {
            return Ok(Joined { files, header: Vec::new(), data: Vec::new(), size: 0 });
        };
        let fail = |source| SplitError::File { number: 0, source: Box::new(source) };
        let found = headers.iter().map(|gguf| gguf.tensors.len() as u64).sum();
        if let Some(expected) = first.metadata.u32(SPLIT_TENSORS_KEY).map_err(fail)?
            && u64::from(expected) != found
        {
            return Err(SplitError::Tensors { count, found, expected });
        }
        let alignment = first.layout.alignment;
        for (number, gguf) in headers.iter().enumerate() {
            let found = gguf.layout.alignment;
            if found < alignment && !gguf.tensors.is_empty() {
                return Err(SplitError::Alignment { number, found, expected: alignment });
            }
        }

        // Where each file's data stand behind those of the files before it.
        let mut starts = Vec::with_capacity(count);
        let mut end = 0u64;
        for gguf in &headers {
            let start = end.next_multiple_of(u64::from(alignment));
            let length = gguf.layout.data.end - gguf.layout.data.start;
            end = start.saturating_add(length);
            starts.push(start);
        }
        let mut header = MAGIC.to_vec();
        header.extend(first.version.to_le_bytes());
        header.extend(found.to_le_bytes());
        let keys: Vec<_> =
            first.metadata.iter().filter(|(key, _)| !key.starts_with(SPLIT_PREFIX)).collect();
        header.extend((keys.len() as u64).to_le_bytes());
        for (key, value) in keys {
            push_key_value(key, value, &mut header);
        }
        for (gguf, start) in headers.iter().zip(&starts) {
            for tensor in &gguf.tensors {
                header.extend((tensor.name.len() as u64).to_le_bytes());
                header.extend(tensor.name.as_bytes());
                header.extend((tensor.dimensions.len() as u32).to_le_bytes());
                header.extend(tensor.dimensions.iter().flat_map(|size| size.to_le_bytes()));
                header.extend(tensor.tensor_type.number().to_le_bytes());
                let place = start + (tensor.offset - gguf.layout.data.start);
                header.extend(place.to_le_bytes());
            }
        }
        header.resize(header.len().next_multiple_of(alignment as usize), 0);
        let base = header.len() as u64;
        let stretch = |(gguf, start): (&Gguf, &u64)| Stretch {
            start: base.saturating_add(*start),
            data: gguf.layout.data.clone(),
        };
        let data = headers.iter().zip(&starts).map(stretch).collect();
        Ok(Joined { files, header, data, size: base.saturating_add(end) })
    }

    /// The files, in order.
    pub fn files(&self) -> &[S] {
        &self.files
    }
}

impl<S: Source> Source for Joined<S> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> Result<(), String> {
        let held = usize::try_from(offset).ok().and_then(|start| self.header.get(start..));
        if let Some(header) = held {
            let (head, tail) = buffer.split_at_mut(header.len().min(buffer.len()));
            head.copy_from_slice(&header[..head.len()]);
            offset += head.len() as u64;
            buffer = tail;
        }
        while !buffer.is_empty() {
            if offset >= self.size {
                return Err(format!("{} bytes at {offset} are past the end", buffer.len()));
            }
            // The last stretch that begins here or before; behind its data there is padding.
            let index = self.data.partition_point(|stretch| stretch.start <= offset);
            let stretch = &self.data[index.saturating_sub(1)];
            let until = self.data.get(index).map_or(self.size, |next| next.start);
            let here = usize::try_from(until - offset).unwrap_or(usize::MAX).min(buffer.len());
            let (head, tail) = buffer.split_at_mut(here);
            let from = stretch.data.start + (offset - stretch.start);
            let present = stretch.data.end.saturating_sub(from);
            let present = usize::try_from(present).unwrap_or(usize::MAX).min(here);
            let (data, padding) = head.split_at_mut(present);
            if !data.is_empty() {
                self.files[index.saturating_sub(1)].read_at(from, data)?;
            }
            padding.fill(0);
            offset += here as u64;
            buffer = tail;
        }
        Ok(())
    }
}
