//! Makes the dynamic libraries the tests load.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// The C plugins of this folder.
pub(crate) const RECORDER: &str = include_str!("c/recorder.c");
pub(crate) const EXTENSIONS: &str = include_str!("c/extensions.c");
pub(crate) const ODD: &str = include_str!("c/odd.c");
/// That of plugins/misbehaving.
pub(crate) const MISBEHAVING: &str = include_str!("../../../../plugins/misbehaving/misbehaving.c");

/// What a plugin can be compiled from: the variable that names the compiler, its usual name, the
/// standard, and a file name of the language.
type Language = (&'static str, &'static str, &'static str, &'static str);
const C: Language = ("CC", "cc", "-std=c99", "plugin.c");
const CPP: Language = ("CXX", "c++", "-std=c++11", "plugin.cpp");

/// Compiles a C plugin against keros.h alone. `None`, with a word on stderr, if there is no C compiler;
/// CONTRIBUTING.md asks for one.
pub(crate) fn c_plugin(source: &str, defines: &[&str]) -> Option<(TempDir, PathBuf)> {
    compile(C, source, defines)
}

/// As [`c_plugin`], for C++.
pub(crate) fn cpp_plugin(source: &str) -> Option<(TempDir, PathBuf)> {
    compile(CPP, source, &[])
}

fn compile(
    (variable, usual, standard, file): Language,
    source: &str,
    defines: &[&str],
) -> Option<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("keros.h"), keros_abi::HEADER).unwrap();
    fs::write(folder.path().join(file), source).unwrap();
    let library = folder
        .path()
        .join(format!("plugin{}", env::consts::DLL_SUFFIX));
    let compiler = env::var_os(variable).unwrap_or_else(|| OsString::from(usual));
    let output = Command::new(&compiler)
        .current_dir(folder.path())
        .args([
            standard,
            "-Wall",
            "-Wextra",
            "-pedantic",
            "-Werror",
            "-shared",
            "-fPIC",
            "-pthread",
        ])
        .args(defines.iter().map(|define| format!("-D{define}")))
        .args([file, "-o"])
        .arg(&library)
        .arg("-lm")
        .output();
    match output {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
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

/// `odd.c` as it is, compiled once.
pub(crate) fn odd() -> Option<&'static Path> {
    static ODD_LIBRARY: OnceLock<Option<(TempDir, PathBuf)>> = OnceLock::new();
    let library = ODD_LIBRARY.get_or_init(|| c_plugin(ODD, &[]));
    library.as_ref().map(|(_, path)| path.as_path())
}

/// The library of plugins/csv-logger: the one `cargo xtask test` names, or built here.
pub(crate) fn csv_logger() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| rust_plugin("csv-logger"))
}

/// The library of plugins/dashboard, as [`csv_logger`].
pub(crate) fn dashboard() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| rust_plugin("dashboard"))
}

/// The library of plugins/misbehaving, as [`csv_logger`].
pub(crate) fn misbehaving() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| rust_plugin("misbehaving"))
}

fn rust_plugin(package: &str) -> PathBuf {
    let target = package.replace('-', "_");
    let variable = format!("KEROS_TEST_PLUGIN_{}", target.to_uppercase());
    if let Some(path) = env::var_os(variable) {
        return path.into();
    }
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--package",
            package,
            "--lib",
            "--message-format=json",
        ])
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8(output.stdout).unwrap();
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| {
            message["reason"] == "compiler-artifact" && message["target"]["name"] == *target
        })
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
