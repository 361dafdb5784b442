use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::OutOfMemory;

/// Zeroed bytes, aligned to cache lines so that no vector load straddles two.
pub(crate) struct Buffer {
    start: NonNull<u8>,
    layout: Layout,
}

const ALIGNMENT: usize = 64;

impl Buffer {
    /// Zeroed memory; fresh pages are not touched.
    pub(crate) fn zeroed(bytes: usize) -> Result<Self, OutOfMemory> {
        let layout = Layout::from_size_align(bytes, ALIGNMENT).map_err(|_| OutOfMemory(bytes))?;
        if bytes == 0 {
            return Ok(Self { start: NonNull::dangling(), layout });
        }
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(OutOfMemory(bytes))?;
        Ok(Self { start, layout })
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `start` owns `layout.size()` initialised bytes (or none).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: `start` owns `layout.size()` initialised bytes (or none), borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: allocated with this layout, freed once.
            unsafe { dealloc(self.start.as_ptr(), self.layout) }
        }
    }
}

// SAFETY: a buffer owns its bytes, as a `Vec<u8>` does.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}
