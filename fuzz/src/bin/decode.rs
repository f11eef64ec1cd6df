//! libFuzzer on the reading of images.
#![no_main]

#[path = "../../targets/decode.rs"]
mod decode;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| decode::target(bytes));
