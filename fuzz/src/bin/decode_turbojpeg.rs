//! libFuzzer on the reading of images, JPEG by libjpeg-turbo.
#![no_main]

#[path = "../../targets/decode.rs"]
mod decode;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| decode::target(bytes));
