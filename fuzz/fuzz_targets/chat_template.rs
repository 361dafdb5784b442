//! Drives the target `chat_template` with libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trefoil_fuzz::chat_template(data));
