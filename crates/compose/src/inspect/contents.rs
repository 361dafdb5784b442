use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Serialize;

use crate::read_at::{Content, Range, ReadAt};
use crate::sections::{
    COMPONENT, CORE_MODULE, Cursor, DATA, DEPTH_MAX, Encoding, SECTIONS_MAX, WasmError,
};

/// Most modules and components that are listed.
const NESTED_MAX: usize = 10_000;
/// In a core module: function bodies.
const CODE: u8 = 10;

/// A core module or component inside a component.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Nested {
    /// Which of the two.
    pub kind: NestedKind,
    /// Where it begins, in bytes from the start of the component.
    pub offset: u64,
    /// Its bytes.
    pub size: u64,
    /// Of a core module: bytes of its functions.
    pub code_bytes: u64,
    /// Of a core module: bytes of its data segments.
    pub data_bytes: u64,
    /// What is nested in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<Nested>,
}

/// What is nested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NestedKind {
    /// A core module.
    CoreModule,
    /// A component.
    Component,
}

/// What was found.
pub(super) struct Contents {
    /// What is inside a component; a core module itself.
    pub(super) nested: Vec<Nested>,
    /// The first GGUF file that lies in passive data segments.
    pub(super) weights: Option<Content>,
}

/// Walks a module or component without reading code or bulk.
pub(super) fn read(source: &Arc<dyn ReadAt>) -> Result<Contents, WasmError> {
    let mut walk = Walk::new(source, false);
    let root = walk.nested(source.size(), 0)?;
    let nested = match root.kind {
        NestedKind::Component => root.contents,
        NestedKind::CoreModule => vec![root],
    };
    Ok(Contents { nested, weights: walk.weights })
}

/// What lies in the passive data segments of a packed model: a file, or a shard's stretch of one.
pub(crate) fn packed_file(source: &Arc<dyn ReadAt>) -> Result<Option<Content>, WasmError> {
    let mut walk = Walk::new(source, true);
    walk.nested(source.size(), 0)?;
    Ok(walk.weights)
}

struct Walk<'a> {
    cursor: Cursor<'a>,
    source: &'a Arc<dyn ReadAt>,
    /// Whether anything may be weights, not only what begins as a file does.
    any: bool,
    weights: Option<Content>,
    nested: usize,
}

impl<'a> Walk<'a> {
    fn new(source: &'a Arc<dyn ReadAt>, any: bool) -> Self {
        Walk { cursor: Cursor::new(&**source), source, any, weights: None, nested: 0 }
    }

    fn nested(&mut self, end: u64, depth: u32) -> Result<Nested, WasmError> {
        self.nested += 1;
        if depth > DEPTH_MAX || self.nested > NESTED_MAX {
            return self.cursor.malformed("too many nested modules and components");
        }
        let offset = self.cursor.position();
        let kind = match self.cursor.header(end)? {
            Encoding::Module => NestedKind::CoreModule,
            Encoding::Component => NestedKind::Component,
        };
        let (mut code_bytes, mut data_bytes) = (0, 0);
        let mut contents = Vec::new();
        for _ in 0..SECTIONS_MAX {
            if self.cursor.position() >= end {
                break;
            }
            let section = self.cursor.section(end)?;
            match (kind, section.id) {
                (NestedKind::Component, CORE_MODULE | COMPONENT) => {
                    contents.push(self.nested(section.end, depth + 1)?);
                }
                (NestedKind::CoreModule, CODE) => code_bytes += section.end - section.start,
                (NestedKind::CoreModule, DATA) => data_bytes += self.data(&section)?,
                _ => {}
            }
            self.cursor.jump(section.end);
        }
        Ok(Nested { kind, offset, size: end - offset, code_bytes, data_bytes, contents })
    }

    /// Bytes of the segments. A GGUF file begins in a passive segment and goes on in the
    /// following ones: so it was packed.
    fn data(&mut self, section: &crate::sections::Section) -> Result<u64, WasmError> {
        let mut bytes = 0;
        let mut file: Option<Content> = None;
        let (source, any, wanted) = (self.source, self.any, self.weights.is_none());
        self.cursor.segments(section, |cursor, segment| {
            let length = segment.end - segment.start;
            bytes += length;
            if !wanted || !segment.passive {
                return Ok(ControlFlow::Continue(()));
            }
            if any {
                file.get_or_insert_default();
            } else if file.is_none() && length >= 4 {
                let mut magic = Vec::new();
                cursor.jump(segment.start);
                cursor.copy_to(segment.start + 4, &mut magic)?;
                if magic == trefoil_gguf::MAGIC {
                    file = Some(Content::default());
                }
            }
            if let Some(file) = &mut file {
                file.push(Range { source: source.clone(), offset: segment.start, length });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.weights = self.weights.take().or(file);
        Ok(bytes)
    }
}
