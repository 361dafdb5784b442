//! The components that come with Trefoil, built from this workspace by `build.rs`.

#![deny(missing_docs)]

include!(concat!(env!("OUT_DIR"), "/components.rs"));
