//! What docs/plugins.md shows is built and run: its files, its commands, and the plugins they make.

use crate::run::FakeRun;
use keros_callbacks::{CallbackList, EventKind, FailurePolicy};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The languages whose blocks are files, with their path after the language.
const FILES: [&str; 3] = ["c", "rust", "toml"];

/// A fenced block.
#[derive(Debug)]
struct Block<'a> {
    /// What follows the fence: a language, and maybe a path.
    info: &'a str,
    text: String,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(info) if !inside => {
                inside = true;
                blocks.push(Block {
                    info,
                    text: String::new(),
                });
            }
            Some(_) => inside = false,
            None if inside => {
                let block = blocks.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {}
        }
    }
    assert!(!inside, "a block is not closed");
    blocks
}

/// The guide in a folder of its own, with keros beside it.
struct Guide {
    folder: PathBuf,
}

impl Guide {
    /// Writes the files of the guide where the next run of this test finds what this one has built.
    fn write(blocks: &[Block<'_>]) -> Guide {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide");
        fs::create_dir_all(&folder).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .canonicalize()
            .unwrap();
        let keros = folder.join("keros");
        let _ = fs::remove_file(&keros);
        std::os::unix::fs::symlink(&root, &keros).unwrap();

        let guide = Guide { folder };
        let mut topics = Vec::new();
        for block in blocks {
            let Some((language, path)) = block.info.split_once(' ') else {
                continue;
            };
            assert!(
                FILES.contains(&language),
                "a block of an unknown language: {block:?}"
            );
            guide.file(path, &block.text);
            if let Some(topic) = path.strip_prefix("topics/src/") {
                topics.push(topic.trim_end_matches(".rs"));
            }
        }
        guide.topics(&topics);
        // The versions that are locked there are the ones that are at hand without network.
        for package in ["stop-below", "topics"] {
            let lock = guide.folder.join(package).join("Cargo.lock");
            fs::copy(root.join("Cargo.lock"), lock).unwrap();
        }
        guide
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // This folder is inside of keros, where a package is of that workspace unless it says otherwise.
        let own = if path.ends_with("Cargo.toml") {
            "\n[workspace]\n"
        } else {
            ""
        };
        let text = format!("{text}{own}");
        // A file that is as it was is not built again.
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return;
        }
        fs::write(path, text).unwrap();
    }

    /// The package whose modules are shown without it.
    fn topics(&self, modules: &[&str]) {
        let manifest = "[package]\nname = \"topics\"\nedition = \"2024\"\n\n[dependencies]\n\
                        keros-callbacks = { path = \"../keros/crates/keros-callbacks\" }\n\
                        keros-plugin = { path = \"../keros/crates/keros-plugin\", features = [\"state\"] }\n\
                        keros-plugin-host = { path = \"../keros/crates/keros-plugin-host\" }\n\
                        serde = { version = \"1\", features = [\"derive\"] }\n";
        self.file("topics/Cargo.toml", manifest);
        let modules: String = modules
            .iter()
            .map(|name| format!("pub mod {name};\n"))
            .collect();
        self.file("topics/src/lib.rs", &modules);
    }

    fn run(&self, script: &str) {
        let output = Command::new("sh")
            .args(["-e", "-c", script])
            .current_dir(&self.folder)
            .env("CARGO_NET_OFFLINE", "true")
            // Where the library shall be found and built quickly.
            .env_remove("CARGO_TARGET_DIR")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}{told}");
    }

    fn load(&self, library: &str, config: &str) -> CallbackList<'static> {
        let callback = keros_plugin_host::load(self.folder.join(library), config).unwrap();
        let mut callbacks = CallbackList::new();
        callbacks.push_with(callback, FailurePolicy::Abort);
        callbacks
    }
}

#[test]
fn the_guide_for_authors_works() {
    let page = include_str!("../../../../docs/plugins.md");
    let blocks = blocks(page);
    let guide = Guide::write(&blocks);
    for block in &blocks {
        match block.info {
            "sh" => guide.run(&block.text),
            // Pictures in letters, and commands that train.
            "text" => {}
            "console" => assert!(block.text.lines().all(|line| line.starts_with("$ "))),
            info => assert!(info.contains(' '), "a block that no test runs: {block:?}"),
        }
    }
    // Beside what the guide has built, to use its dependencies.
    guide.run("cd topics && CARGO_TARGET_DIR=../stop-below/target cargo build");
    let flags = "-std=c99 -Wall -Wextra -pedantic -Werror -I keros/crates/keros-abi/include";
    guide.run(&format!(
        "for file in topics/*.c halve/*.c; do cc {flags} -fsyntax-only $file; done"
    ));

    let mut run = FakeRun::new();
    let library = format!(
        "stop-below/target/release/libstop_below{}",
        std::env::consts::DLL_SUFFIX
    );
    let mut stop_below = guide.load(&library, r#"{"below": 0.5}"#);
    for (loss, stop) in [(0.5, None), (0.25, Some("loss is 0.25"))] {
        let decision = run.send(
            &mut stop_below,
            EventKind::EpochEnd,
            [0; 3],
            &[("loss", loss)],
            false,
        );
        assert_eq!(decision.unwrap().stop.as_deref(), stop);
    }
    let refused = keros_plugin_host::load(guide.folder.join(&library), "{}").unwrap_err();
    assert!(
        refused.to_string().contains("missing field `below`"),
        "{refused}"
    );

    let mut halve = guide.load("halve/halve.so", "");
    for (loss, rate) in [
        (2.0, None),
        (1.0, None),
        (1.5, Some(0.05)),
        (1.0, Some(0.025)),
    ] {
        let decision = run.send(
            &mut halve,
            EventKind::EpochEnd,
            [0; 3],
            &[("loss", loss)],
            false,
        );
        assert_eq!(decision.unwrap().learning_rate, rate);
    }
    let failed = run
        .send(&mut halve, EventKind::EpochEnd, [0; 3], &[], false)
        .unwrap_err();
    let expected = "KEROS_E_NOT_FOUND: expected a number in the log `loss`";
    assert!(failed.to_string().ends_with(expected), "{failed}");
}
