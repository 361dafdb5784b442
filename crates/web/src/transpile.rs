//! A component as an ES module beside its core modules.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use js_component_bindgen::{AsyncMode, InstantiationMode, TranspileOpts};
use sha2::{Digest, Sha256};
use trefoil_compose::{Outline, Progress};

use crate::features::required;
use crate::manifest::{Core, Feature};
use crate::pieces::hex;
use crate::{WebError, cannot_write};

/// How a component is transpiled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form<'a> {
    /// What files are called, without their endings.
    pub(crate) name: &'a str,
    /// Whether to write `.d.ts` files.
    pub(crate) types: bool,
    /// Whether copies between components may use several memories. Without, JavaScript does them,
    /// number by number: that is for components that exchange little.
    pub(crate) multi_memory: bool,
    /// Exports, with their interfaces, that can be suspended by an import in a second ES module over
    /// the same core modules.
    pub(crate) suspending: &'a [&'a str],
}

impl Form<'_> {
    /// The file of the ES module.
    pub(crate) fn module(&self) -> String {
        format!("{}.js", self.name)
    }

    /// The file of the second one.
    pub(crate) fn suspending_module(&self) -> String {
        format!("{}.suspending.js", self.name)
    }
}

/// What the transpiler made of a component without its bulk.
pub(crate) struct Transpiled {
    outline: Outline,
    /// The ES module and types.
    texts: Vec<(String, Vec<u8>)>,
    /// Core modules, without their bulk.
    cores: Vec<(String, Vec<u8>)>,
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

/// Transpiles a component. Holds its code in memory, not its bulk.
pub(crate) fn transpile(path: &Path, form: Form<'_>) -> Result<Transpiled, WebError> {
    let outline = Outline::read(path)?;
    let options = |suspending: &[&str]| {
        let mode = (!suspending.is_empty()).then(|| AsyncMode::JavaScriptPromiseIntegration {
            imports: Vec::new(),
            exports: suspending.iter().map(ToString::to_string).collect(),
        });
        TranspileOpts::builder()
            .name(form.name.to_owned())
            .no_typescript(!form.types)
            .instantiation_mode(InstantiationMode::Async)
            .maybe_async_mode(mode)
            .base64_cutoff(0)
            .tla_compat(false)
            .nodejs_compat_disabled(true)
            .no_namespaced_exports(true)
            .valid_lifting_optimization(true)
            .multi_memory(form.multi_memory)
            .build()
    };
    let fail = |cause: String| WebError::Transpile { path: path.into(), cause };
    // It has panics for what it does not know, which a user's component may use; they must not end
    // the program.
    let attempt = |suspending: &[&str]| {
        let attempt = || js_component_bindgen::transpile(outline.bytes(), options(suspending));
        catch_unwind(AssertUnwindSafe(attempt))
            .map_err(|_| fail("it uses something that the transpiler does not know yet".into()))?
            .map_err(|error| fail(format!("{error:#}")))
    };
    let transpiled = attempt(&[])?;
    let is_core = |(name, _): &(String, Vec<u8>)| name.ends_with(".wasm");
    let (cores, mut texts): (Vec<_>, Vec<_>) = transpiled.files.into_iter().partition(is_core);
    if !form.suspending.is_empty() {
        let (same, other): (Vec<_>, Vec<_>) =
            attempt(form.suspending)?.files.into_iter().partition(is_core);
        if same != cores {
            return Err(fail("its core modules depend on what may be suspended".into()));
        }
        let module = other.into_iter().find(|(name, _)| *name == form.module());
        let text = module.and_then(|(_, text)| with_async_statics(text, form.suspending));
        let text = text.ok_or_else(|| fail("a static function was not found".into()))?;
        texts.push((form.suspending_module(), text));
    }
    let exports = transpiled.exports.into_iter().map(|(name, _)| name).collect();
    Ok(Transpiled { outline, texts, cores, imports: transpiled.imports, exports })
}

/// Adds the `async` that the transpiler (2.11) forgets before static functions with an `await`.
fn with_async_statics(module: Vec<u8>, suspending: &[&str]) -> Option<Vec<u8>> {
    let mut text = String::from_utf8(module).ok()?;
    let statics = suspending.iter().filter(|name| name.contains("#[static]"));
    for (_, name) in statics.filter_map(|name| name.rsplit_once('.')) {
        let begin = format!("= function {name}(");
        if text.matches(&begin).count() != 1 {
            return None;
        }
        text = text.replace(&begin, &format!("= async function {name}("));
    }
    Some(text.into_bytes())
}

impl Transpiled {
    /// Bytes that will be written.
    pub(crate) fn size(&self) -> u64 {
        self.cores.iter().map(|(_, bytes)| self.core_size(bytes)).sum()
    }

    fn core_size(&self, bytes: &[u8]) -> u64 {
        self.outline.module(bytes).map_or(bytes.len() as u64, |module| module.size())
    }

    /// Features that the core modules take.
    pub(crate) fn requires(&self) -> Vec<Feature> {
        required(self.cores.iter().map(|(_, bytes)| bytes.as_slice()))
    }

    /// Writes all files into a folder: core modules with their bulk.
    pub(crate) fn write(
        &self,
        folder: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Written, WebError> {
        let mut hash = Sha256::new();
        let mut add = |name: &str, sha256: &str| hash.update(format!("{name} {sha256}\n"));
        for (name, bytes) in &self.texts {
            write_file(folder, name, bytes)?;
            add(name, &hex(Sha256::new_with_prefix(bytes)));
        }
        let (mut cores, mut done) = (Vec::new(), 0);
        let total = self.size();
        for (name, bytes) in &self.cores {
            let size = self.core_size(bytes);
            let sha256 = match self.outline.module(bytes) {
                Some(module) => module.write(&folder.join(name), &mut |written: u64, _: u64| {
                    progress.advance(done + written, total)
                })?,
                None => {
                    write_file(folder, name, bytes)?;
                    hex(Sha256::new_with_prefix(bytes))
                }
            };
            done += size;
            add(name, &sha256);
            cores.push(Core { file: name.clone(), size, sha256 });
        }
        Ok(Written { cores, sha256: hex(hash) })
    }
}

/// What was written.
pub(crate) struct Written {
    pub(crate) cores: Vec<Core>,
    /// Names all files' bytes.
    pub(crate) sha256: String,
}

fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), WebError> {
    let path: PathBuf = folder.join(name);
    let parent = path.parent().unwrap_or(folder);
    fs::create_dir_all(parent).and_then(|()| fs::write(&path, bytes)).map_err(cannot_write(&path))
}
