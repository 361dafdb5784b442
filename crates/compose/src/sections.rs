//! The sections of WebAssembly binaries, walked by positional reads. Nothing here trusts the
//! input: each length is checked against what encloses it, each count against a limit.
//!
//! Layout: "Binary Format" of the core specification and `Binary.md` of the component model.

use std::io;
use std::ops::ControlFlow;

use crate::read_at::ReadAt;

/// Components within components within components: deeper than any tool nests them.
pub(crate) const DEPTH_MAX: u32 = 32;
/// Sections of one module or component.
pub(crate) const SECTIONS_MAX: u32 = 1_000_000;
/// Data segments of one module; the limit of wasmparser and of V8.
pub(crate) const SEGMENTS_MAX: u32 = 100_000;
/// Instructions of a segment's offset expression.
const EXPRESSION_INSTRUCTIONS_MAX: u32 = 1_000;
/// Bytes that the cursor reads ahead.
const WINDOW_BYTES: usize = 64 << 10;

pub(crate) const MODULE_HEADER: [u8; 8] = *b"\0asm\x01\0\0\0";
pub(crate) const COMPONENT_HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

pub(crate) const CUSTOM: u8 = 0;
/// In a component: a core module.
pub(crate) const CORE_MODULE: u8 = 1;
/// In a component: a component.
pub(crate) const COMPONENT: u8 = 4;
/// In a core module: data segments.
pub(crate) const DATA: u8 = 11;

/// Why bytes are not the WebAssembly that they should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WasmError {
    /// The bytes cannot be had.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The first bytes are something else.
    #[error("is not a WebAssembly file: it does not begin with `\\0asm`")]
    NotWasm,
    /// A core module stands where a component should.
    #[error(
        "is a core module, not a component: componentize it with `wasm-tools component new`, or \
         build it for a target such as `wasm32-wasip2`"
    )]
    CoreModule,
    /// A version of the format that is not known.
    #[error(
        "is WebAssembly of an unknown version (bytes 4 to 7 are {0:02x?}); only core modules of \
         version 1 and components of version 13 are known"
    )]
    Version([u8; 4]),
    /// The structure contradicts itself or exceeds a limit.
    #[error("is damaged at byte {offset}: {what}")]
    Malformed {
        /// Where, in bytes from the start.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The structure is sound, its types are not.
    #[error("is not a valid component: {0}")]
    Invalid(String),
    /// What remains without the bulk exceeds a limit.
    #[error(
        "holds more than {max} bytes beside its large data segments; that is more than can be \
         composed"
    )]
    TooLarge {
        /// The limit in bytes.
        max: u64,
    },
}

/// What a binary is, by its first eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Module,
    Component,
}

/// A section: where it begins, and where its payload lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) id: u8,
    pub(crate) header: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// A data segment: header (mode, memory, offset expression), then a length, then the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) passive: bool,
    pub(crate) header: u64,
    pub(crate) length: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Reads forward through a source, ahead into a small window, and jumps over what is not needed.
pub(crate) struct Cursor<'a> {
    source: &'a dyn ReadAt,
    position: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(source: &'a dyn ReadAt) -> Self {
        Cursor { source, position: 0, window: Vec::new(), window_start: 0 }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn jump(&mut self, position: u64) {
        self.position = position;
    }

    pub(crate) fn malformed<T>(&self, what: impl Into<String>) -> Result<T, WasmError> {
        Err(WasmError::Malformed { offset: self.position, what: what.into() })
    }

    /// One byte before `end`.
    pub(crate) fn byte(&mut self, end: u64) -> Result<u8, WasmError> {
        if self.position >= end {
            return self.malformed("it ends in the middle of a number or name");
        }
        let within = self.position.checked_sub(self.window_start);
        let within = within.and_then(|within| usize::try_from(within).ok());
        let byte = match within.and_then(|within| self.window.get(within)) {
            Some(byte) => *byte,
            None => self.refill(end)?,
        };
        self.position += 1;
        Ok(byte)
    }

    fn refill(&mut self, end: u64) -> Result<u8, WasmError> {
        let left = usize::try_from(end - self.position).unwrap_or(usize::MAX);
        // After a jump often only a few bytes are wanted, so the window grows with use.
        let wanted = if self.window_start + self.window.len() as u64 == self.position {
            WINDOW_BYTES
        } else {
            WINDOW_BYTES / 64
        };
        self.window.resize(left.min(wanted), 0);
        self.window_start = self.position;
        self.source.read_at(self.position, &mut self.window)?;
        self.window.first().map_or_else(|| self.malformed("it ends early"), |byte| Ok(*byte))
    }

    /// A LEB128 number of at most 32 bits, as the specification bounds it (five bytes).
    pub(crate) fn u32(&mut self, end: u64) -> Result<u32, WasmError> {
        let begin = self.position;
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte(end)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return match u32::try_from(value) {
                    Ok(value) => Ok(value),
                    Err(_) => {
                        self.position = begin;
                        self.malformed("a number exceeds 32 bits")
                    }
                };
            }
        }
        self.position = begin;
        self.malformed("a number of more than five bytes")
    }

    /// A length that must not reach past `end`.
    fn length(&mut self, end: u64, what: &str) -> Result<u64, WasmError> {
        let begin = self.position;
        let length = u64::from(self.u32(end)?);
        if length > end - self.position {
            let left = end - self.position;
            self.position = begin;
            return self.malformed(format!("{what} of {length} bytes where {left} bytes are left"));
        }
        Ok(length)
    }

    /// Appends the bytes from the position to `until` and moves there.
    pub(crate) fn copy_to(&mut self, until: u64, out: &mut Vec<u8>) -> Result<(), WasmError> {
        let length = until.saturating_sub(self.position);
        // Lengths were checked against the source, so that this is never more than it holds.
        let length =
            usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let begin = out.len();
        out.try_reserve(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        out.resize(begin + length, 0);
        self.source.read_at(self.position, &mut out[begin..])?;
        self.position = until;
        Ok(())
    }

    /// The eight bytes at the start of a module or component.
    pub(crate) fn header(&mut self, end: u64) -> Result<Encoding, WasmError> {
        let mut bytes = [0; 8];
        if end.saturating_sub(self.position) < 8 {
            return Err(WasmError::NotWasm);
        }
        self.source.read_at(self.position, &mut bytes)?;
        let encoding = match bytes {
            MODULE_HEADER => Encoding::Module,
            COMPONENT_HEADER => Encoding::Component,
            [b'\0', b'a', b's', b'm', version @ ..] => return Err(WasmError::Version(version)),
            _ => return Err(WasmError::NotWasm),
        };
        self.position += 8;
        Ok(encoding)
    }

    /// The next section before `end`; the cursor then stands at its payload.
    pub(crate) fn section(&mut self, end: u64) -> Result<Section, WasmError> {
        let header = self.position;
        let id = self.byte(end)?;
        let length = self.length(end, "a section")?;
        Ok(Section { id, header, start: self.position, end: self.position + length })
    }

    /// The name at the start of a custom section, if it is short enough to be of interest.
    pub(crate) fn custom_name(&mut self, section: &Section) -> Result<Vec<u8>, WasmError> {
        const NAME_BYTES_MAX: u64 = 64;
        let length = self.length(section.end, "a name")?;
        let until = self.position + length;
        let mut name = Vec::new();
        if length <= NAME_BYTES_MAX {
            self.copy_to(until, &mut name)?;
        }
        self.jump(until);
        Ok(name)
    }

    /// Visits the segments of a data section until `visit` breaks.
    pub(crate) fn segments(
        &mut self,
        section: &Section,
        mut visit: impl FnMut(&mut Self, Segment) -> Result<ControlFlow<()>, WasmError>,
    ) -> Result<(), WasmError> {
        self.jump(section.start);
        let count = self.u32(section.end)?;
        if count > SEGMENTS_MAX {
            return self
                .malformed(format!("{count} data segments; at most {SEGMENTS_MAX} are known"));
        }
        for _ in 0..count {
            let header = self.position;
            let mode = self.u32(section.end)?;
            match mode {
                0 => self.expression(section.end)?,
                1 => {}
                2 => {
                    self.u32(section.end)?;
                    self.expression(section.end)?;
                }
                _ => return self.malformed(format!("a data segment of unknown mode {mode}")),
            }
            let length_at = self.position;
            let length = self.length(section.end, "a data segment")?;
            let start = self.position;
            let end = start + length;
            let segment = Segment { passive: mode == 1, header, length: length_at, start, end };
            if visit(self, segment)?.is_break() {
                return Ok(());
            }
            self.jump(end);
        }
        if self.position != section.end {
            return self.malformed("bytes behind the last data segment");
        }
        Ok(())
    }

    /// Skips a constant expression.
    fn expression(&mut self, end: u64) -> Result<(), WasmError> {
        for _ in 0..EXPRESSION_INSTRUCTIONS_MAX {
            let operand_bytes = match self.byte(end)? {
                0x0b => return Ok(()),
                // i32.const, i64.const, global.get, ref.null, ref.func: one LEB128 number.
                0x41 | 0x42 | 0x23 | 0xd0 | 0xd2 => {
                    let mut left = 10;
                    while self.byte(end)? & 0x80 != 0 {
                        left -= 1;
                        if left == 0 {
                            return self.malformed("a number of more than ten bytes");
                        }
                    }
                    0
                }
                0x43 => 4,
                0x44 => 8,
                // Extended constant expressions: add, sub, mul of i32 and i64.
                0x6a..=0x6c | 0x7c..=0x7e => 0,
                other => {
                    return self.malformed(format!(
                        "instruction 0x{other:02x} in the offset of a data segment"
                    ));
                }
            };
            for _ in 0..operand_bytes {
                self.byte(end)?;
            }
        }
        self.malformed("the offset of a data segment has too many instructions")
    }
}

/// Appends a number as LEB128, in the shortest form.
pub(crate) fn push_leb(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

/// Appends a custom section.
pub(crate) fn push_custom(name: &str, data: &[u8], out: &mut Vec<u8>) {
    let mut payload = Vec::with_capacity(name.len() + data.len() + 5);
    push_leb(name.len() as u64, &mut payload);
    payload.extend_from_slice(name.as_bytes());
    payload.extend_from_slice(data);
    out.push(CUSTOM);
    push_leb(payload.len() as u64, out);
    out.extend_from_slice(&payload);
}
