//! The records of this repository, if there are any: their pages and charts are what is made of them, and a chart on
//! the front page stands beside its machine.

use std::fs;
use std::path::Path;

use keros_bench_record::{Record, chart};

const REDO: &str = "make it anew with `cargo xtask bench --chart`";

#[test]
fn pages_and_charts_are_those_of_the_records() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for entry in fs::read_dir(root.join("benches/recorded"))
        .into_iter()
        .flatten()
    {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let record = Record::read(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let beside = |extension| fs::read_to_string(path.with_extension(extension)).ok();
        assert!(
            beside("md") == Some(record.page(name)),
            "{name}.md: {REDO} {name}"
        );
        assert!(
            beside("svg") == chart::draw(&record).unwrap(),
            "{name}.svg: {REDO} {name}"
        );
        if readme.contains(&format!("(benches/recorded/{name}.svg)")) {
            let machine = record.machine.to_string();
            assert!(
                readme.contains(&machine),
                "README.md does not say `{machine}`"
            );
        }
    }
}
