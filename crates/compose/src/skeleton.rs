//! What remains of a component without its bulk: everything that decides its type.

use std::ops::ControlFlow;

use crate::read_at::ReadAt;
use crate::sections::{
    COMPONENT, COMPONENT_HEADER, CORE_MODULE, CUSTOM, Cursor, DATA, DEPTH_MAX, Encoding,
    MODULE_HEADER, SECTIONS_MAX, Section, WasmError, push_custom, push_leb,
};

/// Data segments above this size are emptied; smaller ones are not worth it.
pub(crate) const BULK_BYTES_MIN: u64 = 4 << 10;
/// The most that a skeleton may take. The largest known (a JavaScript engine) takes 13 MB.
pub(crate) const SKELETON_BYTES_MAX: u64 = 128 << 20;

/// What was learned while reading a component.
#[derive(Debug, Default)]
pub(crate) struct Skeleton {
    /// A component of the same type: large data segments are empty, custom sections are left out.
    pub(crate) bytes: Vec<u8>,
    /// Names of the custom sections of the component itself, with their payloads' places.
    pub(crate) customs: Vec<(Vec<u8>, u64, u64)>,
    /// Begin and end of each core module, in the order of the file.
    pub(crate) modules: Vec<(u64, u64)>,
}

/// Whether core modules carry their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbered {
    No,
    Yes,
}

/// Reads the skeleton of a component. The bulk is jumped over, not read.
///
/// # Errors
/// [`WasmError`]; [`WasmError::CoreModule`] if the source is a core module.
pub(crate) fn skeleton(source: &dyn ReadAt, numbered: Numbered) -> Result<Skeleton, WasmError> {
    let skeleton = Skeleton::default();
    let mut reader = Reader { cursor: Cursor::new(source), numbered, skeleton };
    let end = source.size();
    if reader.cursor.header(end)? == Encoding::Module {
        return Err(WasmError::CoreModule);
    }
    let bytes = reader.component(end, 0)?;
    Ok(Skeleton { bytes, ..reader.skeleton })
}

/// What a numbered core module ends with: a custom section.
pub(crate) fn module_number(number: usize) -> Vec<u8> {
    let mut section = Vec::new();
    push_custom("trefoil:module", &(number as u64).to_le_bytes(), &mut section);
    section
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    numbered: Numbered,
    skeleton: Skeleton,
}

impl Reader<'_> {
    /// The sections of a component, the cursor standing behind its header.
    fn component(&mut self, end: u64, depth: u32) -> Result<Vec<u8>, WasmError> {
        let mut out = COMPONENT_HEADER.to_vec();
        let mut sections = 0;
        while self.cursor.position() < end {
            let section = self.section(end, &mut sections)?;
            match section.id {
                CUSTOM => {
                    let name = self.cursor.custom_name(&section)?;
                    if depth == 0 {
                        let start = self.cursor.position();
                        self.skeleton.customs.push((name, start, section.end));
                    }
                }
                CORE_MODULE | COMPONENT => {
                    if depth >= DEPTH_MAX {
                        return self.cursor.malformed(format!(
                            "components are nested deeper than {DEPTH_MAX} levels"
                        ));
                    }
                    let encoding = self.cursor.header(section.end)?;
                    let nested = match (section.id, encoding) {
                        (CORE_MODULE, Encoding::Module) => self.numbered_module(&section)?,
                        (COMPONENT, Encoding::Component) => {
                            self.component(section.end, depth + 1)?
                        }
                        _ => {
                            return self.cursor.malformed(
                                "a core module in a component's section or the reverse",
                            );
                        }
                    };
                    push_section(section.id, &nested, &mut out);
                }
                _ => self.copy_section(&section, &mut out)?,
            }
            self.bounded(&out)?;
            self.cursor.jump(section.end);
        }
        Ok(out)
    }

    fn numbered_module(&mut self, section: &Section) -> Result<Vec<u8>, WasmError> {
        let number = self.skeleton.modules.len();
        self.skeleton.modules.push((section.start, section.end));
        let mut module = self.module(section.end)?;
        if self.numbered == Numbered::Yes {
            module.append(&mut module_number(number));
        }
        Ok(module)
    }

    /// The sections of a core module, the cursor standing behind its header.
    fn module(&mut self, end: u64) -> Result<Vec<u8>, WasmError> {
        let mut out = MODULE_HEADER.to_vec();
        let mut sections = 0;
        while self.cursor.position() < end {
            let section = self.section(end, &mut sections)?;
            match section.id {
                CUSTOM => {}
                DATA => {
                    let data = self.data(&section)?;
                    push_section(DATA, &data, &mut out);
                }
                _ => self.copy_section(&section, &mut out)?,
            }
            self.bounded(&out)?;
            self.cursor.jump(section.end);
        }
        Ok(out)
    }

    fn data(&mut self, section: &Section) -> Result<Vec<u8>, WasmError> {
        let mut segments = Vec::new();
        let mut count = 0u64;
        self.cursor.segments(section, |cursor, segment| {
            let bulk = segment.end - segment.start > BULK_BYTES_MIN;
            cursor.jump(segment.header);
            cursor.copy_to(if bulk { segment.length } else { segment.end }, &mut segments)?;
            if bulk {
                push_leb(0, &mut segments);
            }
            count += 1;
            if segments.len() as u64 > SKELETON_BYTES_MAX {
                return Err(WasmError::TooLarge { max: SKELETON_BYTES_MAX });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut data = Vec::new();
        push_leb(count, &mut data);
        data.append(&mut segments);
        Ok(data)
    }

    fn section(&mut self, end: u64, sections: &mut u32) -> Result<Section, WasmError> {
        *sections += 1;
        if *sections > SECTIONS_MAX {
            return self.cursor.malformed(format!("more than {SECTIONS_MAX} sections"));
        }
        self.cursor.section(end)
    }

    fn copy_section(&mut self, section: &Section, out: &mut Vec<u8>) -> Result<(), WasmError> {
        if section.end - section.start > SKELETON_BYTES_MAX {
            return Err(WasmError::TooLarge { max: SKELETON_BYTES_MAX });
        }
        out.push(section.id);
        push_leb(section.end - section.start, out);
        self.cursor.jump(section.start);
        self.cursor.copy_to(section.end, out)
    }

    fn bounded(&self, out: &[u8]) -> Result<(), WasmError> {
        if out.len() as u64 > SKELETON_BYTES_MAX {
            return Err(WasmError::TooLarge { max: SKELETON_BYTES_MAX });
        }
        Ok(())
    }
}

fn push_section(id: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(id);
    push_leb(payload.len() as u64, out);
    out.extend_from_slice(payload);
}
