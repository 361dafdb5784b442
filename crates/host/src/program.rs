use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;
use wasmtime::component::Component;

use crate::{Cache, CacheError, Interrupt, Runtime, sha256_of_file};

/// What loading a program is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading the file for its digest.
    Hashing {
        /// Bytes so far.
        done_bytes: u64,
        /// Bytes of the file.
        total_bytes: u64,
    },
    /// Translating to native code. It cannot say how far it is.
    Compiling {
        /// Bytes of the file.
        total_bytes: u64,
    },
    /// Writing native code to the cache.
    Saving,
}

/// How long the phases took. What was not necessary is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// Digest of the file, or looking it up.
    pub digest: Duration,
    /// Translation to native code.
    pub compile: Option<Duration>,
    /// Mapping native code into memory.
    pub map: Duration,
}

/// A component that can be run.
pub struct Program {
    pub(crate) component: Component,
    path: PathBuf,
    timings: Timings,
    cache_problem: Option<CacheError>,
}

/// Why a file is not a program.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("`{}` is {what}, not a WebAssembly component; {cure}", path.display())]
    NotComponent {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        what: &'static str,
        /// What to do.
        cure: &'static str,
    },
    /// wasmtime refuses it.
    #[error("`{}` is not a valid component: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// wasmtime's words, with the byte offset.
        message: String,
    },
    /// The interrupt was raised.
    #[error("interrupted")]
    Interrupted,
}

impl Program {
    /// Loads a component from a file. With a cache, native code is kept there by the content's
    /// digest and used again; a damaged entry is made anew.
    ///
    /// # Errors
    /// [`LoadError`]. A cache that cannot be written is no error: see
    /// [`Program::cache_problem`].
    pub fn load(
        runtime: &Runtime,
        path: &Path,
        cache: Option<&Cache>,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<Self, LoadError> {
        let read_error = |source: io::Error| match interrupt.is_raised() {
            true => LoadError::Interrupted,
            false => LoadError::Read { path: path.into(), source },
        };
        sniff(path)?;
        let start = Instant::now();
        let identity = match cache.and_then(|cache| cache.composition_key(path)) {
            Some(key) => format!("composition-{key}"),
            None => sha256_of_file(path, cache, interrupt, &mut |done_bytes, total_bytes| {
                progress(Phase::Hashing { done_bytes, total_bytes });
            })
            .map_err(read_error)?,
        };
        let mut timings = Timings { digest: start.elapsed(), ..Timings::default() };
        let entry = cache
            .map(|cache| cache.compiled(&format!("{identity}-{:016x}", runtime.compatibility())));
        let finish = |component, timings, cache_problem| Program {
            component,
            path: path.into(),
            timings,
            cache_problem,
        };

        let start = Instant::now();
        if let Some(component) = entry.as_deref().and_then(|entry| map(runtime, entry)) {
            timings.map = start.elapsed();
            return Ok(finish(component, timings, None));
        }

        let bytes = fs::read(path).map_err(read_error)?;
        progress(Phase::Compiling { total_bytes: bytes.len() as u64 });
        let start = Instant::now();
        let invalid = |error: wasmtime::Error| LoadError::Invalid {
            path: path.into(),
            message: format!("{error:#}"),
        };
        let functions = runtime.functions();
        let turn = functions.turn();
        let of_functions = cache.map(|cache| cache.functions(runtime.compatibility()));
        if let Some(path) = &of_functions {
            functions.load(path);
        }
        let compiled = runtime.engine().precompile_component(&bytes);
        let changed = functions.take();
        drop(turn);
        let code = compiled.map_err(invalid)?;
        timings.compile = Some(start.elapsed());
        drop(bytes);
        if interrupt.is_raised() {
            return Err(LoadError::Interrupted);
        }

        let mut cache_problem = None;
        if let (Some(cache), Some(entry)) = (cache, &entry) {
            progress(Phase::Saving);
            let written = cache.write(entry, &code, interrupt).and_then(|()| {
                let changed = of_functions.zip(changed);
                changed.map_or(Ok(()), |(path, file)| cache.write(&path, &file, interrupt))
            });
            match written {
                Ok(()) => {}
                Err(CacheError::Interrupted) => return Err(LoadError::Interrupted),
                Err(error) => cache_problem = Some(error),
            }
        }
        let start = Instant::now();
        let mapped = entry.as_deref().and_then(|entry| map(runtime, entry));
        let component = match mapped {
            Some(component) => component,
            // SAFETY: these bytes come from `precompile_component` of the same engine just now.
            None => unsafe { Component::deserialize(runtime.engine(), &code) }.map_err(invalid)?,
        };
        timings.map = start.elapsed();
        Ok(finish(component, timings, cache_problem))
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long loading took.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Why native code could not be kept, so that the next start will compile again.
    pub fn cache_problem(&self) -> Option<&CacheError> {
        self.cache_problem.as_ref()
    }

    /// Whether the component exports an interface of this name, in any version.
    pub fn exports(&self, interface: &str) -> bool {
        self.export_names().iter().any(|name| is_version_of(name, interface))
    }

    /// Whether the component imports an interface of this name, in any version.
    pub fn imports(&self, interface: &str) -> bool {
        self.import_names().iter().any(|name| is_version_of(name, interface))
    }

    /// Whether the component leaves the collective to the host, and has something to run on the
    /// instances beside rank 0.
    pub fn can_run_in_several_instances(&self) -> bool {
        self.imports("trefoil:llm/collective") && self.exports("trefoil:llm/worker")
    }

    /// Names of all exports.
    pub fn export_names(&self) -> Vec<String> {
        let engine = self.component.engine();
        self.component.component_type().exports(engine).map(|(name, _)| name.to_owned()).collect()
    }

    /// Names of all imports.
    pub fn import_names(&self) -> Vec<String> {
        let engine = self.component.engine();
        self.component.component_type().imports(engine).map(|(name, _)| name.to_owned()).collect()
    }
}

fn is_version_of(name: &str, interface: &str) -> bool {
    name.split('@').next() == Some(interface)
}

/// Maps native code from the cache; `None` if it is not there or damaged.
fn map(runtime: &Runtime, entry: &Path) -> Option<Component> {
    if !entry.exists() {
        return None;
    }
    // SAFETY: only this program writes to the cache, whose folders nobody else can write
    // (`Cache::open` checks that); files in it appear complete, by renaming.
    unsafe { Component::deserialize_file(runtime.engine(), entry) }.ok()
}

/// Says what a file is that is not a component, before anything reads it as a whole.
fn sniff(path: &Path) -> Result<(), LoadError> {
    let read_error = |source| LoadError::Read { path: path.into(), source };
    let mut head = Vec::with_capacity(8);
    File::open(path).and_then(|file| file.take(8).read_to_end(&mut head)).map_err(read_error)?;
    let (what, cure) = match head.as_slice() {
        // Layers and versions: the component model's binary format, `Binary.md`.
        [0, b'a', b's', b'm', _, _, 1, 0] => return Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0] => (
            "a core module",
            "componentize it, for example with `wasm-tools component new`, or build for \
             wasm32-wasip2",
        ),
        [b'G', b'G', b'U', b'F', ..] => {
            ("a GGUF model", "compose it with an engine: `trefoil compose --model`")
        }
        [0x7f, b'E', b'L', b'F', ..] => {
            ("native code", "give the `.wasm` file that it was compiled from")
        }
        [] => ("empty", "give another file"),
        _ => ("something else", "give a `.wasm` file that `trefoil compose` made"),
    };
    Err(LoadError::NotComponent { path: path.into(), what, cure })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_do_not_hide_an_interface() {
        assert!(is_version_of("wasi:cli/run@0.2.6", "wasi:cli/run"));
        assert!(is_version_of("wasi:cli/run", "wasi:cli/run"));
        assert!(!is_version_of("wasi:cli/runner@0.2.6", "wasi:cli/run"));
    }
}
