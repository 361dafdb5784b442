//! Commands of a few instructions, so that each test knows what its guest does.

#![allow(dead_code)] // Each test file uses a part.

use std::path::{Path, PathBuf};

use trefoil_host::{Cache, Interrupt, LoadError, Phase, Program, Runtime};
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, ImportSection, Instruction,
    MemorySection, MemoryType, Module, NameMap, NameSection, TypeSection, ValType,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const WIT: &str = "
package wasi:cli@0.2.0;
interface run { run: func() -> result; }
interface absent { absent: func(); }
world command { export run; }
world demanding { import absent; export run; }
world useless { export absent; }
";

/// A component whose `wasi:cli/run` does this; the function is called `busy` in its name section.
pub fn command(body: &[Instruction<'_>]) -> Vec<u8> {
    component(body, "command", "wasi:cli/run@0.2.0#run")
}

/// One that imports an interface which no host has.
pub fn demanding() -> Vec<u8> {
    component(&[Instruction::I32Const(0)], "demanding", "wasi:cli/run@0.2.0#run")
}

/// One that is no command.
pub fn useless() -> Vec<u8> {
    component(&[], "useless", "wasi:cli/absent@0.2.0#absent")
}

fn component(body: &[Instruction<'_>], world: &str, export: &str) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], (world != "useless").then_some(ValType::I32));
    types.ty().function([], []);
    let mut imports = ImportSection::new();
    let mut index = 0;
    if world == "demanding" {
        let kind = wasm_encoder::EntityType::Function(1);
        imports.import("wasi:cli/absent@0.2.0", "absent", kind);
        index = 1;
    }
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export(export, ExportKind::Func, index);
    exports.export("memory", ExportKind::Memory, 0);
    let mut function = Function::new([]);
    if world == "demanding" {
        function.instruction(&Instruction::Call(0));
    }
    for instruction in body {
        function.instruction(instruction);
    }
    function.instruction(&Instruction::End);
    let mut code = CodeSection::new();
    code.function(&function);
    let mut names = NameMap::new();
    // `guest::busy` as rustc mangles it.
    names.append(index, "_ZN5guest4busy17h0123456789abcdefE");
    let mut name_section = NameSection::new();
    name_section.functions(&names);
    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&memories)
        .section(&exports)
        .section(&code)
        .section(&name_section);
    let mut module = module.finish();

    let mut resolve = Resolve::default();
    let package = resolve.push_str("guest.wit", WIT).expect("valid WIT");
    let world = resolve.select_world(&[package], Some(world)).expect("a world of it");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
        .expect("embeds");
    let mut encoder = ComponentEncoder::default();
    let encoder = encoder.module(&module).expect("a module of the world");
    encoder.encode().expect("encodes")
}

/// A folder with a cache and guests.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub runtime: Runtime,
    pub cache: Cache,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path().join("cache")).expect("a cache");
        Bench { runtime: Runtime::new().expect("a runtime"), cache, folder }
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).expect("writes");
        path
    }

    pub fn try_load(&self, path: &Path) -> Result<Program, LoadError> {
        let interrupt = Interrupt::new();
        Program::load(&self.runtime, path, Some(&self.cache), &interrupt, &mut |_: Phase| {})
    }

    pub fn load(&self, bytes: &[u8]) -> Program {
        self.try_load(&self.write("guest.wasm", bytes)).expect("loads")
    }
}

/// A component that leaves its collective to the host: what `run` does at rank 0, and `serve`
/// elsewhere, as WebAssembly text that leaves a number. Both may call `$all_gather` and
/// `$broadcast`, which exchange nothing and leave 0, or 1 for an error.
pub fn instance(run: &str, serve: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "trefoil:llm/collective@0.1.0" "rank" (func $rank (result i32)))
            (import "trefoil:llm/collective@0.1.0" "size" (func $size (result i32)))
            (import "trefoil:llm/collective@0.1.0" "all-gather" (func $gather (param i32 i32 i32)))
            (import "trefoil:llm/collective@0.1.0" "broadcast" (func $cast (param i32 i32 i32)))
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 32768)
            (func $all_gather (result i32)
                (call $gather (i32.const 0) (i32.const 0) (i32.const 64))
                (i32.load8_u (i32.const 64)))
            (func $broadcast (result i32)
                (call $cast (i32.const 0) (i32.const 0) (i32.const 64))
                (i32.load8_u (i32.const 64)))
            (func (export "wasi:cli/run@0.2.0#run") (result i32) {run})
            (func (export "trefoil:llm/worker@0.1.0#serve") (result i32)
                {serve}
                drop
                i32.const 1024))"#
    );
    let mut module = wat::parse_str(&text).expect("valid text");
    let mut resolve = Resolve::default();
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    resolve.push_dir(&contract).expect("the contract's WIT");
    resolve.push_str("cli.wit", WIT).expect("valid WIT");
    let world = "
        package test:guest;
        world guest {
            import trefoil:llm/collective@0.1.0;
            export wasi:cli/run@0.2.0;
            export trefoil:llm/worker@0.1.0;
        }";
    let package = resolve.push_str("world.wit", world).expect("valid WIT");
    let world = resolve.select_world(&[package], Some("guest")).expect("a world of it");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
        .expect("embeds");
    let mut encoder = ComponentEncoder::default();
    let encoder = encoder.module(&module).expect("a module of the world");
    encoder.encode().expect("encodes")
}
