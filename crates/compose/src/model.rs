//! Model components: a GGUF file as passive data segments of a generated core module.
//!
//! The weights never occupy linear memory as a whole: `read` copies what is asked for into one
//! buffer with `memory.init` (core specification, "bulk memory").

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trefoil_contract::{
    FORMAT_GGUF, FORMAT_GGUF_ROWS_16, Part, READ_LENGTH_MAX, ROWS_16_VERSION_KEY, Role as PartRole,
};
use trefoil_gguf::Gguf;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataCountSection, DataSection, ExportKind, ExportSection,
    Function, FunctionSection, InstructionSink, MemArg, MemArgTarget, MemorySection, MemoryType,
    Module, TypeSection, ValType,
};

use crate::arranged::Arranged;
use crate::contract::{Contract, GenerateError};
use crate::gguf_source::GgufSource;
use crate::layout::{Datum, Memory};
use crate::output::{Output, digest};
use crate::read_at::{Content, Opened, Range, ReadAt};
use crate::sections::{push_custom, push_leb};
use crate::splice::{placeholder, splice};
use crate::{Component, ComponentError, OutputError, Progress};

/// Bytes of a segment. Equal to the longest read, so that a read touches at most two.
const SEGMENT_BYTES: u64 = READ_LENGTH_MAX as u64;
/// The most that a nested module or component may take: the limit of wasmparser and of V8.
pub(crate) const NESTED_BYTES_MAX: u64 = 1 << 30;
/// What the module and component around the weights take at most (segment headers, code, texts).
const OVERHEAD_BYTES_MAX: u64 = 4 << 20;
/// Longest text of the file's metadata that becomes part of the component.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Longest name of the component itself.
const NAME_BYTES_MAX: usize = 200;
/// Custom section of a model component that says what it holds, for tools.
pub(crate) const MODEL_SECTION: &str = "trefoil:model";

/// Static data begin here, above a guard for null pointers.
const DATA_ADDRESS: u32 = 1024;
const PAGE_BYTES: u32 = 64 << 10;
/// Cases of one `br_table`, so that blocks are not nested deeper.
const TABLE_CASES: u32 = 64;

/// Why a model could not be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The file cannot be opened.
    #[error("cannot read `{}`: {source}", path.display())]
    Open {
        /// The model file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no usable GGUF.
    #[error("`{}` is not a usable GGUF file: {source}", path.display())]
    Gguf {
        /// The model file.
        path: PathBuf,
        /// Where and what.
        source: Box<trefoil_gguf::Error>,
    },
    /// The file exceeds what one component can hold.
    #[error(
        "`{}` has {size} bytes; a model of more than {max} bytes cannot be packed into one \
         component: use `file:PATH` or shards, which come with a later version", path.display()
    )]
    TooLarge {
        /// The model file.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// The file has no plain GGUF's layout.
    #[error(
        "`{}` already has the layout `{FORMAT_GGUF_ROWS_16}`: pack the GGUF file that it was made \
         of", path.display()
    )]
    Arranged {
        /// The model file.
        path: PathBuf,
    },
    /// The file was modified between hashing and packing.
    #[error("`{}` was changed while it was packed: try again", path.display())]
    Changed {
        /// The model file.
        path: PathBuf,
    },
    /// The result cannot be written, or the operation was cancelled.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A defect of this crate.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A defect of this crate: what it made is no component.
    #[error(transparent)]
    Component(#[from] ComponentError),
}

/// Payload of [`MODEL_SECTION`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ModelRecord {
    pub(crate) version: u32,
    pub(crate) parts: Vec<PartRecord>,
}

/// A file inside a model component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PartRecord {
    /// The model's name.
    pub name: String,
    /// `weights`, `adapter`, `projector` or `draft`.
    pub role: String,
    /// For example `gguf`.
    pub format: String,
    /// Bytes.
    pub size: u64,
    /// Lower-case hexadecimal SHA-256 of the file.
    pub sha256: String,
    /// SPDX identifier or the file's own words; empty where unknown.
    pub license: String,
}

/// A GGUF file as a model component that does not exist as a file yet. It can be composed as it
/// is, or written.
#[derive(Debug)]
pub struct Model {
    part: Part,
    path: PathBuf,
    /// Bytes of the file.
    size: u64,
    modified: Option<std::time::SystemTime>,
    component: Component,
}

impl Model {
    /// Reads the header and the digest of a GGUF file and generates the component around it. The
    /// weights stay in the file, which must not change until the component is written.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn from_gguf(path: &Path, progress: &mut dyn Progress) -> Result<Model, PackError> {
        Model::new(path, false, progress)
    }

    /// As [`Model::from_gguf`], but with the matrices as the engines `cpu` and `cpu-relaxed` hold
    /// them in memory, so that loading copies them. Other engines refuse such a model.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn arranged_from_gguf(
        path: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Model, PackError> {
        Model::new(path, true, progress)
    }

    fn new(path: &Path, arrange: bool, progress: &mut dyn Progress) -> Result<Model, PackError> {
        let open = |source| PackError::Open { path: path.into(), source };
        let source = Arc::new(Opened::open(path).map_err(open)?);
        let modified = modified(path);
        let size = source.size();
        let gguf = Gguf::read(&GgufSource(&*source))
            .map_err(|error| PackError::Gguf { path: path.into(), source: Box::new(error) })?;
        if gguf.metadata.get(ROWS_16_VERSION_KEY).is_some() {
            return Err(PackError::Arranged { path: path.into() });
        }
        let max = NESTED_BYTES_MAX - OVERHEAD_BYTES_MAX;
        let fits = |size| match size > max {
            true => Err(PackError::TooLarge { path: path.into(), size, max }),
            false => Ok(()),
        };
        fits(size)?;
        let text = |key| match gguf.metadata.string(key) {
            Ok(Some(text)) => clipped(text, TEXT_BYTES_MAX),
            _ => String::new(),
        };
        let mut name = text("general.name");
        if name.is_empty() {
            name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into());
        }
        let shown = path.display().to_string();
        let mut sha256 = digest(&*source, &shown, progress)?;
        let mut content: Arc<dyn ReadAt> = source.clone();
        if arrange {
            let arranged = Arranged::new(source, &gguf, &sha256).map_err(open)?;
            fits(arranged.size())?;
            sha256 = digest(&arranged, &shown, progress)?;
            content = Arc::new(arranged);
        }
        let part = Part {
            name,
            role: PartRole::Weights,
            format: if arrange { FORMAT_GGUF_ROWS_16 } else { FORMAT_GGUF }.into(),
            size: content.size(),
            sha256,
            license: text("general.license"),
        };
        let component = component(&part, content)?;
        let model = Model { part, path: path.into(), size, modified, component };
        model.unchanged()?;
        Ok(model)
    }

    /// What the component says about its file.
    pub fn part(&self) -> &Part {
        &self.part
    }

    /// The component, ready to be composed.
    pub fn component(&self) -> &Component {
        &self.component
    }

    /// Writes the component. The same file gives the same bytes.
    ///
    /// # Errors
    /// [`PackError::Output`], [`PackError::Changed`]; nothing is left behind then.
    pub fn write(&self, out: &Path, progress: &mut dyn Progress) -> Result<(), PackError> {
        let mut output = Output::create(out, self.component.size(), progress)?;
        output.write_content(self.component.content(), &self.path.display().to_string())?;
        self.unchanged()?;
        output.finish()?;
        Ok(())
    }

    fn unchanged(&self) -> Result<(), PackError> {
        let size = fs::metadata(&self.path).map(|metadata| metadata.len()).ok();
        if size != Some(self.size) || modified(&self.path) != self.modified {
            return Err(PackError::Changed { path: self.path.clone() });
        }
        Ok(())
    }
}

/// Packs a GGUF file into a model component.
///
/// # Errors
/// [`PackError`]; nothing is left behind then.
pub fn pack(gguf: &Path, out: &Path, progress: &mut dyn Progress) -> Result<Part, PackError> {
    let model = Model::from_gguf(gguf, progress)?;
    model.write(out, progress)?;
    Ok(model.part)
}

/// Packs a GGUF file into a model component for the engines `cpu` and `cpu-relaxed`: see
/// [`Model::arranged_from_gguf`].
///
/// # Errors
/// [`PackError`]; nothing is left behind then.
pub fn pack_arranged(
    gguf: &Path,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<Part, PackError> {
    let model = Model::arranged_from_gguf(gguf, progress)?;
    model.write(out, progress)?;
    Ok(model.part)
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn clipped(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

/// Appends the component's name where the component model's name section has it (subsection 0).
fn push_name(name: &str, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    push_leb(name.len() as u64, &mut text);
    text.extend_from_slice(name.as_bytes());
    let mut section = vec![0];
    push_leb(text.len() as u64, &mut section);
    section.append(&mut text);
    push_custom("component-name", &section, out);
}

fn component(part: &Part, source: Arc<dyn ReadAt>) -> Result<Component, PackError> {
    let mut template = template(part)?;
    let record = ModelRecord {
        version: 1,
        parts: vec![PartRecord {
            name: part.name.clone(),
            role: "weights".into(),
            format: part.format.clone(),
            size: part.size,
            sha256: part.sha256.clone(),
            license: part.license.clone(),
        }],
    };
    let json = serde_json::to_vec(&record).map_err(GenerateError::new)?;
    push_custom(MODEL_SECTION, &json, &mut template);
    let name = clipped(&part.name, NAME_BYTES_MAX);
    push_name(&name, &mut template);
    let mut bulk = Vec::new();
    let mut offset = 0;
    while offset < part.size {
        let length = SEGMENT_BYTES.min(part.size - offset);
        bulk.push(Range { source: source.clone(), offset, length });
        offset += length;
    }
    let content: Content = splice(template, &bulk).map_err(GenerateError::new)?;
    Ok(Component::from_content(content, &name)?)
}

/// The component with a placeholder for each segment.
fn template(part: &Part) -> Result<Vec<u8>, GenerateError> {
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
    let segments = u32::try_from(part.size.div_ceil(SEGMENT_BYTES)).map_err(GenerateError::new)?;

    let mut types = TypeSection::new();
    types.ty().function([], [ValType::I32]);
    types.ty().function([ValType::I32, ValType::I64, ValType::I32], [ValType::I32]);
    types.ty().function([ValType::I32; 4], []);

    let groups = segments.div_ceil(TABLE_CASES);
    let mut functions = FunctionSection::new();
    functions.function(0).function(1).function(2);
    let mut code = CodeSection::new();
    code.function(&parts_function(&addresses));
    code.function(&read_function(part.size, &addresses));
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
