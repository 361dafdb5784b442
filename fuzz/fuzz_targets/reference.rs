//! Drives the target `reference` with libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trefoil_fuzz::reference(data));
