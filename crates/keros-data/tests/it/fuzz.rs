//! The target of `cargo xtask fuzz csv`, on its seeds and some thousand damaged copies of them.

#[path = "../../../../fuzz/targets/csv.rs"]
mod csv;
#[path = "../../../../fuzz/targets/mutate.rs"]
mod mutate;

use std::fs;

#[test]
fn damaged_tables_are_tables_or_errors() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/csv");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    mutate::seeds_and_copies(&seeds, 1000, csv::target);
}
