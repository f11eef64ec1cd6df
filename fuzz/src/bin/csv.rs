//! libFuzzer on the reading of tables.
#![no_main]

#[path = "../../targets/csv.rs"]
mod csv;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| csv::target(bytes));
