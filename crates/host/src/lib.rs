//! Runs components on wasmtime: the only crate that names it.
//!
//! A [`Runtime`] turns a file into a [`Program`] (compiled once, kept in the [`Cache`] by content).
//! [`run`] runs a program that is a command; [`Inference`] calls one that exports
//! `trefoil:llm/inference`. Nothing is granted to a guest but what [`Grants`] names, and
//! [`Limits`] bound its memory and time. A program that leaves its collective to the host runs in as
//! many instances as [`RunOptions::instances`] says, one thread each. This crate prints nothing
//! itself; the guest's own output goes to the process's standard streams.

#![deny(missing_docs)]

mod cache;
mod collective;
mod digest;
mod failure;
mod functions;
mod gauges;
mod grants;
mod guest;
mod http;
#[cfg(target_os = "linux")]
mod huge_pages;
mod inference;
mod instances;
mod interrupt;
mod output;
mod program;
mod run;
mod runtime;

pub use cache::{Cache, CacheError, Usage as CacheUsage};
pub use digest::{Sha256Hex, sha256_of_bytes, sha256_of_file};
pub use failure::{Failure, Frame, Trap};
pub use gauges::{Gauges, Refusal};
pub use grants::{Directory, GrantError, Grants, Variable};
pub use guest::Limits;
pub use http::HttpHost;
pub use inference::{CallError, Generation, Inference, Restoration, Snapshot};
pub use instances::INSTANCES_MAX;
pub use interrupt::Interrupt;
pub use program::{LoadError, Phase, Program, Timings};
pub use run::{Outcome, RunOptions, run};
pub use runtime::{Runtime, RuntimeError};
