//! Decoding must not allocate: in a sandbox the heap only grows, and its pieces never come back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use trefoil_decoder::{CacheType, Decoder, Options};
use trefoil_fixtures::{TinyLlama, golden, tiny_llama};
use trefoil_generation::{Forward, Logits, Span};
use trefoil_gguf::{Gguf, TensorType};

thread_local! {
    /// Allocations of this thread; other threads are the test runner's.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: all calls are passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`; `start` came from `System`.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A prompt of 80 tokens, then one token at a time.
fn decode_without_allocating(file: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
    let gguf = Gguf::read(&file)?;
    let options = Options { context_tokens: 0, sequences_max: 1, kv_cache_type: CacheType::F16 };
    let mut decoder = Decoder::load(&gguf, &file, options)?;
    let mut logits = Vec::new();
    let mut step = |position, tokens: &[u32]| {
        let span = Span { sequence: 0, position, tokens, logits: Logits::Last };
        let before = COUNT.get();
        decoder.forward(&[span], &mut logits).map(|()| COUNT.get() - before)
    };
    assert!(step(0, &[7; 80])? > 0, "the counter does not count");
    for position in 80..120 {
        // Other tokens take other experts.
        let token = 7 + position % 32;
        assert_eq!(step(position, &[token])?, 0, "allocations at position {position}");
    }
    Ok(())
}

#[test]
fn decoding_does_not_allocate_in_steady_state() -> Result<(), Box<dyn std::error::Error>> {
    decode_without_allocating(tiny_llama(&TinyLlama::with_matrices(TensorType::Q4_1)))
}

#[test]
fn nor_do_mixtures_of_experts() -> Result<(), Box<dyn std::error::Error>> {
    let models = golden::architectures();
    let mixtures = models.iter().filter(|it| ["mixtral", "qwen3moe"].contains(&it.name.as_str()));
    assert_eq!(mixtures.clone().count(), 2, "the fixtures have these mixtures");
    for model in mixtures {
        decode_without_allocating(model.file.clone())?;
    }
    Ok(())
}
