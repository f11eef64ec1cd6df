//! `README.md`: it has a section and a command for every example, and its pictures are there.

use std::fs;
use std::path::Path;

#[test]
fn every_example_has_its_section_command_and_pictures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    let mut examples = 0;
    for entry in fs::read_dir(folder.join("src/bin")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        for words in [
            format!("| [`{name}`](#{name}) |"),
            format!("\n## {name}\n\n```sh\ncargo run --release -p keros-examples --bin {name}"),
        ] {
            assert!(readme.contains(&words), "{words} is not in README.md");
        }
        examples += 1;
    }
    assert_eq!(readme.matches("\n## ").count(), examples);

    let mut shown = 0;
    for link in readme.split("](pictures/").skip(1) {
        let name = link.split(')').next().unwrap();
        let size = fs::metadata(folder.join("pictures").join(name))
            .unwrap()
            .len();
        assert!(size < 60_000, "{name} has {size} bytes");
        shown += 1;
    }
    let pictures = fs::read_dir(folder.join("pictures")).unwrap().count();
    assert_eq!(shown, pictures);
}
