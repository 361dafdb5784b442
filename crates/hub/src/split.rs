//! Models that are split into several files.

/// Most files that a model is split into. The number has five digits; real ones have below 100.
pub(crate) const FILES_MAX: u32 = 1000;

/// The place of a file among those of a model, from its name:
/// `NAME-00001-of-00003.gguf`, as llama.cpp's `gguf-split` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split<'a> {
    /// What stands before the numbers, with folders.
    pub stem: &'a str,
    /// From 1 on.
    pub number: u32,
    /// Files in all.
    pub count: u32,
}

impl<'a> Split<'a> {
    /// Reads a file's name; `None` if it is not one of several.
    pub fn of(name: &'a str) -> Option<Self> {
        let bytes = name.len().checked_sub(".gguf".len())?;
        let (rest, extension) = (name.get(..bytes)?, name.get(bytes..)?);
        let numbers = rest.len().checked_sub("-00001-of-00003".len())?;
        let (stem, numbers) = (rest.get(..numbers)?, rest.get(numbers..)?);
        let (number, count) = numbers.strip_prefix('-')?.split_once("-of-")?;
        let parse = |text: &str| {
            let is_number = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse::<u32>().ok()).flatten()
        };
        let (number, count) = (parse(number)?, parse(count)?);
        let is_valid = extension.eq_ignore_ascii_case(".gguf")
            && (1..=count).contains(&number)
            && count <= FILES_MAX;
        is_valid.then_some(Split { stem, number, count })
    }

    /// The names of all files, in order.
    pub fn names(&self) -> impl Iterator<Item = String> + use<> {
        let (stem, count) = (self.stem.to_owned(), self.count);
        (1..=count).map(move |number| format!("{stem}-{number:05}-of-{count:05}.gguf"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_at_the_end_of_the_name() {
        let split = Split::of("a/m-00002-of-00003.gguf").expect("is split");
        assert_eq!(split, Split { stem: "a/m", number: 2, count: 3 });
        let names: Vec<_> = split.names().collect();
        assert_eq!(names[0], "a/m-00001-of-00003.gguf");
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn other_names_are_not_split() {
        for name in [
            "m.gguf",
            "m-00000-of-00003.gguf",
            "m-00004-of-00003.gguf",
            "m-0001-of-0003.gguf",
            "m-+0001-of-00003.gguf",
            "m-00001-of-99999.gguf",
            "m-00001-of-00003.bin",
            "-of-.gguf",
            "ä-00001-of-0003.gguf",
            "",
        ] {
            assert_eq!(Split::of(name), None, "{name}");
        }
    }
}
