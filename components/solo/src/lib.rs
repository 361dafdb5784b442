//! The collective of a single instance: every exchange returns what was given.

#![allow(missing_docs)] // Generated bindings.

mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "collective-component" });
}

use bindings::exports::trefoil::llm::collective::{Error, Guest};

struct Solo;

impl Guest for Solo {
    fn rank() -> u32 {
        0
    }

    fn size() -> u32 {
        1
    }

    fn broadcast(bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        Ok(bytes)
    }

    fn all_gather(part: Vec<u8>) -> Result<Vec<u8>, Error> {
        Ok(part)
    }

    fn gather(part: Vec<u8>) -> Result<Vec<u8>, Error> {
        Ok(part)
    }
}

bindings::export!(Solo with_types_in bindings);
