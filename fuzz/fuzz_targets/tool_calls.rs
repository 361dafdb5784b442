//! Drives the target `tool_calls` with libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trefoil_fuzz::tool_calls(data));
