//! What the machine gives: memory reads per second, and memory that a process holds.

use std::hint::black_box;
use std::time::Instant;

/// Passes over the buffer; the fastest counts, the first ones warm up.
const PASSES: usize = 8;

/// Bytes per second that one thread reads from a buffer of at least `bytes`, with pages as the
/// system gives them to any program.
pub(crate) fn read_bytes_per_s(bytes: u64) -> f64 {
    let words = usize::try_from(bytes / 8).unwrap_or(usize::MAX / 8).next_multiple_of(16);
    let buffer: Vec<u64> = (0..words as u64).collect();
    let mut best = f64::INFINITY;
    for _ in 0..PASSES {
        let start = Instant::now();
        let mut sums = [0u64; 16];
        for chunk in black_box(&buffer).as_chunks::<16>().0 {
            for (sum, word) in sums.iter_mut().zip(chunk) {
                *sum = sum.wrapping_add(*word);
            }
        }
        black_box(sums);
        best = best.min(start.elapsed().as_secs_f64());
    }
    (words * 8) as f64 / best
}

/// Anonymous memory of a process now, in bytes, where the system says so (Linux).
pub(crate) fn anonymous_bytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
