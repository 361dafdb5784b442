//! Configuration components: settings as static data of a generated core module.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use trefoil_contract::{Setting, Value};
use trefoil_settings::TomlError;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, MemorySection, MemoryType, Module, TypeSection,
    ValType,
};

use crate::contract::{Contract, GenerateError};
use crate::layout::{Datum, Memory};
use crate::read_at::Content;
use crate::{Component, ComponentError};

/// Largest TOML file that is read, in bytes.
const TOML_BYTES_MAX: u64 = 4 << 20;
const DATA_ADDRESS: u32 = 1024;
const PAGE_BYTES: u32 = 64 << 10;

/// Why a configuration could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Open {
        /// The TOML file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is longer than any configuration.
    #[error("`{}` has {size} bytes; a configuration has at most {TOML_BYTES_MAX}", path.display())]
    TooLarge {
        /// The TOML file.
        path: PathBuf,
        /// Its bytes.
        size: u64,
    },
    /// The file is not TOML, or sets something that cannot be set.
    #[error("`{}`: {source}", path.display())]
    Toml {
        /// The TOML file.
        path: PathBuf,
        /// Line and reason.
        source: TomlError,
    },
    /// A defect of this crate.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A defect of this crate: what it made is no component.
    #[error(transparent)]
    Component(#[from] ComponentError),
}

/// Makes a configuration component that always answers with these settings. They are not checked
/// here; the engine does.
///
/// # Errors
/// Only for more settings than memory can hold.
pub fn configuration(settings: &[Setting]) -> Result<Component, ConfigurationError> {
    let content = Content::from_bytes(module(settings)?);
    Ok(Component::from_content(content, "settings")?)
}

/// Reads settings from a TOML file.
///
/// # Errors
/// [`ConfigurationError`]; refused settings are named with their line.
pub fn settings_from_toml(path: &Path) -> Result<Vec<Setting>, ConfigurationError> {
    let open = |source| ConfigurationError::Open { path: path.into(), source };
    let size = fs::metadata(path).map_err(open)?.len();
    if size > TOML_BYTES_MAX {
        return Err(ConfigurationError::TooLarge { path: path.into(), size });
    }
    let text = fs::read_to_string(path).map_err(open)?;
    trefoil_settings::from_toml(&text)
        .map_err(|source| ConfigurationError::Toml { path: path.into(), source })
}

fn datum(setting: &Setting) -> Datum {
    let (case, value) = match &setting.value {
        Value::Boolean(value) => ("boolean", Datum::Bool(*value)),
        Value::Integer(value) => ("integer", Datum::Integer((*value).into())),
        Value::Number(value) => ("number", Datum::Number(*value)),
        Value::Text(value) => ("text", Datum::text(value)),
    };
    let value = Datum::Case(case, Some(Box::new(value)));
    Datum::Record(vec![("key", Datum::text(&setting.key)), ("value", value)])
}

fn module(settings: &[Setting]) -> Result<Vec<u8>, GenerateError> {
    let contract = Contract::parse()?;
    let (result_type, name) = contract.function("configuration", "configure")?;
    let mut memory = Memory::new(&contract.resolve, DATA_ADDRESS)?;
    let settings = Datum::List(settings.iter().map(datum).collect());
    let result = memory.place(&result_type, &Datum::ok(settings))?;
    let heap = memory.end()?.next_multiple_of(16);

    let mut types = TypeSection::new();
    types.ty().function([ValType::I32; 2], [ValType::I32]);
    types.ty().function([ValType::I32; 4], [ValType::I32]);
    let mut functions = FunctionSection::new();
    functions.function(0).function(1);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: (u64::from(heap)).div_ceil(PAGE_BYTES.into()) + 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut globals = GlobalSection::new();
    let top = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    globals.global(top, &ConstExpr::i32_const(heap.cast_signed()));
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export(&name, ExportKind::Func, 0);
    exports.export("cabi_realloc", ExportKind::Func, 1);
    let mut code = CodeSection::new();
    code.function(&configure_function(result, heap));
    code.function(&realloc_function());
    let mut data = DataSection::new();
    let address = ConstExpr::i32_const(DATA_ADDRESS.cast_signed());
    data.active(0, &address, memory.bytes().iter().copied());

    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&memories)
        .section(&globals)
        .section(&exports)
        .section(&code)
        .section(&data);
    contract.component(module.finish(), "configuration-component")
}

/// `configure(parts, count) -> address of the result`. The parts do not matter here, so that the
/// heap they were written to is free again.
fn configure_function(result: u32, heap: u32) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    code.i32_const(heap.cast_signed()).global_set(0);
    code.i32_const(result.cast_signed()).end();
    function
}

/// `cabi_realloc(old, old_bytes, align, new_bytes) -> new`: the heap only grows, until `configure`
/// resets it. A heap that cannot grow traps, as the canonical ABI wants it.
fn realloc_function() -> Function {
    let (old, old_bytes, align, new_bytes) = (0, 1, 2, 3);
    let (new, end) = (4, 5);
    let mut function = Function::new([(1, ValType::I32), (1, ValType::I64)]);
    let mut code = function.instructions();
    // new = round the top up to the alignment, a power of two
    code.global_get(0).local_get(align).i32_add().i32_const(1).i32_sub();
    code.i32_const(0).local_get(align).i32_sub().i32_and().local_set(new);
    // end in 64 bits, for new + new_bytes may exceed 32
    code.local_get(new).i64_extend_i32_u().local_get(new_bytes).i64_extend_i32_u().i64_add();
    code.local_set(end);
    code.local_get(end).i64_const(0xffff_0000).i64_gt_u().if_(BlockType::Empty);
    code.unreachable().end();
    // Grow by what is missing, if anything.
    code.local_get(end).i64_const(0xffff).i64_add().i64_const(16).i64_shr_u().i32_wrap_i64();
    code.memory_size(0).i32_gt_u().if_(BlockType::Empty);
    code.local_get(end).i64_const(0xffff).i64_add().i64_const(16).i64_shr_u().i32_wrap_i64();
    code.memory_size(0).i32_sub().memory_grow(0).i32_const(-1).i32_eq().if_(BlockType::Empty);
    code.unreachable().end().end();
    code.local_get(end).i32_wrap_i64().global_set(0);
    // A string that is transcoded grows as it is written.
    code.local_get(new).local_get(old);
    code.local_get(old_bytes).local_get(new_bytes);
    code.local_get(old_bytes).local_get(new_bytes).i32_lt_u().select();
    code.memory_copy(0, 0);
    code.local_get(new).end();
    function
}
