//! The core module of a packed model: its file as passive data segments, and code that reads them.

use trefoil_contract::{Part, READ_LENGTH_MAX, Role as PartRole};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataCountSection, DataSection, ExportKind, ExportSection,
    Function, FunctionSection, InstructionSink, MemArg, MemArgTarget, MemorySection, MemoryType,
    Module, TypeSection, ValType,
};

use crate::contract::{Contract, GenerateError};
use crate::layout::{Datum, Memory};
use crate::splice::placeholder;

/// Bytes of a segment. Equal to the longest read, so that a read touches at most two.
pub(crate) const SEGMENT_BYTES: u64 = READ_LENGTH_MAX as u64;

/// Static data begin here, above a guard for null pointers.
pub(crate) const DATA_ADDRESS: u32 = 1024;
pub(crate) const PAGE_BYTES: u32 = 64 << 10;
/// Cases of one `br_table`, so that blocks are not nested deeper.
const TABLE_CASES: u32 = 64;

/// The component with a placeholder for each segment. `size` bytes of the part lie in it, all of
/// them or those of a shard.
pub(crate) fn template(part: &Part, size: u64) -> Result<Vec<u8>, GenerateError> {
    let contract = Contract::parse()?;
    let (parts_type, parts_name) = contract.function("model", "parts")?;
    let (read_type, read_name) = contract.function("model", "read")?;

    let mut memory = Memory::new(&contract.resolve, DATA_ADDRESS)?;
    let addresses = Addresses {
        parts: memory.place(&parts_type, &Datum::ok(Datum::List(vec![part_datum(part)])))?,
        words: memory.place(&read_type, &Datum::ok(Datum::List(Vec::new())))?,
        words_offset: memory.ok_offset(&read_type)?,
        not_found: memory.place(
            &read_type,
            &Datum::error("not-found", "there is no part of that number: this model has one, 0"),
        )?,
        too_long: memory.place(
            &read_type,
            &Datum::error(
                "invalid-argument",
                &format!("`length` exceeds {READ_LENGTH_MAX} bytes, the most of one read"),
            ),
        )?,
        buffer: memory.end()?.next_multiple_of(PAGE_BYTES),
    };
    let pages = u64::from(addresses.buffer / PAGE_BYTES) + SEGMENT_BYTES / u64::from(PAGE_BYTES);
    let segments = u32::try_from(size.div_ceil(SEGMENT_BYTES)).map_err(GenerateError::new)?;

    let mut types = TypeSection::new();
    types.ty().function([], [ValType::I32]);
    types.ty().function([ValType::I32, ValType::I64, ValType::I32], [ValType::I32]);
    types.ty().function([ValType::I32; 4], []);

    let groups = segments.div_ceil(TABLE_CASES);
    let mut functions = FunctionSection::new();
    functions.function(0).function(1).function(2);
    let mut code = CodeSection::new();
    code.function(&parts_function(&addresses));
    code.function(&read_function(size, &addresses));
    code.function(&table_function(6, groups, |code, group| {
        code.local_get(0).local_get(1).local_get(2).local_get(3).call(INIT_FUNCTION + 1 + group);
    }));
    for group in 0..groups {
        functions.function(2);
        let first = group * TABLE_CASES;
        let cases = TABLE_CASES.min(segments - first);
        code.function(&table_function(0, cases, |code, case| {
            code.local_get(0).local_get(1).local_get(2).memory_init(0, first + case);
        }));
    }

    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: pages,
        maximum: Some(pages),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export(&parts_name, ExportKind::Func, 0);
    exports.export(&read_name, ExportKind::Func, 1);
    let mut data = DataSection::new();
    for index in 0..segments {
        data.passive(placeholder(index));
    }
    let address = i32::try_from(DATA_ADDRESS).map_err(GenerateError::new)?;
    data.active(0, &ConstExpr::i32_const(address), memory.bytes().iter().copied());

    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&memories)
        .section(&exports)
        .section(&DataCountSection { count: segments + 1 })
        .section(&code)
        .section(&data);
    contract.component(module.finish(), "model-component")
}

fn part_datum(part: &Part) -> Datum {
    let role = match part.role {
        PartRole::Weights => "weights",
        PartRole::Adapter => "adapter",
        PartRole::Projector => "projector",
        PartRole::Draft => "draft",
    };
    Datum::Record(vec![
        ("name", Datum::text(&part.name)),
        ("role", Datum::Case(role, None)),
        ("format", Datum::text(&part.format)),
        ("size", Datum::Integer(part.size.into())),
        ("sha256", Datum::text(&part.sha256)),
        ("license", Datum::text(&part.license)),
    ])
}

/// Where `parts` and `read` find their results.
struct Addresses {
    parts: u32,
    /// The result of a read, of which the list is filled in.
    words: u32,
    /// Offset of the list in it.
    words_offset: u32,
    not_found: u32,
    too_long: u32,
    buffer: u32,
}

/// Number of the function `init(to, from, length, segment)`; one for each group follows it.
const INIT_FUNCTION: u32 = 2;

fn address(address: u32) -> i32 {
    address.cast_signed()
}

fn parts_function(addresses: &Addresses) -> Function {
    let mut function = Function::new([]);
    function.instructions().i32_const(address(addresses.parts)).end();
    function
}

/// `read(part, offset, length) -> address of the result`. Offsets are compared in 64 bits, so that
/// none wraps.
fn read_function(size: u64, addresses: &Addresses) -> Function {
    let (part, offset, length) = (0, 1, 2);
    let (rest, left, to, here) = (3, 4, 5, 6);
    let mut function = Function::new([(1, ValType::I64), (3, ValType::I32)]);
    let mut code = function.instructions();
    let memory =
        |offset, align| MemArg { offset, align, target: MemArgTarget::Memory(0), ordering: None };
    let size = size.cast_signed();
    let segment = SEGMENT_BYTES.cast_signed();

    // This model has one part, number 0.
    code.local_get(part).if_(BlockType::Empty);
    code.i32_const(address(addresses.not_found)).return_().end();
    code.local_get(length).i32_const(address(READ_LENGTH_MAX)).i32_gt_u().if_(BlockType::Empty);
    code.i32_const(address(addresses.too_long)).return_().end();

    // left = offset < size ? min(length, size - offset) : 0
    code.local_get(offset).i64_const(size).i64_lt_u().if_(BlockType::Empty);
    code.i64_const(size).local_get(offset).i64_sub().local_set(rest);
    code.local_get(length).i64_extend_i32_u().local_get(rest);
    code.local_get(length).i64_extend_i32_u().local_get(rest).i64_lt_u().select();
    code.i32_wrap_i64().local_set(left).end();

    code.i32_const(address(addresses.words + addresses.words_offset));
    code.i32_const(address(addresses.buffer)).i32_store(memory(0, 2));
    code.i32_const(address(addresses.words + addresses.words_offset));
    code.local_get(left).i32_const(7).i32_add().i32_const(3).i32_shr_u().i32_store(memory(4, 2));

    // Zeros for what the last word has behind the bytes.
    code.local_get(left).i32_const(7).i32_and().if_(BlockType::Empty);
    code.local_get(left).i32_const(-8).i32_and().i64_const(0);
    code.i64_store(memory(addresses.buffer.into(), 3)).end();

    code.i32_const(address(addresses.buffer)).local_set(to);
    code.block(BlockType::Empty).loop_(BlockType::Empty);
    code.local_get(left).i32_eqz().br_if(1);
    // here = min(left, what the segment holds from the offset on)
    code.i64_const(segment).local_get(offset).i64_const(segment - 1).i64_and().i64_sub();
    code.i32_wrap_i64().local_set(here);
    code.local_get(left).local_get(here).local_get(left).local_get(here).i32_lt_u().select();
    code.local_set(here);
    code.local_get(to);
    code.local_get(offset).i64_const(segment - 1).i64_and().i32_wrap_i64();
    code.local_get(here);
    code.local_get(offset).i64_const(SEGMENT_BYTES.trailing_zeros().into()).i64_shr_u();
    code.i32_wrap_i64().call(INIT_FUNCTION);
    code.local_get(to).local_get(here).i32_add().local_set(to);
    code.local_get(left).local_get(here).i32_sub().local_set(left);
    code.local_get(offset).local_get(here).i64_extend_i32_u().i64_add().local_set(offset);
    code.br(0).end().end();
    code.i32_const(address(addresses.words)).end();
    function
}

/// A function `(to, from, length, segment)` that does `case(n)` for `(segment >> shift) %
/// TABLE_CASES == n`; without a shift, the groups' numbers are below [`TABLE_CASES`] anyway.
fn table_function(
    shift: i32,
    cases: u32,
    mut case: impl FnMut(&mut InstructionSink<'_>, u32),
) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    for _ in 0..=cases {
        code.block(BlockType::Empty);
    }
    code.local_get(3).i32_const(shift).i32_shr_u();
    if shift == 0 {
        code.i32_const(address(TABLE_CASES - 1)).i32_and();
    }
    code.br_table(0..cases, cases);
    for number in 0..cases {
        code.end();
        case(&mut code, number);
        code.return_();
    }
    code.end().unreachable().end();
    function
}
