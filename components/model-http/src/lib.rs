//! A model component that reads a GGUF file at run time, through `wasi:http` and nothing else (its
//! clock serves the pauses between attempts). `trefoil compose --model https://HOST/PATH` writes
//! the address and the digests into [`PLACE`]; what is done with them is `trefoil-remote`'s.

#![allow(missing_docs)] // Generated bindings.

mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit", "wit"],
        world: "trefoil:model-http/model-http",
        generate_all,
    });
}
mod transport;

use std::cell::RefCell;

use bindings::exports::trefoil::llm::model::{Error, Guest, Part};
use bindings::trefoil::llm::types::Role;
use trefoil_contract::{FORMAT_GGUF, READ_LENGTH_MAX};
use trefoil_remote::{Manifest, PLACE_BYTES, Reader, hex};

use transport::Wasi;

/// Where the composer writes the manifest.
#[unsafe(no_mangle)]
#[used]
static PLACE: [u8; PLACE_BYTES] = trefoil_remote::place();

/// Reads volatile: the optimiser must not assume the zeros that the source shows.
fn manifest() -> Result<Manifest, Error> {
    let bytes: Vec<u8> = (0..PLACE.len())
        // SAFETY: the index lies inside the static array.
        .map(|index| unsafe { PLACE.as_ptr().add(index).read_volatile() })
        .collect();
    Manifest::from_place(&bytes).map_err(|error| Error::InvalidModel(error.to_string()))
}

fn part(manifest: &Manifest) -> Part {
    Part {
        name: manifest.name.clone(),
        role: Role::Weights,
        format: FORMAT_GGUF.into(),
        size: manifest.digests.size,
        sha256: hex(&manifest.digests.sha256),
        license: manifest.license.clone(),
    }
}

thread_local! {
    static READER: RefCell<Option<Reader<Wasi>>> = const { RefCell::new(None) };
}

fn with_reader<T>(action: impl FnOnce(&mut Reader<Wasi>) -> Result<T, Error>) -> Result<T, Error> {
    READER.with_borrow_mut(|reader| match reader {
        Some(reader) => action(reader),
        none => action(none.insert(Reader::new(manifest()?, Wasi))),
    })
}

struct Component;

impl Guest for Component {
    fn parts() -> Result<Vec<Part>, Error> {
        with_reader(|reader| Ok(vec![part(reader.manifest())]))
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
        with_reader(|reader| {
            let bytes =
                reader.read(offset, length).map_err(|error| Error::Io(error.to_string()))?;
            Ok(trefoil_contract::words(&bytes))
        })
    }
}

bindings::export!(Component with_types_in bindings);
