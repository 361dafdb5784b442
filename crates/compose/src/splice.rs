//! Puts bulk into a template: data segments that are placeholders become stretches of a file, and
//! the sections around them grow.
//!
//! Only templates that this crate generated itself are spliced; components of others are copied
//! whole (see `compose`), so that no segment of theirs can pass for a placeholder.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::read_at::{Content, Range, ReadAt};
use crate::sections::{
    COMPONENT, CORE_MODULE, Cursor, DATA, DEPTH_MAX, Section, WasmError, push_leb,
};

/// Begins a placeholder; the number of the stretch follows as four bytes, little-endian.
const MAGIC: &[u8; 16] = b"trefoil-bulk-v1:";
const PLACEHOLDER_BYTES: u64 = 20;

/// The data of the passive segment that stands for stretch number `index`.
pub(crate) fn placeholder(index: u32) -> [u8; PLACEHOLDER_BYTES as usize] {
    let mut bytes = [0; PLACEHOLDER_BYTES as usize];
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    bytes[MAGIC.len()..].copy_from_slice(&index.to_le_bytes());
    bytes
}

/// Replaces the placeholders of a template, which must be numbered in order, by `bulk`.
pub(crate) fn splice(template: Vec<u8>, bulk: &[Range]) -> Result<Content, WasmError> {
    let template = Arc::new(template);
    let source: Arc<dyn ReadAt> = template.clone();
    let mut splicer = Splicer { cursor: Cursor::new(&*template), source, bulk: bulk.iter() };
    let content = splicer.nested(template.size(), 0)?;
    if splicer.bulk.next().is_some() {
        return splicer.cursor.malformed("the template has too few placeholders");
    }
    Ok(content)
}

struct Splicer<'a> {
    cursor: Cursor<'a>,
    source: Arc<dyn ReadAt>,
    bulk: std::slice::Iter<'a, Range>,
}

impl Splicer<'_> {
    fn kept(&self, offset: u64, end: u64) -> Range {
        Range { source: self.source.clone(), offset, length: end - offset }
    }

    /// A module or component, header included.
    fn nested(&mut self, end: u64, depth: u32) -> Result<Content, WasmError> {
        let mut content = Content::default();
        content.push(self.kept(self.cursor.position(), self.cursor.position() + 8));
        let component = self.cursor.header(end)? == crate::sections::Encoding::Component;
        while self.cursor.position() < end {
            let section = self.cursor.section(end)?;
            let payload = match section.id {
                CORE_MODULE | COMPONENT if component => {
                    if depth >= DEPTH_MAX {
                        return self.cursor.malformed("the template is nested too deep");
                    }
                    self.nested(section.end, depth + 1)?
                }
                DATA if !component => self.data(&section)?,
                _ => {
                    content.push(self.kept(section.header, section.end));
                    self.cursor.jump(section.end);
                    continue;
                }
            };
            let mut header = vec![section.id];
            push_leb(payload.size(), &mut header);
            content.push_bytes(header);
            content.append(payload);
            self.cursor.jump(section.end);
        }
        Ok(content)
    }

    fn data(&mut self, section: &Section) -> Result<Content, WasmError> {
        let mut content = Content::default();
        let mut begin = section.start;
        let mut index = 0;
        let (source, bulk) = (self.source.clone(), &mut self.bulk);
        let kept =
            |offset, end: u64| Range { source: source.clone(), offset, length: end - offset };
        self.cursor.segments(section, |cursor, segment| {
            if !segment.passive || segment.end - segment.start != PLACEHOLDER_BYTES {
                return Ok(ControlFlow::Continue(()));
            }
            let mut data = Vec::new();
            cursor.copy_to(segment.end, &mut data)?;
            if data == placeholder(index) {
                let Some(range) = bulk.next() else {
                    return cursor.malformed("the template has too many placeholders");
                };
                content.push(kept(begin, segment.length));
                let mut length = Vec::new();
                push_leb(range.length, &mut length);
                content.push_bytes(length);
                content.push(range.clone());
                begin = segment.end;
                index += 1;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        content.push(kept(begin, section.end));
        Ok(content)
    }
}
