//! libFuzzer on the reading of a plugin's file.
#![no_main]

#[path = "../../targets/plugin.rs"]
mod plugin;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plugin::target(bytes));
