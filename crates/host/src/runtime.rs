use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use wasmtime::{Config, Engine};

use crate::functions::Functions;
#[cfg(target_os = "linux")]
use crate::huge_pages::HugePages;

/// How often running guests look whether they should stop.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Compiles and runs components. One serves a whole process; a clone is the same one.
#[derive(Clone)]
pub struct Runtime {
    engine: Engine,
    functions: Arc<Functions>,
}

/// Why there is no runtime.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// wasmtime does not run on this machine.
    #[error("wasmtime cannot run here: {0}")]
    Engine(String),
    /// The thread that lets guests be stopped cannot start.
    #[error("cannot start the clock thread")]
    Clock(#[source] std::io::Error),
}

impl Runtime {
    /// A runtime with Trefoil's configuration: optimised code, memory checks by the processor's
    /// memory protection, guests that can be stopped at any time, and relaxed SIMD as the processor
    /// does it (`cpu-relaxed` is fast for that reason, and `cpu` does not use it).
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub fn new() -> Result<Self, RuntimeError> {
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .cranelift_opt_level(wasmtime::OptLevel::Speed)
            .epoch_interruption(true)
            .relaxed_simd_deterministic(false);
        let functions = Arc::new(Functions::default());
        config
            .enable_incremental_compilation(functions.clone())
            .map_err(|error| RuntimeError::Engine(format!("{error:#}")))?;
        #[cfg(target_os = "linux")]
        if HugePages::are_on_request() {
            // Memory images are mapped files, which have no huge pages.
            config.memory_init_cow(false).with_host_memory(Arc::new(HugePages));
        }
        let engine =
            Engine::new(&config).map_err(|error| RuntimeError::Engine(format!("{error:#}")))?;
        let weak = engine.weak();
        std::thread::Builder::new()
            .name("trefoil-clock".into())
            .spawn(move || {
                while let Some(engine) = weak.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(TICK);
                }
            })
            .map_err(RuntimeError::Clock)?;
        Ok(Runtime { engine, functions })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Native code of functions, for what is compiled next.
    pub(crate) fn functions(&self) -> &Functions {
        &self.functions
    }

    /// Distinguishes native code that this runtime can use from other: wasmtime's version, its
    /// configuration and the target.
    pub(crate) fn compatibility(&self) -> u64 {
        // Not stable between versions of Rust: then everything is compiled anew, which is all.
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }
}
