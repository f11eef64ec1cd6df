//! The target of `cargo xtask fuzz decode`, on its seeds and some thousand damaged copies of them.

#[path = "../../../../fuzz/targets/decode.rs"]
mod decode;
#[path = "../../../../fuzz/targets/mutate.rs"]
mod mutate;

use std::fs;

#[test]
fn damaged_images_are_images_or_errors() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/files");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    mutate::seeds_and_copies(&seeds, 300, decode::target);
}
