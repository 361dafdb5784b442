//! Linear memories on huge pages, where the system gives them to those who ask (Linux's
//! `transparent_hugepage` set to `madvise`). Reading weights from pages of 2 MiB instead of 4 KiB
//! is faster by what the processor's translation buffers would miss.

use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap,
};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// Size and alignment of a huge page.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Makes every linear memory of the runtime.
pub(crate) struct HugePages;

impl HugePages {
    /// Whether the system gives huge pages to those who ask, and only to them: where it gives them
    /// to all or to none, wasmtime's own memories are as good.
    pub(crate) fn are_on_request() -> bool {
        std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
            .is_ok_and(|modes| modes.contains("[madvise]"))
    }
}

/// A reservation of address space whose beginning can be accessed.
struct Reservation {
    /// All of it.
    mapping: NonNull<c_void>,
    mapping_bytes: usize,
    /// The linear memory, on the boundary of a huge page.
    base: NonNull<u8>,
    /// What it may grow to; guard pages follow.
    capacity_bytes: usize,
    /// What can be accessed.
    bytes: usize,
}

// SAFETY: the reservation belongs to whoever owns this value, as memory belongs to a `Box`.
unsafe impl Send for Reservation {}
// SAFETY: shared access changes nothing.
unsafe impl Sync for Reservation {}

impl Reservation {
    fn new(capacity_bytes: usize, guard_bytes: usize) -> io::Result<Self> {
        let too_large = || io::Error::other("an address space is not as large as this memory");
        let mapping_bytes = capacity_bytes
            .checked_add(guard_bytes)
            .and_then(|bytes| bytes.checked_add(HUGE_PAGE_BYTES))
            .ok_or_else(too_large)?;
        // SAFETY: a fresh mapping at an address that the system chooses.
        let mapping = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                mapping_bytes,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let mapping = NonNull::new(mapping).ok_or_else(too_large)?;
        let offset = mapping.as_ptr().addr().wrapping_neg() % HUGE_PAGE_BYTES;
        // SAFETY: the mapping is larger than a huge page.
        let base = unsafe { mapping.cast::<u8>().byte_add(offset) };
        let reservation = Reservation { mapping, mapping_bytes, base, capacity_bytes, bytes: 0 };
        // SAFETY: the range lies in the mapping; the advice changes no content.
        let advised =
            unsafe { madvise(base.as_ptr().cast(), capacity_bytes, Advice::LinuxHugepage) };
        // Without huge pages the memory serves as well.
        let _ = advised;
        Ok(reservation)
    }

    fn grow(&mut self, bytes: usize) -> io::Result<()> {
        if bytes > self.capacity_bytes {
            return Err(io::Error::other("the memory is reserved for fewer bytes"));
        }
        if bytes > self.bytes {
            // SAFETY: the range lies in the mapping, which nobody else knows, and contents stay.
            unsafe {
                mprotect(
                    self.base.as_ptr().cast(),
                    bytes,
                    MprotectFlags::READ | MprotectFlags::WRITE,
                )
            }?;
            self.bytes = bytes;
        }
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, unmapped once; wasmtime drops memories after their users.
        let unmapped = unsafe { munmap(self.mapping.as_ptr(), self.mapping_bytes) };
        debug_assert!(unmapped.is_ok(), "a mapping can be unmapped");
    }
}

// SAFETY: the memory lies at `base` for as long as the value lives, `bytes` of it can be read and
// written, and what follows up to the reservation's end traps.
unsafe impl LinearMemory for Reservation {
    fn byte_size(&self) -> usize {
        self.bytes
    }

    fn byte_capacity(&self) -> usize {
        self.capacity_bytes
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        Ok(self.grow(new_size)?)
    }

    fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

// SAFETY: each memory is a mapping of its own that nothing else touches.
unsafe impl MemoryCreator for HugePages {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved_size_in_bytes: Option<usize>,
        guard_size_in_bytes: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let capacity = reserved_size_in_bytes.or(maximum).unwrap_or(minimum).max(minimum);
        let reserve = || {
            let mut memory = Reservation::new(capacity, guard_size_in_bytes)?;
            memory.grow(minimum)?;
            Ok(memory)
        };
        match reserve() {
            Ok(memory) => Ok(Box::new(memory)),
            Err(error) => Err(io::Error::to_string(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_up_to_its_reservation_and_keeps_what_it_holds() {
        let mut memory = Reservation::new(4 * HUGE_PAGE_BYTES, 65_536).expect("address space");
        assert!(memory.as_ptr().addr().is_multiple_of(HUGE_PAGE_BYTES));
        memory.grow(65_536).expect("grows");
        // SAFETY: 65,536 bytes can be accessed.
        unsafe { memory.as_ptr().write(7) };
        memory.grow(3 * HUGE_PAGE_BYTES).expect("grows");
        assert_eq!(memory.byte_size(), 3 * HUGE_PAGE_BYTES);
        // SAFETY: three huge pages can be accessed.
        let bytes = unsafe { std::slice::from_raw_parts(memory.as_ptr(), memory.byte_size()) };
        assert_eq!(bytes[0], 7);
        assert!(bytes[1..].iter().all(|byte| *byte == 0));
        assert!(memory.grow(5 * HUGE_PAGE_BYTES).is_err());
        memory.grow(1).expect("nothing to do");
        assert_eq!(memory.byte_size(), 3 * HUGE_PAGE_BYTES);
    }

    #[test]
    fn a_reservation_beyond_the_address_space_is_an_error() {
        assert!(Reservation::new(usize::MAX - 5, 65_536).is_err());
        assert!(Reservation::new(1 << 60, 65_536).is_err());
    }

    #[test]
    fn pages_are_huge_exactly_where_the_system_gives_them() {
        let modes = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        let are_given = modes.is_ok_and(|modes| !modes.contains("[never]"));
        let bytes = 8 * HUGE_PAGE_BYTES;
        let mut memory = Reservation::new(bytes, 65_536).expect("address space");
        memory.grow(bytes).expect("grows");
        // SAFETY: `bytes` can be written.
        unsafe { memory.as_ptr().write_bytes(1, bytes) };
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("Linux has it");
        let start = format!("{:x}-", memory.as_ptr().addr());
        let of_memory = maps.lines().skip_while(|line| !line.starts_with(&start));
        let huge = of_memory
            .skip(1)
            .find_map(|line| line.strip_prefix("AnonHugePages:"))
            .expect("smaps says how many pages are huge");
        assert_eq!(huge.trim() != "0 kB", are_given, "{huge}");
    }
}
