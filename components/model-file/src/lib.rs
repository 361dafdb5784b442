//! A model component that reads a GGUF file at run time, through `wasi:filesystem` and nothing
//! else. `trefoil compose --model file:PATH` writes the path into [`PATH`].

#![allow(missing_docs)] // Generated bindings.

mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit", "wit"],
        world: "trefoil:model-file/model-file",
        generate_all,
    });
}

use std::cell::OnceCell;

use bindings::exports::trefoil::llm::model::{Error, Guest, Part};
use bindings::trefoil::llm::types::Role;
use bindings::wasi::filesystem::preopens::get_directories;
use bindings::wasi::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, ErrorCode, OpenFlags, PathFlags,
};
use trefoil_contract::READ_LENGTH_MAX;

/// Where the composer writes the path: the marker, then the path, padded with zeros.
/// `trefoil_compose` finds it by the marker.
#[unsafe(no_mangle)]
#[used]
static PATH: [u8; 4096] = {
    let marker = b"trefoil:model-file-path\0";
    let mut bytes = [0; 4096];
    let mut index = 0;
    while index < marker.len() {
        bytes[index] = marker[index];
        index += 1;
    }
    bytes
};

const MARKER_LENGTH: usize = 24;

struct File {
    descriptor: Descriptor,
    path: String,
    size: u64,
}

impl File {
    fn open() -> Result<File, Error> {
        let path = path();
        if path.is_empty() {
            return Err(Error::NotFound(
                "this `file` model component has no path: compose it with `--model file:PATH`"
                    .into(),
            ));
        }
        let directories = get_directories();
        let granted: Vec<&str> = directories.iter().map(|(_, name)| name.as_str()).collect();
        let (directory, rest) = directories
            .iter()
            .filter_map(|(directory, name)| Some((directory, name, inside(name, &path)?)))
            .max_by_key(|(_, name, _)| name.len())
            .map(|(directory, _, rest)| (directory, rest))
            .ok_or_else(|| Error::Io(not_granted(&path, &granted)))?;
        let fail = |error: ErrorCode| Error::Io(format!("`{path}`: {}", words(error)));
        let descriptor = directory
            .open_at(PathFlags::SYMLINK_FOLLOW, rest, OpenFlags::empty(), DescriptorFlags::READ)
            .map_err(fail)?;
        let stat = descriptor.stat().map_err(fail)?;
        if stat.type_ != DescriptorType::RegularFile {
            return Err(Error::Io(format!("`{path}` is not a file")));
        }
        Ok(File { descriptor, size: stat.size, path })
    }

    fn part(&self) -> Part {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        Part {
            name: name.strip_suffix(".gguf").unwrap_or(name).to_owned(),
            role: Role::Weights,
            format: "gguf".into(),
            size: self.size,
            sha256: String::new(),
            license: String::new(),
        }
    }

    fn read(&self, mut offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut left = u64::from(length).min(self.size.saturating_sub(offset));
        while left > 0 {
            let (mut piece, end) = self.descriptor.read(left, offset).map_err(|error| {
                Error::Io(format!("`{}` at byte {offset}: {}", self.path, words(error)))
            })?;
            if piece.is_empty() {
                // The file was cut since it was opened, or the host breaks its promise.
                let why = if end { "the file ends early" } else { "nothing could be read" };
                return Err(Error::Io(format!("`{}` at byte {offset}: {why}", self.path)));
            }
            offset += piece.len() as u64;
            left = left.saturating_sub(piece.len() as u64);
            if bytes.is_empty() {
                bytes = piece;
            } else {
                bytes.append(&mut piece);
            }
        }
        Ok(bytes)
    }
}

/// The path behind the marker. Reads volatile: the optimiser must not assume the zeros that the
/// source shows.
fn path() -> String {
    let bytes: Vec<u8> = (MARKER_LENGTH..PATH.len())
        // SAFETY: the index lies inside the static array.
        .map(|index| unsafe { PATH.as_ptr().add(index).read_volatile() })
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The rest of `path` below the directory `name`, if it lies there. `.` holds relative paths.
fn inside<'a>(name: &str, path: &'a str) -> Option<&'a str> {
    if name == "." || name.is_empty() {
        return (!path.starts_with('/')).then(|| path.trim_start_matches("./"));
    }
    let rest = path.strip_prefix(name)?;
    if name.ends_with('/') {
        return Some(rest);
    }
    rest.strip_prefix('/')
}

fn not_granted(path: &str, granted: &[&str]) -> String {
    let directory = match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((directory, _)) => directory,
        None => ".",
    };
    let granted = match granted {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    format!(
        "`{path}` lies in no granted directory (granted: {granted}); add `--dir {directory}` \
         to the command that runs this file"
    )
}

fn words(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::NoEntry => "no such file",
        ErrorCode::Access | ErrorCode::NotPermitted => "access denied",
        ErrorCode::IsDirectory => "is a directory",
        ErrorCode::NotDirectory => "a component of the path is not a directory",
        ErrorCode::Io => "input/output error",
        _ => "cannot be read",
    }
}

thread_local! {
    static FILE: OnceCell<File> = const { OnceCell::new() };
}

fn with_file<T>(action: impl FnOnce(&File) -> Result<T, Error>) -> Result<T, Error> {
    FILE.with(|cell| match cell.get() {
        Some(file) => action(file),
        None => {
            let file = File::open()?;
            action(cell.get_or_init(|| file))
        }
    })
}

struct Component;

impl Guest for Component {
    fn parts() -> Result<Vec<Part>, Error> {
        with_file(|file| Ok(vec![file.part()]))
    }

    fn read(part: u32, offset: u64, length: u32) -> Result<Vec<u64>, Error> {
        if length > READ_LENGTH_MAX {
            return Err(Error::InvalidArgument(format!(
                "{length} bytes were to be read at once: at most {READ_LENGTH_MAX} are allowed"
            )));
        }
        if part != 0 {
            return Err(Error::NotFound(format!("part {part}: this model has only part 0")));
        }
        with_file(|file| Ok(trefoil_contract::words(&file.read(offset, length)?)))
    }
}

bindings::export!(Component with_types_in bindings);
