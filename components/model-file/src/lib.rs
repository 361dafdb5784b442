//! A model component that reads a GGUF file at run time, through `wasi:filesystem` and nothing
//! else. `trefoil compose --model file:PATH` writes the path into [`PATH`]. Of a model that is split
//! into several files the path names any.

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
use trefoil_gguf::{Gguf, Joined, SPLIT_COUNT_KEY, Source, SplitName};

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

/// The model: its file, or the files that it is split into, read as one.
struct Model {
    name: String,
    source: Box<dyn Source>,
}

impl Model {
    fn open() -> Result<Model, Error> {
        let path = path();
        if path.is_empty() {
            return Err(Error::NotFound(
                "this `file` model component has no path: compose it with `--model file:PATH`"
                    .into(),
            ));
        }
        let name = path.rsplit('/').next().unwrap_or(&path);
        let split = SplitName::parse(&path);
        if let Some(split) = split
            && is_split(&File::open(&path)?)?
        {
            let files: Vec<_> =
                split.all().map(|path| File::open(&path)).collect::<Result<_, _>>()?;
            let joined = Joined::new(files).map_err(|error| {
                let path = split.all().nth(error.number()).unwrap_or_default();
                Error::InvalidModel(format!("`{path}`: {error}"))
            })?;
            let stem = SplitName::parse(name).map_or(name, |split| split.stem);
            return Ok(Model { name: stem.to_owned(), source: Box::new(joined) });
        }
        let name = name.strip_suffix(".gguf").unwrap_or(name).to_owned();
        Ok(Model { name, source: Box::new(File::open(&path)?) })
    }

    fn part(&self) -> Part {
        Part {
            name: self.name.clone(),
            role: Role::Weights,
            format: "gguf".into(),
            size: self.source.size(),
            sha256: String::new(),
            license: String::new(),
        }
    }

    fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        let left = self.source.size().saturating_sub(offset).min(length.into());
        let mut bytes = vec![0; left as usize];
        self.source.read_at(offset, &mut bytes).map_err(Error::Io)?;
        Ok(bytes)
    }
}

/// Whether a file says that it is one of several.
fn is_split(file: &File) -> Result<bool, Error> {
    let invalid = |error| Error::InvalidModel(format!("`{}`: {error}", file.path));
    let gguf = Gguf::read(file).map_err(invalid)?;
    Ok(gguf.metadata.u32(SPLIT_COUNT_KEY).map_err(invalid)?.is_some_and(|count| count > 1))
}

struct File {
    descriptor: Descriptor,
    path: String,
    size: u64,
}

impl File {
    fn open(path: &str) -> Result<File, Error> {
        let directories = get_directories();
        let granted: Vec<&str> = directories.iter().map(|(_, name)| name.as_str()).collect();
        let (directory, rest) = directories
            .iter()
            .filter_map(|(directory, name)| Some((directory, name, inside(name, path)?)))
            .max_by_key(|(_, name, _)| name.len())
            .map(|(directory, _, rest)| (directory, rest))
            .ok_or_else(|| Error::Io(not_granted(path, &granted)))?;
        let fail = |error: ErrorCode| Error::Io(format!("`{path}`: {}", words(error)));
        let descriptor = directory
            .open_at(PathFlags::SYMLINK_FOLLOW, rest, OpenFlags::empty(), DescriptorFlags::READ)
            .map_err(fail)?;
        let stat = descriptor.stat().map_err(fail)?;
        if stat.type_ != DescriptorType::RegularFile {
            return Err(Error::Io(format!("`{path}` is not a file")));
        }
        Ok(File { descriptor, size: stat.size, path: path.to_owned() })
    }
}

impl Source for File {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> Result<(), String> {
        while !buffer.is_empty() {
            let (piece, end) = self
                .descriptor
                .read(buffer.len() as u64, offset)
                .map_err(|error| format!("`{}` at byte {offset}: {}", self.path, words(error)))?;
            if piece.is_empty() || piece.len() > buffer.len() {
                // The file was cut since it was opened, or the host breaks its promise.
                let why = if end { "the file ends early" } else { "nothing could be read" };
                return Err(format!("`{}` at byte {offset}: {why}", self.path));
            }
            let (here, rest) = buffer.split_at_mut(piece.len());
            here.copy_from_slice(&piece);
            offset += piece.len() as u64;
            buffer = rest;
        }
        Ok(())
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
    static MODEL: OnceCell<Model> = const { OnceCell::new() };
}

fn with_model<T>(action: impl FnOnce(&Model) -> Result<T, Error>) -> Result<T, Error> {
    MODEL.with(|cell| match cell.get() {
        Some(model) => action(model),
        None => {
            let model = Model::open()?;
            action(cell.get_or_init(|| model))
        }
    })
}

struct Component;

impl Guest for Component {
    fn parts() -> Result<Vec<Part>, Error> {
        with_model(|model| Ok(vec![model.part()]))
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
        with_model(|model| Ok(trefoil_contract::words(&model.read(offset, length)?)))
    }
}

bindings::export!(Component with_types_in bindings);
