//! Drives the target `snapshot` with libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trefoil_fuzz::snapshot(data));
