//! Drives the target `settings_toml` with libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trefoil_fuzz::settings_toml(data));
