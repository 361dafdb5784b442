//! No file makes the reader take much more memory than the file itself has. Alone in its process,
//! because it counts allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use trefoil_fixtures::{TinyLlama, broken, tiny_llama};
use trefoil_gguf::{Array, Gguf, Value, Writer};

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that reading takes at most, beside what the caller holds.
fn peak_of_reading(bytes: &[u8]) -> usize {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    drop(Gguf::read(&bytes));
    PEAK.load(Ordering::Relaxed) - before
}

/// The window, and what little names and messages take.
const FIXED_BYTES_MAX: usize = 320 << 10;

#[test]
fn reading_takes_memory_in_proportion_to_the_file() {
    let valid = tiny_llama(&TinyLlama::default());
    for case in broken(&valid) {
        let peak = peak_of_reading(&case.bytes);
        assert!(peak <= case.bytes.len() + FIXED_BYTES_MAX, "{}: {peak} bytes", case.name);
    }

    // The worst in the format: lists of lists, which take more memory than file, up to their limit.
    let nested = Array::Array(vec![Array::U8(Vec::new()); 60_000]);
    let bytes = Writer::new().value("nested", Value::Array(nested)).to_bytes().expect("writes");
    let peak = peak_of_reading(&bytes);
    assert!(peak <= 16 * bytes.len() + FIXED_BYTES_MAX, "{peak} bytes for {}", bytes.len());

    let strings = Value::Array(Array::String((0..100_000).map(|_| "ab").collect()));
    let bytes = Writer::new().value("strings", strings).to_bytes().expect("writes");
    let peak = peak_of_reading(&bytes);
    assert!(peak <= bytes.len() + FIXED_BYTES_MAX, "{peak} bytes for {}", bytes.len());
}
