//! The plugin as a dynamic library.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The library: the one `cargo xtask test` names, or built here.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| match env::var_os("KEROS_TEST_PLUGIN_LR_FINDER") {
        Some(path) => path.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--lib", "--message-format=json"])
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8(output.stdout).unwrap();
    let messages = messages
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut names = messages
        .filter(|message| message["target"]["name"] == "lr_finder")
        .flat_map(|artifact| {
            artifact["filenames"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        });
    let name = names.find(|name| name.as_str().unwrap().ends_with(env::consts::DLL_SUFFIX));
    name.expect("cargo tells where the library is")
        .as_str()
        .unwrap()
        .into()
}
