//! The router: a generated component that joins several model components into one `model`.
//!
//! It imports the interface once for each of them, under plain names, holds no bulk, and passes
//! results on as they lie in its memory.

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, EntityType, ExportKind, ExportSection,
    Function, FunctionSection, GlobalSection, GlobalType, ImportSection, MemArg, MemArgTarget,
    MemorySection, MemoryType, Module, TypeSection, ValType,
};

use crate::Component;
use crate::contract::{Contract, GenerateError};
use crate::layout::{Datum, Memory};
use crate::sections::{Cursor, push_custom};
use crate::segments::{DATA_ADDRESS, PAGE_BYTES};

/// Custom section with the names that models have here in place of their own, for tools: a list with
/// a name or null for each model.
const ROUTER_SECTION: &str = "trefoil:router";
/// Longest such section that is read, in bytes.
const ROUTER_SECTION_BYTES_MAX: u64 = 1 << 20;

/// What results may take in the router's memory, in pages: a read of 1 MiB, or lists of parts.
const PAGES_MAX: u64 = 256;

/// A model, of one component or of several shards.
pub(crate) struct Routed {
    /// In place of the name that its first part has.
    pub(crate) name: Option<String>,
    /// Components, at least one.
    pub(crate) shards: usize,
    /// Bytes from the beginning of a shard to that of the next one.
    pub(crate) stride: u64,
}

/// The name under which the router imports the component number `index`, as
/// [`crate::graph`] wires them.
pub(crate) fn import_name(index: usize) -> String {
    format!("model-{index}")
}

/// A router for the components of these models, in their order.
pub(crate) fn router(models: &[Routed]) -> Result<Component, GenerateError> {
    let count = models.iter().map(|model| model.shards).sum();
    let contract = Contract::parse_with(&world(count))?;
    let mut bytes = contract.component(module(&contract, models)?, "router-component")?;
    let names: Vec<_> = models.iter().map(|model| model.name.as_deref()).collect();
    let json = serde_json::to_vec(&names).map_err(GenerateError::new)?;
    push_custom(ROUTER_SECTION, &json, &mut bytes);
    Component::from_bytes(bytes, "router").map_err(GenerateError::new)
}

/// The names that a router gives to models; none where it does not say.
pub(crate) fn router_names(router: &Component) -> Vec<Option<String>> {
    let mut customs = router.customs().iter();
    let Some((_, start, end)) = customs.find(|(name, ..)| name == ROUTER_SECTION.as_bytes()) else {
        return Vec::new();
    };
    let mut json = Vec::new();
    let mut cursor = Cursor::new(router.content());
    cursor.jump(*start);
    if end - start > ROUTER_SECTION_BYTES_MAX || cursor.copy_to(*end, &mut json).is_err() {
        return Vec::new();
    }
    serde_json::from_slice(&json).unwrap_or_default()
}

/// The interface `model` in line, so that it can be imported many times.
fn world(count: usize) -> String {
    let import = |index| {
        format!(
            "import {}: interface {{\n  use types.{{error, part}};\n  parts: func() -> \
             result<list<part>, error>;\n  read: func(part: u32, offset: u64, length: u32) -> \
             result<list<u64>, error>;\n}}\n",
            import_name(index)
        )
    };
    let imports: String = (0..count).map(import).collect();
    format!(
        "package trefoil:llm@{};\nworld router-component {{\n{imports}export model;\n}}\n",
        trefoil_contract::VERSION
    )
}

/// Where things stand in the router's memory.
struct Places {
    /// For each model: the result of its `parts`, then that of the latest `read` of any.
    results: Vec<u32>,
    read: u32,
    /// The joined list.
    joined: u32,
    /// Offset of a list in a result.
    list: u64,
    not_found: u32,
    /// Address and length of each model's name, where it has another one here.
    names: Vec<Option<(u32, u32)>>,
    /// Bytes of a part in a list.
    part_bytes: u32,
    /// Where results go that are of no fixed length.
    heap: u32,
}

// Globals.
const HEAP: u32 = 0;
/// Whether `parts` has succeeded before, so that the lists' lengths are known.
const KNOWN: u32 = 1;

fn module(contract: &Contract, models: &[Routed]) -> Result<Vec<u8>, GenerateError> {
    let (parts_type, parts_name) = contract.function("model", "parts")?;
    let (read_type, read_name) = contract.function("model", "read")?;
    let mut memory = Memory::new(&contract.resolve, DATA_ADDRESS)?;
    let none = Datum::ok(Datum::List(Vec::new()));
    let results =
        models.iter().map(|_| memory.place(&parts_type, &none)).collect::<Result<_, _>>()?;
    let name = |memory: &mut Memory<'_>, model: &Routed| {
        let text = model.name.as_ref();
        text.map(|name| memory.place_text(name)).transpose()
    };
    let places = Places {
        results,
        read: memory.place(&read_type, &none)?,
        joined: memory.place(&parts_type, &none)?,
        list: memory.ok_offset(&parts_type)?.into(),
        not_found: memory
            .place(&read_type, &Datum::error("not-found", "there is no part of that number"))?,
        names: models.iter().map(|model| name(&mut memory, model)).collect::<Result<_, _>>()?,
        part_bytes: memory.element_bytes(&parts_type)?,
        heap: memory.end()?.next_multiple_of(8),
    };
    let pages = u64::from(places.heap.div_ceil(PAGE_BYTES));

    let mut types = TypeSection::new();
    types.ty().function([], [ValType::I32]); // parts
    types.ty().function([ValType::I32, ValType::I64, ValType::I32], [ValType::I32]); // read
    types.ty().function([ValType::I32; 4], [ValType::I32]); // cabi_realloc
    types.ty().function([ValType::I32], []); // imported parts
    types.ty().function([ValType::I32, ValType::I64, ValType::I32, ValType::I32], []); // imported read

    // Each model's `parts` is its first shard's; reads go to all.
    let mut imports = ImportSection::new();
    let mut first = 0;
    for model in models {
        imports.import(&import_name(first), "parts", EntityType::Function(3));
        first += model.shards;
    }
    for index in 0..first {
        imports.import(&import_name(index), "read", EntityType::Function(4));
    }
    let imported = u32::try_from(models.len() + first).map_err(GenerateError::new)?;

    let mut functions = FunctionSection::new();
    functions.function(0).function(1).function(2);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: pages,
        maximum: Some(PAGES_MAX.max(pages)),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut globals = GlobalSection::new();
    for value in [places.heap.cast_signed(), 0] {
        let global = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        globals.global(global, &ConstExpr::i32_const(value));
    }
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export(&parts_name, ExportKind::Func, imported);
    exports.export(&read_name, ExportKind::Func, imported + 1);
    exports.export("cabi_realloc", ExportKind::Func, imported + 2);
    let mut code = CodeSection::new();
    code.function(&parts_function(&places, imported + 2));
    code.function(&read_function(models, &places, imported));
    code.function(&realloc_function());
    let mut data = DataSection::new();
    let address = ConstExpr::i32_const(DATA_ADDRESS.cast_signed());
    data.active(0, &address, memory.bytes().iter().copied());

    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&memories)
        .section(&globals)
        .section(&exports)
        .section(&code)
        .section(&data);
    Ok(module.finish())
}

fn at(address: u32) -> i32 {
    address.cast_signed()
}

fn word(offset: u64) -> MemArg {
    MemArg { offset, align: 2, target: MemArgTarget::Memory(0), ordering: None }
}

fn byte() -> MemArg {
    MemArg { offset: 0, align: 0, target: MemArgTarget::Memory(0), ordering: None }
}

/// `parts() -> address of the result`: the models' lists, one behind the other.
fn parts_function(places: &Places, realloc: u32) -> Function {
    let (total, to) = (0, 1);
    let mut function = Function::new([(2, ValType::I32)]);
    let mut code = function.instructions();
    // What was returned before has been taken.
    code.i32_const(at(places.heap)).global_set(HEAP);
    for (import, result) in (0..).zip(&places.results) {
        code.i32_const(at(*result)).call(import);
        // A model that fails fails all; its error has the same form in every result.
        code.i32_const(at(*result)).i32_load8_u(byte()).if_(BlockType::Empty);
        code.i32_const(at(*result)).return_().end();
        code.local_get(total).i32_const(at(*result)).i32_load(word(places.list + 4));
        code.i32_add().local_set(total);
    }
    code.i32_const(0).i32_const(0).i32_const(8);
    code.local_get(total).i32_const(at(places.part_bytes)).i32_mul().call(realloc).local_set(to);
    code.i32_const(at(places.joined)).local_get(to).i32_store(word(places.list));
    code.i32_const(at(places.joined)).local_get(total).i32_store(word(places.list + 4));
    for (result, name) in places.results.iter().zip(&places.names) {
        let count = word(places.list + 4);
        code.local_get(to).i32_const(at(*result)).i32_load(word(places.list));
        code.i32_const(at(*result)).i32_load(count);
        code.i32_const(at(places.part_bytes)).i32_mul().memory_copy(0, 0);
        if let Some((address, length)) = name {
            // The name is a part's first field.
            code.i32_const(at(*result)).i32_load(count).if_(BlockType::Empty);
            code.local_get(to).i32_const(at(*address)).i32_store(word(0));
            code.local_get(to).i32_const(at(*length)).i32_store(word(4)).end();
        }
        code.local_get(to).i32_const(at(*result)).i32_load(count);
        code.i32_const(at(places.part_bytes)).i32_mul().i32_add().local_set(to);
    }
    code.i32_const(1).global_set(KNOWN);
    code.i32_const(at(places.joined)).end();
    function
}

/// `read(part, offset, length) -> address of the result`: that of the component that holds the
/// beginning. A shard holds so much of the next one that no read needs two.
fn read_function(models: &[Routed], places: &Places, parts: u32) -> Function {
    let (part, offset, length, answer) = (0, 1, 2, 3);
    let mut function = Function::new([(1, ValType::I32)]);
    let mut code = function.instructions();
    code.global_get(KNOWN).i32_eqz().if_(BlockType::Empty);
    code.call(parts).local_tee(answer).i32_load8_u(byte()).if_(BlockType::Empty);
    code.local_get(answer).return_().end().end();
    code.i32_const(at(places.heap)).global_set(HEAP);
    let mut component = models.len() as u32;
    for (model, result) in models.iter().zip(&places.results) {
        code.local_get(part).i32_const(at(*result)).i32_load(word(places.list + 4)).i32_lt_u();
        code.if_(BlockType::Empty);
        for shard in 0..model.shards as u64 {
            let is_last = shard + 1 == model.shards as u64;
            let end = (shard + 1).wrapping_mul(model.stride).cast_signed();
            if !is_last {
                code.local_get(offset).i64_const(end).i64_lt_u().if_(BlockType::Empty);
            }
            let begin = shard.wrapping_mul(model.stride).cast_signed();
            code.local_get(part).local_get(offset).i64_const(begin).i64_sub().local_get(length);
            code.i32_const(at(places.read)).call(component);
            code.i32_const(at(places.read)).return_();
            if !is_last {
                code.end();
            }
            component += 1;
        }
        code.end();
        code.local_get(part).i32_const(at(*result)).i32_load(word(places.list + 4));
        code.i32_sub().local_set(part);
    }
    code.i32_const(at(places.not_found)).end();
    function
}

/// `cabi_realloc(old, old_bytes, align, bytes) -> address`: takes from the heap, which begins anew
/// with every call from outside.
fn realloc_function() -> Function {
    let (old, old_bytes, align, bytes, address) = (0, 1, 2, 3, 4);
    let page_shift = i64::from(PAGE_BYTES.trailing_zeros());
    let mut function = Function::new([(1, ValType::I32), (1, ValType::I64)]);
    let end = 5;
    let mut code = function.instructions();
    // address = the heap's end, aligned
    code.global_get(HEAP).local_get(align).i32_const(1).i32_sub().i32_add();
    code.i32_const(0).local_get(align).i32_sub().i32_and().local_set(address);
    // end = address + bytes, in 64 bits so that nothing wraps
    code.local_get(address).i64_extend_i32_u().local_get(bytes).i64_extend_i32_u().i64_add();
    code.local_set(end);
    code.local_get(end).memory_size(0).i64_extend_i32_u().i64_const(page_shift).i64_shl();
    code.i64_gt_u().if_(BlockType::Empty);
    code.local_get(end).i64_const(i64::from(PAGE_BYTES) - 1).i64_add();
    code.i64_const(page_shift).i64_shr_u().memory_size(0).i64_extend_i32_u().i64_sub();
    code.i32_wrap_i64().memory_grow(0).i32_const(-1).i32_eq().if_(BlockType::Empty);
    code.unreachable().end().end();
    code.local_get(end).i32_wrap_i64().global_set(HEAP);
    // A text that grows while it is transcoded keeps its beginning.
    code.local_get(address).local_get(old);
    code.local_get(old_bytes).local_get(bytes).local_get(old_bytes).local_get(bytes);
    code.i32_lt_u().select().memory_copy(0, 0);
    code.local_get(address).end();
    function
}
