//! The target of `cargo xtask fuzz plugin`, on its seeds and some thousand damaged copies of them.

#[path = "../../../../fuzz/targets/mutate.rs"]
mod mutate;
#[path = "../../../../fuzz/targets/plugin.rs"]
mod plugin;

use std::fs;

#[test]
fn damaged_files_are_plugins_or_errors() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/plugin");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(
        seeds
            .iter()
            .any(|seed| keros_plugin_host::inspect_bytes(seed).is_ok())
    );
    mutate::seeds_and_copies(&seeds, 2000, plugin::target);
}
