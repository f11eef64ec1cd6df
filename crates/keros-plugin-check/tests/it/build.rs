//! Makes the libraries that are checked.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A folder of `plugins`.
fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins")
}

/// A C plugin of `plugins`, with these macros. `None`, with a word on stderr, if there is no C compiler.
pub(crate) fn c_plugin(source: &str, defines: &[&str]) -> Option<(TempDir, PathBuf)> {
    compile("CC", "cc", "-std=c99", source, defines)
}

/// As [`c_plugin`], for C++.
pub(crate) fn cpp_plugin(source: &str) -> Option<(TempDir, PathBuf)> {
    compile("CXX", "c++", "-std=c++11", source, &[])
}

fn compile(
    variable: &str,
    usual: &str,
    standard: &str,
    source: &str,
    defines: &[&str],
) -> Option<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("keros.h"), keros_abi::HEADER).unwrap();
    let library = folder
        .path()
        .join(format!("plugin{}", env::consts::DLL_SUFFIX));
    let compiler = env::var_os(variable).unwrap_or_else(|| OsString::from(usual));
    let output = Command::new(&compiler)
        .args([
            standard,
            "-Wall",
            "-Wextra",
            "-pedantic",
            "-Werror",
            "-shared",
            "-fPIC",
        ])
        .args(defines.iter().map(|define| format!("-D{define}")))
        .arg("-I")
        .arg(folder.path())
        .arg(plugins().join(source))
        .arg("-o")
        .arg(&library)
        .arg("-lm")
        .output();
    match output {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}");
            Some((folder, library))
        }
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "not run: no compiler {compiler:?} can be started ({error}); see CONTRIBUTING.md"
            );
            None
        }
    }
}

/// The library of a Rust plugin of `plugins`: the one `cargo xtask test` names, or built here.
pub(crate) fn rust_plugin(package: &str) -> PathBuf {
    let target = package.replace('-', "_");
    if let Some(path) = env::var_os(format!("KEROS_TEST_PLUGIN_{}", target.to_uppercase())) {
        return path.into();
    }
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--lib",
            "--message-format=json",
            "--package",
            package,
        ])
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let messages = String::from_utf8(output.stdout).unwrap();
    let messages = messages
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let artifacts =
        messages.filter(|message: &serde_json::Value| message["target"]["name"] == *target);
    artifacts
        .flat_map(|artifact| {
            artifact["filenames"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        })
        .filter_map(|name| name.as_str().map(PathBuf::from))
        .find(|path| path.to_string_lossy().ends_with(env::consts::DLL_SUFFIX))
        .expect("cargo tells where the library is")
}
